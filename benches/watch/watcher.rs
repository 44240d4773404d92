//! A real watcher process alone on one core: how late its checks are, and how many it can do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use probes::history::History;
use probes::observation::Observation;
use probes::schedule::Slots;

use crate::site::Site;

/// So many checks every 15 minutes, half of them to black holes: for some minutes from a cold start.
pub fn schedule(checks: usize, minutes: u64) {
    let (well, silent, dropping) = (mail_server(), silent(), dropping());
    let site = Site::new();
    let all = (0..checks).map(|number| {
        let at = match number % 4 {
            0 | 2 => well,
            1 => silent.local_addr().unwrap(),
            _ => dropping.0,
        };
        (format!("t{number}"), at.ip().to_string(), at.port(), "cadence = \"audit\"".to_owned())
    });
    site.watch("interval_s = 900\ngrace_s = 300\n", all);
    let interval = Duration::from_secs(900);
    let watcher = site.start();
    let begun = now_us();
    std::thread::sleep(Duration::from_secs(minutes * 60));
    let (cpu, peak) = (watcher.cpu(), watcher.peak_mb());
    let end = now_us();
    watcher.stop();
    let seen = read(&site);
    let mut late: Vec<f64> = Vec::new();
    let (mut looks, mut failed, mut missed, mut caught_up) = (0, 0, 0, 0);
    for one in &seen {
        let Some(slot) = one.slot else {
            looks += 1;
            continue;
        };
        let at = Slots::new(&one.target, &one.check, interval, 0, 1).at(slot).0;
        failed += usize::from(one.outcome.as_str() == "failed");
        match one.outcome.as_str() {
            "missed" => missed += 1,
            _ if at < begun => caught_up += 1,
            _ => late.push((one.ts.0 - at) as f64 / 1_000.0),
        }
    }
    late.sort_by(f64::total_cmp);
    let due = (0..checks).filter(|number| {
        let slots = Slots::new(&format!("t{number}"), "mx", interval, 0, 1);
        let at = slots.at(slots.current(aggregator::event::Time(end - 10_000_000))).0;
        at >= begun
    });
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "| checks each 15 min | minutes | slots due | ran | missed | late p50 ms | p99 ms | max ms | CPU s a minute | peak MB |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    println!(
        "| {checks}, half black holes | {minutes} | {} | {} | {missed} | {:.1} | {:.1} | {:.1} | {:.2} | {peak:.0} |",
        due.count(),
        late.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        cpu / minutes as f64
    );
    println!(
        "\nbeside them: {caught_up} caught up at the start, {looks} looks between slots, {failed} failed as they should"
    );
    drop((silent, dropping));
}

/// As many checks of one SMTP server with STARTTLS as one core allows.
pub fn probes(address: &str, seconds: u64) {
    let (host, port) = address.rsplit_once(':').unwrap();
    let site = Site::new();
    let keys = "cadence = \"light\"\ntls = \"starttls\"\nserver_name = \"mx.varde.test\"";
    let trusting = format!("{keys}\n[[target.account]]\naddress = \"a@b\"\npassword_file = \"secrets/audit.password\"");
    let trust = std::env::var("TRUST").ok();
    let all = (0..1_000).map(|number| (format!("t{number}"), host.to_owned(), port.parse().unwrap(), trusting.clone()));
    site.watch("light_interval_s = 1\nlight_grace_s = 30\nconcurrency = 64\n", all);
    if let Some(trust) = trust {
        let file = site.dir().join("varde.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("[[target.check]]", &format!("trust = \"{trust}\"\n[[target.check]]"));
        std::fs::write(&file, text).unwrap();
    }
    let watcher = site.start();
    let (begun, cpu) = (now_us(), watcher.cpu());
    std::thread::sleep(Duration::from_secs(seconds));
    let (end, cpu, peak) = (now_us(), watcher.cpu() - cpu, watcher.peak_mb());
    watcher.stop();
    let ran =
        read(&site).into_iter().filter(|one| (begun..end).contains(&one.ts.0) && one.outcome.as_str() != "missed");
    let (mut good, mut bad, mut reason) = (0_u32, 0_u32, String::new());
    for one in ran {
        match one.outcome.as_str() {
            "ok" => good += 1,
            _ => {
                bad += 1;
                reason = one.failed_step().map_or(reason, |step| step.detail.clone());
            }
        }
    }
    println!(
        "varde watch: {good} good and {bad} failed probes in {seconds} s, {:.0} a second, {:.2} ms of CPU each, peak {peak:.0} MB {reason}",
        f64::from(good) / seconds as f64,
        cpu * 1e3 / f64::from(good + bad)
    );
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// Everything that the watcher has written down.
pub fn read(site: &Site) -> Vec<Observation> {
    let (history, _) = History::open(&site.history()).unwrap();
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let next = history.of_vantage("us-east", after, 10_000).unwrap();
        let Some((last, _)) = next.last() else { return all };
        after = *last;
        all.extend(next.into_iter().map(|(_, seen)| seen));
    }
}

/// A server that says what SMTP wants to hear.
fn mail_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || talk(socket));
        }
    });
    address
}

fn talk(mut socket: TcpStream) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    socket.write_all(b"220 mx.test ESMTP\r\n").ok()?;
    let lines = BufReader::new(socket.try_clone().ok()?).lines();
    for line in lines {
        let answer: &[u8] = match line.ok()?.to_ascii_uppercase().as_str() {
            line if line.starts_with("EHLO") => b"250-mx.test\r\n250 PIPELINING\r\n",
            line if line.starts_with("QUIT") => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        socket.write_all(answer).ok()?;
    }
    None
}

/// A black hole that takes connections and never answers.
fn silent() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut held = std::collections::VecDeque::new();
        for socket in other.incoming().flatten() {
            held.push_back(socket);
            // By then the other end has given up.
            if held.len() > 512 {
                held.pop_front();
            }
        }
    });
    listener
}

/// A black hole that drops: nobody accepts, and its queue of one is full, so that further SYNs get no answer.
fn dropping() -> (SocketAddr, rustix::fd::OwnedFd, Vec<TcpStream>) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&fd, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    let mut held = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(socket);
        assert!(held.len() < 16, "the queue does not fill");
    }
    (address, fd, held)
}
