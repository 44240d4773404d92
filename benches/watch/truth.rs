//! How exact a round trip's times are: when the probe says that its message was there, against the delivery in the
//! mail system's own events.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use probes::observation::Observation;

use crate::site::{Site, VARDE};

const DELIVERIES: &str = "SELECT message_id, toUnixTimestamp64Micro(ts) FROM deliveries \
    WHERE outcome = 'delivered' AND position(message_id, 'varde-probe.') > 0";

struct Suite(Child);

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Prints the error of so many messages.
pub fn run(messages: usize) {
    let site = Site::new();
    let offset = site.offset.to_string();
    let suite = Command::new(VARDE)
        .args(["up", "--dir"])
        .arg(site.dir())
        .args(["--port-offset", &offset])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let suite = Suite(suite);
    let varde = |args: &[&str]| {
        let done =
            Command::new(VARDE).args(args).arg("--dir").arg(site.dir()).args(["--port-offset", &offset]).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    let begun = Instant::now();
    let probe = || serde_json::from_str::<Vec<Observation>>(&varde(&["probe", "--check", "round-trip", "--json"]));
    while !probe().is_ok_and(|seen| seen.iter().all(|one| one.outcome.as_str() == "ok") && !seen.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(180), "the suite does not come up");
        std::thread::sleep(Duration::from_secs(1));
    }
    let seen: Vec<Observation> = (0..messages).flat_map(|_| probe().unwrap_or_default()).collect();
    let mut errors = Vec::new();
    for one in seen.iter().filter(|one| one.steps.iter().any(|step| step.name == "receive_2")) {
        let received =
            one.steps.iter().take_while(|step| step.name != "search").map(|step| f64::from(step.ms)).sum::<f64>();
        let at = one.ts.0 as f64 / 1_000.0 + received;
        let token = &blake3::hash(format!("{} submission", one.run_id).as_bytes()).to_hex()[..20].to_owned();
        let begun = Instant::now();
        let delivered = loop {
            let rows = varde(&["sql", DELIVERIES, "--format", "TSV"]);
            let row = rows.lines().find(|row| row.contains(token.as_str())).and_then(|row| row.split('\t').nth(1));
            if let Some(micros) = row.and_then(|micros| micros.parse::<f64>().ok()) {
                break micros / 1_000.0;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "no delivery of {token} has been told");
            std::thread::sleep(Duration::from_millis(500));
        };
        errors.push(at - delivered);
    }
    drop(suite);
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors[((errors.len() - 1) as f64 * share) as usize];
    println!("| messages | probe's receipt minus delivery: min ms | p50 | p99 | max |\n|---|---|---|---|---|");
    println!("| {} | {:.1} | {:.1} | {:.1} | {:.1} |", errors.len(), at(0.0), at(0.5), at(0.99), at(1.0));
}
