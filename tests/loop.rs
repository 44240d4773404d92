//! The whole loop with the real binary: mail in and out, outages found, diagnosed, healed, paged, shown and kept.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Suite, VARDE, eventually, get, get_json, python};

/// Within this time a hung service is paged: the promise. The bound of the test is looser, for machines that are busy.
const PROMISE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(150);

const SEND: &str = r#"
import smtplib, ssl, sys
host, port, user, password, to, subject = sys.argv[1:7]
context = ssl.create_default_context(cafile=sys.argv[7])
client = smtplib.SMTP(host, int(port), timeout=20)
client.starttls(context=context)
client.login(user, password)
client.sendmail(user, [to], f"From: {user}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello.\r\n")
client.quit()
"#;

const READ: &str = r#"
import imaplib, sys, time
host, port, user, password, subject = sys.argv[1:6]
client = imaplib.IMAP4(host, int(port))
client.login(user, password)
for _ in range(200):
    client.select("INBOX")
    kind, found = client.search(None, "SUBJECT", '"' + subject + '"')
    if found[0]:
        print(len(found[0].split()))
        break
    time.sleep(0.1)
else:
    print(0)
client.logout()
"#;

fn send(suite: &Suite, offset: u16, subject: &str) {
    let (user, password) = suite.account("user");
    let ca = suite.dir.join("tls/ca.pem");
    let port = (2587 + offset).to_string();
    python(SEND, &["localhost", &port, &user, &password, &user, subject, ca.to_str().unwrap()]);
}

fn received(suite: &Suite, offset: u16, subject: &str) -> usize {
    let (user, password) = suite.account("user");
    python(READ, &["127.0.0.1", &(2143 + offset).to_string(), &user, &password, subject]).parse().unwrap()
}

fn service_state(suite: &Suite, service: &str) -> String {
    let status = get_json(&format!("{}/api/v1/status", suite.url("public"))).unwrap_or_default();
    let found = status["services"].as_array().and_then(|services| {
        services
            .iter()
            .find(|entry| entry["service"] == service)
            .map(|entry| entry["state"].as_str().unwrap_or_default().to_owned())
    });
    found.unwrap_or_default()
}

fn pages(suite: &Suite) -> Vec<Value> {
    get_json(&format!("{}/api/v1/pages", suite.url("pager")))
        .and_then(|pages| pages.as_array().cloned())
        .unwrap_or_default()
}

/// The pages by webhook that opened an incident about `service`.
fn opened(suite: &Suite, service: &str) -> Vec<Value> {
    let mut pages = pages(suite);
    pages.retain(|page| {
        page["channel"] == "webhook"
            && page["payload"]["type"] == "incident.opened"
            && page["payload"]["data"]["service"] == service
    });
    pages
}

#[test]
fn a_newcomer_sees_mail_watched_an_outage_healed_and_the_truth_on_a_page() {
    let offset = 10_000;
    let suite = Suite::start(offset);

    mail_goes_in_and_out(&suite, offset);
    everything_comes_up(&suite);
    let probes: u64 = suite.sql("select count() from probe_runs").parse().unwrap();
    eventually("more probes", PATIENCE, || {
        suite.sql("select count() from probe_runs").parse().ok().filter(|now: &u64| *now > probes)
    });
    a_second_suite_on_the_folder_is_refused(&suite);
    probe_now(&suite);

    for (unit, service, word) in
        [("mail-imap", "imap", "IMAP"), ("mail-mx", "mx", "MX"), ("mail-queue", "queue", "Queue")]
    {
        a_hung_service_is_paged_and_healed(&suite, unit, service, word);
    }
    everything_comes_up(&suite);
    killed_services_come_back(&suite, offset);
    events_survive_their_own_services(&suite, offset);

    let took = suite.stop();
    assert!(took < Duration::from_secs(15), "stopping took {took:?}");
}

fn mail_goes_in_and_out(suite: &Suite, offset: u16) {
    send(suite, offset, "first light");
    assert_eq!(received(suite, offset, "first light"), 1);
}

fn everything_comes_up(suite: &Suite) {
    for service in ["mx", "submission", "queue", "imap", "pop3", "webmail", "round_trip"] {
        eventually(&format!("{service} to be up"), PATIENCE, || (service_state(suite, service) == "up").then_some(()));
    }
    let page = get(&format!("{}/", suite.url("public"))).unwrap();
    assert!(page.contains("IMAP"), "{page}");
}

fn a_second_suite_on_the_folder_is_refused(suite: &Suite) {
    let output = suite.varde(&["up"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("one is running"), "{output:?}");
}

fn probe_now(suite: &Suite) {
    let output = suite.varde(&["probe", "--json", "--check", "imap"]);
    assert!(output.status.success(), "{output:?}");
    let observations: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(observations[0]["outcome"], "ok");
    assert!(observations[0]["steps"].as_array().unwrap().len() >= 4);
}

fn a_hung_service_is_paged_and_healed(suite: &Suite, unit: &str, service: &str, word: &str) {
    let before = suite.pid(unit);
    let already = opened(suite, service).len();
    suite.signal(unit, "-STOP");
    let stopped = Instant::now();
    let pages = eventually(&format!("both engineers' pages about {service}"), PATIENCE, || {
        let pages = opened(suite, service);
        let people: std::collections::BTreeSet<_> =
            pages[..pages.len() - already].iter().map(|page| page["engineer"].to_string()).collect();
        (people.len() == 2).then_some(pages)
    });
    let took = stopped.elapsed();
    println!("{unit}: paged {:.1} s after it hung (promise {} s)", took.as_secs_f32(), PROMISE.as_secs());
    let text = pages[0]["text"].as_str().unwrap();
    for part in [word, "hung", "state", "restart"] {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "the page should name \"{part}\":\n{text}");
    }
    assert!(!pages[0]["payload"]["data"]["next_steps"].as_array().unwrap().is_empty());
    assert!(
        !pages[0]["payload"]["data"]["evidence"].as_array().unwrap().is_empty(),
        "no evidence in the page:\n{text}"
    );

    eventually(&format!("{unit} to have a new process"), PATIENCE, || {
        let now = suite.pid(unit);
        (now != 0 && now != before).then_some(())
    });
    eventually(&format!("the page that {service} is resolved"), PATIENCE, || support_resolved(suite, service));
    eventually(&format!("{service} to be up on the public page"), PATIENCE, || {
        (service_state(suite, service) == "up").then_some(())
    });
    let status = get_json(&format!("{}/api/v1/status", suite.url("public"))).unwrap();
    let entry =
        status["services"].as_array().unwrap().iter().find(|entry| entry["service"] == service).unwrap().clone();
    let outage = &entry["outages"][0];
    assert!(outage["from"].is_string() && outage["to"].is_string(), "the public page should show the outage: {entry}");
    for (what, statement) in [
        ("verdict", format!("select count() from verdicts where service = '{service}' and state = 'down'")),
        (
            "incident",
            format!("select uniqExact(incident) from incidents where service = '{service}' and state = 'resolved'"),
        ),
        ("pages", "select count() from pages where state in ('sent', 'delivered')".to_owned()),
        ("remedy", format!("select count() from remedies where unit = '{unit}' and state = 'verified'")),
        ("evidence", format!("select count() from evidence where unit = '{unit}'")),
    ] {
        eventually(&format!("the {what} of {service} in ClickHouse"), PATIENCE, || {
            suite.sql(&statement).parse::<u64>().ok().filter(|count| *count > 0)
        });
    }
}

fn support_resolved(suite: &Suite, service: &str) -> Option<()> {
    let resolved = pages(suite)
        .iter()
        .any(|page| page["payload"]["type"] == "incident.resolved" && page["payload"]["data"]["service"] == service);
    resolved.then_some(())
}

fn killed_services_come_back(suite: &Suite, offset: u16) {
    for unit in [
        "mail-submission",
        "mail-pop3",
        "mail-web",
        "mail-imap",
        "mail-mx",
        "mail-queue",
        "node",
        "web",
        "watch-no-oslo",
    ] {
        let before = suite.pid(unit);
        suite.signal(unit, "-KILL");
        eventually(&format!("{unit} to be back"), PATIENCE, || {
            let now = suite.pid(unit);
            (now != 0 && now != before).then_some(())
        });
    }
    eventually("submission to answer", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", 2587 + offset)).ok());
    // What was answered with 250 is delivered, though the queue is killed at that moment.
    send(suite, offset, "survivor");
    suite.signal("mail-queue", "-KILL");
    eventually("imap to answer", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", 2143 + offset)).ok());
    assert_eq!(received(suite, offset, "survivor"), 1);
}

fn events_survive_their_own_services(suite: &Suite, offset: u16) {
    for unit in ["clickhouse", "aggregate"] {
        let before = suite.pid(unit);
        suite.signal(unit, "-KILL");
        let subject = format!("while {unit} is gone");
        send(suite, offset, &subject);
        assert_eq!(received(suite, offset, &subject), 1);
        eventually(&format!("{unit} to be back"), PATIENCE, || {
            let now = suite.pid(unit);
            (now != 0 && now != before).then_some(())
        });
    }
    eventually("every mail's reception, once", PATIENCE, || {
        let rows = suite.sql(
            "select count(), uniqExact(event_id) from receptions where sender_user = 'alice' and verdict = 'accepted'",
        );
        let (count, unique) = rows.split_once('\t')?;
        (count == "4" && unique == "4").then_some(())
    });
    for table in ["probe_runs", "probe_steps", "deliveries", "sessions", "verdicts"] {
        let rows = suite.sql(&format!("select count() - uniqExact(event_id) from {table}"));
        assert_eq!(rows, "0", "{table} holds doubles");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key_and_its_process() {
    let keep = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = keep.path().join("suite");
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).status().unwrap().success());
    let file = dir.join("varde.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("127.0.0.1:2110", &format!("127.0.0.1:{port}"));
    std::fs::write(&file, text).unwrap();
    let output = Command::new(VARDE).args(["up", "--dir"]).arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&format!("port {port} (mail.pop3_listen) is taken")), "{said}");
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
}
