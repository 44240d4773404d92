//! The operator's site.

use std::sync::Arc;

use aggregator::event::{Event, Time};
use alerts::view::IncidentState;
use axum::http::StatusCode;

use super::harness::{NAME, PASSWORD, Watcher, Web, cookie_of, field, until};
use super::sample;

const INCIDENT: &str = "/incidents/5b0e8f1c9a7d4e22-3";

#[tokio::test]
async fn nobody_sees_anything_without_a_session() {
    let (web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    for (path, to) in [("/", "/login"), ("/incidents", "/login?next=%2Fincidents")] {
        let answer = web.get(&web.operator, path, "").await;
        assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, to));
    }
    for path in ["/api/v1/posture", "/api/v1/now", "/api/v1/incidents", "/api/v1/incidents/x", "/api/v1/status"] {
        assert_eq!(web.get(&web.operator, path, "").await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn now_shows_services_incidents_deliverability_and_queue() {
    let (web, _watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let cookie = web.log_in(NAME).await;
    until(async || web.operator_page("/", &cookie).await.contains("gmail.<wbr>example")).await;
    let page = web.operator_page("/", &cookie).await;
    for text in [
        "<h1>IMAP is down</h1>",
        "tcp: 10.0.0.5:2995 timed out after 10 s",
        "V-7K3",
        "process hung (certain), all regions",
        "restart the unit mail-imap by hand",
        "accept queue full",
        "Acknowledge V-7K3",
        "<td>238 ms</td>",
        "9 messages",
        "1 h 10 min old",
    ] {
        assert!(page.contains(text), "{text} is not on {page}");
    }
    assert!(!page.contains("http-equiv"), "a page refreshes itself for who asks for it only");
    assert!(web.operator_page("/?every=30", &cookie).await.contains(r#"<meta http-equiv="refresh" content="30">"#));
    let json: serde_json::Value = web.get(&web.operator, "/api/v1/now", &cookie).await.json().await.unwrap();
    assert_eq!((&json["overall"], &json["incidents"][0]["name"]), (&"down".into(), &"V-7K3".into()));
    assert_eq!(json["mail"]["figures"]["domains"][1]["deferred"], 14);
}

#[tokio::test]
async fn now_shows_who_watches_how_well_they_are_and_who_votes() {
    let (web, _watchers) = Web::usual(sample::sydney_at_fault, vec![]).await;
    let cookie = web.log_in(NAME).await;
    let page = web.operator_page("/", &cookie).await;
    let watchers = page.split("id=\"watchers\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(
        (watchers.matches("Well</span>").count(), watchers.matches("At fault</span>").count()),
        (2, 1),
        "{watchers}"
    );
    let sydney = watchers.split("<h3>Sydney</h3>").nth(1).unwrap();
    for text in ["since <time", "does not vote", "no control target can be reached"] {
        assert!(sydney.contains(text), "{text} is not in {sydney}");
    }
    assert!(watchers.contains("votes, holds epoch 2"), "{watchers}");
    assert!(
        watchers.contains("Epoch 3 of the roster, since <time") && watchers.contains("US East and Oslo vote."),
        "{watchers}"
    );
    let json: serde_json::Value = web.get(&web.operator, "/api/v1/now", &cookie).await.json().await.unwrap();
    assert_eq!((&json["roster"]["generation"], &json["watchers"][1]["generation"]), (&3.into(), &2.into()));
    assert!(json["watchers"][2]["fault"].as_str().unwrap().contains("own network"), "{json}");
}

#[tokio::test]
async fn now_shows_what_is_left_of_each_error_budget_and_how_fast_it_goes() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let cookie = web.log_in(NAME).await;
    let page = web.operator_page("/", &cookie).await;
    for text in [
        "Error budget (99.9 % over the last 30 days): <strong>39 min 9 s</strong> of 43 min 12 s left (90.6\u{a0}%)",
        "<rect class=\"rest\" width=\"90.625\" height=\"8\"/>",
        "Burn rate 0.0 in 1 h, 1.4 in 6 h, not known in 3 d.",
        "At the rate of the last 3 days nothing is left on <time",
    ] {
        assert!(page.contains(text), "{text} is not on {page}");
    }
    for watcher in &watchers {
        watcher.says.lock().unwrap().status = |vantage, at| {
            let mut status = sample::all_up(vantage, at);
            status.services[3].objectives = vec![sample::objective(3_000, 3_600, at)];
            status
        };
    }
    until(async || {
        web.operator_page("/", &cookie).await.contains("<strong>used up</strong>, 6 min 51 s more than its 43 min 8 s")
    })
    .await;
    let page = web.operator_page("/", &cookie).await;
    assert!(page.contains("(between \u{2212}1 h 6 min and \u{2212}6 min 48 s: 1 h unknown)"), "{page}");
}

#[tokio::test]
async fn without_clickhouse_the_page_says_so_and_shows_the_rest() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let folder = web.stop().await;
    let web = Web::start(folder, &watchers, "http://127.0.0.1:1").await;
    let cookie = web.log_in(NAME).await;
    until(async || {
        web.operator_page("/", &cookie).await.contains("ClickHouse at http://127.0.0.1:1 cannot be reached")
    })
    .await;
    assert!(web.operator_page("/", &cookie).await.contains("<h1>All services are up</h1>"));
}

#[tokio::test]
async fn a_watcher_that_is_gone_is_named_with_the_reason() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let folder = web.stop().await;
    std::fs::remove_file(folder.path().join("web/last-known.json")).unwrap();
    watchers[2].kill();
    let web = Web::start(folder, &watchers, "http://127.0.0.1:1").await;
    web.heard(2).await;
    let cookie = web.log_in(NAME).await;
    let page = web.operator_page("/", &cookie).await;
    assert!(page.contains("<strong>Sydney</strong> has not been heard yet: it cannot be reached"), "{page}");
    assert!(page.contains("<h1>All services are up</h1>"));
}

#[tokio::test]
async fn an_acknowledgement_reaches_the_watcher_in_the_operators_name() {
    let (web, watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let cookie = web.log_in(NAME).await;
    let csrf = field(&web.operator_page(INCIDENT, &cookie).await, "csrf");
    let path = [INCIDENT, "/acknowledge"].concat();
    let answer = web.post(&path, &cookie, &[("csrf", &csrf)]).await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, INCIDENT));
    let told = watchers[0].says.lock().unwrap().acknowledged.clone();
    assert_eq!(told, [("5b0e8f1c9a7d4e22-3".to_owned(), NAME.to_owned())]);
    assert!(watchers[1].says.lock().unwrap().acknowledged.is_empty(), "it does not tell of this incident");
    until(async || web.operator_page(INCIDENT, &cookie).await.contains(&["<dd>", NAME, "</dd>"].concat())).await;
    assert!(!web.operator_page(INCIDENT, &cookie).await.contains("Acknowledge V-7K3"));
}

#[tokio::test]
async fn an_acknowledgement_that_no_watcher_takes_is_not_shown_as_done() {
    let (web, watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let cookie = web.log_in(NAME).await;
    let csrf = field(&web.operator_page(INCIDENT, &cookie).await, "csrf");
    watchers[0].kill();
    let url = watchers[0].url.clone();
    until(async || reqwest::get(&url).await.is_err()).await;
    let answer = web.post(&[INCIDENT, "/acknowledge"].concat(), &cookie, &[("csrf", &csrf)]).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.unwrap().contains("No watcher took the acknowledgement"));
}

#[tokio::test]
async fn a_form_without_its_token_is_refused() {
    let (web, watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let cookie = web.log_in(NAME).await;
    let other = field(&web.operator_page("/", &web.log_in(NAME).await).await, "csrf");
    for path in [[INCIDENT, "/acknowledge"].concat(), "/logout".to_owned(), "/login".to_owned()] {
        for form in [vec![], vec![("csrf", "x")], vec![("csrf", other.as_str())]] {
            assert_eq!(web.post(&path, &cookie, &form).await.status(), StatusCode::FORBIDDEN, "{path} {form:?}");
        }
    }
    assert!(watchers[0].says.lock().unwrap().acknowledged.is_empty());
    assert!(web.operator_page("/", &cookie).await.contains("V-7K3"), "the session goes on");
}

#[tokio::test]
async fn a_viewer_sees_but_does_not_acknowledge() {
    let (web, watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let cookie = web.log_in("viewer@varde.test").await;
    let page = web.operator_page(INCIDENT, &cookie).await;
    assert!(page.contains("V-7K3") && !page.contains("Acknowledge V-7K3"));
    let answer = web.post(&[INCIDENT, "/acknowledge"].concat(), &cookie, &[("csrf", &field(&page, "csrf"))]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(watchers[0].says.lock().unwrap().acknowledged.is_empty());
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_answered_alike_and_both_are_told() {
    let (mut web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    let mut pages = vec![];
    for (name, password) in [(NAME, "wrong"), ("nobody@varde.test", PASSWORD)] {
        let answer = web.try_log_in(name, password).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let page = answer.text().await.unwrap();
        pages.push(page.replace(name, "NAME").replace(&field(&page, "csrf"), "TOKEN"));
    }
    assert_eq!(pages[0], pages[1]);
    web.log_in(&NAME.to_uppercase()).await;
    let mut told = vec![];
    while let Ok(Event::AuthEvent(event)) = web.events.try_recv() {
        told.push((event.user, event.result));
    }
    let expect = [(NAME, "failed"), ("nobody@varde.test", "failed"), (&NAME.to_uppercase(), "ok")];
    assert_eq!(told, expect.map(|(user, result)| (user.to_owned(), result.to_owned())));
}

#[tokio::test]
async fn who_tries_too_often_is_told_to_wait() {
    let (web, _watchers) = Web::usual(sample::all_up, vec![]).await;
    let mut last = web.try_log_in("a", "b").await;
    for _ in 0..200 {
        if last.status() == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        last = web.try_log_in("a", "b").await;
    }
    assert_eq!(last.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(last.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert!(last.text().await.unwrap().contains("Too many attempts"));
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_a_log_out_does_too() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let (kept, ended) = (web.log_in(NAME).await, web.log_in(NAME).await);
    let csrf = field(&web.operator_page("/", &ended).await, "csrf");
    let answer = web.post("/logout", &ended, &[("csrf", &csrf)]).await;
    assert_eq!(answer.headers()["location"], "/login");
    assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let folder = web.stop().await;
    let web = Web::start(Arc::clone(&folder), &watchers, "http://127.0.0.1:1").await;
    assert!(web.operator_page("/", &kept).await.contains(NAME));
    assert_eq!(web.get(&web.operator, "/", &ended).await.status(), StatusCode::SEE_OTHER);
    let changed = [&kept[..kept.len() - 1], if kept.ends_with('A') { "B" } else { "A" }].concat();
    assert_eq!(web.get(&web.operator, "/", &changed).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_watchers_and_peers_say_is_never_markup() {
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut incident = sample::imap_incident(Time::now());
    incident.incident = "a/../b?c#d\"<".into();
    for text in [&mut incident.name, &mut incident.title, &mut incident.summary, &mut incident.cause] {
        *text = hostile.into();
    }
    incident.next_steps = vec![hostile.into()];
    incident.evidence[0].content = hostile.into();
    incident.evidence[0].section = hostile.into();
    incident.timeline[0].text = hostile.into();
    let (web, _watchers) = Web::usual(
        |vantage, at| {
            let mut status = sample::imap_down(vantage, at);
            status.services[3].title = "<script>alert(2)</script>".into();
            status.services[3].regions[0].error = "<img src=x onerror=alert(3)>".into();
            status
        },
        vec![incident],
    )
    .await;
    let cookie = web.log_in(NAME).await;
    let now = web.operator_page("/", &cookie).await;
    let link = now.split("<h3><a href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(link, "/incidents/a%2F..%2Fb%3Fc%23d%22%3C");
    let pages = [
        web.operator_page(link, &cookie).await,
        web.operator_page("/incidents", &cookie).await,
        web.get(&web.public, "/", "").await.text().await.unwrap(),
        web.get(&web.public, "/feed.xml", "").await.text().await.unwrap(),
        web.get(&web.public, "/badge/varde/imap.svg", "").await.text().await.unwrap(),
        now,
    ];
    for page in pages {
        assert!(!page.contains("<script") && !page.contains("<img src=x"), "{page}");
    }
}

#[tokio::test]
async fn an_incident_is_open_as_long_as_one_watcher_holds_it_open() {
    let (web, watchers) = Web::usual(sample::imap_down, vec![sample::imap_incident(Time::now())]).await;
    let mut resolved = sample::imap_incident(Time::now());
    resolved.state = IncidentState::Resolved;
    resolved.resolved_at = Some(Time::now());
    watchers[1].says.lock().unwrap().incidents = vec![resolved.clone()];
    let cookie = web.log_in(NAME).await;
    until(async || web.operator_page(INCIDENT, &cookie).await.contains("US East, Oslo")).await;
    assert!(web.operator_page("/", &cookie).await.contains("Firing"));
    watchers[0].says.lock().unwrap().incidents = vec![resolved];
    until(async || web.operator_page("/", &cookie).await.contains("No open incidents")).await;
    assert!(web.operator_page("/incidents", &cookie).await.contains("Resolved"));
}

#[tokio::test]
async fn the_login_form_leads_back_to_the_page_that_was_asked_for() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    watchers.iter().for_each(Watcher::kill);
    let form = web.get(&web.operator, "/login?next=%2Fincidents", "").await;
    let (cookie, page) = (cookie_of(&form), form.text().await.unwrap());
    let (csrf, next) = (field(&page, "csrf"), field(&page, "next"));
    let fields = [("csrf", csrf.as_str()), ("next", &next), ("name", NAME), ("password", PASSWORD)];
    assert_eq!(web.post("/login", &cookie, &fields).await.headers()["location"], "/incidents");
}

#[tokio::test]
async fn posture_shows_each_domains_newest_audit_what_it_changed_and_how_to_mend_it() {
    let (web, watchers) = Web::usual(sample::all_up, vec![]).await;
    let cookie = web.log_in(NAME).await;
    until(async || web.operator_page("/posture", &cookie).await.contains("71 of 100")).await;
    let list = web.operator_page("/posture", &cookie).await;
    for text in ["href=\"/posture/varde.test\"", "1 failed, 1 to improve, 3 passed, 1 skipped", "1 change since"] {
        assert!(list.contains(text), "{text} is not on {list}");
    }
    // What was heard stays when its watcher is gone.
    watchers.iter().for_each(Watcher::kill);
    let page = web.operator_page("/posture/varde.test", &cookie).await;
    for text in [
        "<p class=\"grade\">Grade C</p>",
        "from Sydney",
        "12 look-ups; the tenth is include:&#60;_spf.c&#62;",
        "Receivers stop there and treat the record as broken.",
        "v=DMARC1; p=quarantine",
        "<summary>Changes before that</summary>",
        "61 days left",
        "the zone is not signed",
    ] {
        assert!(page.contains(text), "{text} is not on {page}");
    }
    assert!(page.find("id=\"spf\"") < page.find("id=\"dmarc\"") && page.find("id=\"dmarc\"") < page.find("id=\"mx\""));
    assert!(!page.contains("style=") && !page.contains("<script"), "the policy of the site allows neither");
    assert_eq!(web.get(&web.operator, "/posture/other.test", &cookie).await.status(), StatusCode::NOT_FOUND);
    let json: serde_json::Value = web.get(&web.operator, "/api/v1/posture", &cookie).await.json().await.unwrap();
    assert_eq!((&json[0]["report"]["score"], &json[0]["changes"][0]["to"]), (&71.into(), &"fail".into()));
}

#[test]
fn an_audit_by_hand_is_one_page_that_needs_nothing_else() {
    let report = sample::audits("au-sydney").remove(0).report;
    let page = crate::audit_page(&report).unwrap();
    assert!(page.contains("<h1>Posture of varde.test</h1>") && page.contains(":root {") && page.contains("p=none"));
    assert!(!page.contains("<link") && !page.contains("<script") && !page.contains("Changed since"), "{page}");
}
