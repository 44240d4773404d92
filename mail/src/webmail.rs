//! The webmail: pages that need no JavaScript.
//!
//! Every page of the site is one line of [`routes`]. A login is a cookie whose digest is in the store; every POST
//! carries a token that only pages of that login know.

mod compose;
mod folder;
mod html;
mod login;
mod message;
mod page;

use std::sync::Arc;

use aggregator::emit::Emitter;
use aggregator::metrics;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::Config;
use crate::http::{Bounded, Peer};
use crate::listen::{Listener, Opening};
use crate::login::Logins;
use crate::queue::store::Queue;
use crate::service::{Context, ServeError};
use crate::store::{Stores, WebSessions};

/// Octets of a form; only the one that takes attachments may be larger.
const FORM_BYTES: usize = 64 << 10;
/// Room in the form with attachments for its other fields.
const FIELDS_BYTES: usize = 1 << 20;
/// Messages whose HTML is made safe at a time; the next wait.
const CLEANING: usize = 2;

/// What all pages share.
struct App {
    stores: Stores,
    sessions: WebSessions,
    queue: Queue,
    config: Arc<Config>,
    emitter: Emitter,
    logins: Logins,
    /// One of `CLEANING` for each HTML that is being made safe.
    cleaning: Arc<Semaphore>,
}

/// Serves the webmail until `context.shutdown`.
///
/// # Errors
/// The store or the address cannot be used.
pub async fn serve(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let listener = Listener::bind("web_listen", config.web_listen, Opening::Plain).await?;
    let site = Bounded::new(listener.name, listener.socket, &config.limits);
    let app = App::open(config, &context)?;
    metrics::event::show_receptions();
    let routes = metrics::observe_requests(routes(Arc::new(app)), "webmail");
    axum::serve(site, routes.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(context.shutdown.clone().cancelled_owned())
        .await
        .map_err(|source| ServeError::Io { doing: "serving the webmail".to_owned(), source })
}

impl App {
    fn open(config: Arc<Config>, context: &Context) -> Result<Self, ServeError> {
        let stores = Stores::open(&context.data_dir)?;
        let (emitter, found) = (context.emitter.clone(), stores.clone());
        let look = move |user: &str, password: &str| found.log_in(user, password);
        Ok(Self {
            logins: Logins::new("web", config.limits.max_login_failures, emitter.clone(), look),
            stores,
            sessions: WebSessions::open(&context.data_dir.join("web.db"))?,
            queue: Queue::open(&context.data_dir.join("queue.db"))?,
            config,
            emitter,
            cleaning: Arc::new(Semaphore::new(CLEANING)),
        })
    }
}

fn routes(app: Arc<App>) -> Router {
    let message = usize::try_from(app.config.max_message_bytes).unwrap_or(usize::MAX).saturating_add(FIELDS_BYTES);
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/", get(login::start))
        .route("/health", get(page::health))
        .route("/style.css", get(page::style))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/folders", post(folder::create))
        .route("/folders/{folder}", get(folder::show))
        .route("/search", get(folder::search))
        .route("/folders/{folder}/{uid}", get(message::show))
        .route("/folders/{folder}/{uid}/html", get(message::html))
        .route("/folders/{folder}/{uid}/attachment/{number}", get(message::attachment))
        .route("/folders/{folder}/{uid}/delete", post(message::delete))
        .route("/folders/{folder}/{uid}/move", post(message::relocate))
        .route("/compose", get(compose::form).post(compose::send).layer(DefaultBodyLimit::max(message)))
        .fallback(page::missing)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, page::POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .with_state(app)
}

#[cfg(test)]
mod tests;
