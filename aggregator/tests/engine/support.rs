//! An engine in a child process, which is this test program itself.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregator::clickhouse::Client;
use aggregator::engine::fetch::{self, FetchOptions};
use aggregator::engine::{EngineConfig, EngineUser, Limits, Role};
use tokio_util::sync::CancellationToken;

const DIR: &str = "VARDE_TEST_ENGINE_DIR";
const LISTEN: &str = "VARDE_TEST_ENGINE_LISTEN";
const LIBRARY: &str = "VARDE_TEST_ENGINE_LIBRARY";
/// Longer than any machine needs; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the engine process runs with.
pub fn config(dir: &Path, listen: SocketAddr, library: PathBuf) -> EngineConfig {
    let user = |name: &str, role| EngineUser { name: name.to_owned(), password: ["the-", name].concat(), role };
    EngineConfig {
        library,
        data_dir: dir.to_owned(),
        listen,
        users: vec![user("varde", Role::Full), user("sql", Role::ReadOnly)],
        limits: Limits { time: Duration::from_secs(2), memory_bytes: 300 << 20, rows: 10_000, bytes: 10 << 20 },
        drain: Duration::from_secs(1),
    }
}

/// The child's side: runs an engine until it is stopped. It is no test by itself.
#[test]
#[ignore = "started by the other tests as their engine process"]
fn engine_process() {
    let variable = |name| std::env::var(name).expect("started by another test");
    let config = config(Path::new(&variable(DIR)), variable(LISTEN).parse().unwrap(), variable(LIBRARY).into());
    aggregator::engine::run(config, CancellationToken::new()).unwrap();
}

/// A running engine; killed when it is dropped.
pub struct Engine {
    pub child: Child,
    pub url: String,
    pub listen: SocketAddr,
    pub library: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    /// Starts one on `dir` and waits until it answers.
    pub async fn start(dir: &Path) -> Self {
        let library = fetch::ensure(FetchOptions::from_env(Arc::new(|_| {}))).await.expect(
            "these tests run the real ClickHouse engine: install npm or set VARDE_LIBCHDB, so that it can be had",
        );
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["support::engine_process", "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(LISTEN, listen.to_string())
            .env(LIBRARY, &library)
            .env("VARDE_TEST_SECRET", "in-the-environment")
            .spawn()
            .unwrap();
        let mut engine = Self { child, url: ["http://", &listen.to_string()].concat(), listen, library };
        let ping = [&engine.url, "/ping"].concat();
        let begun = Instant::now();
        while reqwest::get(&ping).await.is_err() {
            assert!(
                begun.elapsed() < PATIENCE && engine.child.try_wait().unwrap().is_none(),
                "the engine did not start"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        engine
    }

    /// The full user, in database `varde`, which is made.
    pub async fn full(&self) -> Client {
        let client = Client::new(&self.url, "varde", "the-varde").unwrap();
        client.clone().with_database("").execute("CREATE DATABASE IF NOT EXISTS varde", &[]).await.unwrap();
        client
    }

    /// The read-only user, in database `varde`.
    pub fn sql(&self) -> Client {
        Client::new(&self.url, "sql", "the-sql").unwrap()
    }
}

/// Waits until `condition` says so.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
