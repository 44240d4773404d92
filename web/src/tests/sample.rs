//! What fake watchers say.

use aggregator::event::{ProbeOutcome, Time, VerdictState};
use alerts::view::{EvidenceSection, IncidentState, IncidentView, TimelineEntry};
use probes::budget::{Budget, Figures};
use probes::objective::{Goal, Window};
use probes::posture::{Change, Check, Grade, Outcome, Report};
use probes::status::{DayStatus, ObjectiveStatus, OutageStatus, RegionStatus, ServiceStatus, Status};
use probes::uptime::Tally;
use probes::watcher::posture::Audited;

/// 2026-11-22T10:38:39Z, a Sunday.
pub const NOW: Time = Time(1_795_343_919_000_000);

const REGIONS: [&str; 3] = ["us-east", "no-oslo", "au-sydney"];
const SERVICES: [(&str, &str); 7] = [
    ("mx", "Inbound mail (MX)"),
    ("submission", "Submission"),
    ("queue", "Queue"),
    ("imap", "IMAP"),
    ("pop3", "POP3"),
    ("webmail", "Webmail"),
    ("round_trip", "Mail round trip"),
];

/// A status in which everything is up.
pub fn all_up(vantage: &str, as_of: Time) -> Status {
    Status {
        as_of,
        vantage: vantage.into(),
        fault: None,
        fault_since: None,
        generation: 3,
        generation_since: Some(as_of.plus_millis(-40 * 86_400_000)),
        voters: REGIONS.map(Into::into).to_vec(),
        peers: REGIONS.iter().filter(|name| **name != vantage).map(|name| ((*name).into(), Some(as_of))).collect(),
        services: SERVICES.iter().map(|(service, title)| up(service, title, as_of)).collect(),
    }
}

/// A service that is up, with one short outage eleven days ago.
pub fn up(service: &str, title: &str, as_of: Time) -> ServiceStatus {
    let outage = as_of.plus_millis(-11 * 86_400_000 - 3_000_000);
    ServiceStatus {
        target: "varde".into(),
        service: service.into(),
        title: title.into(),
        state: VerdictState::Up,
        since: outage.plus_millis(243_000),
        regions: REGIONS.iter().zip([412, 38, 655]).map(|(name, ms)| seen(name, as_of, ms)).collect(),
        days: days(as_of, service),
        availability: Some(99.987),
        bounds: Some((99.941, 99.988)),
        outages: if service == "imap" { vec![over(outage)] } else { vec![] },
        objectives: vec![objective(if service == "imap" { 243 } else { 0 }, 0, as_of)],
    }
}

/// 99.9 % of the last 30 days, of which so many seconds were down and unknown.
pub fn objective(down_s: u64, unknown_s: u64, as_of: Time) -> ObjectiveStatus {
    let micros = |seconds: u64| i64::try_from(seconds).unwrap() * 1_000_000;
    let (down, unknown) = (micros(down_s), micros(unknown_s));
    let passed = Tally { up: micros(30 * 86_400) - down - unknown, down, unknown, maintenance: 0 };
    ObjectiveStatus {
        objective: 99.9,
        window: Window::Days(30),
        from: as_of.plus_millis(-30 * 86_400_000),
        to: as_of,
        figures: Figures::from(&Budget { goal: Goal::percent(99.9).unwrap(), passed, ahead: 0 }),
        burn_rate_1h: Some(0.0),
        burn_rate_6h: Some(1.35),
        burn_rate_3d: None,
        exhausted_at: (down > 0).then(|| as_of.plus_millis(9 * 86_400_000)),
    }
}

/// The same, with Sydney's network at fault for two minutes, and Oslo at an older epoch than the others.
pub fn sydney_at_fault(vantage: &str, as_of: Time) -> Status {
    let mut status = all_up(vantage, as_of);
    match vantage {
        "au-sydney" => {
            status.fault = Some("no control target can be reached: this watcher's own network is at fault".into());
            status.fault_since = Some(as_of.plus_millis(-120_000));
        }
        "no-oslo" => status.generation = 2,
        _ => status.voters.retain(|name| name != "au-sydney"),
    }
    for service in &mut status.services {
        service.regions[2].outcome = Some(ProbeOutcome::VantageFault);
    }
    status
}

/// Sydney has audited a domain twice; Oslo once, long ago.
pub fn audits(vantage: &str) -> Vec<Audited> {
    let at: Time = "2026-11-22T04:11:00Z".parse().unwrap();
    let before = at.plus_millis(-86_400_000);
    let (score, grade, changes) = match vantage {
        "au-sydney" => (71, Grade::C, changes(at)),
        "no-oslo" => (40, Grade::F, vec![]),
        _ => return vec![],
    };
    let at = if vantage == "no-oslo" { before.plus_millis(-86_400_000) } else { at };
    let report = Report { domain: "varde.test".into(), at, score, grade, checks: checks() };
    vec![Audited { vantage: vantage.into(), report, previous: Some(before), changes }]
}

fn changes(at: Time) -> Vec<Change> {
    let change = |at, check: &str, title: &str, from, to, evidence: &str| Change {
        at,
        check: check.into(),
        title: title.into(),
        from,
        to,
        evidence: evidence.into(),
        remedy: String::new(),
    };
    let (lookups, expiry) = ("At most 10 look-ups are needed", "No certificate ends within 14 days");
    vec![
        change(at, "spf.lookups", lookups, Outcome::Pass, Outcome::Fail, "12 look-ups; the tenth is include:<_spf.c>"),
        change(at.plus_millis(-9 * 86_400_000), "tls.expiry", expiry, Outcome::Warn, Outcome::Pass, "61 days left"),
    ]
}

fn checks() -> Vec<Check> {
    let check = |id: &str, heading: &str, title: &str, result, evidence: &str, remedy: &str| Check {
        id: id.to_owned().into(),
        family: id.split('.').next().unwrap().to_owned().into(),
        heading: heading.to_owned().into(),
        title: title.to_owned().into(),
        result,
        evidence: evidence.into(),
        why: "Receivers stop there and treat the record as broken.".into(),
        remedy: remedy.into(),
        weight: 8,
    };
    let long = "v=spf1 include:_spf.a.example include:_spf.b.example include:_spf.c.example ip4:192.0.2.0/24 -all";
    vec![
        check("mx.records", "MX records", "There is an MX record", Outcome::Pass, "10 mx1.varde.test", ""),
        check("mx.addresses", "MX records", "Every MX host has an address", Outcome::Pass, "192.0.2.10", ""),
        check(
            "spf.lookups",
            "SPF",
            "At most 10 look-ups are needed",
            Outcome::Fail,
            "12 look-ups; the tenth is include:<_spf.c>",
            "publish fewer includes: varde.test. IN TXT \"v=spf1 ip4:192.0.2.0/24 -all\"",
        ),
        check("spf.all", "SPF", "The record ends in -all", Outcome::Pass, long, ""),
        check(
            "dmarc.policy",
            "DMARC",
            "The policy is quarantine or reject",
            Outcome::Warn,
            "p=none",
            "publish: _dmarc.varde.test. IN TXT \"v=DMARC1; p=quarantine\"",
        ),
        check(
            "dane.tlsa",
            "DANE",
            "Every MX host has a usable TLSA record",
            Outcome::Skipped,
            "the zone is not signed",
            "",
        ),
    ]
}

fn over(from: Time) -> OutageStatus {
    OutageStatus {
        from,
        to: Some(from.plus_millis(243_000)),
        last_good: Some(from.plus_millis(-30_000)),
        last_bad: Some(from.plus_millis(213_000)),
    }
}

fn seen(vantage: &str, as_of: Time, total_ms: u32) -> RegionStatus {
    RegionStatus {
        vantage: vantage.into(),
        seen: Some(as_of.plus_millis(-23_000)),
        outcome: Some(ProbeOutcome::Ok),
        fresh: true,
        total_ms: Some(total_ms),
        error: String::new(),
    }
}

fn days(as_of: Time, service: &str) -> Vec<DayStatus> {
    let day = |back: i64| {
        let (up_s, down_s, unknown_s, maintenance_s) = match (service, back) {
            (_, 80..) => (0, 0, 86_400, 0),
            (_, 79) => (40_000, 0, 46_400, 0),
            ("imap", 11) => (86_157, 243, 0, 0),
            ("webmail", 40) => (79_200, 7_200, 0, 0),
            (_, 25) => (82_800, 0, 0, 3_600),
            _ => (86_400, 0, 0, 0),
        };
        let day = as_of.plus_millis(-back * 86_400_000).to_utc().format("%Y-%m-%d").to_string();
        DayStatus { day, up_s, down_s, unknown_s, maintenance_s }
    };
    (0..90).rev().map(day).collect()
}

/// The same with IMAP down everywhere, POP3 failing from Sydney, a slow round trip, and webmail in maintenance.
pub fn imap_down(vantage: &str, as_of: Time) -> Status {
    let mut status = all_up(vantage, as_of);
    let began = as_of.plus_millis(-48_000);
    for service in &mut status.services {
        match service.service.as_str() {
            "imap" => {
                service.state = VerdictState::Down;
                service.since = began;
                for region in &mut service.regions {
                    fail(
                        region,
                        "banner: connected, and then nothing for 10 s; the process accepts but does not answer",
                    );
                }
                let open = OutageStatus {
                    from: began,
                    to: None,
                    last_good: Some(began.plus_millis(-21_000)),
                    last_bad: Some(as_of.plus_millis(-9_000)),
                };
                service.outages.insert(0, open);
                if let Some(today) = service.days.last_mut() {
                    (today.up_s, today.down_s) = (86_352, 48);
                }
            }
            "pop3" => {
                service.state = VerdictState::Regional;
                fail(&mut service.regions[2], "tcp: 10.0.0.5:2995 timed out after 10 s");
            }
            "round_trip" => {
                service.state = VerdictState::Degraded;
                service.availability = None;
                service.bounds = None;
                for region in &mut service.regions {
                    region.outcome = Some(ProbeOutcome::Late);
                    region.total_ms = Some(12_840);
                }
            }
            "webmail" => service.state = VerdictState::Maintenance,
            _ => {}
        }
    }
    status
}

fn fail(region: &mut RegionStatus, error: &str) {
    region.outcome = Some(ProbeOutcome::Failed);
    region.total_ms = Some(10_004);
    region.error = error.into();
}

/// The incident that goes with [`imap_down`].
pub fn imap_incident(as_of: Time) -> IncidentView {
    let began = as_of.plus_millis(-48_000);
    let line = |after_s: i64, text: &str| TimelineEntry { at: began.plus_millis(after_s * 1_000), text: text.into() };
    IncidentView {
        incident: "5b0e8f1c9a7d4e22-3".into(),
        name: "V-7K3".into(),
        target: "varde".into(),
        service: "imap".into(),
        title: "IMAP".into(),
        state: IncidentState::Firing,
        cause: "process_hung".into(),
        confidence: "certain".into(),
        scope: "all_regions".into(),
        summary: "IMAP hangs: port 2993 accepts connections, but the process mail-imap has been stopped (state T) and \
                  says nothing. Seen from US East, Oslo and Sydney."
            .into(),
        next_steps: vec![
            "Wait for the restart of mail-imap that was ordered; it is verified by the full chain.".into(),
            "If it does not come back: kill -CONT the process, or restart the unit mail-imap by hand.".into(),
        ],
        opened_at: began,
        resolved_at: None,
        acknowledged_by: None,
        evidence: vec![
            EvidenceSection {
                section: "process".into(),
                content: "pid 4711  varde mail --service imap\nState: T (stopped)\nThreads: 5\nVmRSS: 31288 kB".into(),
            },
            EvidenceSection {
                section: "sockets".into(),
                content: "LISTEN 129 128 127.0.0.1:2993  (accept queue full)\nESTAB  17   0 127.0.0.1:2993".into(),
            },
        ],
        timeline: vec![
            line(0, "first failure seen"),
            line(29, "down: 2 of 3 watchers saw it fail"),
            line(30, "evidence captured on localhost: process, sockets"),
            line(30, "paged Ada by webhook"),
            line(30, "paged Bjarne by webhook"),
            line(31, "restart of mail-imap ordered"),
        ],
    }
}

/// An incident that is over.
pub fn old_incident(as_of: Time) -> IncidentView {
    let began = as_of.plus_millis(-11 * 86_400_000 - 3_000_000);
    IncidentView {
        incident: "5b0e8f1c9a7d4e22-2".into(),
        name: "V-2QD".into(),
        state: IncidentState::Resolved,
        confidence: "likely".into(),
        opened_at: began,
        resolved_at: Some(began.plus_millis(243_000)),
        acknowledged_by: Some("Ada".into()),
        ..imap_incident(as_of)
    }
}
