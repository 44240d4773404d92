//! A site of one watcher for a benchmark, and the process that runs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary that is measured: built in the same profile as this.
pub const VARDE: &str = env!("CARGO_BIN_EXE_varde");
/// The core that the measured process has for itself.
pub const CORE: &str = "0";

/// A folder that `varde init` has made, with ports of its own.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub offset: u16,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let site = Self { folder, offset: 10_000 + port % 20_000 };
        let made = Command::new(VARDE).args(["init", "--dir"]).arg(site.dir()).stdout(Stdio::null()).status().unwrap();
        assert!(made.success());
        site
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    /// Leaves one watcher, with these settings, and these checks as `(target, host, port, keys)`; nobody is paged but
    /// by the relay, which is not there.
    pub fn watch(&self, settings: &str, checks: impl Iterator<Item = (String, String, u16, String)>) {
        let shipped = std::fs::read_to_string(self.dir().join("varde.toml")).unwrap();
        let begin = shipped.find("[watch]\n").unwrap();
        let second = shipped.find("[[watch.watcher]]\nname = \"no-oslo\"").unwrap();
        let first = shipped.find("[[watch.watcher]]\nname = \"us-east\"").unwrap();
        let people = shipped.find("[alerts]\n").unwrap();
        let units = shipped.find("# Which unit stands behind").unwrap();
        let node = shipped.find("[node]\n").unwrap();
        let mut text = String::new();
        for part in [&shipped[..begin], "[watch]\n", settings, "\n", &shipped[first..second]] {
            text.push_str(part);
        }
        for (target, host, port, keys) in checks {
            write!(
                text,
                "[[target]]\nname = \"{target}\"\n[[target.check]]\nname = \"mx\"\nkind = \"smtp\"\nservice = \"mx\"\n\
                 host = \"{host}\"\nport = {port}\n{keys}\n"
            )
            .unwrap();
        }
        text.push_str(&shipped[people..units]);
        for line in shipped[node..]
            .lines()
            .filter(|line| !line.starts_with("watch-no-oslo") && !line.starts_with("watch-au-sydney"))
        {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(self.dir().join("varde.toml"), text).unwrap();
    }

    /// Starts the watcher, alone on its core.
    pub fn start(&self) -> Watcher {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("taskset")
            .args(["-c", CORE, VARDE, "watch", "--name", "us-east", "--dir"])
            .arg(self.dir())
            .args(["--port-offset", &self.offset.to_string()])
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut watcher = Watcher { child, url: format!("127.0.0.1:{}", 8_091 + self.offset) };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&watcher.url).is_err() {
            let ended = watcher.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(120), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        watcher
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The watcher's history.
    pub fn history(&self) -> PathBuf {
        self.dir().join("watch/us-east/history.sqlite")
    }
}

/// The process.
pub struct Watcher {
    child: Child,
    url: String,
}

impl Watcher {
    /// User and system time so far.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(self.file("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// The most memory it had, in MB.
    pub fn peak_mb(&self) -> f64 {
        let status = std::fs::read_to_string(self.file("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
