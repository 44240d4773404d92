//! The pages in a real browser, at the widths of a desk and of a hand.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time, VerdictState};
use probes::budget::{Budget, Figures, Seconds};
use probes::history::History;
use probes::observation::Observation;
use probes::status::{ServiceStatus, Status};
use probes::uptime::Tally;
use serde_json::Value;
use support::{Suite, VARDE, eventually, get, get_json};
use thirtyfour::prelude::*;

const OFFSET: u16 = 20_000;
const WATCHERS: [&str; 3] = ["au-sydney", "no-oslo", "us-east"];

/// Three hours of the past in every watcher's history: IMAP was down for 20 minutes of them, POP3 for an hour, which is
/// more than its budget, and nobody looked at webmail for half an hour.
fn remember(dir: &Path) {
    let now = Time::now();
    let mut seen = Vec::new();
    for (minute, (turn, vantage)) in
        (0..180).flat_map(|minute| WATCHERS.iter().enumerate().map(move |who| (minute, who)))
    {
        let ts = now.plus_millis((minute - 180) * 60_000 + turn as i64 * 20_000);
        for (check, service) in
            [("imap", "imap"), ("pop3", "pop3"), ("webmail", "webmail"), ("round-trip", "round_trip")]
        {
            let outcome = match (service, minute) {
                ("webmail", 90..120) => continue,
                ("imap", 60..80) | ("pop3", 60..120) => ProbeOutcome::Failed,
                _ => ProbeOutcome::Ok,
            };
            seen.push(Observation {
                ts,
                target: "varde".to_owned(),
                service: service.to_owned(),
                check: check.to_owned(),
                vantage: (*vantage).to_owned(),
                run_id: format!("{check}-{vantage}-{minute}"),
                slot: None,
                outcome,
                steps: Vec::new(),
                total_ms: 40,
            });
        }
    }
    for watcher in WATCHERS {
        let folder = dir.join("watch").join(watcher);
        std::fs::create_dir_all(&folder).unwrap();
        let (history, aside) = History::open(&folder.join("history.sqlite")).unwrap();
        assert_eq!(aside, None);
        history.record(&seen, &[]).unwrap();
    }
}

/// Without fractions, as the pages show it.
fn in_words(Seconds(micros): Seconds) -> String {
    let seconds = micros.unsigned_abs() / 1_000_000;
    let (large, unit, small, small_unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => (seconds / 60, "min", seconds % 60, "s"),
        _ => (seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
    };
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {small_unit}") }
}

/// What `ready.json` says of a watcher.
fn of_watcher(suite: &Suite, name: &str, key: &str) -> String {
    let ready = suite.ready();
    let unit = format!("watch-{name}");
    let found = ready["services"].as_array().unwrap().iter().find(|service| service["name"] == unit.as_str());
    found.unwrap_or_else(|| panic!("no {unit}: {ready:#}"))[key].as_str().unwrap().to_owned()
}

/// A watcher's status, or nothing while it does not answer.
fn told(suite: &Suite, name: &str) -> Option<Status> {
    let status = get_json(&format!("http://{}/api/v1/status", of_watcher(suite, name, "address")))?;
    Some(serde_json::from_value(status).unwrap())
}

fn service<'a>(status: &'a Status, name: &str) -> &'a ServiceStatus {
    status.services.iter().find(|service| service.service == name).unwrap_or_else(|| panic!("no {name}: {status:?}"))
}

/// What the pages are to say of IMAP and POP3, once it has been shown that a watcher's status, its metrics, the public
/// status and the arithmetic agree.
fn budgets_agree(suite: &Suite) -> [String; 2] {
    let said: Vec<Status> = WATCHERS.iter().map(|name| told(suite, name).unwrap()).collect();
    let public: Value = get_json(&format!("{}/api/v1/status", suite.url("public"))).unwrap();
    let public = |name: &str| {
        let services = public["services"].as_array().unwrap();
        services.iter().find(|service| service["service"] == name).unwrap()["objectives"][0].clone()
    };
    for name in ["imap", "pop3"] {
        let told = &service(&said[0], name).objectives[0];
        assert_eq!((told.objective, told.window.to_string().as_str()), (99.9, "30d"));
        assert_eq!(told.to.0 - told.from.0, 30 * 86_400_000_000);
        for other in &said[1..] {
            assert_eq!(service(other, name).objectives[0].figures, told.figures, "{name} of {}", other.vantage);
        }
        // The figures of the days that are shown, which a reader can add up, and the rest of the window.
        let mut passed = Tally::default();
        for day in &service(&said[0], name).days {
            let micros = |seconds: u64| seconds as i64 * 1_000_000;
            passed += Tally {
                up: micros(day.up_s),
                down: micros(day.down_s),
                unknown: micros(day.unknown_s),
                maintenance: micros(day.maintenance_s),
            };
        }
        let goal = "99.9".parse().unwrap();
        let counted = Figures::from(&Budget { goal, passed, ahead: told.to.0 - said[0].as_of.0 });
        let differ = |a: Seconds, b: Seconds| (a.0 - b.0).abs() > 2_000_000;
        let (left, counted_left) = (told.figures.remaining_s.unwrap(), counted.remaining_s.unwrap());
        assert!(!differ(left, counted_left), "{name}: {told:?} {counted:?}");
        assert!(!differ(told.figures.budget_s, counted.budget_s), "{name}: {told:?} {counted:?}");
        let shown: Figures = serde_json::from_value(public(name)).unwrap();
        assert!(
            !differ(shown.remaining_s.unwrap(), left) && shown.spent_s == told.figures.spent_s,
            "{name}: {shown:?}"
        );
    }
    let spent = |name: &str| service(&said[0], name).objectives[0].figures.spent_s;
    assert_eq!((spent("imap"), spent("pop3")), (Seconds(1_200_000_000), Seconds(3_600_000_000)));
    assert!(service(&said[0], "pop3").objectives[0].figures.remaining_s.unwrap() < Seconds(0));
    assert_eq!(
        service(&said[0], "webmail").objectives[0].figures.remaining_s,
        None,
        "half an hour of three is too much"
    );
    let metrics = get(&of_watcher(suite, WATCHERS[0], "metrics")).unwrap();
    let metric = |service: &str| {
        let series = format!(
            "varde_slo_error_budget_remaining_seconds{{target=\"varde\",service=\"{service}\",window=\"30d\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {series}: {metrics}")).parse::<f64>().unwrap()
    };
    let imap = service(&said[0], "imap").objectives[0].figures;
    assert!((metric("imap") - imap.remaining_s.unwrap().0 as f64 / 1e6).abs() < 1.0 && metric("webmail").is_nan());
    let pop3 = service(&said[0], "pop3").objectives[0].figures;
    [
        format!("{} of {} left (53.7 %)", in_words(imap.remaining_s.unwrap()), in_words(imap.budget_s)),
        format!("used up, {} more than its {}", in_words(pop3.remaining_s.unwrap()), in_words(pop3.budget_s)),
    ]
}

/// ChromeDriver, ended when dropped.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed by ./test");
        eventually("chromedriver", Duration::from_secs(60), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    async fn browser(&self, profile: &tempfile::TempDir, width: u32) -> WebDriver {
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary("/usr/bin/chromium").unwrap();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().join(width.to_string()).display()),
            &format!("--window-size={width},900"),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        WebDriver::new(format!("http://127.0.0.1:{}", self.port), wanted).await.unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page must not be wider than the window.
async fn fits(browser: &WebDriver, what: &str) {
    let overflow = browser
        .execute("return document.documentElement.scrollWidth - document.documentElement.clientWidth", vec![])
        .await
        .unwrap();
    assert_eq!(overflow.json().as_i64(), Some(0), "{what} scrolls sideways");
}

async fn log_in(browser: &WebDriver, user_field: &str, user: &str, password: &str) -> WebDriverResult<()> {
    browser.find(By::Name(user_field)).await?.send_keys(user).await?;
    browser.find(By::Name("password")).await?.send_keys(password).await?;
    browser.find(By::Css("form [type=submit], form button")).await?.click().await?;
    // The click returns before the answer is there.
    let logged_in = browser.query(By::Css("form[action='/logout']"));
    logged_in.wait(Duration::from_secs(60), Duration::from_millis(100)).first().await.map(drop)
}

async fn look_at_everything(browser: &WebDriver, suite: &Suite, budgets: &[String]) -> WebDriverResult<()> {
    browser.goto(format!("{}/", suite.url("public"))).await?;
    let text = browser.find(By::Tag("main")).await?.text().await?;
    for service in ["IMAP", "POP3", "Submission", "Webmail", "Mail round trip"] {
        assert!(text.contains(service), "the public page should show {service}:\n{text}");
    }
    for budget in budgets {
        assert!(text.contains(budget), "the public page should show {budget}:\n{text}");
    }
    fits(browser, "the public page").await;

    browser.goto(format!("{}/", suite.url("operator"))).await?;
    let (operator, password) = suite.account("admin");
    log_in(browser, "name", &operator, &password).await?;
    let text = browser.find(By::Tag("main")).await?.text().await?;
    assert!(text.contains("IMAP"), "the dashboard should show services by region:\n{text}");
    for budget in budgets {
        assert!(text.contains(budget), "the dashboard should show {budget}:\n{text}");
    }
    let watchers = browser.find(By::Css(".watchers")).await?.text().await?;
    assert_eq!(watchers.matches("Well").count(), 3, "the dashboard should show how well the watchers are:\n{watchers}");
    assert!(text.contains("Epoch 0 of the roster, since") && text.contains("Sydney, Oslo and US East vote."), "{text}");
    fits(browser, "the dashboard").await;

    browser.goto(format!("{}/", suite.url("webmail"))).await?;
    let (user, password) = suite.account("user");
    log_in(browser, "address", &user, &password).await?;
    browser.goto(format!("{}/compose", suite.url("webmail"))).await?;
    browser.find(By::Name("to")).await?.send_keys(&user).await?;
    browser.find(By::Name("subject")).await?.send_keys("from a browser").await?;
    browser.find(By::Name("text")).await?.send_keys("Hello from Chromium.").await?;
    fits(browser, "the compose page").await;
    browser
        .find(By::Css("form[action='/compose'] [type=submit], form[action='/compose'] button"))
        .await?
        .click()
        .await?;
    let mut there = false;
    for _ in 0..100 {
        browser.goto(format!("{}/folders/INBOX", suite.url("webmail"))).await?;
        there = browser.find(By::Tag("main")).await?.text().await?.contains("from a browser");
        if there {
            break;
        }
    }
    assert!(there, "the message sent by webmail should come to the inbox");
    fits(browser, "the inbox").await;
    Ok(())
}

#[tokio::test]
async fn pages_show_the_suite_in_chromium_at_1280_and_390_pixels() {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("suite");
    assert!(Command::new(VARDE).args(["init", "--dir"]).arg(&dir).status().unwrap().success());
    remember(&dir);
    let suite = Suite::start_in(dir, keep, OFFSET);
    eventually("the first verdicts", Duration::from_secs(180), || {
        let up = |status: Status| {
            let up = status.services.iter().filter(|service| service.state == VerdictState::Up);
            up.filter(|service| ["imap", "pop3"].contains(&service.service.as_str())).count() == 2
        };
        WATCHERS.iter().all(|name| told(&suite, name).is_some_and(up)).then_some(())
    });
    eventually("the pages to hear of them", Duration::from_secs(60), || {
        let public: Value = get_json(&format!("{}/api/v1/status", suite.url("public")))?;
        let services = public["services"].as_array()?.clone();
        let up = services.iter().filter(|service| service["state"] == "up" && service["objectives"][0].is_object());
        (up.filter(|service| service["service"] == "imap" || service["service"] == "pop3").count() == 2).then_some(())
    });
    let budgets = budgets_agree(&suite);
    let driver = Driver::start();
    let profile = tempfile::tempdir().unwrap();
    for width in [1280, 390] {
        let browser = driver.browser(&profile, width).await;
        let looked = look_at_everything(&browser, &suite, &budgets).await;
        browser.quit().await.unwrap();
        looked.unwrap();
    }
}
