//! Fake watchers, a fake ClickHouse, and both sites in front of them; all on ports of their own.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{Event, Time};
use alerts::view::{IncidentState, IncidentView};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use probes::status::Status;
use probes::watcher::posture::Audited;
use reqwest::{Client, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sample;
use crate::{Config, Role, ServeError, WebContext, operator_entry};

pub const NAME: &str = "operator@varde.test";
pub const PASSWORD: &str = "correct horse battery staple";
pub const OPERATOR_KEY: &str = "key of the operators";
/// Conditions come true within this time, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a fake watcher says, and what it was told.
#[derive(Clone)]
pub struct Says {
    pub status: fn(&str, Time) -> Status,
    pub incidents: Vec<IncidentView>,
    pub acknowledged: Vec<(String, String)>,
    pub posture: Vec<Audited>,
}

/// A watcher that answers as it was told to.
pub struct Watcher {
    pub url: String,
    pub says: Arc<Mutex<Says>>,
    server: JoinHandle<()>,
}

type Shared = (String, Arc<Mutex<Says>>);

impl Watcher {
    pub async fn start(vantage: &str, status: fn(&str, Time) -> Status, incidents: Vec<IncidentView>) -> Self {
        let says =
            Arc::new(Mutex::new(Says { status, incidents, acknowledged: vec![], posture: sample::audits(vantage) }));
        let router = Router::new()
            .route("/api/v1/status", get(Self::status))
            .route("/api/v1/posture", get(Self::posture))
            .route("/api/v1/incidents", get(Self::incidents))
            .route("/api/v1/incidents/{incident}/acknowledge", post(Self::acknowledge))
            .with_state((vantage.to_owned(), Arc::clone(&says)));
        let (url, server) = start(router).await;
        Self { url, says, server }
    }

    /// Ends it: nothing listens there any more.
    pub fn kill(&self) {
        self.server.abort();
    }

    async fn status(State((vantage, says)): State<Shared>) -> Json<Status> {
        let status = says.lock().unwrap().status;
        Json(status(&vantage, Time::now()))
    }
    async fn posture(State((_, says)): State<Shared>) -> Json<Vec<Audited>> {
        Json(says.lock().unwrap().posture.clone())
    }
    async fn incidents(
        State((_, says)): State<Shared>,
        headers: HeaderMap,
    ) -> Result<Json<Vec<IncidentView>>, StatusCode> {
        if !shows_the_key(&headers) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        Ok(Json(says.lock().unwrap().incidents.clone()))
    }
    async fn acknowledge(
        State((_, says)): State<Shared>,
        Path(incident): Path<String>,
        headers: HeaderMap,
        Json(body): Json<serde_json::Value>,
    ) -> StatusCode {
        if !shows_the_key(&headers) {
            return StatusCode::FORBIDDEN;
        }
        let person = body["person"].as_str().unwrap().to_owned();
        let mut says = says.lock().unwrap();
        for view in says.incidents.iter_mut().filter(|view| view.incident == incident) {
            view.state = IncidentState::Acknowledged;
            view.acknowledged_by = Some(person.clone());
        }
        says.acknowledged.push((incident, person));
        StatusCode::NO_CONTENT
    }
}

fn shows_the_key(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|shown| shown.as_bytes() == ["Bearer ", OPERATOR_KEY].concat().as_bytes())
}

/// A ClickHouse that knows the answers to our two questions.
pub async fn clickhouse() -> (String, JoinHandle<()>) {
    let answer = |sql: String| async move {
        if sql.contains("FROM deliveries") {
            concat!(
                r#"{"domain":"varde.test","delivered":412,"deferred":0,"bounced":1,"median_delay_ms":238.5}"#,
                "\n",
                r#"{"domain":"gmail.example","delivered":96,"deferred":14,"bounced":3,"median_delay_ms":2140}"#,
                "\n",
                r#"{"domain":"slow.example","delivered":0,"deferred":22,"bounced":0,"median_delay_ms":null}"#,
                "\n",
            )
            .to_owned()
        } else {
            let sampled = Time::now().0.to_string();
            let row = r#"{"node":"localhost","queue":"deferred","depth":9,"oldest_s":4210,"sampled_us":"#;
            let empty = r#"{"node":"localhost","queue":"active","depth":0,"oldest_s":0,"sampled_us":"#;
            [empty, &sampled, "}\n", row, &sampled, "}\n"].concat()
        }
    };
    start(Router::new().route("/", post(answer))).await
}

async fn start(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// Both sites.
pub struct Web {
    pub operator: String,
    pub public: String,
    pub client: Client,
    pub events: mpsc::Receiver<Event>,
    pub folder: Arc<tempfile::TempDir>,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<Result<(), ServeError>>>,
    _stop: DropGuard,
}

impl Web {
    /// Three watchers that all say `status`, one of them with `incidents`, and a ClickHouse that answers.
    pub async fn usual(status: fn(&str, Time) -> Status, incidents: Vec<IncidentView>) -> (Self, [Watcher; 3]) {
        let watchers = [
            Watcher::start("us-east", status, incidents).await,
            Watcher::start("no-oslo", status, vec![]).await,
            Watcher::start("au-sydney", status, vec![]).await,
        ];
        let (clickhouse, _) = clickhouse().await;
        let web = Self::start(Arc::new(tempfile::tempdir().unwrap()), &watchers, &clickhouse).await;
        web.heard(3).await;
        (web, watchers)
    }

    /// On `folder`, which may be one that was used before.
    pub async fn start(folder: Arc<tempfile::TempDir>, watchers: &[Watcher; 3], clickhouse: &str) -> Self {
        let path = |name: &str| folder.path().join(name);
        if !path("operators.json").exists() {
            let viewer = operator_entry("viewer@varde.test", Role::Viewer, PASSWORD).unwrap();
            let entries = vec![operator_entry(NAME, Role::Admin, PASSWORD).unwrap(), viewer];
            std::fs::write(path("operators.json"), serde_json::to_vec(&entries).unwrap()).unwrap();
            std::fs::write(path("session.key"), "0123456789abcdef0123456789abcdef\n").unwrap();
        }
        let config = Config {
            operator_listen: "127.0.0.1:0".into(),
            public_listen: "127.0.0.1:0".into(),
            operators_file: path("operators.json"),
            session_key_file: path("session.key"),
            operator_url: None,
        };
        let titles = [("us-east", "US East"), ("no-oslo", "Oslo"), ("au-sydney", "Sydney")];
        let (emitter, events) = Emitter::channel();
        let shutdown = CancellationToken::new();
        let context = WebContext {
            site_name: std::env::var("VARDE_NAME").unwrap_or("Varde & <friends>".into()),
            time_zone: chrono_tz::Europe::Oslo,
            data_dir: folder.path().to_owned(),
            watchers: titles
                .iter()
                .zip(watchers)
                .map(|((name, title), watcher)| ((*name).into(), (*title).into(), watcher.url.clone()))
                .collect(),
            clickhouse: aggregator::clickhouse::Client::new(clickhouse, "sql", "").unwrap(),
            operator_key: OPERATOR_KEY.into(),
            webmail_url: Some("http://127.0.0.1:8025/".into()),
            emitter,
            shutdown: shutdown.clone(),
        };
        let operator = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (operator_url, public_url) = (url(&operator), url(&public));
        let serving = tokio::spawn(crate::serve::serve_on(config, context, operator, public));
        Self {
            operator: operator_url,
            public: public_url,
            client: Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap(),
            events,
            folder,
            _stop: shutdown.clone().drop_guard(),
            shutdown,
            serving: Some(serving),
        }
    }

    /// Stops both sites and gives their folder back.
    pub async fn stop(mut self) -> Arc<tempfile::TempDir> {
        self.shutdown.cancel();
        self.serving.take().unwrap().await.unwrap().unwrap();
        Arc::clone(&self.folder)
    }

    pub async fn status(&self) -> serde_json::Value {
        self.get(&self.public, "/api/v1/status", "").await.json().await.unwrap()
    }

    /// Waits until so many watchers are current.
    pub async fn heard(&self, wanted: usize) {
        let current = |status: &serde_json::Value| {
            status["watchers"].as_array().unwrap().iter().filter(|watcher| watcher["state"] == "current").count()
        };
        until(async || current(&self.status().await) == wanted).await;
    }

    pub async fn get(&self, site: &str, path: &str, cookie: &str) -> Response {
        self.client.get([site, path].concat()).header("cookie", cookie).send().await.unwrap()
    }

    pub async fn operator_page(&self, path: &str, cookie: &str) -> String {
        let answer = self.get(&self.operator, path, cookie).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    /// Sends a form.
    pub async fn post(&self, path: &str, cookie: &str, form: &[(&str, &str)]) -> Response {
        self.client.post([&self.operator, path].concat()).header("cookie", cookie).form(form).send().await.unwrap()
    }

    /// Opens the log-in form and sends it.
    pub async fn try_log_in(&self, name: &str, password: &str) -> Response {
        let form = self.get(&self.operator, "/login", "").await;
        let cookie = cookie_of(&form);
        let csrf = field(&form.text().await.unwrap(), "csrf");
        self.post("/login", &cookie, &[("csrf", &csrf), ("name", name), ("password", password)]).await
    }

    /// The cookie of a session.
    pub async fn log_in(&self, name: &str) -> String {
        let answer = self.try_log_in(name, PASSWORD).await;
        assert_eq!(
            (answer.status(), answer.headers()["location"].as_bytes()),
            (StatusCode::SEE_OTHER, b"/".as_slice())
        );
        cookie_of(&answer)
    }
}

/// The last cookie that an answer sets, as it is sent back.
pub fn cookie_of(answer: &Response) -> String {
    let set = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let mut set = set.filter(|cookie| !cookie.contains("Max-Age=0"));
    set.next_back().unwrap().split(';').next().unwrap().to_owned()
}

/// The value of a hidden field.
pub fn field(html: &str, name: &str) -> String {
    let start = ["name=\"", name, "\" value=\""].concat();
    html.split_once(&start).unwrap().1.split('"').next().unwrap().to_owned()
}

/// Makes what was kept in `folder` old.
pub fn age(folder: &tempfile::TempDir) {
    let file = folder.path().join("web/last-known.json");
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for watcher in kept.as_array_mut().unwrap() {
        watcher["last"]["received"] = "2026-01-01T00:00:00Z".into();
    }
    std::fs::write(&file, kept.to_string()).unwrap();
}

/// Waits for a condition, for so long as anybody would.
pub async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition comes true");
}

/// Serves sample data until it is killed, for people who want to look at the pages: prints both addresses.
#[tokio::test]
#[ignore = "for looking at the pages: VARDE_LOOK=up|down|gone, and Ctrl-C"]
async fn look() {
    let look = std::env::var("VARDE_LOOK").unwrap_or_default();
    let status = if look == "down" { sample::imap_down } else { sample::all_up };
    let mut incidents = vec![sample::old_incident(Time::now())];
    if look == "down" {
        incidents.insert(0, sample::imap_incident(Time::now()));
    }
    let (mut web, watchers) = Web::usual(status, incidents).await;
    if look == "gone" {
        let folder = web.stop().await;
        watchers.iter().for_each(Watcher::kill);
        age(&folder);
        web = Web::start(folder, &watchers, "http://127.0.0.1:1").await;
    }
    println!("{} {} {}", web.operator, web.public, web.log_in(NAME).await);
    std::future::pending::<()>().await;
}
