//! The style sheet and the pictures: in the binary, under names that change with their content.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file of the site.
pub struct Asset {
    /// Its path, `/assets/varde-1f2e3d4c.css`.
    pub path: String,
    media_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, suffix: &str, media_type: &'static str, content: &'static str) -> Self {
        let hash = blake3::hash(content.as_bytes()).to_hex();
        let path = ["/assets/", stem, "-", &hash[..12], suffix].concat();
        Self { path, media_type, content }
    }
}

impl Asset {
    /// What it is, for a page that has it in itself.
    pub fn content(&self) -> &'static str {
        self.content
    }
}

/// The style sheet of both sites.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("varde", ".css", "text/css; charset=utf-8", include_str!("../../assets/varde.css")));
/// The beacon.
pub static MARK: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("mark", ".svg", "image/svg+xml", include_str!("../../assets/mark.svg")));

/// `GET /assets/{name}`
pub async fn asset(Path(name): Path<String>) -> Response {
    let found = [&STYLE, &MARK].into_iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(&name));
    match found {
        Some(asset) => {
            let forever = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, forever)], asset.content)
                .into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
