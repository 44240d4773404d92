//! Who may see the dashboard: passwords, sessions, form tokens, and how often one may try.

pub mod limit;
pub mod operators;
pub mod session;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aggregator::emit::Emitter;
use aggregator::event::{AuthEvent, Time};
use tokio::sync::Semaphore;

use crate::serve::ServeError;
use limit::Attempts;
use operators::{OperatorEntry, Operators};
use session::{Sealer, Session};

/// Passwords that are checked at once: each check takes a processor and 19 MiB.
const CHECKS_AT_ONCE: usize = 2;

/// Everything that decides who is logged in.
pub struct Auth {
    operators: Arc<Operators>,
    /// Signs sessions and form tokens.
    pub sealer: Sealer,
    /// Sessions that were logged out before their time.
    pub ended: session::Ended,
    attempts: Attempts,
    checks: Semaphore,
    emitter: Emitter,
}

/// Why nobody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginError {
    /// Name or password is wrong; which of them is not said.
    Wrong,
    /// Too many attempts from there or for that name.
    TooMany {
        /// Try again after so many seconds.
        retry_after_s: u64,
    },
}

impl Auth {
    /// Reads operators and key.
    ///
    /// # Errors
    /// A file is missing or wrong.
    pub fn load(
        operators: &Path,
        key: &Path,
        ended: PathBuf,
        is_https: bool,
        emitter: Emitter,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            operators: Arc::new(Operators::load(operators)?),
            sealer: Sealer::load(key, is_https)?,
            ended: session::Ended::load(ended, Time::now()),
            attempts: Attempts::new(),
            checks: Semaphore::new(CHECKS_AT_ONCE),
            emitter,
        })
    }

    /// A session for who knows name and password.
    ///
    /// # Errors
    /// See [`LoginError`]. Wrong names and wrong passwords cost the same work.
    pub async fn log_in(&self, name: &str, password: String, from: IpAddr, now: Time) -> Result<Session, LoginError> {
        if let Err(retry_after_s) = self.attempts.take(from, name) {
            self.tell(name, from, now, "failed", "too many attempts");
            return Err(LoginError::TooMany { retry_after_s });
        }
        let _permit = self.checks.acquire().await.map_err(|_| LoginError::Wrong)?;
        let operators = Arc::clone(&self.operators);
        let wanted = name.to_owned();
        let found: Option<OperatorEntry> =
            tokio::task::spawn_blocking(move || operators.verify(&wanted, &password).cloned()).await.ok().flatten();
        let Some(entry) = found else {
            self.tell(name, from, now, "failed", "wrong name or password");
            return Err(LoginError::Wrong);
        };
        self.tell(name, from, now, "ok", "");
        Ok(self.sealer.session(&entry, now))
    }

    /// The session that a cookie stands for, if it is ours, has not expired, was not logged out, and its operator
    /// still exists with the same password.
    pub fn session(&self, cookie: &str, now: Time) -> Option<Session> {
        let session = self.sealer.open(cookie, now, |name| self.operators.find(name))?;
        (!self.ended.contains(&session.id)).then_some(session)
    }

    /// The cookie's value for a session.
    pub fn seal(&self, session: &Session) -> Option<String> {
        Some(self.sealer.seal(session, self.operators.find(&session.name)?))
    }

    fn tell(&self, name: &str, from: IpAddr, now: Time, result: &str, reason: &str) {
        self.emitter.emit(AuthEvent {
            ts: now,
            protocol: "dashboard".into(),
            user: name.chars().take(limit::MAX_NAME_CHARS).collect(),
            client_ip: Some(from.into()),
            mechanism: "password".into(),
            result: result.into(),
            reason: reason.into(),
            ..AuthEvent::default()
        });
    }
}
