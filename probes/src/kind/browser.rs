//! A small browser: pages, cookies, forms, no script. It follows no redirect on its own and never leaves its host.

mod form;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Response};
pub(super) use reqwest::{Method, Url};

use super::access::{Probe, dial, remark, resolve};
use super::{Steps, Stop};
use crate::conversation::{self, Class, Conversation, Fault, Heard, RESPONSE_MAX, printable};

pub(super) use form::{Form, forms, links};

/// Cookies that are kept of one server, and the length of one.
const COOKIES_MAX: usize = 64;
const COOKIE_LENGTH_MAX: usize = 8 * 1024;

/// Redirects that are followed in a row.
const REDIRECTS_MAX: usize = 5;

/// Between the parts of a form; no value of ours contains it.
const BOUNDARY: &str = "----varde-probe-f1e9c5b7a3d2";

/// A journey through one web server.
pub(super) struct Browser {
    client: Client,
    base: Url,
    cookies: BTreeMap<String, String>,
    heard: Heard,
    /// What every request says of who asks. It never goes to another host, because nothing does.
    authorization: Option<String>,
}

/// What is sent along.
pub(super) enum Body {
    /// Nothing.
    None,
    /// A form, as pairs.
    Pairs(Vec<(String, String)>),
    /// A form, part by part.
    Parts(Vec<(String, String)>),
    /// JSON.
    Json(String),
}

/// What came back.
#[derive(Clone)]
pub(super) struct Page {
    /// Where it is.
    pub url: Url,
    /// HTTP status.
    pub status: u16,
    /// Where it sends us, on this host.
    pub redirect: Option<Url>,
    /// Its text.
    pub body: String,
}

impl Page {
    /// The first form that has a field of this name.
    pub fn form_with(&self, field: &str) -> Option<Form> {
        forms(&self.body).into_iter().find(|form| form.has(field))
    }

    /// The first link whose address contains `part`.
    pub fn link_to(&self, part: &str) -> Option<String> {
        links(&self.body).into_iter().find(|link| link.contains(part))
    }

    /// The first form that is sent to an address that contains `part`.
    pub fn form_to(&self, part: &str) -> Option<Form> {
        forms(&self.body).into_iter().find(|form| form.action.contains(part))
    }

    /// The status as a fault.
    pub fn unexpected(&self) -> Fault {
        Fault::new(Class::Status, format!("{} answered with HTTP {}", self.url.path(), self.status))
    }
}

impl Browser {
    /// Reaches the server of the check's `url`: the steps `dns`, `tcp`, and `tls` for https.
    ///
    /// # Errors
    /// When a step failed.
    pub async fn open(probe: &Probe<'_>, steps: &mut Steps) -> Result<Self, Stop> {
        let Some((base, host, port)) = parse(probe.check.url.as_deref()) else {
            return Err(steps.misconfigured(format!("check {:?} needs a `url` of http or https", probe.check.name)));
        };
        let addresses = resolve(&host, port, steps).await?;
        let heard = steps.heard();
        let conversation = async { Conversation::new(dial(&addresses).await?, heard) };
        let conversation = steps.run("tcp", format!("connecting to {host}:{port}"), conversation).await?;
        if base.scheme() == "https" {
            let work = async {
                let tls = conversation::Tls::new(probe.trust().as_deref(), &host).await?;
                conversation.start_tls(&tls).await
            };
            let (_, certificate) = steps.run("tls", format!("TLS handshake with {host}:{port}"), work).await?;
            steps.note(remark(&certificate));
        }
        let tls = match conversation::client_config(probe.trust().as_deref()).await {
            Ok(tls) => tls,
            Err(fault) => return Err(steps.misconfigured(fault.detail)),
        };
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent("Varde probe")
            .resolve_to_addrs(&host, &addresses)
            .tls_backend_preconfigured((*tls).clone())
            .build();
        match client {
            Ok(client) => {
                Ok(Self { client, base, cookies: BTreeMap::new(), heard: steps.heard(), authorization: None })
            }
            Err(error) => Err(steps.misconfigured(format!("the HTTP client cannot be set up: {error}"))),
        }
    }

    /// The names of the steps of [`Self::open`].
    pub fn plan(probe: &Probe<'_>, steps: &mut Steps) {
        let Some((base, host, _)) = parse(probe.check.url.as_deref()) else { return };
        if host.parse::<std::net::IpAddr>().is_err() {
            steps.plan(&["dns"]);
        }
        steps.plan(&["tcp"]);
        if base.scheme() == "https" {
            steps.plan(&["tls"]);
        }
    }

    /// An address below the check's `url`.
    ///
    /// # Errors
    /// When it is none.
    pub fn at(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|_| Fault::said(Class::Config, "this is no address", path))
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// When the server cannot be reached, or its answer is too long.
    pub async fn get(&mut self, url: Url) -> Result<Page, Fault> {
        self.request(Method::GET, url, &[], Body::None).await
    }

    /// Fetches a page, and those that it redirects to, within limits.
    ///
    /// # Errors
    /// As [`Self::get`], and when the redirects do not end.
    pub async fn follow(&mut self, url: Url) -> Result<Page, Fault> {
        let mut page = self.get(url).await?;
        for _ in 0..REDIRECTS_MAX {
            match page.redirect.take() {
                Some(to) => page = self.get(to).await?,
                None => return Ok(page),
            }
        }
        Err(Fault::new(Class::Content, format!("the page redirects more than {REDIRECTS_MAX} times")))
    }

    /// Says who asks, from now on.
    pub fn authorize(&mut self, authorization: String) {
        self.authorization = Some(authorization);
    }

    /// Sends a form from the page that it is on, with some of its fields filled in.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn submit(&mut self, page: &Page, form: &Form, filled: &[(&str, &str)]) -> Result<Page, Fault> {
        let url = self.within(&page.url, &form.action)?;
        let fields = form.filled(filled);
        let body = if form.multipart { Body::Parts(fields) } else { Body::Pairs(fields) };
        self.request(Method::POST, url, &[], body).await
    }

    /// Asks for anything on this host.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn request(
        &mut self,
        method: Method,
        url: Url,
        headers: &[(String, String)],
        body: Body,
    ) -> Result<Page, Fault> {
        let mut request = self.client.request(method.clone(), url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        // What a browser sends, and what a server that guards against foreign forms looks at.
        if method == Method::POST {
            request = request.header(ORIGIN, url.origin().ascii_serialization());
        }
        let request = match body {
            Body::None => request,
            Body::Pairs(fields) => request.form(&fields),
            Body::Json(text) => request.header(CONTENT_TYPE, "application/json").body(text),
            Body::Parts(fields) => {
                request.header(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}")).body(parts(&fields))
            }
        };
        let response = request.send().await.map_err(|error| Fault::from_error(&error))?;
        self.keep_cookies(&response);
        let status = response.status().as_u16();
        let redirect = match response.headers().get(LOCATION) {
            Some(location) => Some(self.within(&url, &String::from_utf8_lossy(location.as_bytes()))?),
            None => None,
        };
        let body = self.body(response).await?;
        Ok(Page { url, status, redirect, body })
    }

    async fn body(&self, mut response: Response) -> Result<String, Fault> {
        let kind =
            response.headers().get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Fault::from_error(&error))? {
            self.heard.add(chunk.len());
            if body.len() + chunk.len() > RESPONSE_MAX {
                let kind = printable(&kind.unwrap_or_default());
                return Err(Fault::new(
                    Class::Protocol,
                    format!("the page ({kind}) is larger than {RESPONSE_MAX} octets"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Where a page leads, which must be on its own host.
    ///
    /// # Errors
    /// When it leads elsewhere.
    pub fn within(&self, from: &Url, to: &str) -> Result<Url, Fault> {
        let url = from.join(to).map_err(|_| Fault::said(Class::Content, "the page leads to no address", to))?;
        if url.origin() != self.base.origin() {
            return Err(Fault::said(Class::Content, "the page leads away from this host, to", url.as_str()));
        }
        Ok(url)
    }

    fn keep_cookies(&mut self, response: &Response) {
        for header in response.headers().get_all(SET_COOKIE) {
            let Ok(text) = header.to_str() else { continue };
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            if value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0")) {
                self.cookies.remove(name);
            } else if self.cookies.len() < COOKIES_MAX && text.len() <= COOKIE_LENGTH_MAX {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The fields of a form part by part, RFC 7578.
fn parts(fields: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let name = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        for piece in ["--", BOUNDARY, "\r\nContent-Disposition: form-data; name=\"", &name, "\"\r\n\r\n", value, "\r\n"]
        {
            out.push_str(piece);
        }
    }
    for piece in ["--", BOUNDARY, "--\r\n"] {
        out.push_str(piece);
    }
    out
}

fn parse(url: Option<&str>) -> Option<(Url, String, u16)> {
    let url = Url::parse(url?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default()?;
    Some((url, host, port))
}
