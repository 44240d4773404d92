//! What the end-to-end tests share: a suite started by the real binary in a folder of its own.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const VARDE: &str = env!("CARGO_BIN_EXE_varde");

/// A running `varde up`, stopped when dropped.
pub struct Suite {
    /// Its folder.
    pub dir: PathBuf,
    child: Child,
    _keep: tempfile::TempDir,
}

impl Suite {
    /// Starts a suite on ports of its own and waits until it says that it is ready.
    pub fn start(port_offset: u16) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("suite");
        Self::start_in(dir, keep, port_offset)
    }

    /// The same in a folder that was prepared.
    pub fn start_in(dir: PathBuf, keep: tempfile::TempDir, port_offset: u16) -> Self {
        let child = Command::new(VARDE)
            .args(["up", "--port-offset", &port_offset.to_string(), "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut suite = Self { dir, child, _keep: keep };
        let began = Instant::now();
        while !suite.dir.join("ready.json").exists() {
            if let Some(status) = suite.child.try_wait().unwrap() {
                let mut said = String::new();
                suite.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("varde up ended ({status}): {said}");
            }
            assert!(began.elapsed() < Duration::from_secs(120), "not ready: {}", suite.logs());
            pause();
        }
        suite
    }

    /// `ready.json` as it is now.
    pub fn ready(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.dir.join("ready.json")).unwrap()).unwrap()
    }

    /// The process of a service.
    pub fn pid(&self, service: &str) -> i64 {
        let ready = self.ready();
        let services = ready["services"].as_array().unwrap();
        services.iter().find(|entry| entry["name"] == service).unwrap_or_else(|| panic!("no service {service}"))["pid"]
            .as_i64()
            .unwrap_or(0)
    }

    /// A URL of `ready.json`, without the slash at its end.
    pub fn url(&self, name: &str) -> String {
        self.ready()["urls"][name].as_str().unwrap().trim_end_matches('/').to_owned()
    }

    /// The first account of a role: address and password.
    pub fn account(&self, role: &str) -> (String, String) {
        let ready = self.ready();
        let account =
            ready["accounts"].as_array().unwrap().iter().find(|account| account["role"] == role).unwrap().clone();
        (account["address"].as_str().unwrap().to_owned(), account["password"].as_str().unwrap().to_owned())
    }

    /// Sends a signal to a service.
    pub fn signal(&self, service: &str, signal: &str) {
        let pid = self.pid(service).to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success(), "kill {signal} {service}");
    }

    /// Runs a command of the binary on this suite.
    pub fn varde(&self, args: &[&str]) -> Output {
        let (command, rest) = args.split_first().unwrap();
        Command::new(VARDE).arg(command).arg("--dir").arg(&self.dir).args(rest).output().unwrap()
    }

    /// One value by SQL.
    pub fn sql(&self, statement: &str) -> String {
        let output = self.varde(&["sql", "--format", "TabSeparated", statement]);
        if output.status.success() {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        } else {
            format!("error: {}", String::from_utf8_lossy(&output.stderr))
        }
    }

    /// Every log of the suite, for a failure's message.
    pub fn logs(&self) -> String {
        logs(&self.dir.join("log"))
    }

    /// Stops the suite as Ctrl-C does; gives how long it took.
    pub fn stop(mut self) -> Duration {
        let began = Instant::now();
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "varde up ended with {status}");
        began.elapsed()
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(15).collect();
        text.push_str(&format!("---- {}\n", entry.path().display()));
        for line in tail.iter().rev() {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

/// Waits until `look` finds something, with a bound; says `what` it waited for when it did not come.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < within, "waited {} s for {what}", within.as_secs());
        pause();
    }
}

/// Between two looks.
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

/// The body of a URL, or nothing while nobody answers 200.
pub fn get(url: &str) -> Option<String> {
    use std::io::Write;
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let mut stream = std::net::TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|code| *code == "200").map(|_| body.to_owned())
}

/// GET of JSON.
pub fn get_json(url: &str) -> Option<Value> {
    serde_json::from_str(&get(url)?).ok()
}

/// Runs a Python script with arguments; gives what it printed.
pub fn python(script: &str, args: &[&str]) -> String {
    let output = Command::new("python3").arg("-c").arg(script).args(args).output().unwrap();
    assert!(output.status.success(), "python: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
