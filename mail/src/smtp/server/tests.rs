//! The server over real sockets.

use aggregator::event::{Event, Reception, ReceptionVerdict};

use super::*;
use crate::store::BlobId;
use crate::testing::{Client, World};

fn reception(event: Event) -> Option<Reception> {
    if let Event::Reception(row) = event { Some(row) } else { None }
}

#[tokio::test]
async fn a_submitted_message_is_in_the_mailbox_and_every_step_is_told() {
    let mut world = World::new();
    let address = world.server(Role::Submission).await;
    let manager = world.manager("one");
    let mut client = Client::secure(&world, address).await;
    let reply = client.submit(&["bob@varde.test"], "Subject: hello\r\n\r\n..dots\r\n").await;
    let id = reply.strip_prefix("250 2.0.0 queued as ").unwrap().trim_end().to_owned();
    let inbox = world.arrived("bob@varde.test", 1).await;
    assert!(
        inbox[0].starts_with("Return-Path: <ada@varde.test>\r\nDelivered-To: bob@varde.test\r\nReceived: from c.test")
    );
    assert!(inbox[0].ends_with("Subject: hello\r\n\r\n.dots\r\n\r\n"));
    assert!(inbox[0].contains("\r\nDate: ") && inbox[0].contains("\r\nMessage-ID: <"));
    let login = world.event(|event| if let Event::AuthEvent(row) = event { Some(row) } else { None }).await;
    assert_eq!(
        (login.result.as_str(), login.mechanism.as_str(), login.protocol.as_str()),
        ("ok", "PLAIN", "submission")
    );
    let taken = world.event(reception).await;
    assert_eq!((taken.queue_id.as_str(), taken.verdict), (id.as_str(), ReceptionVerdict::Accepted));
    assert_eq!((taken.protocol.as_str(), taken.auth_user.as_str()), ("ESMTPSA", "ada@varde.test"));
    assert_eq!(taken.tls_version, "TLSv1.3");
    let delivered = world.event(|event| if let Event::Delivery(row) = event { Some(row) } else { None }).await;
    assert_eq!(
        (&delivered.queue_id, &delivered.trace_id, &delivered.message_id),
        (&id, &taken.trace_id, &taken.message_id)
    );
    assert!(delivered.is_final && delivered.protocol == "local" && delivered.rcpt_user == "bob");
    assert_eq!(client.say("QUIT\r\n").await, "221 2.0.0 bye\r\n");
    let session = world.event(|event| if let Event::Session(row) = event { Some(row) } else { None }).await;
    assert_eq!((session.end_reason.as_str(), session.user.as_str()), ("logout", "ada@varde.test"));
    world.shutdown.cancel();
    manager.await.unwrap();
}

#[tokio::test]
async fn refusals_are_events_with_their_class() {
    let mut world = World::new();
    let address = world.server(Role::Mx).await;
    let mut client = Client::connect(address).await;
    client.reply().await;
    client.say("EHLO c.test\r\n").await;
    client.say("MAIL FROM:<eve@x.test>\r\n").await;
    assert_eq!(client.say("RCPT TO:<nobody@varde.test>\r\n").await, "550 5.1.1 no such user here\r\n");
    assert_eq!(client.say("RCPT TO:<bob@y.test>\r\n").await, "550 5.7.1 relaying denied\r\n");
    for (class, domain) in [("user_unknown", "varde.test"), ("relay_denied", "y.test")] {
        let row = world.event(reception).await;
        assert_eq!((row.class.as_str(), row.rcpt_domain.as_str(), row.smtp_code), (class, domain, Some(550)));
        assert_eq!((row.verdict, row.sender_domain.as_str()), (ReceptionVerdict::Rejected, "x.test"));
    }
}

#[tokio::test]
async fn a_full_mailbox_is_told_before_the_message_is_sent() {
    let mut world = World::new();
    let address = world.server(Role::Mx).await;
    let bob = world.stores.directory.resolve("bob@varde.test").unwrap().unwrap().id;
    world.stores.mailboxes.set_quota(bob, 1_000).unwrap();
    let mut client = Client::connect(address).await;
    client.reply().await;
    client.say("EHLO c.test\r\n").await;
    client.say("MAIL FROM:<eve@x.test> SIZE=1000\r\n").await;
    assert_eq!(client.say("RCPT TO:<bob@varde.test>\r\n").await, "250 2.1.5 recipient OK\r\n");
    client.say("RSET\r\n").await;
    client.say("MAIL FROM:<eve@x.test> SIZE=1001\r\n").await;
    let full = "452 4.2.2 the mailbox is full, try again later\r\n";
    assert_eq!(client.say("RCPT TO:<bob@varde.test>\r\n").await, full);
    assert_eq!(client.say("RCPT TO:<ada@varde.test>\r\n").await, "250 2.1.5 recipient OK\r\n", "another one's is not");
    let row = world.event(reception).await;
    assert_eq!((row.class.as_str(), row.enhanced_code.as_str(), row.smtp_code), ("mailbox_full", "4.2.2", Some(452)));
    assert_eq!(row.verdict, ReceptionVerdict::Deferred);
    // Without a size there must be room for something at least.
    world.stores.mailboxes.set_quota(bob, 0).unwrap();
    client.say("RSET\r\n").await;
    client.say("MAIL FROM:<eve@x.test>\r\n").await;
    assert_eq!(client.say("RCPT TO:<bob@varde.test>\r\n").await, full);
    assert_eq!(client.say("DATA\r\n").await, "554 5.5.1 no valid recipients\r\n");
}

#[tokio::test]
async fn a_refused_reverse_path_is_told() {
    let mut world = World::new();
    let address = world.server(Role::Submission).await;
    let mut client = Client::secure(&world, address).await;
    client.say("AUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHNlY3JldA==\r\n").await;
    let reply = client.say("MAIL FROM:<eve@x.test>\r\n").await;
    assert_eq!(reply, "553 5.7.1 you may not send with this address\r\n");
    let row = world.event(reception).await;
    assert_eq!(
        (row.class.as_str(), row.sender_user.as_str(), row.sender_domain.as_str()),
        ("sender_denied", "eve", "x.test")
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_and_counted() {
    let mut world = World::new();
    let address = world.server(Role::Submission).await;
    let mut client = Client::secure(&world, address).await;
    let reply = client.say("AUTH PLAIN AGFkYUB2YXJkZS50ZXN0AHdyb25n\r\n").await;
    assert_eq!(reply, "535 5.7.8 wrong user name or password\r\n");
    let login = world.event(|event| if let Event::AuthEvent(row) = event { Some(row) } else { None }).await;
    assert_eq!((login.result.as_str(), login.reason.as_str()), ("failed", "wrong_credentials"));
}

#[tokio::test]
async fn what_is_sent_behind_starttls_in_the_clear_is_never_a_command() {
    let world = World::new();
    let address = world.server(Role::Mx).await;
    let mut client = Client::connect(address).await;
    client.reply().await;
    client.say("EHLO c.test\r\n").await;
    assert_eq!(client.say("STARTTLS\r\nEXPN all\r\n").await, "220 2.0.0 begin TLS\r\n");
    let mut client = client.upgrade(&world).await;
    assert_eq!(client.say("NOOP\r\n").await, "250 2.0.0 OK\r\n");
}

#[tokio::test]
async fn a_client_that_sends_a_line_without_end_still_reads_why_it_was_sent_away() {
    let mut world = World::new();
    let address = world.server(Role::Mx).await;
    let mut client = Client::connect(address).await;
    let chunk = vec![b'a'; 1 << 16];
    for _ in 0..256 {
        client.send(&chunk).await.unwrap();
    }
    client.reply().await;
    assert_eq!(client.reply().await, "500 5.5.2 line too long, closing the connection\r\n");
    assert_eq!(client.reply().await, "", "closed");
    drop(client);
    let session = world.event(|event| if let Event::Session(row) = event { Some(row) } else { None }).await;
    assert_eq!(session.end_reason, "line_too_long");
}

#[tokio::test]
async fn silence_and_crowds_are_answered() {
    let mut world = World::new();
    world.config.limits.command_timeout_s = 1;
    world.config.limits.max_sessions_per_ip = 1;
    let address = world.server(Role::Mx).await;
    let mut silent = Client::connect(address).await;
    silent.reply().await;
    let mut second = Client::connect(address).await;
    assert_eq!(second.reply().await, "421 4.3.2 too many sessions, try again later\r\n");
    silent.send(b"MAIL FR").await.unwrap();
    assert_eq!(silent.reply().await, "421 4.4.2 nothing came in time, closing the connection\r\n");
}

#[tokio::test]
async fn a_service_that_stops_says_so_to_idle_clients() {
    let world = World::new();
    let address = world.server(Role::Mx).await;
    let mut client = Client::connect(address).await;
    client.reply().await;
    world.shutdown.cancel();
    assert_eq!(client.reply().await, "421 4.3.2 the service is shutting down, try again later\r\n");
}

/// A disk that refuses.
struct Broken(std::io::ErrorKind);

impl BlobStore for Broken {
    fn put(&self, _: &[u8]) -> Result<BlobId, StoreError> {
        Err(StoreError::Transient {
            doing: "storing a body".to_owned(),
            source: Box::new(std::io::Error::from(self.0)),
        })
    }
    fn get(&self, _: BlobId) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::NotFound("such a body".to_owned()))
    }
}

#[tokio::test]
async fn a_full_or_broken_disk_puts_a_message_off_and_never_lies() {
    use std::io::ErrorKind;
    let full = (ErrorKind::StorageFull, "452 4.3.1 no room for the message now, try again later\r\n");
    let broken = (ErrorKind::Other, "451 4.3.0 the message could not be stored now, try again later\r\n");
    for (kind, expected) in [full, broken] {
        let mut world = World::new();
        let address = world.server_with(Role::Submission, Arc::new(Broken(kind))).await;
        let mut client = Client::secure(&world, address).await;
        assert_eq!(client.submit(&["bob@varde.test"], "x").await, expected);
        let row = world.event(reception).await;
        assert_eq!((row.verdict, row.class.as_str()), (ReceptionVerdict::Deferred, "storage"));
        assert_eq!(world.queue.depth().await.unwrap().messages, 0);
    }
}

#[tokio::test]
async fn a_message_in_a_loop_is_refused() {
    let world = World::new();
    let address = world.server(Role::Submission).await;
    let mut client = Client::secure(&world, address).await;
    let reply = client.submit(&["bob@varde.test"], &"Received: x\r\n".repeat(51)).await;
    assert_eq!(reply, "554 5.4.6 the message is in a loop\r\n");
}
