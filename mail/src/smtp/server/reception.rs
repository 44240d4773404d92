//! Taking messages over: body and queue entry, and the events of what was taken and refused.

use std::sync::Arc;

use aggregator::event::{Reception, ReceptionVerdict, Time};

use super::Talk;
use crate::queue::id;
use crate::queue::store::{Envelope, NewMessage};
use crate::smtp::header::{self, Received};
use crate::smtp::reply::{self, Reply};
use crate::smtp::session::{About, Message, Role};
use crate::store::StoreError;

impl Talk<'_> {
    /// Stores a message: body, then queue entry, both on disk before the reply.
    pub(super) async fn store(&mut self, message: Message) -> Result<String, (Reply, &'static str)> {
        let now = Time::now();
        let head = header::inspect(&message.content);
        if head.received > header::MAX_RECEIVED {
            return Err((Reply::new(554, "5.4.6", "the message is in a loop"), "loop"));
        }
        let fresh = || -> std::io::Result<_> { Ok((id::queue_id(now)?, id::trace_id()?)) };
        let (id, trace_id) = fresh().map_err(|error| {
            tracing::error!(%error, "a message could not be given an identity");
            (reply::STORE_BUSY, "storage")
        })?;
        let hostname = &self.server.settings.hostname;
        let mut prefix = Received {
            helo: self.session.helo(),
            client: self.peer.ip(),
            hostname,
            protocol: self.session.protocol(),
            tls: self.tls.as_ref(),
            id: &id,
            recipient: if let [only] = message.recipients.as_slice() { Some(&only.address) } else { None },
            at: now,
        }
        .line();
        let mut message_id = head.message_id;
        if self.server.settings.role == Role::Submission {
            // RFC 6409 section 8.
            if !head.has_date {
                prefix.push_str(&["Date: ", &header::date(now), "\r\n"].concat());
            }
            if message_id.is_none() {
                let fresh = [&trace_id, "@", hostname.as_str()].concat();
                prefix.push_str(&["Message-ID: <", &fresh, ">\r\n"].concat());
                message_id = Some(fresh);
            }
        }
        let mut body = message.content;
        body.splice(0..0, prefix.into_bytes());
        let size = body.len() as u64;
        let blobs = Arc::clone(&self.server.blobs);
        let stored = match tokio::task::spawn_blocking(move || blobs.put(&body)).await {
            Ok(stored) => stored,
            Err(error) => Err(StoreError::Transient { doing: "storing a body".to_owned(), source: error.into() }),
        };
        let blob = stored.map_err(not_stored)?;
        let envelope = Envelope {
            id: id.clone(),
            trace_id,
            message_id: message_id.unwrap_or_default(),
            blob,
            size,
            sender: message.mail.sender,
            ret: message.mail.ret,
            envid: message.mail.envid,
            utf8: message.mail.utf8,
            eight_bit: message.mail.eight_bit,
            received_at: now,
            queued_at: Time::now(),
        };
        let new = NewMessage { envelope: envelope.clone(), recipients: message.recipients };
        self.server.queue.insert(new).await.map_err(not_stored)?;
        self.server.emitter.emit(Reception {
            queue_id: id.clone(),
            message_id: envelope.message_id,
            trace_id: envelope.trace_id,
            size_bytes: Some(size),
            verdict: ReceptionVerdict::Accepted,
            smtp_code: Some(250),
            enhanced_code: "2.0.0".to_owned(),
            response: ["queued as ", &id].concat(),
            ..self.reception(&About::Message)
        });
        Ok(id)
    }

    pub(super) fn refused(&self, reply: &Reply, about: &About, class: &str) {
        let verdict = if reply.code >= 500 { ReceptionVerdict::Rejected } else { ReceptionVerdict::Deferred };
        self.server.emitter.emit(Reception {
            verdict,
            smtp_code: Some(reply.code),
            enhanced_code: reply.enhanced.to_owned(),
            class: class.to_owned(),
            response: reply.text.clone().into_owned(),
            ..self.reception(about)
        });
    }

    /// What is known of the message that the client offers.
    fn reception(&self, about: &About) -> Reception {
        let (mail, recipients) = self.session.envelope().unzip();
        let recipients = recipients.unwrap_or_default();
        let (mut sender, mut recipient) =
            (mail.and_then(|mail| mail.sender.as_ref()), recipients.first().map(|first| &first.address));
        match about {
            About::Message => {}
            About::Sender(refused) => sender = refused.as_ref(),
            About::Recipient(refused) => recipient = Some(refused),
        }
        let tls = self.tls.clone().unwrap_or_default();
        Reception {
            ts: Time::now(),
            mta: "varde".to_owned(),
            client_ip: Some(self.peer.ip().into()),
            helo: self.session.helo().to_owned(),
            protocol: self.session.protocol().to_owned(),
            auth_user: self.session.user().map_or(String::new(), |account| account.address.clone()),
            sender_user: sender.map_or(String::new(), |sender| sender.local().to_owned()),
            sender_domain: sender.map_or(String::new(), |sender| sender.domain().to_owned()),
            rcpt_count: Some(u32::try_from(recipients.len()).unwrap_or(u32::MAX)),
            rcpt_domain: recipient.map_or(String::new(), |recipient| recipient.domain().to_owned()),
            tls_version: tls.version,
            tls_cipher: tls.cipher,
            ..Reception::default()
        }
    }
}

fn not_stored(error: StoreError) -> (Reply, &'static str) {
    tracing::error!(%error, "a message could not be stored and was put off");
    (if is_disk_full(&error) { reply::NO_ROOM } else { reply::STORE_BUSY }, "storage")
}

/// Whether the reason is that there is no room.
fn is_disk_full(error: &StoreError) -> bool {
    let StoreError::Transient { source, .. } = error else { return false };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(io, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        let sqlite = error
            .downcast_ref::<rusqlite::Error>()
            .or_else(|| error.downcast_ref::<Arc<rusqlite::Error>>().map(Arc::as_ref));
        if sqlite.and_then(rusqlite::Error::sqlite_error_code) == Some(rusqlite::ErrorCode::DiskFull) {
            return true;
        }
        cause = error.source();
    }
    false
}
