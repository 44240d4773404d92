//! Serves IMAP, and tells idling sessions when any process has changed a mailbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::session::Session;
use crate::access::{Addresses, Server};
use crate::config::Config;
use crate::service::{Context, ServeError};
use crate::store::ChangeWatch;

/// How often the store is asked whether mailboxes have changed: an idling client knows within this time,
/// and a watcher dates a receipt to it. Asking costs microseconds, and a session whose mailbox has not changed little more.
const LOOK: Duration = Duration::from_millis(50);

/// Serves IMAP on both listeners until `context.shutdown`.
///
/// # Errors
/// The store, the certificate or an address cannot be used.
pub async fn serve(config: Arc<Config>, context: Context) -> Result<(), ServeError> {
    let addresses =
        Addresses { plain: ("imap_listen", config.imap_listen), secure: ("imaps_listen", config.imaps_listen) };
    let (changed, changes) = watch::channel(());
    let server = Server::<Session>::open(config, &context, changes)?;
    let watch = server.stores.mailboxes.watch()?;
    let looking = CancellationToken::new();
    let sessions = async {
        let served = server.run(addresses, context.shutdown).await;
        looking.cancel();
        served
    };
    let (served, ()) = tokio::join!(sessions, look(watch, changed, looking.clone()));
    served
}

/// Tells every session when any process has changed a mailbox.
async fn look(mut watch: ChangeWatch, changed: watch::Sender<()>, until: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = tick.tick() => match watch.changed() {
                Ok(true) => { changed.send_replace(()); }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "idling clients learn of changes late"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use aggregator::emit::Emitter;
    use aggregator::event::{Event, Time};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::listen::{Listener, Opening};
    use crate::store::{BlobStore, Deliver, Directory, LocalDelivery, Stores};

    /// Says `line` and reads until the answer holds `until`.
    async fn say(stream: &mut TcpStream, line: &str, until: &str) -> String {
        stream.write_all(line.as_bytes()).await.unwrap();
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        while !heard.contains(until) {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await;
            let length = read.expect("the server answers").unwrap();
            assert!(length > 0, "closed after {heard}");
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        heard
    }

    #[tokio::test]
    async fn an_idling_client_learns_of_mail_that_another_process_delivers() {
        let dir = tempfile::tempdir().unwrap();
        crate::admin::create_account(dir.path(), "ada@varde.test", "secret").unwrap();
        let mut config = crate::config::tests::sample();
        config.resolve_paths(dir.path());
        std::fs::create_dir(dir.path().join("tls")).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mx.varde.test".to_owned()]).unwrap();
        std::fs::write(&config.certificate, made.cert.pem()).unwrap();
        std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();

        let listener = Listener::bind("imap_listen", config.imap_listen, Opening::Plain).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (changed, changes) = watch::channel(());
        let (emitter, mut events) = Emitter::channel();
        let limits = config.limits.clone();
        let context = Context { data_dir: dir.path().to_owned(), emitter, shutdown: CancellationToken::new() };
        let imap = Server::<Session>::open(Arc::new(config), &context, changes).unwrap();
        let watch = imap.stores.mailboxes.watch().unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let served = tokio::spawn(async move {
            tokio::join!(listener.run(&limits, imap, until.clone()), look(watch, changed, until.clone()));
        });

        let mut client = TcpStream::connect(address).await.unwrap();
        say(&mut client, "", "Varde IMAP\r\n").await;
        say(&mut client, "a LOGIN ada@varde.test secret\r\nb SELECT INBOX\r\n", "b OK").await;
        say(&mut client, "c IDLE\r\n", "+ idling\r\n").await;
        let other = Stores::open(dir.path()).unwrap();
        let account = other.directory.resolve("ada@varde.test").unwrap().unwrap().id;
        let blob = other.blobs.put(b"Subject: a\r\n\r\n").unwrap();
        let delivery = LocalDelivery { account, mailbox: "INBOX", blob, prefix: b"", at: Time(0), token: "t" };
        other.mailboxes.deliver(&delivery).unwrap();
        assert_eq!(say(&mut client, "", "EXISTS\r\n").await, "* 1 EXISTS\r\n");
        stop.cancel();
        say(&mut client, "", "* BYE [UNAVAILABLE]").await;
        drop(client);
        served.await.unwrap();
        let mut ended = None;
        while let Ok(event) = events.try_recv() {
            if let Event::Session(session) = event {
                ended = Some((session.user, session.end_reason));
            }
        }
        assert_eq!(ended, Some(("ada@varde.test".to_owned(), "shutdown".to_owned())));
    }
}
