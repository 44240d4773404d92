//! What is said when there is no page: a fixed phrase, and an identity by which the log can be found.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Page, asset};
use crate::auth::session::nonce;

/// A page that says what went wrong and what to do.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    css: &'a str,
    mark: &'a str,
    title: &'a str,
    text: &'a str,
}

/// An answer with that status: what went wrong, and what to do next.
pub fn refusal(status: StatusCode, title: &str, text: &str) -> Response {
    let page = ErrorPage { css: &asset::STYLE.path, mark: &asset::MARK.path, title, text };
    (status, Page(page)).into_response()
}

/// There is no such page.
pub async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "There is no such page", "It may have moved, or the address has a typing error.")
}

/// Our own fault: the log says more.
pub fn internal(doing: &'static str, error: &dyn std::error::Error) -> Response {
    let id = nonce();
    tracing::error!(%id, %error, "{doing} failed");
    let text = ["Something failed here. The log of varde web says more under ", &id, ".\n"].concat();
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}
