//! Checking logins, the same way for every service: guarded, a few at a time, told as events.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aggregator::emit::Emitter;
use aggregator::event::{AuthEvent, Time};
use tokio::sync::Semaphore;

use crate::guard::Guard;
use crate::store::{Account, StoreError};

/// Passwords checked at one time: each check takes memory and a processor.
const CONCURRENT: usize = 4;

/// What a client claims to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `PLAIN`, `LOGIN` …
    pub mechanism: &'static str,
    /// The name that it logs in with.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The outcome of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginVerdict {
    /// It is he.
    Accept(Account),
    /// Wrong name or password.
    Wrong,
    /// Too many wrong ones before.
    PutOff,
    /// The directory cannot be read.
    Unavailable,
}

/// Where names and passwords are looked up. It blocks.
type Look = dyn Fn(&str, &str) -> Result<Option<Account>, StoreError> + Send + Sync;

/// The logins of one service.
pub struct Logins {
    protocol: &'static str,
    look: Arc<Look>,
    guard: Mutex<Guard>,
    permits: Semaphore,
    emitter: Emitter,
}

impl Logins {
    /// `protocol` is its name in events; `look` finds the account of a name and a password; `max_failures`: see
    /// [`Guard::new`].
    pub fn new(
        protocol: &'static str,
        max_failures: u32,
        emitter: Emitter,
        look: impl Fn(&str, &str) -> Result<Option<Account>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        aggregator::metrics::event::show_logins(protocol);
        let guard = Mutex::new(Guard::new(max_failures));
        Self { protocol, look: Arc::new(look), guard, permits: Semaphore::new(CONCURRENT), emitter }
    }

    /// Checks a login and tells of it. The answer to a wrong one comes slowly.
    pub async fn check(&self, ip: IpAddr, credentials: Credentials) -> LoginVerdict {
        let Credentials { mechanism, user, password } = credentials;
        let ip = ip.to_canonical();
        let guard = || self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = if guard().allows(Time::now(), ip, &user) {
            self.look_up(user.clone(), password).await
        } else {
            LoginVerdict::PutOff
        };
        let (result, reason) = match &verdict {
            LoginVerdict::Accept(_) => ("ok", ""),
            LoginVerdict::Wrong => ("failed", "wrong_credentials"),
            LoginVerdict::PutOff => ("failed", "too_many_failures"),
            LoginVerdict::Unavailable => ("failed", "directory_unavailable"),
        };
        self.emitter.emit(AuthEvent {
            ts: Time::now(),
            protocol: self.protocol.to_owned(),
            user: user.clone(),
            client_ip: Some(ip.into()),
            mechanism: mechanism.to_owned(),
            result: result.to_owned(),
            reason: reason.to_owned(),
            ..AuthEvent::default()
        });
        match &verdict {
            LoginVerdict::Accept(_) => guard().succeeded(ip),
            LoginVerdict::Wrong => {
                let delay = guard().failed(Time::now(), ip, &user);
                tokio::time::sleep(delay).await;
            }
            LoginVerdict::PutOff | LoginVerdict::Unavailable => {}
        }
        verdict
    }

    async fn look_up(&self, user: String, password: String) -> LoginVerdict {
        let _permit = self.permits.acquire().await;
        let look = Arc::clone(&self.look);
        match tokio::task::spawn_blocking(move || look(&user, &password)).await {
            Ok(Ok(Some(account))) => LoginVerdict::Accept(account),
            Ok(Ok(None)) => LoginVerdict::Wrong,
            Ok(Err(error)) => {
                tracing::error!(%error, "a login could not be checked");
                LoginVerdict::Unavailable
            }
            Err(error) => {
                tracing::error!(%error, "the check of a login died");
                LoginVerdict::Unavailable
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use aggregator::event::Event;
    use tokio::time::Instant;

    use super::*;
    use crate::store::AccountId;

    fn guess(password: &str) -> Credentials {
        Credentials { mechanism: "PLAIN", user: "ada@varde.test".to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn wrong_logins_are_slow_then_put_off_unseen_and_each_is_told() {
        let (emitter, mut events) = Emitter::channel();
        let looked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&looked);
        let ada = Account { id: AccountId(1), address: "ada@varde.test".to_owned() };
        let account = ada.clone();
        let logins = Logins::new("imap", 1, emitter, move |_, password| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok((password == "secret").then(|| account.clone()))
        });
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let begun = Instant::now();
        assert_eq!(logins.check(far, guess("a")).await, LoginVerdict::Wrong);
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        assert_eq!(logins.check(far, guess("secret")).await, LoginVerdict::PutOff);
        assert_eq!(looked.load(Ordering::Relaxed), 1, "a login that is put off costs nothing");
        // Others log in from the machine itself: it has no bound of its own.
        let near: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        for _ in 0..2 {
            assert_eq!(logins.check(near, guess("c")).await, LoginVerdict::Wrong);
        }
        assert_eq!(logins.check(near, guess("secret")).await, LoginVerdict::Accept(ada));
        let mut told = Vec::new();
        while let Ok(Event::AuthEvent(row)) = events.try_recv() {
            told.push((row.protocol, row.result, row.reason));
        }
        let row = |result: &str, reason: &str| ("imap".to_owned(), result.to_owned(), reason.to_owned());
        assert_eq!(told[..2], [row("failed", "wrong_credentials"), row("failed", "too_many_failures")]);
        assert_eq!(told.last(), Some(&row("ok", "")));
    }
}
