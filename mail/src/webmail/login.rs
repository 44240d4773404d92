//! Logging in and out: the cookie, and the token that forms carry.

use std::sync::Arc;

use aggregator::event::{Session as SessionRow, Time};
use askama::Template;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, Form, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::Deserialize;

use super::App;
use super::page::{Failure, blocking};
use crate::http::Peer;
use crate::login::{Credentials, LoginVerdict};
use crate::queue::id;
use crate::store::Account;

const COOKIE: &str = "varde_session";

/// Who is logged in.
pub(super) struct User {
    pub(super) account: Account,
    /// What every form of this login carries.
    pub(super) csrf: String,
    token: String,
    began: Time,
}

impl User {
    /// Whether a form came from a page of this login.
    pub(super) fn verify(&self, csrf: &str) -> Result<(), Failure> {
        verify_slices_are_equal(self.csrf.as_bytes(), csrf.as_bytes()).map_err(|_| Failure::Forged)
    }
}

impl FromRequestParts<Arc<App>> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let token = token(&CookieJar::from_headers(&parts.headers)).ok_or(Failure::LoggedOut)?;
        let known = token.clone();
        let session = blocking(app, move |app| app.sessions.find(&known, Time::now())).await?;
        let session = session.ok_or(Failure::LoggedOut)?;
        Ok(Self { account: session.account, csrf: csrf(&token), token, began: session.began })
    }
}

fn token(jar: &CookieJar) -> Option<String> {
    jar.get(COOKIE).map(|cookie| cookie.value().to_owned()).filter(|token| token.len() <= 128)
}

/// Derived from the cookie: whoever cannot read the cookie cannot know it.
fn csrf(token: &str) -> String {
    let key = blake3::derive_key("Varde webmail 2026 form token", token.as_bytes());
    blake3::Hash::from_bytes(key).to_hex().to_string()
}

fn fresh_token() -> Result<String, Failure> {
    let first = id::trace_id().map_err(|error| Failure::Internal(error.to_string()))?;
    let second = id::trace_id().map_err(|error| Failure::Internal(error.to_string()))?;
    Ok([first, second].concat())
}

/// HttpOnly and SameSite; not Secure, because the listener itself speaks HTTP: a proxy before it speaks TLS.
fn cookie(token: String) -> Cookie<'static> {
    Cookie::build((COOKIE, token)).path("/").http_only(true).same_site(SameSite::Lax).build()
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    csrf: String,
    address: String,
    failure: &'static str,
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    csrf: String,
    address: String,
    password: String,
}

#[derive(Deserialize)]
pub(super) struct LogoutForm {
    csrf: String,
}

/// `GET /`
pub(super) async fn start(user: Result<User, Failure>) -> Redirect {
    Redirect::to(if user.is_ok() { "/folders/INBOX" } else { "/login" })
}

/// `GET /login`: the cookie that it sets is not a login yet, it only ties the form to this browser.
pub(super) async fn form(jar: CookieJar) -> Result<Response, Failure> {
    let token = fresh_token()?;
    let page = LoginPage { csrf: csrf(&token), address: String::new(), failure: "" }.render()?;
    Ok((jar.add(cookie(token)), Html(page)).into_response())
}

/// `POST /login`
pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    jar: CookieJar,
    Form(form): Form<LoginForm>,
) -> Result<Response, Failure> {
    let before = token(&jar).ok_or(Failure::Forged)?;
    verify_slices_are_equal(csrf(&before).as_bytes(), form.csrf.as_bytes()).map_err(|_| Failure::Forged)?;
    let credentials = Credentials { mechanism: "FORM", user: form.address.clone(), password: form.password };
    let (status, failure) = match app.logins.check(peer.ip(), credentials).await {
        LoginVerdict::Accept(account) => return begin(&app, jar, account).await,
        LoginVerdict::Wrong => (StatusCode::UNAUTHORIZED, "Wrong address or password"),
        LoginVerdict::PutOff => (StatusCode::TOO_MANY_REQUESTS, "Too many attempts. Wait ten minutes, then try again."),
        LoginVerdict::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "The mail store does not answer. Try again in a moment.")
        }
    };
    let page = LoginPage { csrf: form.csrf, address: form.address, failure }.render()?;
    Ok((status, Html(page)).into_response())
}

async fn begin(app: &Arc<App>, jar: CookieJar, account: Account) -> Result<Response, Failure> {
    // A new token: one that was known before the login must not be worth more after it.
    let token = fresh_token()?;
    let known = token.clone();
    blocking(app, move |app| app.sessions.begin(&known, &account, Time::now())).await?;
    Ok((jar.add(cookie(token)), Redirect::to("/folders/INBOX")).into_response())
}

/// `POST /logout`
pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    jar: CookieJar,
    user: User,
    Form(form): Form<LogoutForm>,
) -> Result<Response, Failure> {
    user.verify(&form.csrf)?;
    blocking(&app, move |app| app.sessions.end(&user.token)).await?;
    let now = Time::now();
    app.emitter.emit(SessionRow {
        ts: now,
        protocol: "web".to_owned(),
        user: user.account.address,
        client_ip: Some(peer.ip().into()),
        duration_ms: Some(now.millis_since(user.began)),
        end_reason: "logout".to_owned(),
        ..SessionRow::default()
    });
    Ok((jar.remove(Cookie::build(COOKIE).path("/")), Redirect::to("/login")).into_response())
}
