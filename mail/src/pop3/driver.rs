//! Serves POP3.

use std::sync::Arc;

use tokio::sync::watch;

use super::session::Session;
use crate::access::{Addresses, Server};
use crate::config::Config;
use crate::service::{Context, ServeError};

/// Serves POP3 on both listeners until `context.shutdown`.
///
/// # Errors
/// The store, the certificate or an address cannot be used.
pub async fn serve(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let addresses =
        Addresses { plain: ("pop3_listen", config.pop3_listen), secure: ("pop3s_listen", config.pop3s_listen) };
    // A maildrop stays as it was at login: nobody waits for changes.
    let (_, unchanged) = watch::channel(());
    Server::<Session>::open(config, &context, unchanged)?.run(addresses, context.shutdown).await
}
