//! Sessions: a signed cookie, a form token that goes with it, and the ones that were ended early.
//!
//! A session is what the cookie says: nothing has to be stored for it, and it outlives a restart because the key is
//! on disk. The signature covers the operator's password hash, so that a new password ends every old session.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aggregator::event::Time;
use aws_lc_rs::{constant_time, hmac, rand};
use axum_extra::extract::cookie::{Cookie, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::operators::{OperatorEntry, Role};
use crate::serve::ServeError;
use crate::source::keep;

/// The cookie of who is logged in.
pub const SESSION_COOKIE: &str = "varde_operator";
/// The cookie of who is about to log in: it binds the form to the browser.
pub const LOGIN_COOKIE: &str = "varde_operator_login";
/// A session lasts this long.
pub const SESSION_MS: i64 = 12 * 3_600_000;
/// A key shorter than this is refused.
const MIN_KEY_BYTES: usize = 32;
/// A longer cookie is not even looked at.
const MAX_COOKIE_BYTES: usize = 2_048;
/// Sessions ended early that are remembered; past it, the one that expires first is forgotten.
const MAX_ENDED: usize = 10_000;

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The operator's name.
    pub name: String,
    /// What the operator may do.
    pub role: Role,
    /// Random, unique.
    pub id: String,
    /// When it ends.
    pub expires: Time,
}

/// Signs sessions and form tokens.
pub struct Sealer {
    key: hmac::Key,
    is_https: bool,
}

impl Sealer {
    /// Reads the key.
    ///
    /// # Errors
    /// It is missing or too short.
    pub fn load(file: &Path, is_https: bool) -> Result<Self, ServeError> {
        let wrong = |reason: String| ServeError::SessionKey { file: file.to_owned(), reason };
        let key = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        if key.trim_ascii().len() < MIN_KEY_BYTES {
            return Err(wrong("it has fewer than 32 octets".to_owned()));
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.trim_ascii()), is_https })
    }

    /// A new session for `entry`.
    pub fn session(&self, entry: &OperatorEntry, now: Time) -> Session {
        Session { name: entry.name.clone(), role: entry.role, id: nonce(), expires: now.plus_millis(SESSION_MS) }
    }

    /// The cookie's value for `session`.
    pub fn seal(&self, session: &Session, entry: &OperatorEntry) -> String {
        let payload = BASE64.encode(serde_json::to_vec(session).unwrap_or_default());
        let tag = BASE64.encode(self.tag(&["session", &payload, &entry.password_hash]));
        [&payload, ".", &tag].concat()
    }

    /// The session of a cookie's value, if it was sealed here, has not expired, and `find` knows its operator.
    pub fn open<'a>(
        &self,
        cookie: &str,
        now: Time,
        find: impl FnOnce(&str) -> Option<&'a OperatorEntry>,
    ) -> Option<Session> {
        let (payload, tag) = cookie.split_once('.').filter(|_| cookie.len() <= MAX_COOKIE_BYTES)?;
        let session: Session = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
        let entry = find(&session.name)?;
        let right = self.tag(&["session", payload, &entry.password_hash]);
        constant_time::verify_slices_are_equal(&right, &BASE64.decode(tag).ok()?).ok()?;
        (now < session.expires).then_some(Session { role: entry.role, ..session })
    }

    /// The token that every form of this session (or of this visitor's login) carries.
    pub fn form_token(&self, bound_to: &str) -> String {
        BASE64.encode(self.tag(&["form", bound_to]))
    }

    /// Whether `token` is the one of [`form_token`](Self::form_token).
    pub fn is_form_token(&self, bound_to: &str, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.form_token(bound_to).as_bytes(), token.as_bytes()).is_ok()
    }

    /// A cookie as all of ours are: not for scripts, not for other sites, over TLS where there is TLS.
    pub fn cookie(&self, name: &'static str, value: String) -> Cookie<'static> {
        Cookie::build((name, value)).path("/").http_only(true).same_site(SameSite::Lax).secure(self.is_https).build()
    }

    fn tag(&self, parts: &[&str]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }
}

/// 128 random bits as text.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    // The operating system's generator does not fail once it has been seeded; a failure must not give a known value.
    if rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    BASE64.encode(bytes)
}

/// Sessions that were logged out before they expired. On disk, because a cookie outlives a restart.
pub struct Ended {
    file: PathBuf,
    ids: Arc<Mutex<BTreeMap<String, Time>>>,
}

impl Ended {
    /// Reads them; a file that is not there is none.
    pub fn load(file: PathBuf, now: Time) -> Self {
        let read = || serde_json::from_slice::<BTreeMap<String, Time>>(&std::fs::read(&file).ok()?).ok();
        let mut ids = read().unwrap_or_default();
        ids.retain(|_, expires| now < *expires);
        Self { file, ids: Arc::new(Mutex::new(ids)) }
    }

    /// Whether that session was logged out.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Ends a session, now and after a restart.
    pub async fn end(&self, session: &Session, now: Time) {
        let (file, ids) = (self.file.clone(), Arc::clone(&self.ids));
        let (id, expires) = (session.id.clone(), session.expires);
        let write = move || {
            // The lock is held over the write, so that a later list is never overtaken by an earlier one.
            let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.retain(|_, expires| now < *expires);
            if ids.len() >= MAX_ENDED {
                let first = ids.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| id.clone());
                first.and_then(|id| ids.remove(&id));
            }
            ids.insert(id, expires);
            keep::replace(&file, &serde_json::to_vec(&*ids)?)
        };
        if let Err(error) = tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "keeping a logged-out session failed; it is ended until the next restart only");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(key: u8) -> Sealer {
        Sealer { key: hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]), is_https: true }
    }
    fn entry(hash: &str) -> OperatorEntry {
        OperatorEntry { name: "ada".into(), role: Role::Admin, password_hash: hash.into() }
    }

    #[test]
    fn a_session_opens_until_it_expires_and_with_its_own_key_and_password_only() {
        let (ada, renewed, now) = (entry("old"), entry("new"), Time::from_seconds(1_000));
        let session = sealer(1).session(&ada, now);
        let cookie = sealer(1).seal(&session, &ada);
        assert_eq!(sealer(1).open(&cookie, now, |_| Some(&ada)), Some(session.clone()));
        assert_eq!(sealer(1).open(&cookie, session.expires, |_| Some(&ada)), None, "expired");
        assert_eq!(sealer(2).open(&cookie, now, |_| Some(&ada)), None, "another key");
        assert_eq!(sealer(1).open(&cookie, now, |_| Some(&renewed)), None, "another password");
        assert_eq!(sealer(1).open(&cookie, now, |_| None), None, "no such operator any more");
    }

    #[test]
    fn a_cookie_is_not_for_scripts_and_over_tls_only() {
        let cookie = sealer(1).cookie(SESSION_COOKIE, "x".into()).to_string();
        assert_eq!(cookie, "varde_operator=x; HttpOnly; SameSite=Lax; Secure; Path=/");
    }

    proptest! {
        #[test]
        fn no_change_of_a_cookie_is_accepted(at in 0_usize..200, byte in 33_u8..127) {
            let (ada, now) = (entry("hash"), Time::from_seconds(1_000));
            let cookie = sealer(1).seal(&sealer(1).session(&ada, now), &ada);
            let mut changed = cookie.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assume!(changed != cookie);
            prop_assert_eq!(sealer(1).open(&changed, now, |_| Some(&ada)), None);
        }

        #[test]
        fn any_text_may_stand_in_a_cookie(text in ".{0,300}") {
            prop_assert_eq!(sealer(1).open(&text, Time::default(), |_| None), None);
        }
    }
}
