//! When a process ends: at a signal, or when its supervisor has gone.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that Ctrl-C and SIGTERM cancel.
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::error!("signals cannot be listened for; only SIGKILL will stop this process");
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
    });
    token
}

/// The same, and for a supervised child also the end of its standard input: the supervisor holds the other end for as
/// long as it lives, however it ends.
pub fn on_signal_or_orphaned(supervised: bool) -> CancellationToken {
    let token = on_signal();
    if supervised {
        let cancelled = token.clone();
        // A thread of its own: a blocked read of standard input would hold up the runtime's shutdown.
        std::thread::spawn(move || {
            let mut sink = [0; 64];
            while matches!(std::io::Read::read(&mut std::io::stdin(), &mut sink), Ok(1..)) {}
            cancelled.cancel();
        });
    }
    token
}
