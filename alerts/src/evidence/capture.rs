//! Captures evidence of a unit from `/proc`, its log and its disk. Everything is bounded, and nothing here blocks on
//! the unit: a hung process answers no questions, its kernel does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use aggregator::event::Time;
use aggregator::mask::Mask;

use super::redact::redact;
use super::{Evidence, Facts};
use crate::diagnose::{AcceptQueue, Disk, Process};

/// Lines of the log that are kept, the last ones.
const LOG_LINES: usize = 200;
/// Octets at the end of the log that are looked at.
const LOG_BYTES: u64 = 64 << 10;
/// Threads that are listed.
const THREADS: usize = 64;
/// Open files that are looked at.
const FILES: usize = 16_384;
/// A process younger than this was restarted.
const YOUNG_S: u64 = 120;
/// Less room than this is a full disk: SQLite and a spool need as much for their next step.
const FULL_BYTES: u64 = 16 << 20;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The host's name in events.
    pub host: String,
    /// The unit.
    pub unit: String,
    /// Its process; `None`: the supervisor knows of none.
    pub pid: Option<u32>,
    /// How often the supervisor has started it again.
    pub restarts: u32,
    /// The end of its log is kept.
    pub log: Option<PathBuf>,
    /// What becomes of the users whom the log names.
    pub mask: Mask,
    /// The disk of this folder is looked at.
    pub data_dir: PathBuf,
}

/// Captures everything there is about `subject`.
pub fn capture(subject: &Subject, now: Time) -> Evidence {
    let process = subject.pid.and_then(ProcessDir::open);
    let (state, process_text) = process_fact(subject, process.as_ref());
    let sockets = process.as_ref().map(ProcessDir::listeners).unwrap_or_default();
    let (accept_queue, accept_queue_text) = accept_fact(process.is_some(), &sockets);
    let (disk, disk_text) = disk_fact(&subject.data_dir);
    let mut sections = vec![("process", process_section(&process_text, process.as_ref()))];
    if let Some(process) = &process {
        sections.push(("threads", process.threads()));
    }
    sections.push(("sockets", format!("{accept_queue_text}\n{}", socket_lines(&sockets)).trim_end().to_owned()));
    sections.push(("disk", disk_text.clone()));
    sections.push(("pressure", pressure()));
    if let Some(log) = &subject.log {
        sections.push(("log", log_tail(log, &subject.mask)));
    }
    sections.retain(|(_, content)| !content.is_empty());
    let facts = Facts {
        host: subject.host.clone(),
        unit: subject.unit.clone(),
        process: state,
        process_text,
        accept_queue,
        accept_queue_text,
        disk,
        disk_text,
    };
    Evidence::chained(now, facts, sections)
}

/// `/proc/PID` and the fields of its `status`.
struct ProcessDir {
    path: PathBuf,
    status: BTreeMap<String, String>,
}

/// A listening socket.
struct Listener {
    address: SocketAddr,
    waiting: u32,
}

impl ProcessDir {
    fn open(pid: u32) -> Option<Self> {
        let path = PathBuf::from("/proc").join(pid.to_string());
        let status = fields(&fs::read_to_string(path.join("status")).ok()?);
        Some(Self { path, status })
    }

    fn state(&self) -> char {
        self.status.get("State").and_then(|state| state.chars().next()).unwrap_or('?')
    }

    fn field(&self, name: &str) -> &str {
        self.status.get(name).map_or("?", String::as_str)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_default()
    }

    /// Seconds since it was started: field 22 of `stat` against the uptime of the host, in ticks of 1/100 s.
    fn age_s(&self) -> Option<u64> {
        let stat = self.read("stat");
        let (_, after_name) = stat.rsplit_once(')')?;
        let started: f64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
        Some((uptime - started / 100.0).max(0.0) as u64)
    }

    fn open_files(&self) -> (usize, BTreeSet<u64>) {
        let Ok(entries) = fs::read_dir(self.path.join("fd")) else { return (0, BTreeSet::new()) };
        let mut count = 0;
        let mut sockets = BTreeSet::new();
        for entry in entries.flatten().take(FILES) {
            count += 1;
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let inode: Option<u64> =
                link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            sockets.extend(inode);
        }
        (count, sockets)
    }

    fn file_limit(&self) -> String {
        let limits = self.read("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        line.split_whitespace().nth(3).unwrap_or("?").to_owned()
    }

    fn listeners(&self) -> Vec<Listener> {
        let (_, own) = self.open_files();
        ["net/tcp", "net/tcp6"].iter().flat_map(|name| listeners(&self.read(name), &own)).collect()
    }

    fn threads(&self) -> String {
        let Ok(entries) = fs::read_dir(self.path.join("task")) else { return String::new() };
        let mut lines = Vec::new();
        let mut more = 0;
        for entry in entries.flatten() {
            if lines.len() == THREADS {
                more += 1;
                continue;
            }
            let status = fields(&fs::read_to_string(entry.path().join("status")).unwrap_or_default());
            let field = |name| status.get(name).map_or("?", String::as_str);
            let at = fs::read_to_string(entry.path().join("wchan")).unwrap_or_default();
            let at = if at.is_empty() || at == "0" { "-" } else { &at };
            lines.push(format!("{} {}: state {}, in {at}", entry.file_name().display(), field("Name"), field("State")));
        }
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines.join("\n")
    }
}

fn process_fact(subject: &Subject, process: Option<&ProcessDir>) -> (Process, String) {
    let unit = &subject.unit;
    let Some(process) = process else {
        return (Process::Missing, format!("{unit} has no process; started again {} times so far", subject.restarts));
    };
    let pid = subject.pid.unwrap_or_default();
    let age = process.age_s();
    match (process.state(), age) {
        ('T' | 't', _) => (Process::Stopped, format!("{unit} (pid {pid}) is in state T (stopped)")),
        ('Z' | 'X', _) => (Process::Missing, format!("{unit} (pid {pid}) has ended and was not yet collected")),
        (state, Some(age)) if age < YOUNG_S => {
            (Process::Restarted, format!("{unit} (pid {pid}) is in state {state}, started {age} s ago"))
        }
        (state, _) => (Process::Running, format!("{unit} (pid {pid}) is in state {state}")),
    }
}

fn process_section(text: &str, process: Option<&ProcessDir>) -> String {
    let Some(process) = process else { return text.to_owned() };
    let (files, _) = process.open_files();
    let age = process.age_s().map_or_else(|| "?".to_owned(), |age| age.to_string());
    [
        text.to_owned(),
        format!("state: {}", process.field("State")),
        format!("running for: {age} s"),
        format!("in kernel function: {}", process.read("wchan")),
        format!(
            "memory: {} resident, {} at its peak, {} swapped",
            process.field("VmRSS"),
            process.field("VmHWM"),
            process.field("VmSwap")
        ),
        format!("threads: {}", process.field("Threads")),
        format!("open files: {files} of {}", process.file_limit()),
    ]
    .join("\n")
}

fn accept_fact(has_process: bool, listeners: &[Listener]) -> (AcceptQueue, String) {
    if !has_process {
        return (AcceptQueue::Unknown, String::new());
    }
    let waiting: Vec<String> = listeners
        .iter()
        .filter(|listener| listener.waiting > 0)
        .map(|listener| format!("{} at {}", listener.waiting, listener.address))
        .collect();
    match (listeners.is_empty(), waiting.is_empty()) {
        (true, _) => (AcceptQueue::Unknown, "it listens on no TCP port".to_owned()),
        (false, true) => (AcceptQueue::Empty, "no connection waits to be accepted".to_owned()),
        (false, false) => (AcceptQueue::Waiting, format!("connections wait to be accepted: {}", waiting.join(", "))),
    }
}

fn socket_lines(listeners: &[Listener]) -> String {
    let line = |listener: &Listener| format!("listening on {}, accept queue {}", listener.address, listener.waiting);
    listeners.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn disk_fact(folder: &Path) -> (Disk, String) {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return (Disk::Unknown, String::new()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let text =
        format!("{} MiB of {} MiB free, {} of {} inodes free", free >> 20, total >> 20, disk.f_favail, disk.f_files);
    // Some file systems count no inodes and say 0 of 0.
    let no_inodes = disk.f_files > 0 && disk.f_favail == 0;
    (if free < FULL_BYTES || no_inodes { Disk::Full } else { Disk::Free }, text)
}

/// The host's pressure stall information, when its kernel has it.
fn pressure() -> String {
    let read = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/pressure").join(name)).ok()?;
        Some(format!("{name}: {}", text.lines().next()?))
    };
    ["cpu", "memory", "io"].into_iter().filter_map(read).collect::<Vec<_>>().join("\n")
}

fn log_tail(path: &Path, mask: &Mask) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line was cut in the middle unless the whole file was read.
        let whole = if size > LOG_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        let lines: Vec<&str> = whole.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_LINES)..]
            .iter()
            .map(|line| if mask.is_off() { redact(line) } else { redact(&mask.text(line, &[], &[])) })
            .collect::<Vec<_>>()
            .join("\n"))
    };
    read().unwrap_or_else(|error| format!("the log cannot be read: {error}"))
}

fn fields(status: &str) -> BTreeMap<String, String> {
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    status.lines().filter_map(field).collect()
}

/// The listening sockets of `/proc/net/tcp` or `tcp6` with an inode in `own`. For these the kernel puts the length
/// of the accept queue into `rx_queue`.
fn listeners(table: &str, own: &BTreeSet<u64>) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.nth(1)?;
        if words.nth(1)? != LISTEN {
            return None;
        }
        let (_, waiting) = words.next()?.split_once(':')?;
        let inode: u64 = words.nth(4)?.parse().ok()?;
        own.contains(&inode).then_some(())?;
        Some(Listener { address: socket_address(address)?, waiting: u32::from_str_radix(waiting, 16).ok()? })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:0BB1`: 32-bit words in the host's byte order, the port in hexadecimal.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> =
        (0..address.len() / 8).map(|i| u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok()).collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use aggregator::mask::Masking;

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }
        fn subject(&self, folder: &Path) -> Subject {
            Subject {
                host: "localhost".to_owned(),
                unit: "mail-imap".to_owned(),
                pid: Some(self.0.id()),
                restarts: 0,
                log: None,
                mask: Mask::default(),
                data_dir: folder.to_owned(),
            }
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_stopped_process_is_seen_as_stopped_and_a_dead_one_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut sleeper = Sleeper::new();
        let subject = sleeper.subject(folder.path());
        let pid = rustix::process::Pid::from_raw(i32::try_from(sleeper.0.id()).unwrap()).unwrap();
        assert_eq!(capture(&subject, Time::default()).facts.process, Process::Restarted);

        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // The signal is delivered when the process is next scheduled.
        let stopped = (0..10_000).find_map(|_| {
            std::thread::yield_now();
            let evidence = capture(&subject, Time::default());
            (evidence.facts.process == Process::Stopped).then_some(evidence)
        });
        let evidence = stopped.expect("the process never stopped");
        assert_eq!(evidence.facts.process_text, format!("mail-imap (pid {}) is in state T (stopped)", sleeper.0.id()));
        let threads = evidence.sections.iter().find(|section| section.section == "threads").unwrap();
        assert!(threads.content.contains("sleep: state T (stopped)"), "{}", threads.content);

        sleeper.0.kill().unwrap();
        sleeper.0.wait().unwrap();
        assert_eq!(capture(&subject, Time::default()).facts.process, Process::Missing);
    }

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let subject = Subject { pid: Some(std::process::id()), ..Sleeper::new().subject(folder.path()) };
        let own = |evidence: Evidence| {
            let sockets = evidence.sections.into_iter().find(|section| section.section == "sockets").unwrap().content;
            sockets.lines().find(|line| line.starts_with(&format!("listening on {address},"))).unwrap().to_owned()
        };
        assert_eq!(own(capture(&subject, Time::default())), format!("listening on {address}, accept queue 0"));
        let _waiting: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let evidence = capture(&subject, Time::default());
        assert_eq!(evidence.facts.accept_queue, AcceptQueue::Waiting);
        assert_eq!(own(evidence), format!("listening on {address}, accept queue 3"));
    }

    #[test]
    fn the_end_of_the_log_is_kept_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail-imap.log");
        let lines: Vec<String> = (0..300).map(|n| format!("{n} login of ada@varde.test password=x{n}")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let kept = log_tail(&path, &Mask::default());
        assert_eq!(kept.lines().count(), LOG_LINES);
        assert_eq!(kept.lines().next().unwrap(), "100 login of a***@varde.test password=[redacted]");
        fs::write(&path, "imap-login: user=<ada>, to=<ada@varde.test>").unwrap();
        let dropped = log_tail(&path, &Mask::new(Masking::Drop, ""));
        assert!(!dropped.contains("ada") && dropped.contains("@varde.test"), "{dropped}");
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(log_tail(&path, &Mask::default()), "", "a line longer than what is looked at is left out, not cut");
    }

    #[test]
    fn ipv6_sockets_are_read_too() {
        assert_eq!(socket_address("00000000000000000000000001000000:0BB1"), Some("[::1]:2993".parse().unwrap()));
        assert_eq!(socket_address("0100007F:0BB1"), Some("127.0.0.1:2993".parse().unwrap()));
        assert_eq!(socket_address("zz"), None);
    }
}
