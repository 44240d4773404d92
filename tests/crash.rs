//! kill -9 of node, aggregator and engine at random instants while a log grows: every line is there once, and every
//! rollup agrees with its table. `./bench crash` is the long form.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{VARDE, eventually, get};

/// How often something is killed.
const KILLS: usize = 12;
/// Lines of one message.
const LINES: u32 = 7;
/// What may be killed.
const UNITS: [&str; 3] = ["clickhouse", "aggregate", "node"];
/// How long the last rows may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Engine, intake and node of one folder, each a process that can be killed and started again.
struct Trio {
    dir: PathBuf,
    offset: u16,
    children: BTreeMap<&'static str, Child>,
}

impl Trio {
    fn start(dir: PathBuf, offset: u16) -> Self {
        let mut trio = Self { dir, offset, children: BTreeMap::new() };
        UNITS.iter().for_each(|unit| trio.begin(unit));
        trio
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(VARDE);
        command.arg(name).arg("--dir").arg(&self.dir).args(["--port-offset", &self.offset.to_string()]);
        command
    }

    fn begin(&mut self, unit: &'static str) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join(unit).with_extension("out"));
        let child = self.command(unit).stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        self.children.insert(unit, child);
    }

    fn kill(&mut self, unit: &'static str) {
        let mut child = self.children.remove(unit).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn sql(&self, statement: &str) -> String {
        let Output { status, stdout, stderr } =
            self.command("sql").args(["--format", "TabSeparated", statement]).output().unwrap();
        let said = if status.success() { stdout } else { [b"error: ", &stderr[..]].concat() };
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for (unit, mut child) in std::mem::take(&mut self.children) {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let said = std::fs::read_to_string(self.dir.join(unit).with_extension("out")).unwrap_or_default();
                eprintln!("---- {unit}\n{said}");
            }
        }
    }
}

/// A small generator of numbers, so that a seed tells the whole run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A distance by which the ports of engine, intake and node are free.
fn free_offset(dice: &mut Dice) -> u16 {
    let free =
        |offset: u16| [8123, 8024, 8026].iter().all(|port| TcpListener::bind(("127.0.0.1", port + offset)).is_ok());
    // Below the ports that the system gives to connections that go out.
    (0..100).map(|_| 15_000 + dice.below(9_000) as u16).find(|offset| free(*offset)).expect("free ports")
}

/// What Postfix writes of one message that goes on to another host.
fn message(number: u32) -> String {
    let head = |agent: &str, pid: u32| {
        format!("Nov 22 10:{:02}:{:02} mx postfix/{agent}[{pid}]:", number / 60 % 60, number % 60)
    };
    let (smtpd, cleanup, qmgr, smtp) =
        (head("smtpd", 700 + number % 9), head("cleanup", 5), head("qmgr", 6), head("smtp", 7));
    let id = format!("{:05X}A{number:05X}", number.wrapping_mul(7919) % 0xFFFFF);
    format!(
        "{smtpd} connect from a{number}.example.org[192.0.2.1]\n\
         {smtpd} {id}: client=a{number}.example.org[192.0.2.1]\n\
         {cleanup} {id}: message-id=<m{number}@example.org>\n\
         {qmgr} {id}: from=<ann@example.org>, size=1000, nrcpt=1 (queue active)\n\
         {smtpd} disconnect from a{number}.example.org[192.0.2.1] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5\n\
         {smtp} {id}: to=<bob@d{}.example.net>, relay=mx.example.net[198.51.100.7]:25, delay=0.5, delays=0.1/0/0.2/0.2, \
         dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F{number:05X})\n\
         {qmgr} {id}: removed\n",
        number % 7
    )
}

/// Writes messages until it is told to stop; the last line of each write comes in two parts. How many.
fn write(log: &Path, stop: &AtomicBool) -> u32 {
    let mut file = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let text: String = (number..number + 20).map(message).collect();
        number += 20;
        let (first, last) = text.split_at(text.len() - 9);
        file.write_all(first.as_bytes()).unwrap();
        file.write_all(last.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    number
}

#[test]
fn kill_9_at_random_instants_of_node_aggregator_and_engine_loses_no_line_and_doubles_none() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let keep = tempfile::tempdir().unwrap();
    let (dir, log) = (keep.path().join("suite"), keep.path().join("mail.log"));
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).stdout(Stdio::null()).status().unwrap().success());
    let config = dir.join("varde.toml");
    let follow = format!("\n[[node.log]]\npath = \"{}\"\ndialect = \"postfix\"\n", log.display());
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &follow).unwrap();

    let mut trio = Trio::start(dir, free_offset(&mut dice));
    let stop = Arc::new(AtomicBool::new(false));
    let (path, stopped) = (log, stop.clone());
    let writer = std::thread::spawn(move || write(&path, &stopped));
    eventually("the intake to take blocks", PATIENCE, || {
        get(&format!("http://127.0.0.1:{}/health", 8024 + trio.offset))
    });
    let began = Instant::now();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(dice.below(2_000)));
        let unit = UNITS[dice.below(UNITS.len() as u64) as usize];
        println!("{:>6} ms: {unit}", began.elapsed().as_millis());
        trio.kill(unit);
        std::thread::sleep(Duration::from_millis(dice.below(500)));
        trio.begin(unit);
    }
    stop.store(true, Ordering::Relaxed);
    let messages = writer.join().unwrap();

    let lines = u64::from(messages * LINES).to_string();
    eventually("every line", PATIENCE, || {
        (trio.sql("select uniqExact(event_id) from raw_lines") == lines).then_some(())
    });
    // A row can be seen before its batch is acknowledged, and until then it may be sent again.
    eventually("everything to be acknowledged", PATIENCE, || {
        let spool = std::fs::read_dir(trio.dir.join("spool")).unwrap();
        let shippers: Vec<_> = spool.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        let files = shippers.iter().flat_map(|shipper| std::fs::read_dir(shipper).unwrap());
        files
            .map(|file| file.unwrap().path())
            .all(|file| file.extension().is_none_or(|end| end != "segment"))
            .then_some(())
    });
    assert_eq!(trio.sql("select count() from raw_lines"), lines);
    for (table, kept) in
        [("receptions", "verdict = 'accepted'"), ("deliveries", "1"), ("sessions", "protocol = 'smtp'")]
    {
        let counts = trio.sql(&format!("select count(), uniqExact(event_id) from {table} where {kept}"));
        assert_eq!(counts, format!("{messages}\t{messages}"), "{table}");
    }
    let sums = "select (select sum(attempts) from deliveries_1h), (select sum(receptions) from receptions_1h), \
        (select uniqExact(queue_id) from deliveries where attempt = 1)";
    assert_eq!(trio.sql(sums), format!("{messages}\t{messages}\t{messages}"));
    let found = "select count() > 0, countIf((toUInt32(cityHash64(queue_id)), toDate(ts)) not in (select id, day from id_days)) \
        from (select queue_id, ts from deliveries union all select queue_id, ts from receptions where queue_id != '')";
    assert_eq!(trio.sql(found), "1\t0", "every queue id leads to its day");
}
