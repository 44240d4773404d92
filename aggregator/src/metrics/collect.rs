//! What is looked up when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

/// How long the collectors may take together; what they have not looked up by then stays as it was.
const PATIENCE: Duration = Duration::from_secs(3);

type Collector = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Only who asks for the page and who begins or ends a collector take it, never who counts.
static COLLECTORS: Mutex<Vec<Collector>> = Mutex::new(Vec::new());

/// A collector looks for as long as this is kept.
#[must_use = "the collector ends with it"]
pub struct Collecting(Collector);

/// Calls `look` before every page.
pub fn collect(look: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Collecting {
    let collector: Collector = Arc::new(look);
    COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner).push(collector.clone());
    Collecting(collector)
}

impl Drop for Collecting {
    fn drop(&mut self) {
        COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

impl std::fmt::Debug for Collecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collecting")
    }
}

/// Lets all collectors look, side by side.
pub(super) async fn all() {
    let collectors = COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // A disk or a database that hangs leaves its numbers as they were; the others are told all the same.
    let _ = tokio::time::timeout(PATIENCE, join_all(collectors.iter().map(|look| look()))).await;
}
