//! E-mail through a relay off the watched system. The Message-ID follows from the page, so that a mailbox that gets
//! it twice shows it once.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use aggregator::event::Time;
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{Channel, DEADLINE, Kind, NotSent, Receipt};
use crate::config::{Config, Engineer, Fault};
use crate::page::Page;

pub(super) const KIND: Kind = Kind { name: "email", open };

/// Characters of a subject; what is longer is cut, the text has it all.
const MAX_SUBJECT: usize = 200;

struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Mailbox,
}

fn open(config: &Config, engineer: &Engineer, faults: &mut Vec<Fault>) -> Vec<Arc<dyn Channel>> {
    let Some(email) = &engineer.email else { return Vec::new() };
    let (from, to) = match (config.from.parse::<Address>(), email.parse::<Address>()) {
        (Ok(from), Ok(to)) => (from, to),
        // A sender that is none is told once, with its own key.
        (Err(_), Ok(_)) => return Vec::new(),
        (_, Err(_)) => {
            faults.push(("email".to_owned(), "not an e-mail address".to_owned()));
            return Vec::new();
        }
    };
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.relay_host)
        .port(config.relay_port)
        .timeout(Some(DEADLINE))
        .build();
    vec![Arc::new(Email { transport, from: Mailbox::new(Some("Varde".to_owned()), from), to: Mailbox::new(None, to) })]
}

impl Email {
    fn message(&self, page: &Page) -> Result<Message, String> {
        let one_line: String =
            page.subject().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUBJECT).collect();
        let millis = u64::try_from(page.document.timestamp.0 / 1_000).unwrap_or(0);
        Message::builder()
            .from(self.from.clone())
            .to(self.to.clone())
            .date(UNIX_EPOCH + std::time::Duration::from_millis(millis))
            .message_id(Some(format!("<{}@{}>", page.page_id, self.from.email.domain())))
            .subject(one_line)
            .header(ContentType::TEXT_PLAIN)
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(page.document.data.text.clone())
            .map_err(|error| error.to_string())
    }
}

impl Channel for Email {
    fn send<'a>(&'a self, page: &'a Page, _now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        Box::pin(async move {
            let message = self.message(page).map_err(NotSent::ForGood)?;
            match self.transport.send(message).await {
                Ok(reply) => Ok(Receipt(format!("SMTP {} {}", reply.code(), reply.first_line().unwrap_or_default()))),
                Err(error) if error.is_permanent() => Err(NotSent::ForGood(format!("the relay refused: {error}"))),
                Err(error) => Err(NotSent::ForNow(format!("the relay did not take it: {error}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Book;
    use crate::page::Notice;

    #[test]
    fn a_title_cannot_add_a_header_and_the_message_id_never_changes() {
        let now = Time::from_seconds(1_000);
        let mut incident = Book::told_incident("Varde", "Test", "test", "Nothing is wrong.", &[], now);
        incident.title = "IMAP\r\nBcc: eve@example.net".to_owned();
        incident.diagnosis.cause = "blå".to_owned();
        let page = Page::write(&incident, Notice::Opened, ("Ada", "email"), now, "http://operator/", |_| String::new());
        let mailbox = |address: &str| Mailbox::new(None, address.parse().unwrap());
        let email = Email {
            transport: AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").build(),
            from: mailbox("varde@oncall.test"),
            to: mailbox("ada@oncall.test"),
        };
        let write = || String::from_utf8(email.message(&page).unwrap().formatted()).unwrap();
        let (head, _) = write().split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        let id = format!("Message-ID: <{}@oncall.test>", page.page_id);
        assert!(head.lines().any(|line| line == id), "{head}");
        assert_eq!(write(), write());
    }
}
