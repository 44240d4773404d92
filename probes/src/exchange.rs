//! What watchers tell each other: signed batches of their own observations, at least once, in order.
//!
//! A batch is JSON; its exact bytes are signed with the sender's key (Ed25519). `POST /peer/v1/observations` with
//! `X-Varde-Watcher` and `X-Varde-Signature` (base64), over mutual TLS where the site has an authority ([`tls`]). An
//! empty batch says "I am here". What was acknowledged is kept as a cursor for each peer, so that after a partition the
//! peer gets all that it missed; what it has already is the same run and harmless. The epochs of the roster go along.

pub mod listen;
pub mod tls;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use aggregator::metrics::watch as metrics;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{History, KEEP_DAYS};
use crate::keys::{PublicKey, SigningKey};
use crate::observation::Observation;
use crate::roster::Epoch;

/// Where batches go.
pub const PATH: &str = "/peer/v1/observations";
/// The header that names the sender.
pub const WATCHER_HEADER: &str = "x-varde-watcher";
/// The header that holds the signature.
pub const SIGNATURE_HEADER: &str = "x-varde-signature";
/// The largest body that is taken. A batch that would be larger is halved.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Observations of one batch at most.
pub const MAX_BATCH: u32 = 200;
/// How far two watchers' clocks may be apart.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(10);
/// How often a watcher that has nothing to say says so.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a peer is told the epochs of the roster though they have not changed: it may have lost them.
pub const TELL_EPOCHS: Duration = Duration::from_secs(60);

const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// What is dated after this was not made yet: whoever dated it had a clock that was ahead.
pub fn horizon(now: Time) -> Time {
    now.plus_millis(MAX_CLOCK_OFFSET.as_millis() as i64)
}

/// What one watcher tells another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Who says it.
    pub from: String,
    /// When, by its own clock.
    pub sent_at: Time,
    /// The epochs of the roster, when the peer may not know all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<Epoch>,
    /// What it saw itself.
    pub observations: Vec<Observation>,
}

/// Why a batch was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such watcher.
    #[error("\"{0}\" is no watcher of this site; add it to [[watch.watcher]]")]
    UnknownWatcher(String),
    /// It was not signed by that watcher.
    #[error("the signature is not that of watcher \"{0}\"; compare its public_key_file")]
    Signature(String),
    /// The certificate of the connection is another watcher's.
    #[error("the connection's certificate is for \"{certificate}\", the batch is from \"{watcher}\"")]
    Certificate {
        /// Whom the certificate is for.
        certificate: String,
        /// The sender.
        watcher: String,
    },
    /// It has been heard before.
    #[error(
        "\"{0}\" said this at a time of which it has been heard already; it is a replay, or its clock was set back"
    )]
    Replayed(String),
    /// It is no batch.
    #[error("the body is not a batch of observations: {0}")]
    Malformed(String),
    /// Its clock, or this one's, is wrong.
    #[error("the clocks of \"{watcher}\" and this watcher are {offset_ms} ms apart; set them by NTP")]
    Clock {
        /// The sender.
        watcher: String,
        /// Its clock minus this one's.
        offset_ms: i64,
        /// When it spoke, by its own clock.
        sent_at: Time,
    },
}

impl Refusal {
    /// One word of it, with which the answer begins.
    pub fn word(&self) -> &'static str {
        match self {
            Self::UnknownWatcher(_) => "stranger",
            Self::Signature(_) => "signature",
            Self::Certificate { .. } => "certificate",
            Self::Replayed(_) => "replayed",
            Self::Malformed(_) => "malformed",
            Self::Clock { .. } => "clock",
        }
    }
}

impl Batch {
    /// The body and its signature in base64.
    ///
    /// # Errors
    /// A number that JSON cannot say.
    pub fn seal(&self, key: &SigningKey) -> serde_json::Result<(Vec<u8>, String)> {
        let body = serde_json::to_vec(self)?;
        let signature = STANDARD.encode(key.sign(&body));
        Ok((body, signature))
    }

    /// Checks what came in. Observations that are not the sender's own, too old or not yet made are left out; the
    /// second value is how many.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn open(
        watcher: &str,
        signature: &str,
        body: &[u8],
        keys: &BTreeMap<String, PublicKey>,
        now: Time,
    ) -> Result<(Self, usize), Refusal> {
        let key = keys.get(watcher).ok_or_else(|| Refusal::UnknownWatcher(watcher.to_owned()))?;
        let bytes = STANDARD.decode(signature.trim()).unwrap_or_default();
        if !key.verify(body, &bytes) {
            return Err(Refusal::Signature(watcher.to_owned()));
        }
        let mut batch: Self = serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if batch.from != watcher {
            return Err(Refusal::Signature(watcher.to_owned()));
        }
        let tolerance = MAX_CLOCK_OFFSET.as_millis() as i64;
        let offset_ms = batch.sent_at.0.saturating_sub(now.0) / 1_000;
        if offset_ms.abs() > tolerance {
            return Err(Refusal::Clock { watcher: watcher.to_owned(), offset_ms, sent_at: batch.sent_at });
        }
        let all = batch.observations.len();
        let oldest = now.plus_millis(-KEEP_DAYS * 86_400_000);
        batch.observations.retain(|seen| seen.vantage == watcher && (oldest..=horizon(now)).contains(&seen.ts));
        let refused = all - batch.observations.len();
        Ok((batch, refused))
    }
}

/// The sender to one peer.
pub struct Link {
    /// The peer's name.
    pub peer: String,
    /// Where it is.
    pub url: String,
    /// This watcher's name.
    pub me: String,
    /// This watcher's key.
    pub key: Arc<SigningKey>,
    /// Where its observations are.
    pub history: Arc<History>,
    /// Told when there is a new one.
    pub news: Arc<Notify>,
    /// The epochs of the roster; told when they change, and again every [`TELL_EPOCHS`].
    pub epochs: watch::Receiver<Arc<Vec<Epoch>>>,
    /// Told the peer's name at each acknowledgement. When it is full the peer is told of the next time.
    pub acknowledged: mpsc::Sender<String>,
    /// Speaks to this peer.
    pub http: reqwest::Client,
}

impl Link {
    /// Sends until `shutdown`. A peer that does not answer is tried again, and holds nothing up but this task.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut pace = Pace { failing: None };
        let mut epochs_told: Option<Instant> = None;
        loop {
            let due = epochs_told.is_none_or(|at| at.elapsed() >= TELL_EPOCHS);
            let changed = self.epochs.has_changed().unwrap_or(false);
            let epochs = if due || changed { self.epochs.borrow_and_update().to_vec() } else { Vec::new() };
            let telling = !epochs.is_empty();
            let sent = self.send_next(epochs).await;
            metrics::EXCHANGE_SENT.with(&[&self.peer, if sent.is_ok() { "taken" } else { "failed" }]).inc();
            match (&sent, telling) {
                (Ok(_), true) => epochs_told = Some(Instant::now()),
                (Err(_), true) => epochs_told = None,
                _ => {}
            }
            match (&sent, pace.failing) {
                (Err(message), None) => {
                    tracing::warn!(peer = %self.peer, "observations cannot be told to the peer: {message}; trying again");
                }
                (Ok(_), Some(_)) => tracing::info!(peer = %self.peer, "the peer takes observations again"),
                (Err(_), Some(_)) | (Ok(_), None) => {}
            }
            let pause = pace.after(&sent);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.news.notified(), if pace.failing.is_none() && pause > Duration::ZERO => {}
                Ok(()) = self.epochs.changed(), if pace.failing.is_none() && pause > Duration::ZERO => epochs_told = None,
            }
        }
    }

    async fn send_next(&self, epochs: Vec<Epoch>) -> Result<Sent, String> {
        let (history, me, peer) = (self.history.clone(), self.me.clone(), self.peer.clone());
        let next = tokio::task::spawn_blocking(move || {
            let after = history.cursor(&peer)?;
            history.of_vantage(&me, after, MAX_BATCH)
        });
        let next = next.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (places, mut observations): (Vec<i64>, Vec<Observation>) = next.into_iter().unzip();
        let (body, signature) = loop {
            let batch = Batch { from: self.me.clone(), sent_at: Time::now(), epochs: epochs.clone(), observations };
            let sealed = batch.seal(&self.key).map_err(|error| error.to_string())?;
            observations = batch.observations;
            if sealed.0.len() <= MAX_BODY_BYTES || observations.len() <= 1 {
                break sealed;
            }
            observations.truncate(observations.len() / 2);
        };
        let last = observations.len().checked_sub(1).and_then(|index| places.get(index)).copied();
        let more = observations.len() < places.len() || places.len() as u32 == MAX_BATCH;
        self.post(body, signature).await?;
        let _ = self.acknowledged.try_send(self.peer.clone());
        if let Some(last) = last {
            let (history, peer) = (self.history.clone(), self.peer.clone());
            let kept = tokio::task::spawn_blocking(move || history.set_cursor(&peer, last));
            kept.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        }
        Ok(if more { Sent::More } else { Sent::All })
    }

    async fn post(&self, body: Vec<u8>, signature: String) -> Result<(), String> {
        let request = self
            .http
            .post(format!("{}{PATH}", self.url))
            .header(WATCHER_HEADER, &self.me)
            .header(SIGNATURE_HEADER, signature)
            .header("content-type", "application/json")
            .timeout(SEND_TIMEOUT)
            .body(body);
        let answer = request.send().await.map_err(|error| causes(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let words = answer.text().await.unwrap_or_default();
        Err(format!("it answered {status}: {}", words.chars().take(200).collect::<String>()))
    }
}

/// An error with what caused it: of a handshake that failed, the reason is the last of them.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

enum Sent {
    /// There may be more at once.
    More,
    /// Nothing is left.
    All,
}

/// How fast a sender goes on.
struct Pace {
    /// The last pause, while the peer does not take what is sent.
    failing: Option<Duration>,
}

impl Pace {
    /// The pause after an attempt. While the peer fails, news do not cut it short.
    fn after<E>(&mut self, sent: &Result<Sent, E>) -> Duration {
        match sent {
            Ok(sent) => {
                self.failing = None;
                match sent {
                    Sent::More => Duration::ZERO,
                    Sent::All => HEARTBEAT,
                }
            }
            Err(_) => {
                let pause = self.failing.map_or(FIRST_BACKOFF, |last| (last * 2).min(LAST_BACKOFF));
                self.failing = Some(pause);
                pause
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aggregator::event::ProbeOutcome;

    use super::*;

    fn seen(vantage: &str, ts: Time) -> Observation {
        Observation {
            ts,
            target: "t".to_owned(),
            service: "imap".to_owned(),
            check: "imap".to_owned(),
            vantage: vantage.to_owned(),
            run_id: "r".to_owned(),
            slot: None,
            outcome: ProbeOutcome::Ok,
            steps: Vec::new(),
            total_ms: 1,
        }
    }

    struct Site {
        key: SigningKey,
        keys: BTreeMap<String, PublicKey>,
    }

    const NOW: Time = Time(1_800_000_000_000_000);

    fn site() -> Site {
        let (key, _) = SigningKey::generate().unwrap();
        let keys = BTreeMap::from([("oslo".to_owned(), key.public())]);
        Site { key, keys }
    }

    fn batch(sent_at: Time, observations: Vec<Observation>) -> Batch {
        Batch { from: "oslo".to_owned(), sent_at, epochs: Vec::new(), observations }
    }

    #[test]
    fn a_signed_batch_is_taken_without_what_is_not_the_senders_to_say() {
        let Site { key, keys } = site();
        let sent = batch(
            NOW,
            vec![
                seen("oslo", NOW),
                seen("sydney", NOW),
                seen("oslo", NOW.plus_millis(60_000)),
                seen("oslo", NOW.plus_millis(-101 * 86_400_000)),
            ],
        );
        let (body, signature) = sent.seal(&key).unwrap();
        let (taken, refused) = Batch::open("oslo", &signature, &body, &keys, NOW).unwrap();
        assert_eq!((taken.observations, refused), (vec![seen("oslo", NOW)], 3));
    }

    #[test]
    fn a_changed_body_another_key_and_a_stranger_are_refused() {
        let Site { key, keys } = site();
        let (mut body, signature) = batch(NOW, vec![]).seal(&key).unwrap();
        assert_eq!(Batch::open("moon", &signature, &body, &keys, NOW), Err(Refusal::UnknownWatcher("moon".to_owned())));
        body.push(b' ');
        assert_eq!(Batch::open("oslo", &signature, &body, &keys, NOW), Err(Refusal::Signature("oslo".to_owned())));
        let (other, _) = SigningKey::generate().unwrap();
        let (body, signature) = batch(NOW, vec![]).seal(&other).unwrap();
        assert_eq!(Batch::open("oslo", &signature, &body, &keys, NOW), Err(Refusal::Signature("oslo".to_owned())));
        assert_eq!(Batch::open("oslo", "%%%", &body, &keys, NOW), Err(Refusal::Signature("oslo".to_owned())));
    }

    #[test]
    fn a_peer_that_stays_away_is_tried_ever_less_often_and_is_not_taken_for_one_that_answers() {
        let mut pace = Pace { failing: None };
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                let pause = pace.after(&Err(()));
                assert_eq!(pace.failing, Some(pause));
                pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!((pace.after::<()>(&Ok(Sent::All)), pace.failing), (HEARTBEAT, None));
        assert_eq!((pace.after::<()>(&Ok(Sent::More)), pace.failing), (Duration::ZERO, None));
        assert_eq!(pace.after(&Err(())), FIRST_BACKOFF);
    }

    #[test]
    fn a_batch_of_another_time_is_refused() {
        let Site { key, keys } = site();
        let (body, signature) = batch(NOW.plus_millis(-30_000), vec![]).seal(&key).unwrap();
        let refusal = Batch::open("oslo", &signature, &body, &keys, NOW).unwrap_err();
        let sent_at = NOW.plus_millis(-30_000);
        assert_eq!(refusal, Refusal::Clock { watcher: "oslo".to_owned(), offset_ms: -30_000, sent_at });
    }
}
