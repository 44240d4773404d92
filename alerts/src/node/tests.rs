//! What the node obeys, and every reason for which it does not.

use std::sync::Mutex as StdMutex;

use aggregator::event::{Event, Time};
use aggregator::mask::Mask;
use futures_util::future::BoxFuture;

use super::*;
use crate::diagnose::Process;
use crate::evidence;
use crate::remedy::order::{Approval, Order, Verb};
use crate::remedy::supervisor::{Error as SupervisorError, Restarted};
use crate::signed::Keys;

#[derive(Clone, Default)]
pub(crate) struct FakeSupervisor {
    pub(crate) restarted: Arc<StdMutex<Vec<String>>>,
    pub(crate) pid: Option<u32>,
}

impl Supervisor for FakeSupervisor {
    fn units(&self) -> BoxFuture<'_, Result<Vec<Unit>, SupervisorError>> {
        let unit =
            Unit { name: "mail-imap".to_owned(), pid: self.pid, restarts: 0, since: None, address: None, log: None };
        Box::pin(async move { Ok(vec![unit]) })
    }
    fn restart<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<Restarted, SupervisorError>> {
        self.restarted.lock().unwrap().push(unit.to_owned());
        Box::pin(async { Ok(Restarted { pid: 123, previous_pid: Some(99) }) })
    }
}

struct World {
    folder: tempfile::TempDir,
    node_key: PublicKey,
    watchers: BTreeMap<&'static str, SigningKey>,
    supervisor: FakeSupervisor,
    http: reqwest::Client,
}

impl World {
    fn new(pid: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node_key =
            SigningKey::write_pair(&folder.path().join("node.key"), &folder.path().join("node.pub")).unwrap().public();
        let watchers = ["a", "b", "c"].into_iter().map(|name| (name, SigningKey::generate().unwrap().0)).collect();
        let supervisor = FakeSupervisor { pid, ..FakeSupervisor::default() };
        Self { folder, node_key, watchers, supervisor, http: reqwest::Client::new() }
    }

    /// Starts the agent on this folder; ends it when the token is cancelled.
    async fn start(&self) -> (String, CancellationToken, tokio::task::JoinHandle<Result<(), Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = NodeConfig {
            name: "localhost".to_owned(),
            listen: address,
            key_file: self.folder.path().join("node.key"),
            public_key_file: "unused.pub".into(),
            allow_restart: vec!["mail-imap".to_owned()],
            restarts_per_unit_hour: 2,
            restarts_per_host_day: 4,
            sample_s: 60,
            queue_command: Vec::new(),
            log: Vec::new(),
            syslog: Vec::new(),
        };
        let (emitter, mut events) = Emitter::channel();
        let shutdown = CancellationToken::new();
        let context = NodeContext {
            data_dir: self.folder.path().to_owned(),
            watchers: self.watchers.iter().map(|(name, key)| ((*name).to_owned(), key.public())).collect(),
            quorum: 2,
            mask: Mask::default(),
            emitter,
            shutdown: shutdown.clone(),
        };
        let task = tokio::spawn(serve_on(listener, config, context, self.supervisor.clone()));
        assert!(matches!(events.recv().await, Some(Event::ResourceSample(_))), "it samples at once");
        (format!("http://{address}"), shutdown, task)
    }

    fn order(&self, generation: u32, nonce: &str, approvers: &[&str]) -> Signed {
        let now = Time::now();
        let incident = format!("abc-{generation}");
        let approval = Approval {
            incident: incident.clone(),
            target: "varde".to_owned(),
            service: "imap".to_owned(),
            unit: "mail-imap".to_owned(),
            evidence_hash: "e1".to_owned(),
        };
        let sign = |name: &&str| Signed::seal(Purpose::Approval, name, &self.watchers[name], now, &approval).unwrap();
        let order = Order {
            verb: Verb::Restart,
            unit: "mail-imap".to_owned(),
            host: "localhost".to_owned(),
            incident,
            evidence_hash: "e1".to_owned(),
            nonce: nonce.to_owned(),
            issued_at: now,
            expires_at: now.plus_millis(30_000),
            fence: generation,
            approvals: approvers.iter().map(sign).collect(),
        };
        Signed::seal(Purpose::Order, "a", &self.watchers["a"], now, &order).unwrap()
    }

    async fn send(&self, url: &str, order: &Signed) -> String {
        let answer = self.http.post(format!("{url}/v1/orders")).json(order).send().await.unwrap();
        match answer.json().await.unwrap() {
            OrderAnswer::Done { pid, previous_pid } => format!("done {pid} {previous_pid:?}"),
            OrderAnswer::Refused { reason, .. } => reason,
            OrderAnswer::Failed { message } => message,
        }
    }
}

#[tokio::test]
async fn an_order_is_carried_out_once_and_the_node_remembers_over_a_restart() {
    let world = World::new(None);
    let (url, shutdown, task) = world.start().await;
    assert_eq!(world.send(&url, &world.order(1, "n0", &["a"])).await, "no_quorum");
    let order = world.order(1, "n1", &["a", "b"]);
    assert_eq!(world.send(&url, &order).await, "done 123 Some(99)");
    assert_eq!(world.send(&url, &order).await, "replayed");
    assert_eq!(world.send(&url, &world.order(1, "n2", &["b", "c"])).await, "stale_fence");
    shutdown.cancel();
    task.await.unwrap().unwrap();

    let (url, shutdown, task) = world.start().await;
    assert_eq!(world.send(&url, &order).await, "replayed");
    assert_eq!(world.send(&url, &world.order(1, "n3", &["a", "b"])).await, "stale_fence");
    assert_eq!(world.send(&url, &world.order(2, "n4", &["a", "b"])).await, "pause");
    assert_eq!(*world.supervisor.restarted.lock().unwrap(), ["mail-imap"]);
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn evidence_is_given_to_watchers_only_and_is_signed_by_the_node() {
    let world = World::new(Some(std::process::id()));
    let (url, shutdown, task) = world.start().await;
    let node_keys = Keys::from([("localhost".to_owned(), world.node_key)]);
    let ask = |name: &'static str, key, unit| {
        let (http, url, node_keys) = (&world.http, &url, &node_keys);
        async move { evidence::request(http, url, (name, key), node_keys, unit, Time::now()).await }
    };
    let evidence = ask("a", &world.watchers["a"], "mail-imap").await.unwrap();
    assert_eq!((evidence.facts.host.as_str(), evidence.facts.unit.as_str()), ("localhost", "mail-imap"));
    assert!(matches!(evidence.facts.process, Process::Running | Process::Restarted));

    let stranger = ask("a", &world.watchers["b"], "mail-imap").await;
    assert!(matches!(stranger, Err(evidence::Error::Refused { status: 403, .. })), "{stranger:?}");
    let unknown = ask("a", &world.watchers["a"], "sshd").await;
    assert!(matches!(unknown, Err(evidence::Error::Refused { status: 404, .. })), "{unknown:?}");
    shutdown.cancel();
    task.await.unwrap().unwrap();
}
