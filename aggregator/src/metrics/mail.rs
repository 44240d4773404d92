//! The mail services: connections and the queue. What becomes of messages is in [`super::event`].

use super::SECONDS;
use super::family::{Counters, Family, Gauges, Histograms};

/// Connections that were accepted.
pub static CONNECTIONS: Counters =
    Counters::new("varde_connections_total", "Connections that were accepted, by listener.", &["listener"]);
/// Connections that were sent away.
pub static CONNECTIONS_REFUSED: Counters = Counters::new(
    "varde_connections_refused_total",
    "Connections that were sent away because there were too many, by listener.",
    &["listener"],
);
/// Connections that are open.
pub static CONNECTIONS_OPEN: Gauges =
    Gauges::new("varde_connections_open", "Connections that are open, by listener.", &["listener"]);
/// TLS handshakes that failed on a listener that begins with TLS.
pub static HANDSHAKES_FAILED: Counters = Counters::new(
    "varde_tls_handshakes_failed_total",
    "TLS handshakes that failed on listeners that begin with TLS.",
    &["listener"],
);
/// Depth of the queue.
pub static QUEUE_MESSAGES: Gauges = Gauges::new("varde_queue_messages", "Messages in the queue.", &[]);
/// Octets of the queue.
pub static QUEUE_BYTES: Gauges = Gauges::new("varde_queue_bytes", "Octets of the messages in the queue.", &[]);
/// Age of the queue.
pub static QUEUE_OLDEST_AGE: Gauges =
    Gauges::new("varde_queue_oldest_age_seconds", "Age of the oldest message in the queue; 0 when it is empty.", &[]);
/// Life of the queue's loop.
pub static QUEUE_PASS_AGE: Gauges =
    Gauges::new("varde_queue_pass_age_seconds", "How long ago the queue's loop passed last.", &[]);
/// Attempts that are being made.
pub static QUEUE_ATTEMPTS: Gauges =
    Gauges::new("varde_queue_attempts_running", "Attempts to deliver that are being made.", &[]);
/// HTTP requests.
pub static REQUESTS: Counters = Counters::new(
    "varde_http_requests_total",
    "HTTP requests that were answered, by site and class of the status code.",
    &["site", "status"],
);
/// How long HTTP requests took.
pub static REQUEST_DURATION: Histograms = Histograms::new(
    "varde_http_request_duration_seconds",
    "From an HTTP request to the head of its answer.",
    &["site"],
    SECONDS,
);

pub(super) static FAMILIES: &[&dyn Family] = &[
    &CONNECTIONS,
    &CONNECTIONS_REFUSED,
    &CONNECTIONS_OPEN,
    &HANDSHAKES_FAILED,
    &QUEUE_MESSAGES,
    &QUEUE_BYTES,
    &QUEUE_OLDEST_AGE,
    &QUEUE_PASS_AGE,
    &QUEUE_ATTEMPTS,
    &REQUESTS,
    &REQUEST_DURATION,
];

/// A connection that is counted for as long as this is kept.
#[derive(Debug)]
pub struct Open(&'static str);

impl Open {
    /// One more connection of a listener.
    pub fn new(listener: &'static str) -> Self {
        CONNECTIONS.with(&[listener]).inc();
        CONNECTIONS_OPEN.with(&[listener]).inc();
        Self(listener)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        CONNECTIONS_OPEN.with(&[self.0]).dec();
    }
}

/// Shows the connections of a listener from the start on: a rate needs a zero to begin with.
pub fn show_listener(listener: &'static str) {
    CONNECTIONS.with(&[listener]);
    CONNECTIONS_REFUSED.with(&[listener]);
    CONNECTIONS_OPEN.with(&[listener]);
}
