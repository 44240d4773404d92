//! Every route of both sites.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::routing::{get, post};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::page::{OperatorSite, PublicSite, api, asset, error, health, incident, login, now, posture, public};

/// A longer request body is refused.
const MAX_BODY_BYTES: usize = 64 << 10;
/// A request takes at most this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Nothing from elsewhere, no scripts, no frames, no inline styles.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The dashboard: everything but the way in needs a session.
pub fn operator(site: Arc<OperatorSite>) -> Router {
    let routes = Router::new()
        .route("/", get(now::page))
        .route("/incidents", get(incident::list))
        .route("/incidents/{incident}", get(incident::page))
        .route("/incidents/{incident}/acknowledge", post(incident::acknowledge))
        .route("/posture", get(posture::list))
        .route("/posture/{domain}", get(posture::page))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/now", get(api::now))
        .route("/api/v1/posture", get(posture::json))
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/incidents/{incident}", get(api::incident))
        .with_state(site)
        .layer(header(header::CACHE_CONTROL, "no-store"));
    common(routes)
}

/// The public site: no log-in, nothing that is not meant for everybody.
pub fn public(site: Arc<PublicSite>) -> Router {
    common(
        Router::new()
            .route("/", get(public::page))
            .route("/api/v1/status", get(public::status))
            .route("/feed.xml", get(public::feed))
            .route("/badge/{target}/{service}", get(public::badge))
            .with_state(site),
    )
}

fn common(routes: Router) -> Router {
    routes
        .route("/health", get(health::health))
        .route("/assets/{name}", get(asset::asset))
        .fallback(error::not_found)
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::X_FRAME_OPTIONS, "DENY"))
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
}

fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}
