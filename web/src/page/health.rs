//! `GET /health`: this process answers.

/// Says that this process answers; what it has heard is on the pages.
pub async fn health() -> &'static str {
    "ok\n"
}
