//! A small world of network namespaces: three regions with a watcher each, the mail system, and third parties.
//!
//! Everything in it, processes, interfaces and mounts, belongs to one process namespace whose first process reads a
//! pipe that the test holds. When the test ends, however it ends, the kernel takes all of it down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::support::{VARDE, eventually, get_json};

/// The regions, in the order of the watchers' turns.
pub const REGIONS: [&str; 3] = ["us-east", "no-oslo", "au-sydney"];
/// Where the mail system is.
pub const MAIL: &str = "mail";
/// Where third parties are: the control targets, and the engineers' pagers.
pub const ELSEWHERE: &str = "elsewhere";
/// The services that light checks vote on.
pub const SERVICES: [&str; 6] = ["mx", "submission", "queue", "imap", "pop3", "webmail"];
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

const MAIL_ADDRESS: &str = "10.90.0.20";
const PAGER_ADDRESS: &str = "10.90.0.30";
/// Each place with its address and its weather: delay and jitter in milliseconds, loss in per cent.
const PLACES: [(&str, &str, &str); 5] = [
    ("us-east", "10.90.0.11", "20:2:0.1"),
    ("no-oslo", "10.90.0.12", "5:1:0.1"),
    ("au-sydney", "10.90.0.13", "80:5:0.1"),
    (MAIL, MAIL_ADDRESS, "1:0:0"),
    (ELSEWHERE, PAGER_ADDRESS, "1:0:0"),
];

/// How often the light checks look, and for how much longer they count.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub interval_s: u64,
    pub grace_s: u64,
}

/// A change of verdict as a watcher wrote it down. Times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub service: String,
    pub state: String,
    pub at: i64,
    pub since: i64,
    pub voters: Vec<String>,
}

pub struct World {
    folder: tempfile::TempDir,
    /// The process whose children the namespaces are, and the pipe that keeps them.
    keeper: Child,
    /// Its first process, as seen from here.
    inside: u32,
    wire: (Child, ChildStdin, BufReader<ChildStdout>),
    children: BTreeMap<String, Child>,
}

impl World {
    /// Starts the mail system, the pagers and a watcher in each region, and waits until all of them see all up.
    pub fn start(pace: Pace) -> Self {
        let mut world = Self::empty();
        let dir = world.dir();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("varde.toml"), configuration(pace)).unwrap();
        let made = Command::new(VARDE).args(["init", "--dir"]).arg(&dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        world.varde(ELSEWHERE, "pager", &["pager"]);
        world.varde(MAIL, "mail", &["mail"]);
        for (place, address, port) in [(MAIL, MAIL_ADDRESS, 2993), (ELSEWHERE, PAGER_ADDRESS, 8028)] {
            eventually(&format!("{place} to listen"), PATIENCE, || {
                world.within(place, move || std::net::TcpStream::connect((address, port)).ok())
            });
        }
        for region in REGIONS {
            world.varde(region, region, &["watch", "--name", region]);
        }
        for region in REGIONS {
            world.all_services(region, "up");
        }
        world
    }

    fn empty() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run the tests as root, or in a container that may make namespaces"
        );
        let folder = tempfile::tempdir().unwrap();
        // What faketime leaves behind when it is killed is not to be found by the next world.
        let script = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && mount -t tmpfs none /dev/shm \
                      && echo made && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"])
            .args(["sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of util-linux");
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "made\n", "no namespaces could be made: this container may not");
        let children = format!("/proc/{0}/task/{0}/children", keeper.id());
        let inside = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();

        for (place, address, _) in PLACES {
            let script = format!(
                "set -e; ip netns add {place}; ip link add h-{place} type veth peer name eth0 netns {place}
                 ip -n {place} addr add {address}/24 dev eth0; ip -n {place} link set eth0 up
                 ip -n {place} link set lo up; ip link set h-{place} up
                 for off in rx tx tso gso gro; do
                     ethtool -K h-{place} $off off; ip netns exec {place} ethtool -K eth0 $off off
                 done"
            );
            run(&mut enter(inside, &["sh", "-c", &script]));
        }
        let wire = wire(inside, folder.path());
        Self { folder, keeper, inside, wire, children: BTreeMap::new() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("suite")
    }

    /// Starts the real binary at a place.
    fn varde(&mut self, place: &str, name: &str, args: &[&str]) {
        self.varde_by(&[], place, name, args);
    }

    /// Starts a region's watcher again with a clock that is so many seconds ahead. Its monotonic clock goes as ever.
    pub fn start_ahead(&mut self, region: &str, seconds: u32) {
        let ahead = format!("+{seconds}s");
        let faketime = ["faketime", "-m", "--exclude-monotonic", "-f", &ahead];
        self.varde_by(&faketime, region, region, &["watch", "--name", region]);
    }

    /// Starts a region's watcher again.
    pub fn start_again(&mut self, region: &str) {
        self.varde(region, region, &["watch", "--name", region]);
    }

    /// Starts the real binary at a place by another program.
    fn varde_by(&mut self, by: &[&str], place: &str, name: &str, args: &[&str]) {
        let log = File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let pid_file = self.pid_file(name);
        let script = "echo $$ > \"$0\"; exec \"$@\"";
        let child = enter(self.inside, &["ip", "netns", "exec", place])
            .args(by)
            .args(["sh", "-c", script])
            .arg(pid_file)
            .arg(VARDE)
            .args(args)
            .arg("--dir")
            .arg(self.dir())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.insert(name.to_owned(), child);
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pid"))
    }

    /// Kills a process of the world, as a power cut does.
    pub fn kill(&mut self, name: &str) {
        let pid = std::fs::read_to_string(self.pid_file(name)).unwrap();
        run(&mut enter(self.inside, &["sh", "-c", &format!("kill -KILL {}", pid.trim())]));
        self.children.remove(name).unwrap().wait().unwrap();
    }

    /// Has a process read its configuration again, in which `old` is now `new`.
    pub fn reload(&self, name: &str, old: &str, new: &str) {
        let file = self.dir().join("varde.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "the configuration has no {old}");
        std::fs::write(&file, text.replace(old, new)).unwrap();
        let pid = std::fs::read_to_string(self.pid_file(name)).unwrap();
        run(&mut enter(self.inside, &["sh", "-c", &format!("kill -HUP {}", pid.trim())]));
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Runs a command of the binary at a place; gives what it printed.
    pub fn ask(&self, place: &str, args: &[&str]) -> String {
        let mut command = enter(self.inside, &["ip", "netns", "exec", place, VARDE]);
        let output = command.args(args).arg("--dir").arg(self.dir()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Answers of a watcher to requests for what only other watchers may ask.
    pub fn knock(&self, place: &str, region: &str) -> u16 {
        let index = REGIONS.iter().position(|other| *other == region).unwrap();
        let host = format!("{}:{}", PLACES[index].1, 8091 + index);
        self.within(place, || {
            let mut stream = std::net::TcpStream::connect(&host).unwrap();
            let head = "POST /peer/v1/observations HTTP/1.1\r\nConnection: close\r\nContent-Length: 0";
            write!(stream, "{head}\r\nHost: {host}\r\n\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        })
    }

    /// Cuts a place off from everybody.
    pub fn cut(&mut self, place: &str) {
        self.weather(&format!("cut h-{place}"));
    }

    /// Joins it again.
    pub fn heal(&mut self, place: &str) {
        self.weather(&format!("heal h-{place}"));
    }

    fn weather(&mut self, order: &str) {
        let (_, orders, answers) = &mut self.wire;
        writeln!(orders, "{order}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{order}");
    }

    /// Loses what a place sends to the mail system, and nothing else.
    pub fn block(&self, place: &str) {
        let rules = "table inet path { chain out { type filter hook output priority 0; ip daddr 10.90.0.20 drop; }; }";
        run(&mut enter(self.inside, &["ip", "netns", "exec", place, "nft", rules]));
    }

    /// Lets it through again.
    pub fn unblock(&self, place: &str) {
        run(&mut enter(self.inside, &["ip", "netns", "exec", place, "nft", "delete table inet path"]));
    }

    /// Runs something as if at a place. Only this thread goes there.
    fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/root/run/netns/{place}", self.inside);
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                let namespace = File::open(path).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }

    /// What a region's watcher says of itself and of what it watches.
    pub fn status(&self, region: &str) -> Option<Value> {
        let index = REGIONS.iter().position(|other| *other == region).unwrap();
        let url = format!("http://{}:{}/api/v1/status", PLACES[index].1, 8091 + index);
        self.within(region, || get_json(&url))
    }

    /// What a region's watcher says of a service.
    pub fn service(&self, region: &str, service: &str) -> Option<Value> {
        let status = self.status(region)?;
        status["services"].as_array()?.iter().find(|entry| entry["service"] == service).cloned()
    }

    /// What a region's watcher knows of what another saw last of a service.
    pub fn seen(&self, region: &str, service: &str, vantage: &str) -> Value {
        let entry = self.service(region, service).unwrap_or_default();
        let regions = entry["regions"].as_array().cloned().unwrap_or_default();
        regions.into_iter().find(|seen| seen["vantage"] == vantage).unwrap_or_default()
    }

    /// Waits until a region's watcher says this of every service.
    pub fn all_services(&self, region: &str, state: &str) {
        for service in SERVICES {
            eventually(&format!("{service} to be {state} at {region}"), PATIENCE, || {
                self.service(region, service).filter(|entry| entry["state"] == state)
            });
        }
    }

    /// What the engineers have got, oldest first.
    pub fn pages(&self) -> Vec<Value> {
        let pages = self.within(ELSEWHERE, || get_json(&format!("http://{PAGER_ADDRESS}:8028/api/v1/pages")));
        let mut pages = pages.and_then(|pages| pages.as_array().cloned()).unwrap_or_default();
        pages.reverse();
        pages
    }

    /// The verdicts in a watcher's own history, as they were reached.
    pub fn verdicts(&self, region: &str) -> Vec<Verdict> {
        let sql = "SELECT service, state, at, coalesce(since, 0), voters FROM verdicts ORDER BY id";
        self.history(region, sql, |row| {
            let voters: String = row.get(4)?;
            let voters = voters.split(',').filter(|voter| !voter.is_empty()).map(str::to_owned).collect();
            Ok(Verdict { service: row.get(0)?, state: row.get(1)?, at: row.get(2)?, since: row.get(3)?, voters })
        })
    }

    /// The outcomes in one watcher's history of what another saw since a time: check, begin in microseconds, outcome.
    pub fn outcomes(&self, region: &str, vantage: &str, since: i64) -> Vec<(String, i64, String)> {
        let sql = format!(
            "SELECT check_name, ts, outcome FROM observations WHERE vantage = '{vantage}' AND ts >= {since} ORDER BY ts"
        );
        self.history(region, &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    /// When the last runs in their slots began, in microseconds, of a check at a watcher.
    pub fn last_slot_run(&self, vantage: &str, check: &str) -> i64 {
        let sql = format!(
            "SELECT max(ts) FROM observations WHERE vantage = '{vantage}' AND check_name = '{check}'
             AND slot IS NOT NULL AND outcome != 'missed'"
        );
        self.history(vantage, &sql, |row| row.get(0)).remove(0)
    }

    fn history<T>(
        &self,
        region: &str,
        sql: &str,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let path = self.dir().join("watch").join(region).join("history.sqlite");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.children.keys() {
                let log = self.log(name);
                let tail: Vec<_> = log.lines().rev().take(30).collect();
                eprintln!("---- {name}");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        // The first process of the namespace ends with its input, and everything in the namespace with it.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = self.wire.0.wait();
        for child in self.children.values_mut() {
            let _ = child.wait();
        }
    }
}

/// A command inside of the world.
fn enter(inside: u32, command: &[&str]) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &inside.to_string(), "--net", "--mount", "--pid"]).args(command);
    nsenter
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the switch and plugs every place into it.
fn wire(inside: u32, folder: &Path) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let (source, program) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/wire.c"), folder.join("wire"));
    run(Command::new("gcc").args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program).args([source, "-lm"]));
    let ports = PLACES.iter().map(|(place, _, weather)| format!("h-{place}:{weather}"));
    let mut wire =
        enter(inside, &[]).arg(program).args(ports).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (orders, mut answers) = (wire.stdin.take().unwrap(), BufReader::new(wire.stdout.take().unwrap()));
    let mut said = String::new();
    answers.read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n", "the switch between the namespaces did not start");
    (wire, orders, answers)
}

/// The shipped configuration with everything at its place, without the audit of a quarter of an hour.
fn configuration(pace: Pace) -> String {
    let shipped = include_str!("../../src/init/varde.toml");
    let (before, rest) = shipped.split_once("# The 15-minute audit").unwrap();
    let (_, after) = rest.split_once("# ---- people").unwrap();
    let mut text = [before, "# ---- people", after].concat();
    let mut replace = |old: &str, new: &str| {
        assert!(text.contains(old), "the shipped configuration has no {old}");
        text = text.replace(old, new);
    };
    for port in [2525, 2587, 2465, 2530, 2143, 2993, 2110, 2995, 8025] {
        replace(&format!("127.0.0.1:{port}"), &format!("{MAIL_ADDRESS}:{port}"));
    }
    replace("host = \"127.0.0.1\"\nport = 2526", &format!("host = \"{PAGER_ADDRESS}\"\nport = 2526"));
    replace("relay_host = \"127.0.0.1\"", &format!("relay_host = \"{PAGER_ADDRESS}\""));
    replace("host = \"127.0.0.1\"", &format!("host = \"{MAIL_ADDRESS}\""));
    for port in [8028, 2526] {
        replace(&format!("127.0.0.1:{port}"), &format!("{PAGER_ADDRESS}:{port}"));
    }
    for (index, (_, address, _)) in PLACES.iter().take(REGIONS.len()).enumerate() {
        replace(&format!("127.0.0.1:{}", 8091 + index), &format!("{address}:{}", 8091 + index));
    }
    replace("light_interval_s = 60 ", &format!("light_interval_s = {} ", pace.interval_s));
    let control = format!("control = [\"{PAGER_ADDRESS}:8028\", \"{PAGER_ADDRESS}:2526\"]");
    replace("light_grace_s = 30", &format!("light_grace_s = {}\n{control}", pace.grace_s));
    text
}
