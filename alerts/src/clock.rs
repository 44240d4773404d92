//! The clock that drivers read, so that a test may turn it.

use std::fmt;
use std::sync::Arc;

use aggregator::event::Time;

/// Where a driver reads the time of day. Decisions never hold one: they are told `now`.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Time + Send + Sync>);

impl Clock {
    /// This machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Time::now))
    }

    /// A clock that moves with tokio's own, and so stands still or jumps with it in a test.
    pub fn tokio(begin: Time) -> Self {
        let started = tokio::time::Instant::now();
        Self(Arc::new(move || begin.plus_millis(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
