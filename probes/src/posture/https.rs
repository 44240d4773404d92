//! One bounded GET over HTTPS, without redirects: policies and client configurations.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use std::net::SocketAddr;
use tokio::time::timeout;

use super::Audit;
use crate::conversation::{Class, Fault, printable};

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, without its parameters, in lower case.
    pub kind: String,
    /// At most the octets that were asked for.
    pub body: String,
    /// Whether there was more.
    pub cut: bool,
}

/// Gets `https://host/path`, at most `limit` octets of it.
pub(super) async fn get(audit: &Audit, host: &str, path: &str, limit: usize) -> Result<Document, Fault> {
    let port = audit.options.https_port;
    let addresses: Vec<SocketAddr> = match audit.options.connect {
        Some(ip) => vec![SocketAddr::new(ip, port)],
        None => {
            let found = audit.dns.addresses(host).await;
            let found = found
                .map_err(|status| Fault::new(Class::NoRecords, format!("looking up {host}: {}", status.describe())))?;
            found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
        }
    };
    let mut url = Url::parse("https://host/").map_err(|error| Fault::from_error(&error))?;
    url.set_host(Some(host)).map_err(|error| Fault::from_error(&error))?;
    let _ = url.set_port(Some(port));
    url.set_path(path);
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent("Varde audit")
        .resolve_to_addrs(host, &addresses)
        .tls_backend_preconfigured((*audit.tls).clone())
        .build()
        .map_err(|error| Fault::from_error(&error))?;
    let work = async {
        let mut response = client.get(url).send().await.map_err(|error| Fault::from_error(&error))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Fault::from_error(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                break;
            }
        }
        let cut = body.len() > limit;
        body.truncate(limit);
        Ok(Document { status, kind: printable(&kind), body: String::from_utf8_lossy(&body).into_owned(), cut })
    };
    let late =
        || Fault::new(Class::Timeout, format!("no complete answer within {} s", audit.options.timeout.as_secs()));
    timeout(audit.options.timeout, work).await.unwrap_or_else(|_| Err(late()))
}
