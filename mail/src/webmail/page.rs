//! What pages have in common: their policy, their answers to failures, running what blocks.

use std::sync::Arc;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::App;
use crate::store::StoreError;

/// Nothing is loaded but our style sheet and the frame that shows a message; nothing runs.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; \
                                 base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("../../templates/style.css");

/// Why a page could not be shown.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody is logged in: to the login.
    LoggedOut,
    /// The form is not one of ours.
    Forged,
    /// The form says what cannot be done.
    Refused(&'static str),
    Store(StoreError),
    /// A fault of ours.
    Internal(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    title: &'static str,
    text: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::LoggedOut => return Redirect::to("/login").into_response(),
            Self::Forged => {
                (StatusCode::FORBIDDEN, "This form is too old", "Go back, reload the page, and try again.".to_owned())
            }
            Self::Refused(text) => (StatusCode::UNPROCESSABLE_ENTITY, "That cannot be done", text.to_owned()),
            Self::Store(StoreError::NotFound(what)) => {
                (StatusCode::NOT_FOUND, "It is not here", ["There is no ", &what, "."].concat())
            }
            Self::Store(StoreError::Exists(name)) => {
                (StatusCode::CONFLICT, "That cannot be done", [&name, " exists already."].concat())
            }
            Self::Store(StoreError::OverQuota) => (
                StatusCode::INSUFFICIENT_STORAGE,
                "The mailbox is full",
                "Delete something, then try again.".to_owned(),
            ),
            Self::Store(StoreError::TooManyKeywords) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "That cannot be done",
                "The folder has as many keywords as it may.".to_owned(),
            ),
            Self::Store(error @ StoreError::Transient { .. }) => {
                tracing::error!(%error, "a page could not be shown");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Not now",
                    "The mail store does not answer. Try again in a moment.".to_owned(),
                )
            }
            Self::Internal(error) => {
                tracing::error!(%error, "a page could not be shown");
                (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong", "It has been written down.".to_owned())
            }
        };
        let page = FailurePage { title, text }.render().unwrap_or_else(|_| title.to_owned());
        (status, Html(page)).into_response()
    }
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let app = Arc::clone(app);
    match tokio::task::spawn_blocking(move || work(&app)).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")], STYLE)
}

pub(super) async fn missing() -> Failure {
    Failure::Store(StoreError::NotFound("such page".to_owned()))
}
