//! Every channel against a local server that answers as its provider does.

use std::sync::Mutex;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;

use super::*;
use crate::incident::Book;
use crate::page::{Notice, Page};

type Taken = Arc<Mutex<Vec<(Option<String>, Value)>>>;

/// A provider that answers with this status and keeps what it was told.
async fn provider(status: u16) -> (String, Taken) {
    let taken = Taken::default();
    let take = move |State(taken): State<Taken>, headers: HeaderMap, body: String| async move {
        let token = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        taken.lock().unwrap().push((token, serde_json::from_str(&body).unwrap()));
        (StatusCode::from_u16(status).unwrap(), "said so")
    };
    let routes = axum::Router::new().route("/", post(take)).with_state(Arc::clone(&taken));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, taken)
}

fn ways(options: &str) -> (BTreeMap<String, Arc<dyn Channel>>, Vec<Fault>) {
    let text = include_str!("../../../src/init/varde.toml");
    let mut whole: toml::Table = toml::from_str(text).unwrap();
    let config: Config = whole.remove("alerts").unwrap().try_into().unwrap();
    let channel = vec![toml::from_str(options).unwrap()];
    open(&config, &Engineer { name: "Ada".to_owned(), channel, ..Engineer::default() })
}

async fn send(way: &dyn Channel, notice: Notice) -> (Page, Result<Receipt, NotSent>) {
    let now = Time::from_seconds(1_000);
    let incident = Book::told_incident("Varde", "Test", "test", "Nothing is wrong.", &[], now);
    let page = Page::write(&incident, notice, ("Ada", "x"), now, "http://operator/", |id| ["http://ack/", id].concat());
    let sent = way.send(&page, now).await;
    (page, sent)
}

#[tokio::test]
async fn pagerduty_gets_one_alert_for_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "R0\n").unwrap();
    let (url, taken) = provider(202).await;
    let (ways, _) = ways(&format!("kind = 'pagerduty'\nurl = '{url}'\nrouting_key_file = '{}'", key.display()));
    let (page, sent) = send(ways["pagerduty"].as_ref(), Notice::Opened).await;
    assert_eq!(sent, Ok(Receipt("PagerDuty answered 202: said so".to_owned())));
    send(ways["pagerduty"].as_ref(), Notice::Resolved).await.1.unwrap();
    let taken = taken.lock().unwrap();
    let [(_, trigger), (_, resolve)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(
        (&trigger["event_action"], &resolve["event_action"]),
        (&Value::from("trigger"), &Value::from("resolve"))
    );
    assert_eq!(trigger["routing_key"], "R0");
    assert_eq!(trigger["dedup_key"], page.document.data.incident);
    assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
    assert_eq!(trigger["payload"]["summary"], page.subject());
}

#[tokio::test]
async fn ntfy_gets_a_push_that_a_retry_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "tk_1\n").unwrap();
    let (url, taken) = provider(200).await;
    let options = format!("kind = 'ntfy'\nurl = '{url}'\ntopic = 'mail'\ntoken_file = '{}'", token.display());
    let (ways, _) = ways(&options);
    let (page, sent) = send(ways["ntfy"].as_ref(), Notice::Opened).await;
    assert!(sent.is_ok(), "{sent:?}");
    let (bearer, message) = taken.lock().unwrap()[0].clone();
    assert_eq!(bearer.as_deref(), Some("Bearer tk_1"));
    assert_eq!((&message["topic"], &message["priority"]), (&Value::from("mail"), &Value::from(5)));
    assert_eq!(message["sequence_id"], page.page_id);
    assert_eq!(message["actions"][0]["url"], page.document.data.links.acknowledge);
}

#[tokio::test]
async fn an_answer_says_whether_another_attempt_is_worth_it() {
    for (status, again) in [(400, false), (404, false), (429, true), (500, true), (503, true)] {
        let (url, _) = provider(status).await;
        let (ways, _) = ways(&format!("kind = 'ntfy'\nurl = '{url}'\ntopic = 'mail'"));
        let (_, sent) = send(ways["ntfy"].as_ref(), Notice::Opened).await;
        assert_eq!(matches!(sent, Err(NotSent::ForNow(_))), again, "{status}: {sent:?}");
    }
}

#[test]
fn a_channel_that_is_not_known_or_not_complete_is_told_by_its_key() {
    let faults = |options| ways(options).1;
    let unknown = faults("kind = 'fax'");
    assert_eq!(unknown[0].0, "channel.kind");
    assert_eq!(unknown[0].1, "there is no channel \"fax\"; there are webhook, email, pagerduty, ntfy");
    let incomplete = faults("kind = 'ntfy'\nurl = 'http://ntfy.example.net'");
    assert_eq!(incomplete[0].0, "channel.ntfy");
    assert!(incomplete[0].1.contains("missing field `topic`"), "{incomplete:?}");
    assert!(faults("kind = 'ntfy'\nurl = 'x'\ntopic = 'y'\nloud = true")[0].1.contains("unknown field `loud`"));
}
