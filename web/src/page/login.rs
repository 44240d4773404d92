//! `/login` and `/logout`.

use std::sync::Arc;

use aggregator::event::Time;
use aggregator::listen::Peer;
use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::Cookie;
use serde::Deserialize;

use super::error::refusal;
use super::{OperatorSite, Page, Site};
use crate::auth::LoginError;
use crate::auth::session::{LOGIN_COOKIE, SESSION_COOKIE, Session, nonce};

/// The form.
#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    site: &'a Site,
    token: String,
    next: &'a str,
    name: &'a str,
    fault: Option<String>,
}

/// Where to go after the log-in.
#[derive(Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct LoginForm {
    csrf: String,
    name: String,
    password: String,
    next: String,
}

/// What the log-out button sends.
#[derive(Deserialize)]
pub struct TokenForm {
    /// The form's token.
    #[serde(default)]
    pub csrf: String,
}

/// `GET /login`
pub async fn form(State(site): State<Arc<OperatorSite>>, Query(next): Query<Next>, jar: CookieJar) -> Response {
    ask(&site, jar, &next.next, "", None).into_response()
}

/// `POST /login`
pub async fn log_in(
    State(site): State<Arc<OperatorSite>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    jar: CookieJar,
    Form(form): Form<LoginForm>,
) -> Response {
    let visit = jar.get(LOGIN_COOKIE).map(Cookie::value).unwrap_or_default();
    if visit.is_empty() || !site.auth.sealer.is_form_token(visit, &form.csrf) {
        return forged();
    }
    let now = Time::now();
    match site.auth.log_in(form.name.trim(), form.password, peer.ip(), now).await {
        Ok(session) => {
            let Some(sealed) = site.auth.seal(&session) else { return forged() };
            let cookie = site.auth.sealer.cookie(SESSION_COOKIE, sealed);
            let jar = jar.remove(Cookie::build(LOGIN_COOKIE).path("/")).add(cookie);
            (jar, Redirect::to(local(&form.next))).into_response()
        }
        Err(LoginError::Wrong) => {
            let fault = "The name or the password is not right.".to_owned();
            (StatusCode::UNAUTHORIZED, ask(&site, jar, &form.next, &form.name, Some(fault))).into_response()
        }
        Err(LoginError::TooMany { retry_after_s }) => {
            let wait = retry_after_s.to_string();
            let fault = ["Too many attempts. Try again in ", &wait, " s."].concat();
            let answer = ask(&site, jar, &form.next, &form.name, Some(fault));
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait)], answer).into_response()
        }
    }
}

/// `POST /logout`
pub async fn log_out(
    State(site): State<Arc<OperatorSite>>,
    session: Session,
    jar: CookieJar,
    Form(form): Form<TokenForm>,
) -> Response {
    if !site.auth.sealer.is_form_token(&session.id, &form.csrf) {
        return forged();
    }
    site.auth.ended.end(&session, Time::now()).await;
    (jar.remove(Cookie::build(SESSION_COOKIE).path("/")), Redirect::to("/login")).into_response()
}

/// The answer to a form without its token.
pub fn forged() -> Response {
    refusal(
        StatusCode::FORBIDDEN,
        "This form has expired",
        "It was not sent from a page of this session. Go back, reload the page, and send it again.",
    )
}

/// The log-in form, bound to this browser by a cookie.
fn ask(
    site: &OperatorSite,
    jar: CookieJar,
    next: &str,
    name: &str,
    fault: Option<String>,
) -> impl IntoResponse + use<> {
    let visit = jar.get(LOGIN_COOKIE).map_or_else(nonce, |cookie| cookie.value().to_owned());
    let token = site.auth.sealer.form_token(&visit);
    let page = LoginPage { site: &site.site, token, next: local(next), name, fault };
    (jar.add(site.auth.sealer.cookie(LOGIN_COOKIE, visit)), Page(page)).into_response()
}

/// `next` if it is a path of this site, otherwise the first page.
fn local(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path && next.bytes().all(|byte| byte.is_ascii_graphic()) { next } else { "/" }
}

/// Every handler that takes a [`Session`] is for operators only.
impl FromRequestParts<Arc<OperatorSite>> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<OperatorSite>) -> Result<Self, Response> {
        let jar = CookieJar::from_headers(&parts.headers);
        let session = jar.get(SESSION_COOKIE).and_then(|cookie| site.auth.session(cookie.value(), Time::now()));
        session.ok_or_else(|| nobody(&parts.method, &parts.uri))
    }
}

/// People are sent to the form, programs are told.
fn nobody(method: &Method, uri: &Uri) -> Response {
    if uri.path().starts_with("/api/") {
        let body = serde_json::json!({ "error": "log in at /login first" });
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let mut to = "/login".to_owned();
    if method == Method::GET && uri.path() != "/" && local(uri.path()) == uri.path() {
        to.push_str("?next=");
        to.push_str(&escape(uri.path()));
    }
    Redirect::to(&to).into_response()
}

/// Percent-encodes a path as a value in a query.
fn escape(path: &str) -> String {
    reqwest::Url::parse_with_params("x:/", [("next", path)])
        .ok()
        .and_then(|url| Some(url.query()?.strip_prefix("next=")?.to_owned()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_this_site_is_followed_after_the_log_in() {
        assert_eq!(local("/incidents/1a?x=y"), "/incidents/1a?x=y");
        for elsewhere in ["https://evil.test/", "//evil.test", "/\\evil.test", "evil", "/a\r\nSet-Cookie: x", ""] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
