//! Recorded timelines: the whole contract of `varde verdict`.

use serde_json::{Value, json};

use super::*;

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn options(from: &str, to: &str) -> ReplayOptions {
    ReplayOptions {
        watchers: ["us-east", "no-oslo", "au-sydney"].map(str::to_owned).to_vec(),
        interval: Duration::from_secs(900),
        grace: Duration::from_secs(300),
        from: time(from),
        to: time(to),
        maintenance: Vec::new(),
        objective: None,
    }
}

fn line(ts: &str, vantage: &str, outcome: &str) -> String {
    json!({"ts": ts, "target": "t", "service": "imap", "vantage": vantage, "outcome": outcome}).to_string()
}

fn judged(lines: &[String], options: &ReplayOptions) -> Value {
    serde_json::to_value(replay(lines.join("\n").as_bytes(), options).unwrap()).unwrap()
}

#[test]
fn an_objective_adds_the_error_budget_of_the_window_and_changes_nothing_else() {
    let mut options = options("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let lines = ["2025-12-31T23:50:00Z", "2026-01-01T00:10:00Z", "2026-01-01T00:25:00Z", "2026-01-01T00:45:00Z"];
    let vote = |ts: &str| {
        let outcome = if ts.contains("00:25") { "failed" } else { "ok" };
        ["us-east", "no-oslo", "au-sydney"].map(|vantage| line(ts, vantage, outcome))
    };
    let lines: Vec<String> = lines.into_iter().flat_map(vote).collect();
    let mut without = judged(&lines, &options);
    options.objective = Some("75".parse().unwrap());
    let with = judged(&lines, &options);
    assert!(without[0].get("budget").is_none());
    let budget = json!({
        "coverage": 100.0, "unknown_s": 0, "budget_s": 900, "spent_s": 1200, "remaining_s": -300,
        "remaining_percent": -33.334, "remaining_lower_s": -300, "remaining_upper_s": -300,
    });
    without[0]["budget"] = budget;
    assert_eq!(with, without);
}

#[test]
fn a_timeline_comes_out_in_the_published_shape_whatever_the_order_of_its_lines() {
    let mut options = options("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    options.maintenance = vec![(time("2026-01-01T00:50:00Z"), time("2026-01-01T02:00:00Z"))];
    let mut lines = vec![
        line("2025-12-31T23:50:00Z", "us-east", "ok"),
        line("2025-12-31T23:55:00Z", "no-oslo", "ok"),
        line("2026-01-01T00:05:00Z", "us-east", "failed"),
        line("2026-01-01T00:05:20Z", "au-sydney", "failed"),
        line("2026-01-01T00:05:30.5Z", "no-oslo", "missing"),
        line("2026-01-01T00:20:00Z", "us-east", "ok"),
        line("2026-01-01T00:20:10+00:00", "no-oslo", "late"),
        line("2026-01-01T01:20:20+01:00", "au-sydney", "ok"),
        line("2026-01-01T01:21:00+01:00", "moon-base", "failed"),
        line("2026-01-01T00:35:00Z", "us-east", "ok"),
        line("2026-01-01T00:35:10Z", "no-oslo", "ok"),
    ];
    let expected = json!([{
        "target": "t", "service": "imap",
        "intervals": [
            {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:05:00Z", "state": "up"},
            {"from": "2026-01-01T00:05:00Z", "to": "2026-01-01T00:20:00Z", "state": "down"},
            {"from": "2026-01-01T00:20:00Z", "to": "2026-01-01T00:20:10Z", "state": "up"},
            {"from": "2026-01-01T00:20:10Z", "to": "2026-01-01T00:20:20Z", "state": "regional"},
            {"from": "2026-01-01T00:20:20Z", "to": "2026-01-01T00:50:00Z", "state": "up"},
            {"from": "2026-01-01T00:50:00Z", "to": "2026-01-01T01:00:00Z", "state": "maintenance"},
        ],
        "up_s": 2100, "down_s": 900, "unknown_s": 0, "maintenance_s": 600,
        "availability": 70.0, "availability_lower": 70.0, "availability_upper": 70.0, "coverage": 100.0,
        "outages": [{
            "from": "2026-01-01T00:05:00Z", "to": "2026-01-01T00:20:00Z",
            "last_good": "2025-12-31T23:55:00Z", "first_bad": "2026-01-01T00:05:00Z",
            "last_bad": "2026-01-01T00:05:30.500Z", "first_good": "2026-01-01T00:20:00Z",
        }],
    }]);
    assert_eq!(judged(&lines, &options), expected);
    lines.reverse();
    assert_eq!(judged(&lines, &options), expected);
}

#[test]
fn neighbouring_windows_add_up_and_an_open_outage_has_no_end() {
    let lines = [
        line("2026-01-01T00:05:00Z", "us-east", "failed"),
        line("2026-01-01T00:10:00.25Z", "no-oslo", "failed"),
        line("2026-01-01T00:15:00Z", "us-east", "ok"),
        line("2026-01-01T00:16:00Z", "no-oslo", "ok"),
    ];
    let first = judged(&lines, &options("2026-01-01T00:00:00Z", "2026-01-01T00:07:00.5Z"));
    assert_eq!((&first[0]["down_s"], &first[0]["unknown_s"]), (&json!(120.5), &json!(300)));
    assert_eq!(first[0]["outages"][0]["to"], Value::Null);
    assert_eq!(first[0]["outages"][0]["last_bad"], "2026-01-01T00:05:00Z");
    assert_eq!(first[0]["availability"], Value::Null);
    let second = judged(&lines, &options("2026-01-01T00:07:00.5Z", "2026-01-01T00:20:00Z"));
    assert_eq!((&second[0]["down_s"], &second[0]["up_s"]), (&json!(479.5), &json!(240)));
    assert_eq!(second[0]["outages"][0]["from"], "2026-01-01T00:05:00Z");
}

#[test]
fn an_unassigned_watcher_names_a_service_but_does_not_vote() {
    let lines = [line("2026-01-01T00:05:00Z", "moon-base", "ok")];
    let out = judged(&lines, &options("2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"));
    assert_eq!((&out[0]["unknown_s"], &out[0]["coverage"]), (&json!(600), &json!(0.0)));
}

#[test]
fn a_fault_names_its_line() {
    let window = options("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let text = format!("{}\n\n{{\"ts\": 5}}\n", line("2026-01-01T00:05:00Z", "us-east", "ok"));
    let fault = replay(text.as_bytes(), &window).unwrap_err().to_string();
    assert!(fault.starts_with("line 3: not an observation: invalid type: integer `5`"), "{fault}");
    let fault = replay(line("yesterday", "us-east", "ok").as_bytes(), &window).unwrap_err().to_string();
    assert!(fault.starts_with("line 1: not an observation: ts \"yesterday\" is no time like"), "{fault}");
    let fault = replay(line("2026-01-01T00:05:00Z", "us-east", "meh").as_bytes(), &window).unwrap_err().to_string();
    assert!(fault.starts_with("line 1: not an observation: unknown variant `meh`"), "{fault}");
    let endless = vec![b' '; MAX_LINE_BYTES as usize + 1];
    let fault = replay(endless.as_slice(), &window).unwrap_err().to_string();
    assert_eq!(fault, "line 1: not an observation: it is longer than 1048576 bytes");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let mut twice = options("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    twice.watchers.push("us-east".to_owned());
    assert_eq!(replay(&b""[..], &twice).unwrap_err().to_string(), "a watcher is named twice");
    let backwards = options("2026-01-01T01:00:00Z", "2026-01-01T01:00:00Z");
    let fault = replay(&b""[..], &backwards).unwrap_err().to_string();
    assert_eq!(fault, "the window is empty: its begin must be before its end");
    let mut endless = options("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    (endless.interval, endless.grace) = (Duration::from_secs(u64::MAX), Duration::from_secs(1));
    let fault = replay(&b""[..], &endless).unwrap_err().to_string();
    assert_eq!(fault, "interval and grace are too long together; take those of the checks");
}
