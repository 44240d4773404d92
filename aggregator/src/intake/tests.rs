//! The intake over real sockets, before a ClickHouse that can be made to fail.

use reqwest::Response;

use super::fake::{Fake, Insert};
use super::*;
use crate::event::{RawLine, Row};

const KEY: &str = "the-key";

struct Running {
    url: String,
    fake: Arc<fake::Fake>,
    stop: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let (fake, client) = Fake::start().await;
        let (url, stop) = start(client).await;
        let running = Self { url, fake, stop };
        while running.get("/health").await.0 != 200 {
            tokio::task::yield_now().await;
        }
        running
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get([&self.url, path].concat()).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn post(&self, key: &str, table: &str, packed: Vec<u8>) -> (u16, String) {
        let answer = post(&self.url, key, table, packed).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// An intake before `client`.
pub(crate) async fn start(client: Client) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ["http://", &listener.local_addr().unwrap().to_string()].concat();
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move { serve_on(listener, KEY.to_owned(), "default", client, Upkeep::default(), stop).await }
    });
    (url, stop)
}

async fn post(url: &str, key: &str, table: &str, packed: Vec<u8>) -> Response {
    let request = reqwest::Client::new().post([url, "/v1/blocks"].concat()).bearer_auth(key);
    let request = request.header(HEADER_TOKEN, "s/e/1/t/2").header(HEADER_TABLE, table).header(HEADER_ROWS, "1");
    request.body(packed).send().await.unwrap()
}

fn native() -> Vec<u8> {
    let mut native = Vec::new();
    RawLine::write_block([RawLine::default()].iter(), &mut native);
    native
}

fn packed(native: &[u8]) -> Vec<u8> {
    zstd::encode_all(native, 1).unwrap()
}

#[tokio::test]
async fn a_block_becomes_one_insert_that_clickhouse_will_know_again() {
    let running = Running::start().await;
    assert_eq!(running.post(KEY, "raw_lines", packed(&native())).await, (200, String::new()));
    let [insert] = &running.fake.seen()[..] else { panic!("one block, one insert") };
    let columns = "`tenant`, `ts`, `node`, `event_id`, `source`, `offset`, `dialect`, `recognised`, `line`";
    assert_eq!(insert.statement, ["INSERT INTO `raw_lines` (", columns, ") FORMAT Native"].concat());
    assert_eq!(insert.body, native());
    for (setting, value) in [
        ("insert_deduplication_token", "s/e/1/t/2"),
        ("insert_deduplicate", "1"),
        ("deduplicate_blocks_in_dependent_materialized_views", "1"),
        ("async_insert", "0"),
        ("max_insert_block_size", "1048576"),
    ] {
        assert_eq!(insert.settings.get(setting).map(String::as_str), Some(value), "{setting}");
    }
    let metrics = reqwest::get([&running.url, "/metrics"].concat()).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("varde_intake_blocks_total{result=\"stored\"} 1\n"), "{metrics}");
    assert!(metrics.contains("varde_intake_rows_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn what_can_never_be_stored_is_refused_by_422_and_what_may_be_later_by_503() {
    let running = Running::start().await;
    let good = packed(&native());
    let bomb = packed(&vec![0; NATIVE_MAX_BYTES as usize + 1]);
    assert!(bomb.len() < 1 << 20);
    let cases = [
        (running.post("another", "raw_lines", good.clone()).await, 401, "the bearer key is not the intake's"),
        (running.post(KEY, "users", good.clone()).await, 422, "users: there is no table \"users\""),
        (
            running.post(KEY, "raw_lines", native()).await,
            422,
            "raw_lines: the block is not whole: the zstd stream cannot be read",
        ),
        (
            running.post(KEY, "raw_lines", bomb).await,
            422,
            "raw_lines: the block is larger than 268435456 octets when unpacked",
        ),
    ];
    for ((status, said), wanted, words) in cases {
        assert_eq!((status, said.as_str()), (wanted, words));
    }
    assert_eq!(running.fake.seen(), [], "ClickHouse was not asked");
    running.fake.then(&[Insert::Fails, Insert::RefusesData, Insert::StoresAndFallsSilent]);
    for wanted in [503, 422, 503, 200] {
        assert_eq!(running.post(KEY, "raw_lines", good.clone()).await.0, wanted);
    }
    running.stop.cancel();
}

#[tokio::test]
async fn while_clickhouse_is_away_shippers_are_told_to_come_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = ["http://", &closed.local_addr().unwrap().to_string()].concat();
    drop(closed);
    let (url, _stop) = start(Client::new(&away, "varde", "").unwrap()).await;
    let answer = post(&url, KEY, "raw_lines", packed(&native())).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(reqwest::get([&url, "/health"].concat()).await.unwrap().status(), 503);
}

/// An export of one line, in JSON.
fn json(line: &str) -> String {
    serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "1795342608000000000", "body": {"stringValue": line}}
    ]}]}]})
    .to_string()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, body).unwrap();
    packed.finish().unwrap()
}

impl Running {
    async fn logs(&self, key: &str, kind: &str, encoding: &str, body: Vec<u8>) -> Response {
        let request = reqwest::Client::new().post([&self.url, "/v1/logs"].concat()).bearer_auth(key);
        request.header("content-type", kind).header("content-encoding", encoding).body(body).send().await.unwrap()
    }
}

#[tokio::test]
async fn an_export_of_logs_is_answered_in_its_own_encoding_and_as_otlp_says() {
    use crate::otlp::message::Status;
    use prost::Message as _;

    let running = Running::start().await;
    let (proto, text) = ("application/x-protobuf", "application/json");
    let line = json("a line of no dialect");
    let answer = running.logs(KEY, text, "gzip", gzip(line.as_bytes())).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, text));
    assert_eq!(answer.text().await.unwrap(), "{}");
    let [insert] = &running.fake.seen()[..] else { panic!("one block, one insert") };
    assert!(insert.statement.starts_with("INSERT INTO `raw_lines` "), "{}", insert.statement);
    let token = &insert.settings["insert_deduplication_token"];
    assert!(token.starts_with("otlp/") && token.ends_with("/raw_lines/20779"), "{token}");

    let empty = running.logs(KEY, text, "identity", json("").into_bytes()).await;
    assert_eq!(empty.status(), 200);
    let said: serde_json::Value = empty.json().await.unwrap();
    assert_eq!(said["partialSuccess"]["rejectedLogRecords"], "1");
    assert!(said["partialSuccess"]["errorMessage"].as_str().unwrap().contains("empty body"), "{said}");

    let bomb = gzip(&vec![b' '; 17 << 20]);
    assert!(bomb.len() < 1 << 20);
    for (key, kind, encoding, body, wanted) in [
        ("another", proto, "identity", Vec::new(), 401),
        (KEY, "text/plain", "identity", Vec::new(), 415),
        (KEY, proto, "br", Vec::new(), 415),
        (KEY, proto, "gzip", b"no gzip".to_vec(), 400),
        (KEY, proto, "identity", b"no protobuf".to_vec(), 400),
        (KEY, proto, "gzip", bomb.clone(), 413),
        (KEY, text, "gzip", bomb, 413),
    ] {
        let answer = running.logs(key, kind, encoding, body).await;
        assert_eq!(answer.status(), wanted, "{kind} {encoding}");
        let body = answer.bytes().await.unwrap();
        if kind == text {
            assert!(body.starts_with(b"{"), "{body:?}");
        } else {
            assert!(!Status::decode(body).unwrap().message.is_empty(), "{wanted}");
        }
    }
    assert_eq!(running.fake.seen().len(), 1, "nothing of these came to ClickHouse");
    running.stop.cancel();
}

#[tokio::test]
async fn an_export_that_could_not_be_inserted_whole_comes_again_as_the_same_rows() {
    let running = Running::start().await;
    let line = "Nov 22 10:16:49 mx1 postfix/smtp[8]: 4XYZ12abcd: to=<bob@example.net>, \
        relay=mx.example.net[192.0.2.7]:25, delay=1.5, delays=0.1/0.2/0.4/0.8, dsn=2.0.0, status=sent (250 2.0.0 ok)";
    let send = || running.logs(KEY, "application/json", "identity", json(line).into_bytes());
    // The delivery is stored though the answer is lost; then the raw line is not stored.
    running.fake.then(&[Insert::StoresAndFallsSilent]);
    let answer = send().await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(running.fake.stored.lock().unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(send().await.status(), 200);
    }
    let stored = running.fake.stored.lock().unwrap();
    let tables: Vec<&str> = stored.keys().filter_map(|token| token.split('/').nth(2)).collect();
    assert_eq!(tables, ["deliveries", "raw_lines"], "each table once");
    running.stop.cancel();
}
