//! Tokens of the links that acknowledge: who holds the page may answer it, and nobody can guess another's.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use probes::keys::SigningKey;

/// Makes and checks tokens.
pub(super) struct Tokens(hmac::Key);

impl Tokens {
    /// The key follows from the watcher's own (Ed25519 signatures are deterministic), so that links outlive a restart
    /// without another secret to keep.
    pub(super) fn of_watcher(key: &SigningKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.sign(b"varde-acknowledge-links-1\0")))
    }

    /// The token of a page.
    pub(super) fn of(&self, page_id: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, page_id.as_bytes()))
    }

    /// Whether `token` is that page's.
    pub(super) fn fits(&self, page_id: &str, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.of(page_id).as_bytes(), token.as_bytes()).is_ok()
    }
}
