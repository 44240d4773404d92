//! Log lines by OTLP into the real engine, and the messages that they tell of out again as traces.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aggregator::clickhouse::Client;
use aggregator::event::Time;
use aggregator::intake;
use aggregator::otlp::exporter::{Config, Exporter};
use aggregator::otlp::message::{
    AnyValue, ExportLogs, ExportResponse, ExportTraces, KeyValue, LogRecord, PartialSuccess, Resource, ResourceLogs,
    ScopeLogs, Span, text_of,
};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Engine, until};

const KEY: &str = "the-intake-key";

fn export(lines: &[String]) -> Vec<u8> {
    let record = |line: &String| LogRecord {
        time_unix_nano: 0,
        observed_time_unix_nano: u64::try_from(Time::now().0).unwrap() * 1_000,
        body: Some(AnyValue { value: Some(line.as_str().into()) }),
        attributes: vec![KeyValue::new("log.file.name", "mail.log")],
    };
    let scope = ScopeLogs { log_records: lines.iter().map(|line| record(line).encode_to_vec().into()).collect() };
    let resource = Resource { attributes: vec![KeyValue::new("service.name", "postfix")] };
    let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![scope.encode_to_vec().into()] };
    ExportLogs { resource_logs: vec![logs.encode_to_vec().into()] }.encode_to_vec()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, body).unwrap();
    packed.finish().unwrap()
}

/// A message of ten minutes ago: taken in, deferred once, delivered.
fn lines() -> Vec<String> {
    let begun = Time::now().plus_millis(-600_000);
    let at = |second: i64| begun.plus_millis(second * 1_000).to_string();
    vec![
        format!("{} mx1 postfix/smtpd[5]: 4XYZ12abcd: client=mail.example.org[192.0.2.1]", at(0)),
        format!("{} mx1 postfix/cleanup[6]: 4XYZ12abcd: message-id=<m1@example.org>", at(0)),
        format!("{} mx1 postfix/qmgr[9]: 4XYZ12abcd: from=<ada@example.org>, size=900, nrcpt=1 (queue active)", at(1)),
        format!(
            "{} mx1 postfix/smtp[8]: 4XYZ12abcd: to=<bob@example.net>, relay=mx.example.net[192.0.2.7]:25, delay=5, \
             delays=1/1/1/2, dsn=4.7.1, status=deferred (host mx.example.net[192.0.2.7] said: 450 4.7.1 greylisted)",
            at(5)
        ),
        format!(
            "{} mx1 postfix/smtp[8]: 4XYZ12abcd: to=<bob@example.net>, relay=mx.example.net[192.0.2.7]:25, delay=65, \
             delays=1/61/1/2, dsn=2.0.0, status=sent (250 2.0.0 ok)",
            at(65)
        ),
        format!("{} mx1 postfix/qmgr[9]: 4XYZ12abcd: removed", at(65)),
    ]
}

/// A collector: answers as it is told, then with 200, and keeps what it took.
#[derive(Default)]
struct Collector {
    answers: Mutex<VecDeque<(StatusCode, &'static str)>>,
    asked: Mutex<Vec<(Time, HeaderMap)>>,
    taken: Mutex<Vec<ExportTraces>>,
}

async fn collect(State(collector): State<Arc<Collector>>, headers: HeaderMap, body: Bytes) -> Response {
    collector.asked.lock().unwrap().push((Time::now(), headers));
    if let Some((status, after)) = collector.answers.lock().unwrap().pop_front() {
        return (status, [("retry-after", after)]).into_response();
    }
    collector.taken.lock().unwrap().push(ExportTraces::decode(body).unwrap());
    let partial_success = Some(PartialSuccess { rejected: 1, error_message: "one was too old".to_owned() });
    ExportResponse { partial_success }.encode_to_vec().into_response()
}

impl Collector {
    async fn start() -> (Arc<Self>, String) {
        let collector = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let routes = axum::Router::new().route("/v1/traces", post(collect)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let scopes = taken.iter().flat_map(|export| &export.resource_spans).flat_map(|all| &all.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

#[tokio::test]
async fn lines_come_in_once_and_their_message_goes_out_as_one_trace_when_the_collector_takes_it() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = Engine::start(data.path()).await;
    let client = Client::new(&engine.url, "varde", "the-varde").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let intake = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let (client_of_intake, stopped) = (client.clone(), stop.clone());
    let serving = tokio::spawn(async move {
        intake::serve_on(listener, KEY.into(), "acme", client_of_intake, intake::Upkeep::default(), stopped)
            .await
            .unwrap();
    });

    let http = reqwest::Client::new();
    let body = gzip(&export(&lines()));
    let send = || {
        http.post(format!("{intake}/v1/logs"))
            .bearer_auth(KEY)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "gzip")
            .body(body.clone())
            .send()
    };
    until("the intake takes exports", async || send().await.unwrap().status() == 200).await;
    for _ in 0..3 {
        let answer = send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(ExportResponse::decode(answer.bytes().await.unwrap()).unwrap(), ExportResponse::default());
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Counts {
        raw: u64,
        received: u64,
        attempts: u64,
        tenant: String,
        rolled_up: u64,
    }
    let sql = "SELECT (SELECT count() FROM raw_lines) AS raw, (SELECT count() FROM receptions) AS received, \
        (SELECT count() FROM deliveries) AS attempts, (SELECT any(d.tenant) FROM deliveries AS d) AS tenant, \
        (SELECT sum(r.attempts) FROM deliveries_1h AS r) AS rolled_up";
    let counts: Vec<Counts> = client.rows(sql, &[]).await.unwrap();
    let once = Counts { raw: 6, received: 1, attempts: 2, tenant: "acme".to_owned(), rolled_up: 2 };
    assert_eq!(counts, [once]);

    // The collector is busy, then broken, then takes it.
    let (collector, endpoint) = Collector::start().await;
    let busy = [(StatusCode::TOO_MANY_REQUESTS, "2"), (StatusCode::SERVICE_UNAVAILABLE, "1")];
    collector.answers.lock().unwrap().extend(busy);
    let book = folder.path().join("told.json");
    let from = Time::now().plus_millis(-3_600_000);
    std::fs::write(&book, format!("{{\"from\": \"{from}\", \"told\": {{}}}}")).unwrap();
    let headers = [("X-Scope".to_owned(), "acme".to_owned())].into();
    let config = Config { endpoint: Some(endpoint), headers, headers_file: None };
    let exporter = Exporter::new(&config, book.clone(), client.clone()).unwrap().unwrap();
    let telling = tokio::spawn(exporter.run(stop.clone()));
    until("the trace is told", async || !collector.spans().is_empty()).await;
    let asked: Vec<Time> = collector.asked.lock().unwrap().iter().map(|(at, _)| *at).collect();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].millis_since(asked[0]) >= 2_000 && asked[2].millis_since(asked[1]) >= 1_000, "{asked:?}");
    let headers = collector.asked.lock().unwrap()[2].1.clone();
    let said = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((said("content-type").as_str(), said("x-scope").as_str()), ("application/x-protobuf", "acme"));

    let spans = collector.spans();
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    let stages = ["before the queue", "connect", "in the queue", "transmit"];
    let wanted = [
        stages[0], stages[0], stages[1], stages[1], "deliver", "deliver", stages[2], stages[2], "message", "queue",
        "receive", stages[3], stages[3],
    ];
    assert_eq!(names, wanted);
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == spans[0].trace_id && span.trace_id.len() == 16 && span.span_id.len() == 8)
    );
    let attempts: Vec<&Span> = spans.iter().filter(|span| span.name == "deliver").collect();
    let outcomes: Vec<_> = attempts.iter().map(|span| text_of(&span.attributes, "varde.outcome").unwrap()).collect();
    assert_eq!(outcomes, ["deferred", "delivered"]);
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(
        (root.name.as_str(), (root.end_time_unix_nano - root.start_time_unix_nano) / 1_000_000_000),
        ("message", 65)
    );
    let resource = collector.taken.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(
        (text_of(&resource.attributes, "service.name"), text_of(&resource.attributes, "host.name")),
        (Some("postfix"), Some("mx1"))
    );

    // A restart tells nothing twice.
    until("what was told is kept", async || std::fs::read_to_string(&book).unwrap().matches("T").count() > 1).await;
    stop.cancel();
    telling.await.unwrap();
    serving.await.unwrap();
    let (again, stop) = (Exporter::new(&config, book.clone(), client).unwrap().unwrap(), CancellationToken::new());
    let before = std::fs::metadata(&book).unwrap().modified().unwrap();
    let telling = tokio::spawn(again.run(stop.clone()));
    until("it has looked", async || std::fs::metadata(&book).unwrap().modified().unwrap() > before).await;
    stop.cancel();
    telling.await.unwrap();
    assert_eq!(collector.asked.lock().unwrap().len(), 3);
}
