//! Waiting for a disk that is full: with growing pauses, told to whoever asks, until there is room or a stop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::spool;

/// The pause before the first other try.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause: somebody who has made room does not wait long for us.
const LONGEST: Duration = Duration::from_secs(5);
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A disk that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// The folder that has no room.
    pub path: PathBuf,
    /// Octets that are free there for us; `None`: the system does not say.
    pub free_bytes: Option<u64>,
}

/// What is waited for just now, for whoever tells people.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<Option<Full>>>);

impl Waiting {
    /// The disk that is waited for.
    pub fn now(&self) -> Option<Full> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, full: Option<Full>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = full;
    }

    /// Does `work` until it does not fail for want of room any more. `None`: stopped meanwhile.
    ///
    /// # Errors
    /// What `work` failed for but want of room.
    pub fn until_done<T>(
        &self,
        stop: &CancellationToken,
        mut work: impl FnMut() -> Result<T, spool::Error>,
    ) -> Result<Option<T>, spool::Error> {
        let mut pause = FIRST;
        let done = loop {
            let why = match work() {
                Ok(done) => break Ok(Some(done)),
                Err(why) => why,
            };
            let Some(path) = why.full() else { break Err(why) };
            let free = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            self.set(Some(Full { path: path.to_owned(), free_bytes: free }));
            if !sleep(pause, stop) {
                break Ok(None);
            }
            pause = (pause * 2).min(LONGEST);
        };
        self.set(None);
        done
    }
}

/// Sleeps in short pieces; `false`: stopped.
fn sleep(pause: Duration, stop: &CancellationToken) -> bool {
    let mut left = pause;
    while !stop.is_cancelled() && !left.is_zero() {
        let piece = left.min(LOOK);
        std::thread::sleep(piece);
        left -= piece;
    }
    !stop.is_cancelled()
}
