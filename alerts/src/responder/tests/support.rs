//! Hooks, a relay, a node and a process to stop, for the tests of the responder.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aggregator::emit::Emitter;
use aggregator::event::Event;
use aggregator::mask::Mask;
use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use probes::judgement::Judgement;
use probes::keys::SigningKey;
use probes::observation::Observation;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, NodeConfig};
use crate::diagnose::tests::seen;
use crate::node::tests::FakeSupervisor;
use crate::node::{self, NodeContext};
use crate::page::Document;
use crate::responder::{Handle, Peer, Prober, ResponderContext, start};
use crate::signed::Keys;
use crate::view::IncidentView;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NAMES: [&str; 3] = ["us-east", "no-oslo", "au-sydney"];

/// Waits until `condition` holds; fails the test when it does not within two minutes.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the engineers' hooks took: person, webhook-id, document.
#[derive(Clone, Default)]
pub(super) struct Hooks(Arc<Mutex<Vec<(String, String, Document)>>>);

impl Hooks {
    pub(super) fn pages(&self, person: &str) -> Vec<Document> {
        let taken = self.0.lock().unwrap();
        taken.iter().filter(|(to, ..)| to == person).map(|(.., document)| document.clone()).collect()
    }

    /// The ids that came more than once.
    pub(super) fn doubles(&self) -> Vec<String> {
        let taken = self.0.lock().unwrap();
        let mut ids = BTreeSet::new();
        taken.iter().filter(|(_, id, _)| !ids.insert(id)).map(|(_, id, _)| id.clone()).collect()
    }
}

async fn hook(State(hooks): State<Hooks>, Path(person): Path<String>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].concat();
    let signature = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), &signed, &signature).expect("the signature does not fit");
    hooks.0.lock().unwrap().push((person, id, serde_json::from_slice(&body).unwrap()));
    StatusCode::NO_CONTENT
}

/// A relay that takes every message and keeps it.
#[derive(Clone, Default)]
pub(super) struct Relay(Arc<Mutex<Vec<String>>>);

impl Relay {
    pub(super) fn mails(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let relay = self.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 relay\r\n").await.unwrap();
                let mut mail: Option<String> = None;
                while let Ok(Some(line)) = lines.next_line().await {
                    let reply = match (&mut mail, line.as_str()) {
                        (Some(_), ".") => {
                            relay.0.lock().unwrap().extend(mail.take());
                            "250 2.0.0 kept\r\n"
                        }
                        (Some(text), line) => {
                            text.push_str(line);
                            text.push('\n');
                            continue;
                        }
                        (None, "DATA") => {
                            mail = Some(String::new());
                            "354 go on\r\n"
                        }
                        (None, "QUIT") => "221 bye\r\n",
                        (None, _) => "250 ok\r\n",
                    };
                    if write.write_all(reply.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    }
}

/// A full chain that passes.
struct Passing;

impl Prober for Passing {
    fn run_target<'a>(&'a self, _target: &'a str) -> BoxFuture<'a, Vec<Observation>> {
        Box::pin(async { vec![seen("us-east", "imap", &[("tcp", "")]), seen("us-east", "mx", &[("tcp", "")])] })
    }
}

/// A watcher's responder, and how to end it.
struct Running {
    judgements: mpsc::Sender<Judgement>,
    handle: Handle,
    events: Mutex<mpsc::Receiver<Event>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) config: Arc<Config>,
    pub(super) hooks: Hooks,
    pub(super) relay: Relay,
    pub(super) supervisor: FakeSupervisor,
    pub(super) http: reqwest::Client,
    urls: BTreeMap<&'static str, String>,
    keys: BTreeMap<&'static str, std::path::PathBuf>,
    nodes: Keys,
    running: BTreeMap<&'static str, Running>,
    node: (CancellationToken, Option<tokio::task::JoinHandle<Result<(), node::Error>>>),
    /// What answers for each watcher.
    servers: BTreeMap<&'static str, tokio::task::JoinHandle<()>>,
    process: Child,
}

impl World {
    /// Hooks, relay, node and the named watchers; those that are not named are configured and cannot be reached.
    pub(super) async fn start(watchers: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (hooks, relay) = (Hooks::default(), Relay::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook_address = listener.local_addr().unwrap();
        let routes = axum::Router::new().route("/hook/{person}", axum::routing::post(hook)).with_state(hooks.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay_port = listener.local_addr().unwrap().port();
        tokio::spawn(relay.clone().serve(listener));

        let mut keys = BTreeMap::new();
        let mut public = Keys::new();
        for name in NAMES {
            let key = SigningKey::write_pair(&path(&format!("{name}.key")), &path(&format!("{name}.pub"))).unwrap();
            public.insert(name.to_owned(), key.public());
            keys.insert(name, path(&format!("{name}.key")));
        }
        let node_key = SigningKey::write_pair(&path("node.key"), &path("node.pub")).unwrap().public();
        let process = Command::new("sleep").arg("600").spawn().unwrap();
        let supervisor = FakeSupervisor { pid: Some(process.id()), ..FakeSupervisor::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node_address = listener.local_addr().unwrap();
        let node_config = NodeConfig {
            name: "localhost".to_owned(),
            listen: node_address,
            key_file: path("node.key"),
            public_key_file: "unused.pub".into(),
            allow_restart: vec!["mail-imap".to_owned()],
            restarts_per_unit_hour: 2,
            restarts_per_host_day: 4,
            sample_s: 60,
            queue_command: Vec::new(),
            log: Vec::new(),
            syslog: Vec::new(),
        };
        let node_shutdown = CancellationToken::new();
        let context = NodeContext {
            data_dir: folder.path().to_owned(),
            watchers: public,
            quorum: 2,
            mask: Mask::default(),
            emitter: Emitter::channel().0,
            shutdown: node_shutdown.clone(),
        };
        let node = tokio::spawn(node::serve_on(listener, node_config, context, supervisor.clone()));

        let text = include_str!("../../../../src/init/varde.toml");
        let mut whole: toml::Table = toml::from_str(text).unwrap();
        let mut config: Config = whole.remove("alerts").unwrap().try_into().unwrap();
        config.relay_port = relay_port;
        config.node_url = format!("http://{node_address}");
        for engineer in &mut config.engineer {
            engineer.webhook_url = Some(format!("http://{hook_address}/hook/{}", engineer.name.to_lowercase()));
        }
        config.resolve(folder.path());
        std::fs::create_dir(path("secrets")).unwrap();
        std::fs::write(path("secrets/operator.key"), "operator-key\n").unwrap();
        for person in ["ada", "bjarne"] {
            let secret = format!("whsec_{}\n", STANDARD.encode(SECRET));
            std::fs::write(path(&format!("secrets/webhook-{person}.key")), secret).unwrap();
        }
        let mut world = Self {
            config: Arc::new(config),
            hooks,
            relay,
            supervisor,
            http: reqwest::Client::new(),
            urls: BTreeMap::new(),
            keys,
            nodes: Keys::from([("localhost".to_owned(), node_key)]),
            running: BTreeMap::new(),
            node: (node_shutdown, Some(node)),
            servers: BTreeMap::new(),
            process,
            folder,
        };
        let mut listeners = Vec::new();
        for name in NAMES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            world.urls.insert(name, format!("http://{}", listener.local_addr().unwrap()));
            if watchers.contains(&name) {
                listeners.push((name, listener));
            }
        }
        for (name, listener) in listeners {
            let handle = world.start_watcher(name).await;
            world.serve(name, listener, &handle);
        }
        world
    }

    fn serve(&mut self, name: &'static str, listener: TcpListener, handle: &Handle) {
        let router = handle.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        self.servers.insert(name, server);
    }

    async fn start_watcher(&mut self, name: &'static str) -> Handle {
        let (judgements, receiver) = mpsc::channel(8);
        let (emitter, events) = Emitter::channel();
        let data_dir = self.folder.path().join("data").join(name);
        std::fs::create_dir_all(&data_dir).unwrap();
        let peer = |other: &&str| Peer {
            name: (*other).to_owned(),
            url: self.urls[other].clone(),
            public_key: SigningKey::read(&self.keys[other]).unwrap().public(),
            http: reqwest::Client::new(),
        };
        let shutdown = CancellationToken::new();
        let context = ResponderContext {
            site: "Varde".to_owned(),
            data_dir,
            vantage: name.to_owned(),
            url: self.urls[name].clone(),
            rank: NAMES.iter().position(|other| *other == name).unwrap(),
            key: SigningKey::read(&self.keys[name]).unwrap(),
            peers: NAMES.iter().filter(|other| **other != name).map(peer).collect(),
            nodes: self.nodes.clone(),
            emitter,
            judgements: receiver,
            prober: Arc::new(Passing),
            shutdown: shutdown.clone(),
        };
        let (handle, task) = start(Arc::clone(&self.config), context).await.unwrap();
        let running = Running { judgements, handle: handle.clone(), events: Mutex::new(events), shutdown, task };
        self.running.insert(name, running);
        handle
    }

    /// Ends a watcher's responder and starts it on the same folder.
    pub(super) async fn restart(&mut self, name: &'static str) {
        self.restart_after(name, |_| ()).await;
    }

    /// The same, with something done to its folder in between.
    pub(super) async fn restart_after(&mut self, name: &'static str, between: impl FnOnce(&std::path::Path)) {
        let running = self.running.remove(name).unwrap();
        running.shutdown.cancel();
        running.task.await.unwrap();
        between(&self.folder.path().join("data").join(name));
        let server = self.servers.remove(name).unwrap();
        server.abort();
        let _ = server.await;
        let handle = self.start_watcher(name).await;
        let address = self.urls[name].strip_prefix("http://").unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        self.serve(name, listener, &handle);
    }

    /// Ends the agent: nothing listens there any more.
    pub(super) async fn stop_the_node(&mut self) {
        self.node.0.cancel();
        self.node.1.take().unwrap().await.unwrap().unwrap();
    }

    /// Hangs the process, and waits until it does: a signal is taken only when the process is scheduled next.
    pub(super) async fn stop_the_process(&self) {
        let id = self.process.id();
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let stat = format!("/proc/{id}/stat");
        eventually("the process to hang", || std::fs::read_to_string(&stat).unwrap().contains(") T ")).await;
    }

    pub(super) async fn tell(&self, watcher: &str, judgement: Judgement) {
        self.running[watcher].judgements.send(judgement).await.unwrap();
    }

    pub(super) fn incidents(&self, watcher: &str) -> Vec<IncidentView> {
        self.running[watcher].handle.incidents().to_vec()
    }

    pub(super) fn events(&self, watcher: &str) -> Vec<Event> {
        let mut events = self.running[watcher].events.lock().unwrap();
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }

    pub(super) fn url(&self, watcher: &str) -> &str {
        &self.urls[watcher]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
