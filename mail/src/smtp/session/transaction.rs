//! One message from MAIL to the end of its content.

use super::{About, Action, CONFUSED, EHLO_FIRST, EndReason, Message, Pending, RecipientVerdict, Role, Session, State};
use crate::smtp::body::{Body, BodyFault};
use crate::smtp::command::{Mail, Recipient};
use crate::smtp::reply::{self, Reply};

const NESTED_MAIL: Reply = Reply::new(503, "5.5.1", "a transaction is open already, say RSET first");
const NO_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "no valid recipients");
const DATA_AFTER_BDAT: Reply = Reply::new(503, "5.5.1", "DATA and BDAT cannot be mixed");
const AUTH_REQUIRED: Reply = Reply::new(530, "5.7.0", "authentication required");
const TLS_REQUIRED: Reply = Reply::new(530, "5.7.0", "say STARTTLS first");
const UNKNOWN_USER: Reply = Reply::new(550, "5.1.1", "no such user here");
/// RFC 5321 section 4.2.3 and RFC 3463 section 3.3: it may be taken later, when its owner has made room.
const MAILBOX_FULL: Reply = Reply::new(452, "4.2.2", "the mailbox is full, try again later");
const RELAY_DENIED: Reply = Reply::new(550, "5.7.1", "relaying denied");
const SENDER_DENIED: Reply = Reply::new(553, "5.7.1", "you may not send with this address");
const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3", "too many recipients");
const NEEDS_UTF8: Reply = Reply::new(553, "5.6.7", "such an address needs SMTPUTF8 in MAIL");
const MAIL_FIRST: Reply = Reply::new(503, "5.5.1", "say MAIL first");

/// A message that is being offered.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) mail: Mail,
    pub(super) recipients: Vec<Recipient>,
    /// The chunks so far.
    pub(super) chunks: Option<Body>,
}

impl Session {
    pub(super) fn mail(&mut self, mail: Mail) -> Action {
        let about = About::Sender(mail.sender.clone());
        if self.helo.is_none() {
            return self.refuse(EHLO_FIRST, about, "protocol");
        }
        if self.transaction.is_some() {
            return self.refuse(NESTED_MAIL, about, "protocol");
        }
        if self.settings.role == Role::Submission && self.user.is_none() {
            return self.refuse(if self.tls { AUTH_REQUIRED } else { TLS_REQUIRED }, about, "auth_required");
        }
        if mail.size.is_some_and(|size| size > self.settings.max_message_bytes as u64) {
            return self.refuse(reply::TOO_LARGE, about, "size");
        }
        match (&mail.sender, self.settings.role) {
            (Some(sender), Role::Submission) => {
                let sender = sender.clone();
                self.state = State::Waiting(Pending::Sender(mail));
                Action::CheckSender(sender)
            }
            _ => self.begin(mail),
        }
    }

    pub(super) fn sender_checked(&mut self, mail: Mail, verdict: Option<bool>) -> Action {
        let about = About::Sender(mail.sender.clone());
        match verdict {
            Some(true) => self.begin(mail),
            Some(false) => self.refuse(SENDER_DENIED, about, "sender_denied"),
            None => self.refuse(reply::DIRECTORY_BUSY, about, "directory"),
        }
    }

    fn begin(&mut self, mail: Mail) -> Action {
        self.transaction = Some(Transaction { mail, recipients: Vec::new(), chunks: None });
        Action::Reply(Reply::new(250, "2.1.0", "sender OK"))
    }

    pub(super) fn rcpt(&mut self, recipient: Recipient) -> Action {
        let address = recipient.address.clone();
        let Some(open) = &self.transaction else {
            return self.refuse(MAIL_FIRST, About::Recipient(address), "protocol");
        };
        if open.chunks.is_some() {
            return self.refuse(DATA_AFTER_BDAT, About::Recipient(address), "protocol");
        }
        if !open.mail.utf8 && !address.is_ascii() {
            return self.refuse(NEEDS_UTF8, About::Recipient(address), "protocol");
        }
        if open.recipients.len() >= self.settings.max_recipients {
            return self.refuse(TOO_MANY_RECIPIENTS, About::Recipient(address), "too_many_recipients");
        }
        let octets = open.mail.size.unwrap_or(0);
        self.state = State::Waiting(Pending::Recipient(recipient));
        Action::CheckRecipient { address, octets }
    }

    pub(super) fn recipient_checked(&mut self, recipient: Recipient, verdict: RecipientVerdict) -> Action {
        let address = recipient.address.clone();
        match (verdict, self.settings.role) {
            (RecipientVerdict::Accept, _) | (RecipientVerdict::NotLocal, Role::Submission) => {
                if let Some(open) = &mut self.transaction {
                    open.recipients.push(recipient);
                }
                Action::Reply(Reply::new(250, "2.1.5", "recipient OK"))
            }
            (RecipientVerdict::UnknownUser, _) => self.refuse(UNKNOWN_USER, About::Recipient(address), "user_unknown"),
            (RecipientVerdict::NotLocal, Role::Mx) => {
                self.refuse(RELAY_DENIED, About::Recipient(address), "relay_denied")
            }
            (RecipientVerdict::Full, _) => self.refuse(MAILBOX_FULL, About::Recipient(address), "mailbox_full"),
            (RecipientVerdict::Unavailable, _) => {
                self.refuse(reply::DIRECTORY_BUSY, About::Recipient(address), "directory")
            }
        }
    }

    pub(super) fn data(&mut self) -> Action {
        match &self.transaction {
            None => self.refuse(MAIL_FIRST, About::Message, "protocol"),
            Some(open) if open.chunks.is_some() => self.refuse(DATA_AFTER_BDAT, About::Message, "protocol"),
            Some(open) if open.recipients.is_empty() => self.refuse(NO_RECIPIENTS, About::Message, "protocol"),
            Some(_) => {
                self.state = State::Data(Body::new(self.settings.max_message_bytes));
                Action::Reply(Reply::new(354, "", "end with CRLF.CRLF"))
            }
        }
    }

    /// The octets that follow are taken, or thrown away when there is no transaction that they belong to.
    pub(super) fn bdat(&mut self, left: u64, last: bool) {
        let limit = self.settings.max_message_bytes;
        let open = self.transaction.as_mut().filter(|open| !open.recipients.is_empty());
        let body = open.map(|open| open.chunks.take().unwrap_or_else(|| Body::new(limit)));
        self.state = State::Chunk { body, left, last };
    }

    pub(super) fn chunk_complete(&mut self, body: Option<Body>, last: bool) -> Action {
        let Some(body) = body else {
            let reply = if self.transaction.is_some() { NO_RECIPIENTS } else { MAIL_FIRST };
            return self.refuse(reply, About::Message, "protocol");
        };
        if last || body.fault().is_some() {
            return self.complete(body);
        }
        let held = body.held();
        if let Some(open) = &mut self.transaction {
            open.chunks = Some(body);
        }
        Action::Reply(Reply::with(250, "2.0.0", format!("{held} octets so far")))
    }

    /// The content has come to its end.
    pub(super) fn complete(&mut self, body: Body) -> Action {
        let fault = match (body.finish(), self.transaction.take()) {
            (Ok(content), Some(open)) => {
                let recipients = open.recipients.clone();
                let message = Message { mail: open.mail.clone(), recipients, content };
                self.transaction = Some(Transaction { chunks: None, ..open });
                self.state = State::Waiting(Pending::Stored);
                return Action::Store(Box::new(message));
            }
            (Ok(_), None) => return self.close(CONFUSED, EndReason::ProtocolError),
            (Err(fault), open) => {
                self.transaction = open;
                self.spent = true;
                fault
            }
        };
        let (reply, class) = match fault {
            BodyFault::TooLarge => (reply::TOO_LARGE, "size"),
            BodyFault::BareLineEnd => (reply::BARE_LINE_END_IN_CONTENT, "bare_line_end"),
            BodyFault::NoMemory => (reply::NO_ROOM, "storage"),
        };
        self.refuse(reply, About::Message, class)
    }
}
