//! Real handshakes between the listener and its clients, with certificates of one authority and of another.

use std::net::SocketAddr;

use aggregator::listen::{Bounded, IDLE};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;

use super::*;
use crate::exchange::listen::{Caller, Doors, watchers_only};

struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    Authority { folder, issuer: Issuer::new(params, key) }
}

impl Authority {
    /// The identity of a watcher until a year; it trusts `trusted`.
    fn identity(&self, name: &str, until: i32, trusted: &Authority) -> Result<Identity, TlsError> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let file = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        std::fs::write(file("pem"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        // A watcher does not start with a certificate that has ended; one that runs may come to have one.
        let then = Time::from_seconds(1_600_000_000);
        Identity::read(&trusted.folder.path().join("ca.pem"), &file("pem"), &file("key"), name, then)
    }

    fn of(&self, name: &str) -> Identity {
        self.identity(name, 2100, self).unwrap()
    }
}

/// The doors of `us-east`, who knows `no-oslo`.
async fn doors(identity: &Identity) -> SocketAddr {
    let known: Arc<[String]> = Arc::new(["no-oslo".to_owned()]);
    let who = |ConnectInfo(caller): ConnectInfo<Caller>| async move { caller.watcher.unwrap_or_default().to_string() };
    let app = Router::new().route("/peer/v1/observations", post(who)).route("/api/v1/status", get(who));
    let app = app.layer(from_fn_with_state(known, watchers_only));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let doors = Doors::new(Bounded::new(listener, IDLE), Some(identity.server().unwrap()));
    tokio::spawn(async move { axum::serve(doors, app.into_make_service_with_connect_info::<Caller>()).await });
    address
}

async fn tell(http: &reqwest::Client, scheme: &str, address: SocketAddr) -> Result<(u16, String), String> {
    let request = http.post(format!("{scheme}://{address}/peer/v1/observations"));
    let answer = request.send().await.map_err(|error| crate::exchange::causes(&error))?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.unwrap()))
}

#[tokio::test]
async fn a_watcher_is_known_by_its_certificate_and_people_need_none() {
    let site = authority();
    let address = doors(&site.of("us-east")).await;
    let oslo = site.of("no-oslo").client("us-east").unwrap();
    assert_eq!(tell(&oslo, "https", address).await, Ok((200, "no-oslo".to_owned())));

    let plain = reqwest::Client::new();
    let page = plain.get(format!("http://{address}/api/v1/status")).send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.text().await.unwrap().as_str()), (200, ""));
    let (status, said) = tell(&plain, "http", address).await.unwrap();
    assert!(status == 403 && said.starts_with("plain: "), "{status} {said}");

    let gone = site.of("au-sydney").client("us-east").unwrap();
    let (status, said) = tell(&gone, "https", address).await.unwrap();
    assert!(status == 403 && said.starts_with("stranger: \"au-sydney\""), "{status} {said}");
}

#[tokio::test]
async fn certificates_of_another_authority_or_name_or_time_are_refused_on_both_sides() {
    let (site, other) = (authority(), authority());
    let address = doors(&site.of("us-east")).await;
    let refused = async |identity: Identity, peer: &str| {
        tell(&identity.client(peer).unwrap(), "https", address).await.expect_err("it was let in").to_lowercase()
    };
    let forged = refused(other.identity("no-oslo", 2100, &site).unwrap(), "us-east").await;
    assert!(forged.contains("unknownca") || forged.contains("decrypterror"), "{forged}");
    let ended = refused(site.identity("no-oslo", 2021, &site).unwrap(), "us-east").await;
    assert!(ended.contains("expired"), "{ended}");
    // The client looks as closely: whom it means to reach must answer.
    let mistaken = refused(site.of("no-oslo"), "au-sydney").await;
    assert!(mistaken.contains("not valid for name"), "{mistaken}");
    let lured = refused(site.identity("no-oslo", 2100, &other).unwrap(), "us-east").await;
    assert!(lured.contains("unknownissuer") || lured.contains("badsignature"), "{lured}");
    // Nobody who is refused is in the way of those who are not.
    let oslo = site.of("no-oslo").client("us-east").unwrap();
    assert_eq!(tell(&oslo, "https", address).await, Ok((200, "no-oslo".to_owned())));
}

#[tokio::test]
async fn connections_that_say_nothing_hold_up_nobody() {
    let site = authority();
    let address = doors(&site.of("us-east")).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let oslo = site.of("no-oslo").client("us-east").unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), tell(&oslo, "https", address)).await.unwrap();
    assert_eq!(told, Ok((200, "no-oslo".to_owned())));
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let site = authority();
    let path = site.folder.path().join("junk.pem");
    std::fs::write(&path, "junk").unwrap();
    let said = Shown::read(&path).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{}: holds no certificate", path.display())), "{said}");
    let shown = site.of("us-east").shown().clone();
    assert_eq!((shown.names, shown.not_after.seconds()), (vec!["us-east".to_owned()], 4_102_444_800));
}

#[test]
fn a_certificate_that_is_renewed_on_the_day_of_its_issue_is_noticed_and_so_is_an_authority() {
    let site = authority();
    let before = site.of("us-east");
    let files = ["ca.pem", "us-east.pem"].map(|name| site.folder.path().join(name));
    let as_read = |identity: &Identity| identity.is_as_read(&files[0], &files[1]).unwrap();
    assert!(as_read(&before));
    let after = site.of("us-east");
    assert_eq!(after.shown(), before.shown(), "they say the same");
    assert!(!as_read(&before) && as_read(&after));
    let other = std::fs::read(authority().folder.path().join("ca.pem")).unwrap();
    let both = [std::fs::read(&files[0]).unwrap(), other].concat();
    std::fs::write(&files[0], both).unwrap();
    assert!(!as_read(&after));
}
