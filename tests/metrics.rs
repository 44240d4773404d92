//! Every process of a running suite serves its numbers, in a form that Prometheus takes, and they tell what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use support::{Suite, eventually, get, python};

/// Sends one message by submission, and tries one login that fails.
const SEND: &str = r"
import smtplib, ssl, sys
host, port, user, password, ca = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
for secret in ('wrong', password):
    with smtplib.SMTP(host, int(port)) as smtp:
        smtp.starttls(context=context)
        try:
            smtp.login(user, secret)
        except smtplib.SMTPAuthenticationError:
            continue
        smtp.sendmail(user, [user], f'Subject: metrics\r\nMessage-ID: <metrics@varde.test>\r\n\r\nHello\r\n')
print('sent')
";

/// A page of text format 0.0.4, read strictly: each family's HELP, TYPE and samples together, names and labels well
/// formed, no sample twice, histograms cumulative.
fn read(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    assert!(page.ends_with('\n'), "the last line has no end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(families.insert(name.to_owned()), "{line}: a family is written twice");
            (family, kind) = (name.to_owned(), String::new());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(kind.is_empty(), "{line}: a second type");
            kind = rest.strip_prefix(&format!("{family} ")).unwrap_or_else(|| panic!("{line}")).to_owned();
            assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{line}");
            assert_eq!(family.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let ending = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line}: not of {family}"));
            let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(endings.contains(&ending), "{line}");
            labels(&series[name.len()..], line);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(kind == "gauge" || value >= 0.0, "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}: it is there twice");
            if ending == "_count" {
                let plain = &series[name.len()..].trim_end_matches('}');
                let all = if plain.is_empty() { "{".to_owned() } else { format!("{plain},") };
                assert_eq!(samples[&format!("{family}_bucket{all}le=\"+Inf\"}}")], value, "{line}");
            }
        }
    }
    samples
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// `{name="value",…}` with `\\`, `\"` and `\n` escaped.
fn labels(text: &str, line: &str) {
    let Some(mut rest) = text.strip_prefix('{') else {
        assert!(text.is_empty(), "{line}");
        return;
    };
    loop {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(name), "{line}");
        let mut escaped = false;
        let end = value.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap_or_else(|| panic!("{line}: no end")) + 1..];
        if rest == "}" {
            return;
        }
        rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("{line}"));
    }
}

/// The numbers of a service by the URL in `ready.json`.
fn numbers(suite: &Suite, service: &str) -> BTreeMap<String, f64> {
    let ready = suite.ready();
    let services = ready["services"].as_array().unwrap();
    let url = services.iter().find(|entry| entry["name"] == service).unwrap()["metrics"].as_str().unwrap().to_owned();
    read(&get(&url).unwrap_or_else(|| panic!("{service} does not answer at {url}")))
}

#[test]
fn every_process_serves_its_numbers_and_they_tell_what_happened() {
    let offset = 11_500;
    let suite = Suite::start(offset);
    let (user, password) = suite.account("user");
    let ca = suite.dir.join("tls/ca.pem");
    let port = (2587 + offset).to_string();
    let sent = python(SEND, &["localhost", &port, &user, &password, ca.to_str().unwrap()]);
    assert_eq!(sent, "sent");

    let expected: &[(&str, &[&str])] = &[
        ("clickhouse", &["varde_engine_queries_total{status=\"2xx\"}"]),
        (
            "aggregate",
            &["varde_intake_blocks_total{result=\"stored\"}", "varde_intake_ready", "varde_intake_rows_total"],
        ),
        ("mail-mx", &["varde_connections_total{listener=\"mx\"}"]),
        (
            "mail-submission",
            &[
                "varde_messages_received_total{verdict=\"accepted\"}",
                "varde_auth_attempts_total{protocol=\"submission\",result=\"failed\",reason=\"wrong_credentials\"}",
                "varde_connections_total{listener=\"submission\"}",
                "varde_session_duration_seconds_count{protocol=\"submission\"}",
            ],
        ),
        (
            "mail-queue",
            &[
                "varde_delivery_attempts_total{protocol=\"local\",outcome=\"delivered\"}",
                "varde_delivery_stage_duration_seconds_count{stage=\"queue\"}",
                "varde_shipped_rows_total{shipper=\"localhost.mail-queue\"}",
            ],
        ),
        ("mail-imap", &["varde_sessions_total{protocol=\"imap\",end_reason=\"logout\"}"]),
        ("mail-pop3", &["varde_connections_total{listener=\"pop3s\"}"]),
        ("mail-web", &["varde_http_requests_total{site=\"webmail\",status=\"2xx\"}"]),
        ("node", &["varde_events_total{table=\"resource_samples\"}", "varde_host_used_ratio{resource=\"disk\"}"]),
        (
            "watch-no-oslo",
            &[
                "varde_probe_runs_total{target=\"varde\",check=\"imap\",outcome=\"ok\"}",
                "varde_probe_duration_seconds_count{target=\"varde\",check=\"imap\"}",
                "varde_probe_step_duration_seconds_count{step=\"banner\"}",
                "varde_verdict_state{target=\"varde\",service=\"imap\",state=\"up\"}",
                "varde_probe_start_delay_seconds_count",
                "varde_exchange_lag_seconds_count{peer=\"us-east\"}",
                "varde_exchange_batches_total{peer=\"us-east\",result=\"taken\"}",
            ],
        ),
        ("pager", &["process_open_fds"]),
    ];
    for (service, series) in expected {
        for series in *series {
            eventually(&format!("{service} to count {series}"), Duration::from_secs(120), || {
                numbers(&suite, service).get(*series).filter(|value| **value > 0.0).copied()
            });
        }
    }

    // What every process tells, whichever it is; and no address or domain of a message is among the labels.
    let ready = suite.ready();
    let services = ready["services"].as_array().unwrap();
    assert!(services.len() >= 14, "{services:?}");
    for service in services {
        let name = service["name"].as_str().unwrap();
        let numbers = numbers(&suite, name);
        let build = format!("varde_build_info{{version=\"{}\",process=\"{name}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(numbers.get(&build), Some(&1.0), "{name}: {numbers:?}");
        for own in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"] {
            assert!(numbers[own] > 0.0, "{name}: {own}");
        }
        let told = numbers.keys().find(|series| series.contains('@') || series.contains(".test"));
        assert_eq!(told, None, "{name}");
    }
    let up = read(&get(&suite.url("metrics")).unwrap());
    assert_eq!(up["varde_unit_up{unit=\"mail-imap\"}"], 1.0);

    // No page that others reach has them.
    for url in [suite.url("public"), suite.url("operator"), suite.url("webmail")] {
        assert_eq!(get(&format!("{url}/metrics")).filter(|page| page.contains("varde_")), None, "{url}");
    }
    // Prometheus finds all of them by the file.
    let targets = std::fs::read_to_string(suite.dir.join("run/prometheus-targets.json")).unwrap();
    let targets: serde_json::Value = serde_json::from_str(&targets).unwrap();
    assert_eq!(targets.as_array().unwrap().len(), services.len() + 1);
}
