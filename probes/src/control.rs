//! The health of the vantage: a watcher that cannot reach third parties does not accuse the target.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a control target may take to answer.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether this vantage's network is well: one control target (`host:port`) at least takes a connection. Without
/// control targets it is taken to be.
pub async fn healthy(control: &[String]) -> bool {
    let mut tries: FuturesUnordered<_> = control
        .iter()
        .map(|address| async move { matches!(timeout(CONTROL_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_))) })
        .collect();
    if tries.is_empty() {
        return true;
    }
    while let Some(reached) = tries.next().await {
        if reached {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_control_target_that_answers_is_enough_and_none_is_a_fault() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed = {
            let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            taken.local_addr().unwrap().to_string()
        };
        assert!(healthy(&[]).await);
        assert!(healthy(&[closed.clone(), open]).await);
        assert!(!healthy(&[closed]).await);
    }
}
