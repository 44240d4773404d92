//! `GET /health` of the queue: alive is a loop that passes, not a process that exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aggregator::event::Time;
use aggregator::metrics::{Collecting, collect, mail as metrics};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::FutureExt;
use serde::Serialize;

use super::store::Queue;

/// A loop that has not passed for this long is dead.
pub const MAX_PASS_AGE_MS: u64 = 10_000;

/// When the loop passed last.
#[derive(Debug, Default)]
pub struct Pulse(AtomicI64);

impl Pulse {
    /// The loop passes.
    pub fn beat(&self, now: Time) {
        self.0.store(now.0, Ordering::Relaxed);
    }
    /// How long ago it passed, in milliseconds.
    pub fn age_ms(&self, now: Time) -> u64 {
        now.millis_since(Time(self.0.load(Ordering::Relaxed)))
    }
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    messages: u64,
    oldest_age_s: u64,
    last_pass_age_ms: u64,
}

/// The routes.
pub fn router(queue: Queue, pulse: Arc<Pulse>) -> Router {
    Router::new().route("/health", get(health)).with_state((queue, pulse))
}

/// Tells depth and age in the metrics for as long as what it gives is kept.
pub fn tell(queue: Queue, pulse: Arc<Pulse>) -> Collecting {
    collect(move || {
        let (queue, pulse) = (queue.clone(), Arc::clone(&pulse));
        async move {
            let now = Time::now();
            metrics::QUEUE_PASS_AGE.with(&[]).set(pulse.age_ms(now) as f64 / 1e3);
            // A queue that cannot be read keeps its numbers; the age of its pass says that something is wrong.
            if let Ok(depth) = queue.depth().await {
                let age_ms = depth.oldest.map_or(0, |oldest| now.millis_since(oldest));
                metrics::QUEUE_MESSAGES.with(&[]).set(depth.messages as f64);
                metrics::QUEUE_BYTES.with(&[]).set(depth.bytes as f64);
                metrics::QUEUE_OLDEST_AGE.with(&[]).set(age_ms as f64 / 1e3);
            }
        }
        .boxed()
    })
}

async fn health(State((queue, pulse)): State<(Queue, Arc<Pulse>)>) -> (StatusCode, Json<Health>) {
    let depth = queue.depth().await;
    let now = Time::now();
    let last_pass_age_ms = pulse.age_ms(now);
    let alive = last_pass_age_ms < MAX_PASS_AGE_MS && depth.is_ok();
    let depth = depth.unwrap_or_default();
    let oldest_age_s = depth.oldest.map_or(0, |oldest| now.millis_since(oldest) / 1_000);
    let status = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if alive { "ok" } else { "stalled" };
    (status, Json(Health { status: word, messages: depth.messages, oldest_age_s, last_pass_age_ms }))
}
