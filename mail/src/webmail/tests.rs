//! The site over a real socket, with a client that knows nothing but HTTP and one cookie.

use std::net::SocketAddr;

use aggregator::emit::Emitter;
use aggregator::event::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::{BlobStore, Deliver, Directory, LocalDelivery};

struct Site {
    dir: tempfile::TempDir,
    address: SocketAddr,
    cookie: String,
    csrf: String,
    events: tokio::sync::mpsc::Receiver<Event>,
    stop: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Site {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::admin::create_account(dir.path(), "ada@varde.test", "secret").unwrap();
        let (emitter, events) = Emitter::channel();
        let stop = CancellationToken::new();
        let context = Context { data_dir: dir.path().to_owned(), emitter, shutdown: stop.clone() };
        let config = Arc::new(crate::config::tests::sample());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let site = Bounded::new("web", socket, &config.limits);
        let app = App::open(config, &context).unwrap();
        let service = routes(Arc::new(app)).into_make_service_with_connect_info::<Peer>();
        let until = stop.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(site, service).with_graceful_shutdown(until).await });
        Self { dir, address, cookie: String::new(), csrf: String::new(), events, stop }
    }

    async fn request(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len().to_string();
        let request = [
            method,
            " ",
            path,
            " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: varde_session=",
            &self.cookie,
            "\r\nContent-Type: ",
            kind,
            "\r\nContent-Length: ",
            &length,
            "\r\n\r\n",
            body,
        ];
        stream.write_all(request.concat().as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if let Some((_, set)) = head.split_once("set-cookie: varde_session=") {
            self.cookie = set.split(';').next().unwrap().to_owned();
        }
        for before in ["name=\"csrf\" value=\"", "name=\"csrf\" content=\""] {
            if let Some((_, after)) = body.split_once(before) {
                self.csrf = after.split('"').next().unwrap().to_owned();
            }
        }
        Reply { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, "text/plain", "").await
    }

    async fn post(&mut self, path: &str, fields: &str) -> Reply {
        let body = ["csrf=", &self.csrf, "&", fields].concat();
        self.request("POST", path, "application/x-www-form-urlencoded", &body).await
    }

    async fn log_in(&mut self) {
        self.get("/login").await;
        let reply = self.post("/login", "address=ada%40varde.test&password=secret").await;
        assert_eq!((reply.status, location(&reply)), (303, "/folders/INBOX"));
        self.get("/folders/INBOX").await;
    }

    fn deliver(&self, body: &str) {
        let stores = Stores::open(self.dir.path()).unwrap();
        let account = stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = stores.blobs.put(body.as_bytes()).unwrap();
        let at = aggregator::event::Time(0);
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at, token: body };
        stores.mailboxes.deliver(&delivery).unwrap();
    }
}

fn location(reply: &Reply) -> &str {
    reply.head.split_once("location: ").map(|(_, after)| after.lines().next().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn a_wrong_password_is_told_and_written_down() {
    let mut site = Site::start().await;
    assert_eq!(site.get("/health").await.status, 200);
    assert_eq!(location(&site.get("/").await), "/login");
    assert_eq!(location(&site.get("/folders/INBOX").await), "/login");
    site.get("/login").await;
    let reply = site.post("/login", "address=ada%40varde.test&password=wrong").await;
    assert_eq!(reply.status, 401);
    assert!(reply.body.contains("Wrong address or password"), "{}", reply.body);
    let Some(Event::AuthEvent(event)) = site.events.recv().await else { panic!("no event") };
    assert_eq!((event.result.as_str(), event.reason.as_str()), ("failed", "wrong_credentials"));
}

#[tokio::test]
async fn a_form_of_another_login_changes_nothing() {
    let mut site = Site::start().await;
    site.get("/login").await;
    site.csrf = "0".repeat(64);
    assert_eq!(site.post("/login", "address=ada%40varde.test&password=secret").await.status, 403);
    site.log_in().await;
    site.csrf = "0".repeat(64);
    for path in ["/folders", "/logout", "/folders/INBOX/1/delete", "/folders/INBOX/1/move", "/compose"] {
        assert_eq!(site.post(path, "name=x&folder=Trash&to=a%40b.test").await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn only_the_form_with_attachments_may_be_large() {
    let mut site = Site::start().await;
    site.get("/login").await;
    let fields = "address=a&password=";
    // One octet more: the server has read them all when it refuses, so that its answer is not lost by a reset.
    let padding = "x".repeat(FORM_BYTES + 1 - fields.len() - "csrf=&".len() - site.csrf.len());
    assert_eq!(site.post("/login", &[fields, &padding].concat()).await.status, 413);
    site.log_in().await;
    let large = ["to=ada%40varde.test&subject=x&text=", &"y".repeat(4 * FORM_BYTES)].concat();
    assert_eq!(location(&site.post("/compose", &large).await), "/folders/Sent");
}

#[tokio::test]
async fn mail_is_listed_read_sought_moved_and_deleted() {
    let mut site = Site::start().await;
    site.deliver("From: Bob <bob@b.test>\r\nSubject: <b>Hello</b>\r\nContent-Type: text/html\r\n\r\n<p onclick=x>Hi <img src=http://evil.test/a.png><script>alert(1)</script>there</p>\r\n");
    site.log_in().await;
    let list = site.get("/folders/INBOX").await;
    assert!(list.body.contains("&#60;b&#62;Hello&#60;/b&#62;"), "{}", list.body);
    assert!(list.head.contains("content-security-policy: default-src 'none'"), "{}", list.head);
    assert!(site.get("/search?folder=INBOX&q=hello").await.body.contains("/folders/INBOX/1"));
    assert!(site.get("/search?folder=INBOX&q=nothing").await.body.contains("Nothing found"));
    assert!(site.get("/folders/INBOX/1").await.body.contains("sandbox src=\"/folders/INBOX/1/html\""));
    let frame = site.get("/folders/INBOX/1/html").await;
    assert!(frame.head.contains("content-security-policy: sandbox;"), "{}", frame.head);
    assert!(frame.body.contains("<p>Hi there</p>"), "{}", frame.body);
    assert!(!frame.body.contains("evil.test") && !frame.body.contains("alert"));

    assert_eq!(location(&site.post("/folders", "name=Work%2F2026").await), "/folders/Work%2F2026");
    assert_eq!(location(&site.post("/folders/INBOX/1/move", "folder=Work%2F2026").await), "/folders/INBOX");
    assert!(site.get("/folders/Work%2F2026").await.body.contains("/folders/Work%2F2026/1"));
    site.post("/folders/Work%2F2026/1/delete", "").await;
    assert!(site.get("/folders/Trash").await.body.contains("/folders/Trash/1"));
    site.post("/folders/Trash/1/delete", "").await;
    assert!(site.get("/folders/Trash").await.body.contains("Nothing here"));
    assert_eq!(site.get("/folders/Nowhere").await.status, 404);
    assert_eq!(location(&site.post("/logout", "").await), "/login");
    assert_eq!(location(&site.get("/folders/INBOX").await), "/login");
}

#[tokio::test]
async fn html_that_would_cost_gigabytes_is_shown_as_text() {
    let mut site = Site::start().await;
    let fonts: String = (0..20_000).map(|n| ["<font color=", &n.to_string(), ">"].concat()).collect();
    let html = ["<p>Hello", &fonts, &"<p>x".repeat(100_000)].concat();
    site.deliver(&["Subject: a\r\nContent-Type: text/html\r\n\r\n", &html, "\r\n"].concat());
    site.log_in().await;
    let page = site.get("/folders/INBOX/1").await;
    assert!(page.body.contains("too large to be shown safely") && page.body.contains("Hello"), "{}", page.status);
    assert!(!page.body.contains("<iframe"));
    let frame = site.get("/folders/INBOX/1/html").await;
    assert!(frame.status == 200 && !frame.body.contains("<font") && !frame.body.contains("<p>"), "{}", frame.status);
    assert!(site.get("/compose?folder=INBOX&reply=1").await.body.contains("&#62; Hello"));
}

#[tokio::test]
async fn a_message_for_a_full_mailbox_is_not_sent_and_not_lost() {
    let mut site = Site::start().await;
    site.log_in().await;
    let stores = Stores::open(site.dir.path()).unwrap();
    let ada = stores.directory.resolve("ada@varde.test").unwrap().unwrap().id;
    stores.mailboxes.set_quota(ada, 0).unwrap();
    let reply = site.post("/compose", "to=bob%40b.test&cc=ada%40varde.test&subject=Hello&text=kept").await;
    assert_eq!(reply.status, 422);
    assert!(reply.body.contains("is full. Nothing was sent.") && reply.body.contains("kept"), "{}", reply.body);
    let queue = Queue::open(&site.dir.path().join("queue.db")).unwrap();
    assert_eq!(queue.depth().await.unwrap().messages, 0);
}

#[tokio::test]
async fn what_is_sent_is_in_the_queue_and_in_sent() {
    let mut site = Site::start().await;
    site.log_in().await;
    let refused = site.post("/compose", "to=nonsense&subject=x&text=y").await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("One of the addresses is not an address."));
    let body = [
        "--b\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n", &site.csrf,
        "\r\n--b\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nBob <bob@b.test>, ada@varde.test",
        "\r\n--b\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nHi\r\nBcc: evil@c.test",
        "\r\n--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nGrüße",
        "\r\n--b\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nATTACHED",
        "\r\n--b--\r\n",
    ]
    .concat();
    let reply = site.request("POST", "/compose", "multipart/form-data; boundary=b", &body).await;
    assert_eq!((reply.status, location(&reply)), (303, "/folders/Sent"), "{}", reply.body);
    let queue = Queue::open(&site.dir.path().join("queue.db")).unwrap();
    let domains: Vec<String> = queue.domains().await.unwrap().into_iter().map(|due| due.domain).collect();
    assert_eq!(domains, ["b.test", "varde.test"]);
    let read = site.get("/folders/Sent/1").await.body;
    assert!(read.contains("Grüße") && read.contains("a.txt") && read.contains("Hi  Bcc: evil@c.test"), "{read}");
    assert!(site.get("/folders/Sent/1/attachment/0").await.body.contains("ATTACHED"));
    let reply = site.get("/compose?folder=Sent&reply=1").await.body;
    assert!(reply.contains("value=\"Re: Hi  Bcc: evil@c.test\"") && reply.contains("&#62; Grüße"), "{reply}");
}
