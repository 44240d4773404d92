//! The summary of events of every kind.

use super::*;

fn delivery(domain: &str, outcome: DeliveryOutcome, class: &str, delay_ms: u64) -> Event {
    Delivery {
        ts: Time::from_seconds(1_795_342_608),
        rcpt_domain: domain.into(),
        outcome,
        class: class.into(),
        delay_total_ms: Some(delay_ms),
        ..Delivery::default()
    }
    .into()
}

#[test]
fn a_page_says_what_came_and_went_and_why_not() {
    let mut summary = Summary::default();
    for delay in 1..=95 {
        summary.event(&delivery("example.net", DeliveryOutcome::Delivered, "", delay * 10));
    }
    for _ in 0..3 {
        summary.event(&delivery("example.net", DeliveryOutcome::Deferred, "greylisted", 1));
        summary.event(&delivery("example.org", DeliveryOutcome::Bounced, "user_unknown", 1));
    }
    let ts = Time::from_seconds(1_795_346_208);
    let client_ip = "192.0.2.77".parse().ok();
    let reception =
        Reception { ts, sender_user: "ann".into(), sender_domain: "example.com".into(), ..Reception::default() };
    summary.event(&Reception { size_bytes: Some(2_500_000), ..reception.clone() }.into());
    let class = "relay_denied".into();
    summary.event(&Reception { verdict: ReceptionVerdict::Rejected, class, ..reception }.into());
    summary.event(&AuthEvent { ts, result: "failed".into(), client_ip, ..AuthEvent::default() }.into());
    summary.line(b"what\x07 is this", false);
    summary.line(b"known", true);

    let figures = summary.figures();
    assert_eq!(figures.deliveries, Outcomes { attempts: 101, delivered: 95, deferred: 3, bounced: 3 });
    let [median, p95] = [figures.delay_median_ms, figures.delay_p95_ms].map(Option::unwrap);
    assert!((456..=504).contains(&median) && (866..=957).contains(&p95), "{median} {p95}");
    assert_eq!(figures.login_failures_by_network, [Count { name: "192.0.2.0/24".into(), count: 1 }]);

    let page = figures.to_string();
    for said in [
        "2026-11-22 10:16 UTC to 2026-11-22 11:16 UTC",
        "Messages taken in                    1  2.5 MB",
        "  rejected                           1  50.0 %",
        "  delivered                         95  94.1 %",
        "  example.net                                95            3            0",
        "  greylisted                         3      user_unknown                       3",
        "ann@example.com",
        "relay_denied",
        "  what is this",
    ] {
        assert!(page.contains(said), "{said:?} is not in\n{page}");
    }
    assert!(page.lines().count() <= 60, "one page");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "80 columns");
}

#[test]
fn the_frequent_names_stay_however_many_rare_ones_come() {
    let mut tally = Tally::<u64>::default();
    for number in 0..100_000 {
        tally.count(&number.to_string(), |count| *count += 1);
        if number % 10 == 0 {
            tally.count("frequent", |count| *count += 1);
        }
    }
    assert_eq!(tally.top(1, |count| *count), [("frequent".to_owned(), 10_000)]);
}

#[test]
fn of_nothing_there_are_no_quantiles() {
    let figures = Summary::default().figures();
    assert_eq!((figures.delay_median_ms, figures.from), (None, None));
    assert_eq!(figures.to_string().lines().next(), Some("No events in 0 lines."));
    assert_eq!(page::grouped(1_234_567), "1,234,567");
}
