//! One restart from the first question to its proof: approvals, order, verification by the full chain.
//!
//! Every watcher tries, each some seconds after the one before it; the node's fence makes it once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time};
use aws_lc_rs::rand;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::task::Finding;
use super::{PEER_DEADLINE, Peer, Shared};
use crate::diagnose::described;
use crate::evidence::bounded;
use crate::node::OrderAnswer;
use crate::remedy::order::{Approval, Order, Verb};
use crate::signed::{Purpose, Signed};

/// How long each watcher waits for those before it.
const RANK_PAUSE: Duration = Duration::from_secs(5);
/// How often the peers are asked: their own verdict may come a moment later than this one's.
const APPROVAL_ROUNDS: u32 = 4;
const APPROVAL_PAUSE: Duration = Duration::from_secs(2);
/// How often a node that is busy is asked again.
const ORDER_ATTEMPTS: u32 = 4;
const ORDER_PAUSE: Duration = Duration::from_secs(5);
/// How long a node may take to carry out an order.
const ORDER_DEADLINE: Duration = Duration::from_secs(30);
const ORDER_LIFE_MS: i64 = 45_000;
/// The full chain has to pass this often in a row.
const PASSES: u32 = 2;
const VERIFY_ATTEMPTS: u32 = 6;
const VERIFY_PAUSE: Duration = Duration::from_secs(2);
const CHAIN_DEADLINE: Duration = Duration::from_secs(120);

/// The name of the refusal when no node takes the order.
const NODE_UNREACHABLE: &str = "node_unreachable";

/// How far a restart has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It may not be; the rule's name and its words.
    Refused(String, String),
    /// The node is being told.
    Ordered,
    /// Another watcher's order was carried out.
    Elsewhere,
    /// The unit was restarted: the new process and the old one.
    Done(u32, Option<u32>),
    /// The full chain passes.
    Verified,
    /// It could not be done, or did not help.
    Failed(String),
}

/// What is to be restarted, and why.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) approval: Approval,
    /// The host on which the evidence was taken.
    pub(super) host: String,
    pub(super) fence: u32,
    /// Services that were down for another reason: they do not count in the verification.
    pub(super) ignored: BTreeSet<String>,
    pub(super) findings: mpsc::Sender<Finding>,
    /// The incident has ended: nothing is to be ordered any more.
    pub(super) ended: CancellationToken,
}

impl Job {
    /// Runs it to its end, telling every step.
    pub(super) async fn run(self) {
        let pause = RANK_PAUSE * u32::try_from(self.shared.rank).unwrap_or(u32::MAX).min(64);
        tokio::select! {
            () = self.ended.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let approvals = tokio::select! {
            () = self.ended.cancelled() => return,
            approvals = self.approvals() => approvals,
        };
        let need = self.shared.quorum();
        if approvals.len() < need {
            let words = format!("{} of {need} watchers approved the restart", approvals.len());
            return self.tell(Progress::Refused("no_quorum".to_owned(), words)).await;
        }
        if self.ended.is_cancelled() {
            return;
        }
        self.tell(Progress::Ordered).await;
        match self.order(approvals).await {
            Ok(OrderAnswer::Done { pid, previous_pid }) => self.tell(Progress::Done(pid, previous_pid)).await,
            Ok(OrderAnswer::Refused { reason, .. }) if matches!(reason.as_str(), "stale_fence" | "replayed") => {
                self.tell(Progress::Elsewhere).await;
            }
            Ok(OrderAnswer::Refused { reason, message }) => return self.tell(Progress::Refused(reason, message)).await,
            Ok(OrderAnswer::Failed { message }) | Err(message) => return self.tell(Progress::Failed(message)).await,
        }
        let end = match self.verify().await {
            Ok(()) => Progress::Verified,
            Err(why) => Progress::Failed(why),
        };
        self.tell(end).await;
    }

    async fn tell(&self, progress: Progress) {
        let _ = self.findings.send(Finding::Mending { incident: self.approval.incident.clone(), progress }).await;
    }

    /// As many approvals as are needed, its own among them, or fewer after all rounds.
    async fn approvals(&self) -> Vec<Signed> {
        let shared = &self.shared;
        let mut approvals: Vec<Signed> = Vec::new();
        for round in 0..APPROVAL_ROUNDS {
            if round > 0 {
                tokio::time::sleep(APPROVAL_PAUSE).await;
            }
            // Its own is signed anew in each round: it counts for a minute only.
            approvals.retain(|signed| signed.from != shared.vantage);
            let now = Time::now();
            approvals.extend(Signed::seal(Purpose::Approval, &shared.vantage, &shared.key, now, &self.approval).ok());
            let missing = shared.peers.iter().filter(|peer| !approvals.iter().any(|signed| signed.from == peer.name));
            let mut asked: FuturesUnordered<_> = missing.map(|peer| self.ask(peer)).collect();
            while approvals.len() < shared.quorum() {
                match asked.next().await {
                    Some(answer) => approvals.extend(answer),
                    None => break,
                }
            }
            if approvals.len() >= shared.quorum() {
                break;
            }
        }
        approvals
    }

    async fn ask(&self, peer: &Peer) -> Option<Signed> {
        let shared = &self.shared;
        let now = Time::now();
        let request = Signed::seal(Purpose::ApprovalRequest, &shared.vantage, &shared.key, now, &self.approval).ok()?;
        let url = [peer.url.trim_end_matches('/'), "/peer/v1/approve"].concat();
        let answer = peer.http.post(url).timeout(PEER_DEADLINE).json(&request).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let signed: Signed = serde_json::from_slice(&bounded(answer).await.ok()??).ok()?;
        let approval: Approval = signed.open(Purpose::Approval, &shared.peer_keys, Time::now()).ok()?;
        (signed.from == peer.name && approval == self.approval).then_some(signed)
    }

    async fn order(&self, approvals: Vec<Signed>) -> Result<OrderAnswer, String> {
        let url = [self.shared.config.node_url.trim_end_matches('/'), "/v1/orders"].concat();
        let mut answer = Err("the node was not asked".to_owned());
        for attempt in 0..ORDER_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(ORDER_PAUSE).await;
            }
            answer = self.order_once(&url, approvals.clone()).await;
            let again = matches!(&answer, Ok(OrderAnswer::Refused { reason, .. })
                if matches!(reason.as_str(), "busy" | "pause"));
            if !again || self.ended.is_cancelled() {
                break;
            }
        }
        answer
    }

    async fn order_once(&self, url: &str, approvals: Vec<Signed>) -> Result<OrderAnswer, String> {
        let shared = &self.shared;
        let now = Time::now();
        let order = Order {
            verb: Verb::Restart,
            unit: self.approval.unit.clone(),
            host: self.host.clone(),
            incident: self.approval.incident.clone(),
            evidence_hash: self.approval.evidence_hash.clone(),
            nonce: nonce()?,
            issued_at: now,
            expires_at: now.plus_millis(ORDER_LIFE_MS),
            fence: self.fence,
            approvals,
        };
        let signed = Signed::seal(Purpose::Order, &shared.vantage, &shared.key, now, &order)
            .map_err(|error| error.to_string())?;
        let answer = shared.http.post(url).timeout(ORDER_DEADLINE).json(&signed).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            // Nothing was restarted: that is no restart that did not help.
            Err(error) if error.is_connect() => {
                let message = format!("the node at {url} cannot be reached; is `varde node` running there?");
                return Ok(OrderAnswer::Refused { reason: NODE_UNREACHABLE.to_owned(), message });
            }
            Err(error) => return Err(format!("the node did not answer the order: {error}")),
        };
        let body = bounded(answer).await.map_err(|error| error.to_string())?.unwrap_or_default();
        serde_json::from_slice(&body).map_err(|error| format!("the node's answer cannot be read: {error}"))
    }

    /// Whether the full chain passes twice in a row.
    async fn verify(&self) -> Result<(), String> {
        let target = &self.approval.target;
        let (mut passed, mut why) = (0, String::new());
        for attempt in 0..VERIFY_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(VERIFY_PAUSE).await;
            }
            let chain = tokio::time::timeout(CHAIN_DEADLINE, self.shared.prober.run_target(target)).await;
            let observations = chain.unwrap_or_default();
            let failed = observations.iter().find(|seen| {
                !self.ignored.contains(&seen.service)
                    && !matches!(seen.outcome, ProbeOutcome::Ok | ProbeOutcome::Late | ProbeOutcome::Duplicate)
            });
            match failed {
                Some(seen) => (passed, why) = (0, format!("{} still fails: {}", seen.check, described(seen))),
                None if observations.is_empty() => {
                    (passed, why) = (0, "no check of the target could be run".to_owned())
                }
                None => passed += 1,
            }
            if passed == PASSES {
                return Ok(());
            }
        }
        Err(format!("after the restart the full chain did not pass twice: {why}"))
    }
}

fn nonce() -> Result<String, String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| "the system's random generator failed".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
