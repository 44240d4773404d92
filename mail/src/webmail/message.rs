//! One message: reading it, its attachments, deleting and moving it.

use std::sync::Arc;

use aggregator::event::Time;
use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use mail_parser::{MessageParser, MimeHeaders};
use serde::Deserialize;

use super::App;
use super::folder::{names, path_of};
use super::html::{Body, clean};
use super::login::User;
use super::page::{Failure, blocking};
use crate::store::{AccountId, FlagChange, Flags, MailboxId, SpecialUse, StoreError, StoreFlags};

/// What the frame of an HTML message may do: nothing, but show itself and images that came with it as data.
const FRAME_POLICY: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                            frame-ancestors 'self'";

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    csrf: String,
}

#[derive(Deserialize)]
pub(super) struct MoveForm {
    csrf: String,
    /// The name of the target folder.
    folder: String,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    csrf: String,
    user: String,
    folders: Vec<String>,
    current: String,
    uid: u32,
    subject: String,
    fields: Vec<(&'static str, String)>,
    text: String,
    html: Body,
    attachments: Vec<(usize, String, usize)>,
}

#[derive(Template)]
#[template(path = "body.html")]
struct BodyPage {
    body: String,
}

/// A message as a page shows it.
pub(super) struct Shown {
    pub(super) subject: String,
    /// Header fields with their values.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) reply_to: String,
    pub(super) message_id: String,
    pub(super) text: String,
    html: Body,
    attachments: Vec<(String, String, Vec<u8>)>,
}

impl Shown {
    pub(super) fn of(octets: &[u8]) -> Self {
        let Some(message) = MessageParser::default().parse(octets) else {
            return Self {
                subject: String::new(),
                fields: Vec::new(),
                reply_to: String::new(),
                message_id: String::new(),
                text: String::from_utf8_lossy(octets).into_owned(),
                html: Body::None,
                attachments: Vec::new(),
            };
        };
        let mut fields =
            vec![("From", people(message.from())), ("To", people(message.to())), ("Cc", people(message.cc()))];
        fields.push(("Date", message.date().map(|date| date.to_rfc822()).unwrap_or_default()));
        fields.retain(|(_, value)| !value.is_empty());
        let attachments = message.attachments().map(|part| {
            let kind =
                part.content_type().map(|kind| [kind.ctype(), "/", kind.subtype().unwrap_or("octet-stream")].concat());
            let name = part.attachment_name().unwrap_or("attachment").to_owned();
            (name, kind.unwrap_or_else(|| "application/octet-stream".to_owned()), part.contents().to_vec())
        });
        Self {
            subject: message.subject().unwrap_or("(no subject)").to_owned(),
            reply_to: people(message.reply_to().or(message.from())),
            message_id: message.message_id().unwrap_or_default().to_owned(),
            text: message.body_text(0).unwrap_or_default().into_owned(),
            html: Body::of(&message),
            attachments: attachments.collect(),
            fields,
        }
    }
}

fn people(address: Option<&mail_parser::Address<'_>>) -> String {
    let Some(address) = address else { return String::new() };
    let shown = address.iter().map(|person| match (person.name(), person.address()) {
        (Some(name), Some(address)) => [name, " <", address, ">"].concat(),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The octets of a message, and its mailbox.
pub(super) fn load(
    app: &App,
    account: AccountId,
    folder: &str,
    uid: u32,
) -> Result<(MailboxId, String, Vec<u8>), StoreError> {
    let mailbox = app.stores.mailboxes.open_mailbox(account, folder)?;
    let octets = app.stores.mailboxes.octets(mailbox.id, uid)?;
    Ok((mailbox.id, mailbox.name, octets))
}

/// `GET /folders/{folder}/{uid}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    user: User,
    Path((folder, uid)): Path<(String, u32)>,
) -> Result<Html<String>, Failure> {
    let account = user.account.id;
    let (mailboxes, current, shown) = blocking(&app, move |app| {
        let (mailbox, name, octets) = load(app, account, &folder, uid)?;
        let seen = StoreFlags { change: FlagChange::Add, flags: Flags::SEEN, keywords: &[], unchanged_since: None };
        app.stores.mailboxes.store(mailbox, &[uid], seen)?;
        Ok((app.stores.mailboxes.list(account)?, name, Shown::of(&octets)))
    })
    .await?;
    let attachments = shown.attachments.iter().enumerate();
    let page = MessagePage {
        csrf: user.csrf,
        user: user.account.address,
        folders: names(mailboxes),
        current,
        uid,
        subject: shown.subject,
        fields: shown.fields,
        html: shown.html,
        attachments: attachments.map(|(number, (name, _, octets))| (number, name.clone(), octets.len())).collect(),
        text: shown.text,
    };
    Ok(Html(page.render()?))
}

/// `GET /folders/{folder}/{uid}/html`: what the frame shows.
pub(super) async fn html(
    State(app): State<Arc<App>>,
    user: User,
    Path((folder, uid)): Path<(String, u32)>,
) -> Result<Response, Failure> {
    let cleaning = Arc::clone(&app.cleaning).acquire_owned().await;
    let cleaning = cleaning.map_err(|error| Failure::Internal(error.to_string()))?;
    let body = blocking(&app, move |app| {
        let shown = Shown::of(&load(app, user.account.id, &folder, uid)?.2);
        let body = match shown.html {
            Body::Html(html) => clean(&html),
            Body::None | Body::TooHeavy => String::new(),
        };
        // Held until the work is done, also when the browser has gone away meanwhile.
        drop(cleaning);
        Ok(body)
    })
    .await?;
    let page = BodyPage { body }.render()?;
    Ok(([(header::CONTENT_SECURITY_POLICY, FRAME_POLICY)], Html(page)).into_response())
}

/// `GET /folders/{folder}/{uid}/attachment/{number}`: always to be saved, never shown in place.
pub(super) async fn attachment(
    State(app): State<Arc<App>>,
    user: User,
    Path((folder, uid, number)): Path<(String, u32, usize)>,
) -> Result<Response, Failure> {
    let mut shown = blocking(&app, move |app| Ok(Shown::of(&load(app, user.account.id, &folder, uid)?.2))).await?;
    if number >= shown.attachments.len() {
        return Err(StoreError::NotFound("such attachment".to_owned()).into());
    }
    let (name, _, octets) = shown.attachments.swap_remove(number);
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).take(120).collect();
    let disposition = ["attachment; filename=\"", &plain, "\""].concat();
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, octets).into_response())
}

/// `POST /folders/{folder}/{uid}/delete`: to the trash; from there, for good.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    user: User,
    Path((folder, uid)): Path<(String, u32)>,
    Form(form): Form<DeleteForm>,
) -> Result<Redirect, Failure> {
    user.verify(&form.csrf)?;
    let account = user.account.id;
    let name = blocking(&app, move |app| {
        let mailboxes = &app.stores.mailboxes;
        let mailbox = mailboxes.open_mailbox(account, &folder)?;
        let trash = mailboxes.list(account)?.into_iter().find(|known| known.special == Some(SpecialUse::Trash));
        match trash.filter(|trash| trash.id != mailbox.id) {
            Some(trash) => mailboxes.relocate(account, mailbox.id, &[uid], &trash.name).map(|_| ())?,
            None => mailboxes.remove(mailbox.id, &[uid])?,
        }
        Ok(mailbox.name)
    })
    .await?;
    Ok(Redirect::to(&path_of(&name)))
}

/// `POST /folders/{folder}/{uid}/move`
pub(super) async fn relocate(
    State(app): State<Arc<App>>,
    user: User,
    Path((folder, uid)): Path<(String, u32)>,
    Form(form): Form<MoveForm>,
) -> Result<Redirect, Failure> {
    user.verify(&form.csrf)?;
    let account = user.account.id;
    let name = blocking(&app, move |app| {
        let mailbox = app.stores.mailboxes.open_mailbox(account, &folder)?;
        app.stores.mailboxes.relocate(account, mailbox.id, &[uid], &form.folder)?;
        Ok(mailbox.name)
    })
    .await?;
    Ok(Redirect::to(&path_of(&name)))
}

/// The quoted text of a reply.
pub(super) fn quote(shown: &Shown, at: Time) -> String {
    let who = shown.fields.first().map(|(_, value)| value.as_str()).unwrap_or_default();
    let mut text = ["\n\n", who, " wrote (seen ", &at.to_utc().format("%Y-%m-%d").to_string(), "):\n"].concat();
    for line in shown.text.lines() {
        text.push_str("> ");
        text.push_str(line);
        text.push('\n');
    }
    text
}
