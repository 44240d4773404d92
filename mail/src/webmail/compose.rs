//! Writing and sending: into the queue, the same durable way that submission takes.

use std::sync::Arc;

use aggregator::event::{Reception, ReceptionVerdict, Time};
use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, FromRequest, Multipart, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_parser::MessageParser;
use serde::Deserialize;

use super::App;
use super::login::User;
use super::message::{Shown, load, quote};
use super::page::{Failure, blocking};
use crate::http::Peer;
use crate::queue::id;
use crate::queue::store::{Envelope, NewMessage as Queued};
use crate::smtp::address::EmailAddress;
use crate::smtp::command::{Notify, Recipient, Ret};
use crate::store::{Account, BlobStore, Deliver, Directory, Flags, NewMessage, SpecialUse, StoreError};

/// Attachments of one message.
const ATTACHMENTS: usize = 50;

#[derive(Deserialize, Default)]
pub(super) struct Reply {
    /// The folder of the message that is answered.
    folder: Option<String>,
    /// Its UID.
    reply: Option<u32>,
}

/// What the form says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Draft {
    csrf: String,
    to: String,
    cc: String,
    bcc: String,
    subject: String,
    text: String,
    in_reply_to: String,
    #[serde(skip)]
    attachments: Vec<Attachment>,
}

struct Attachment {
    name: String,
    kind: String,
    octets: Vec<u8>,
}

#[derive(Template)]
#[template(path = "compose.html")]
struct ComposePage<'a> {
    csrf: &'a str,
    user: &'a str,
    draft: &'a Draft,
    failure: &'a str,
}

/// `GET /compose`, also to answer: `?folder=INBOX&reply=7`
pub(super) async fn form(
    State(app): State<Arc<App>>,
    user: User,
    Query(reply): Query<Reply>,
) -> Result<Html<String>, Failure> {
    let mut draft = Draft::default();
    if let (Some(folder), Some(uid)) = (reply.folder, reply.reply) {
        let shown = blocking(&app, move |app| Ok(Shown::of(&load(app, user.account.id, &folder, uid)?.2))).await?;
        let answer = shown.subject.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("re:"));
        draft.subject = [if answer { "" } else { "Re: " }, &shown.subject].concat();
        draft.text = quote(&shown, Time::now());
        (draft.to, draft.in_reply_to) = (shown.reply_to, shown.message_id);
    }
    let page = ComposePage { csrf: &user.csrf, user: &user.account.address, draft: &draft, failure: "" };
    Ok(Html(page.render()?))
}

/// `POST /compose`
pub(super) async fn send(
    State(app): State<Arc<App>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    user: User,
    request: Request,
) -> Result<Response, Failure> {
    let draft = read(request).await?;
    user.verify(&draft.csrf)?;
    let now = Time::now();
    let composed = match compose(&app, &user.account, &draft, now) {
        Ok(mail) => room(&app, &mail).await.map(|()| mail),
        Err(failure) => Err(failure),
    };
    match composed {
        Ok(mail) => {
            queue(&app, &user.account, mail, now, peer).await?;
            Ok(Redirect::to("/folders/Sent").into_response())
        }
        Err(Failure::Refused(failure)) => {
            let page = ComposePage { csrf: &user.csrf, user: &user.account.address, draft: &draft, failure };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Html(page.render()?)).into_response())
        }
        Err(failure) => Err(failure),
    }
}

/// Reads the form, with attachments or without.
async fn read(request: Request) -> Result<Draft, Failure> {
    const UNREADABLE: Failure = Failure::Refused("The form cannot be read, or it is larger than is taken.");
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        let Form(draft) = Form::<Draft>::from_request(request, &()).await.map_err(|_| UNREADABLE)?;
        return Ok(draft);
    }
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| UNREADABLE)?;
    let mut draft = Draft::default();
    while let Some(part) = parts.next_field().await.map_err(|_| UNREADABLE)? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "attachment" {
            let file = part.file_name().unwrap_or_default().to_owned();
            let kind = part.content_type().unwrap_or("application/octet-stream").to_owned();
            let octets = part.bytes().await.map_err(|_| UNREADABLE)?.to_vec();
            // A browser sends an empty part when no file was chosen.
            if !file.is_empty() && draft.attachments.len() < ATTACHMENTS {
                draft.attachments.push(Attachment { name: file, kind, octets });
            }
            continue;
        }
        let text = part.text().await.map_err(|_| UNREADABLE)?;
        match name.as_str() {
            "csrf" => draft.csrf = text,
            "to" => draft.to = text,
            "cc" => draft.cc = text,
            "bcc" => draft.bcc = text,
            "subject" => draft.subject = text,
            "text" => draft.text = text,
            "in_reply_to" => draft.in_reply_to = text,
            _ => {}
        }
    }
    Ok(draft)
}

/// A message that is ready to go.
struct Mail {
    id: String,
    trace_id: String,
    message_id: String,
    recipients: Vec<EmailAddress>,
    octets: Vec<u8>,
}

fn compose(app: &App, account: &Account, draft: &Draft, now: Time) -> Result<Mail, Failure> {
    let (to, cc, bcc) = (people(&draft.to)?, people(&draft.cc)?, people(&draft.bcc)?);
    let mut recipients: Vec<EmailAddress> = Vec::new();
    for (_, address) in to.iter().chain(&cc).chain(&bcc) {
        if !recipients.contains(address) {
            recipients.push(address.clone());
        }
    }
    if recipients.is_empty() {
        return Err(Failure::Refused("Say who it is for."));
    }
    if recipients.len() > app.config.limits.max_recipients {
        return Err(Failure::Refused("It is for more recipients than are taken."));
    }
    let random = |error: std::io::Error| Failure::Internal(error.to_string());
    let (id, trace_id) = (id::queue_id(now).map_err(random)?, id::trace_id().map_err(random)?);
    let message_id = [&trace_id, "@", app.config.hostname.as_str()].concat();
    let mut builder = MessageBuilder::new()
        .message_id(message_id.clone())
        .date(now.seconds())
        .from(account.address.as_str())
        .subject(one_line(&draft.subject))
        .text_body(draft.text.replace("\r\n", "\n"));
    if !to.is_empty() {
        builder = builder.to(header_of(&to));
    }
    if !cc.is_empty() {
        builder = builder.cc(header_of(&cc));
    }
    let answered = one_line(&draft.in_reply_to);
    if !answered.is_empty() {
        builder = builder.in_reply_to(answered.clone()).references(answered);
    }
    for Attachment { name, kind, octets } in &draft.attachments {
        builder = builder.attachment(one_line(kind), one_line(name), octets.as_slice());
    }
    let written = builder.write_to_vec().map_err(|error| Failure::Internal(error.to_string()))?;
    let head = ["Received: by ", &app.config.hostname, " (Varde webmail) with HTTP id ", &id, ";\r\n\t"];
    let mut octets = [&head.concat(), &now.to_utc().to_rfc2822(), "\r\n"].concat().into_bytes();
    octets.extend(written);
    if octets.len() as u64 > app.config.max_message_bytes {
        return Err(Failure::Refused("The message is larger than is taken."));
    }
    Ok(Mail { id, trace_id, message_id, recipients, octets })
}

/// Refuses a message for a mailbox that is full while its writer can still do something about it, as submission does.
async fn room(app: &Arc<App>, mail: &Mail) -> Result<(), Failure> {
    let (recipients, octets) = (mail.recipients.clone(), mail.octets.len() as u64);
    let all = blocking(app, move |app| {
        for address in recipients {
            let Some(account) = app.stores.directory.resolve(&address.to_string())? else { continue };
            if !app.stores.mailboxes.has_room(account.id, octets)? {
                return Ok(false);
            }
        }
        Ok(true)
    });
    match all.await? {
        true => Ok(()),
        false => Err(Failure::Refused("The mailbox of one who it is for is full. Nothing was sent.")),
    }
}

/// Queues the message, then keeps a copy in Sent: the message is never only in Sent.
async fn queue(
    app: &Arc<App>,
    account: &Account,
    mail: Mail,
    now: Time,
    peer: std::net::SocketAddr,
) -> Result<(), Failure> {
    let Mail { id, trace_id, message_id, recipients, octets } = mail;
    let size = octets.len() as u64;
    let sender: Option<EmailAddress> = account.address.parse().ok();
    let first = recipients.first().map_or(String::new(), |first| first.domain().to_owned());
    let blob = blocking(app, move |app| app.stores.blobs.put(&octets)).await?;
    let envelope = Envelope {
        id: id.clone(),
        trace_id: trace_id.clone(),
        message_id: message_id.clone(),
        blob,
        size,
        utf8: recipients.iter().any(|recipient| !recipient.is_ascii()),
        sender: sender.clone(),
        ret: Ret::default(),
        envid: String::new(),
        eight_bit: false,
        received_at: now,
        queued_at: Time::now(),
    };
    let count = recipients.len();
    let recipients =
        recipients.into_iter().map(|address| Recipient { address, notify: Notify::default(), orcpt: String::new() });
    app.queue.insert(Queued { envelope, recipients: recipients.collect() }).await?;
    app.emitter.emit(Reception {
        ts: now,
        mta: "varde".to_owned(),
        queue_id: id,
        message_id,
        trace_id,
        client_ip: Some(peer.ip().into()),
        protocol: "HTTP".to_owned(),
        auth_user: account.address.clone(),
        sender_user: sender.as_ref().map_or(String::new(), |sender| sender.local().to_owned()),
        sender_domain: sender.as_ref().map_or(String::new(), |sender| sender.domain().to_owned()),
        rcpt_count: Some(u32::try_from(count).unwrap_or(u32::MAX)),
        rcpt_domain: first,
        size_bytes: Some(size),
        verdict: ReceptionVerdict::Accepted,
        ..Reception::default()
    });
    let account = account.id;
    let kept = blocking(app, move |app| {
        let mailboxes = &app.stores.mailboxes;
        let sent = mailboxes.list(account)?.into_iter().find(|mailbox| mailbox.special == Some(SpecialUse::Sent));
        let sent = sent.ok_or_else(|| StoreError::NotFound("mailbox for what was sent".to_owned()))?;
        let copy = NewMessage { blob, prefix: b"", flags: Flags::SEEN, keywords: &[], at: now };
        mailboxes.append(account, &sent.name, &[copy]).map(|_| ())
    });
    if let Err(failure) = kept.await {
        // It is on its way: telling the user that it failed would make him send it twice.
        tracing::warn!(?failure, "a sent message has no copy in Sent");
    }
    Ok(())
}

/// The names and addresses of a field of the form.
fn people(field: &str) -> Result<Vec<(String, EmailAddress)>, Failure> {
    const WRONG: Failure = Failure::Refused("One of the addresses is not an address.");
    if field.trim().is_empty() {
        return Ok(Vec::new());
    }
    let text = ["To: ", &one_line(field), "\r\n\r\n"].concat();
    let parsed = MessageParser::default().parse_headers(text.as_bytes()).ok_or(WRONG)?;
    let people = parsed.to().ok_or(WRONG)?.iter().map(|person| {
        let address = person.address().unwrap_or_default().parse().map_err(|_| WRONG)?;
        Ok((person.name().unwrap_or_default().to_owned(), address))
    });
    people.collect()
}

fn header_of(people: &[(String, EmailAddress)]) -> Address<'static> {
    let people = people.iter().map(|(name, address)| {
        let name = Some(name.clone()).filter(|name| !name.is_empty());
        Address::new_address(name, address.to_string())
    });
    Address::new_list(people.collect())
}

/// No line of a form becomes a second line of a header.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
