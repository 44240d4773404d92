//! What the other watchers are told: providers' receipts, so that they need not page again, and acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{PEER_DEADLINE, Shared};
use crate::outbox::Delivered;
use crate::signed::{Purpose, Signed};

/// Messages on their way at the same time; further ones wait in the channel.
const MAX_IN_FLIGHT: usize = 64;
/// Attempts for one message to one peer. A peer that misses a receipt pages a double; people merge it by its name.
const ATTEMPTS: u32 = 4;

/// A provider's receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    pub(super) page_id: String,
    pub(super) receipt: String,
}

/// A person has an incident.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledged {
    pub(super) incident: String,
    pub(super) person: String,
}

/// Passes everything on until `shutdown`.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut receipts: mpsc::Receiver<Delivered>,
    mut acknowledgements: mpsc::Receiver<Acknowledged>,
    shutdown: CancellationToken,
) {
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = in_flight.join_next() => continue,
            Some(delivered) = receipts.recv(), if in_flight.len() < MAX_IN_FLIGHT => {
                let receipt = Receipt { page_id: delivered.page_id, receipt: delivered.receipt };
                tell_all(&shared, &mut in_flight, "receipts", Purpose::Receipt, &receipt);
            }
            Some(acknowledged) = acknowledgements.recv(), if in_flight.len() < MAX_IN_FLIGHT => {
                tell_all(&shared, &mut in_flight, "acknowledged", Purpose::Acknowledged, &acknowledged);
            }
        }
    }
}

fn tell_all<T: Serialize + Clone + Send + Sync + 'static>(
    shared: &Arc<Shared>,
    in_flight: &mut JoinSet<()>,
    what: &'static str,
    purpose: Purpose,
    message: &T,
) {
    for index in 0..shared.peers.len() {
        let (shared, message) = (Arc::clone(shared), message.clone());
        in_flight.spawn(async move {
            let peer = &shared.peers[index];
            let url = [peer.url.trim_end_matches('/'), "/peer/v1/", what].concat();
            for attempt in 0..ATTEMPTS {
                // Signed anew each time: a message counts for a minute only.
                let now = Time::now();
                let Ok(signed) = Signed::seal(purpose, &shared.vantage, &shared.key, now, &message) else { return };
                match peer.http.post(&url).timeout(PEER_DEADLINE).json(&signed).send().await {
                    Ok(answer) if answer.status().is_success() => return,
                    Ok(answer) => tracing::debug!(peer = peer.name, what, status = %answer.status(), "a peer refused"),
                    Err(error) => tracing::debug!(peer = peer.name, what, %error, "a peer cannot be told"),
                }
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
            }
        });
    }
}
