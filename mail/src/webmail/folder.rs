//! Lists of messages: a folder, a search; and making folders.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, Redirect};
use serde::Deserialize;

use super::App;
use super::login::User;
use super::page::{Failure, blocking};
use crate::store::{Flags, Mailbox, Message, Page};

/// Messages of one page.
const PAGE: u32 = 50;
/// Characters of a folder's name.
const NAME_CHARS: usize = 200;

#[derive(Deserialize)]
pub(super) struct Paging {
    #[serde(default)]
    page: u32,
}

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    folder: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: u32,
}

#[derive(Deserialize)]
pub(super) struct NewFolder {
    csrf: String,
    name: String,
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderPage {
    csrf: String,
    user: String,
    folders: Vec<String>,
    current: String,
    q: String,
    rows: Vec<Line>,
    total: u32,
    page: u32,
    more: bool,
}

/// A message as the list shows it.
struct Line {
    uid: u32,
    from: String,
    subject: String,
    date: String,
    iso: String,
    unseen: bool,
    flagged: bool,
}

impl From<Message> for Line {
    fn from(message: Message) -> Self {
        let date = message.date.to_utc();
        Self {
            uid: message.state.uid,
            from: or(message.from, "(nobody)"),
            subject: or(message.subject, "(no subject)"),
            date: date.format("%e %b %Y %H:%M").to_string(),
            iso: date.to_rfc3339(),
            unseen: !message.state.flags.has(Flags::SEEN),
            flagged: message.state.flags.has(Flags::FLAGGED),
        }
    }
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

/// The names of all folders, for the navigation.
pub(super) fn names(mailboxes: Vec<Mailbox>) -> Vec<String> {
    mailboxes.into_iter().map(|mailbox| mailbox.name).collect()
}

/// `GET /folders/{folder}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    user: User,
    Path(folder): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Html<String>, Failure> {
    list(&app, user, folder, String::new(), paging.page).await
}

/// `GET /search?folder=INBOX&q=…`
pub(super) async fn search(
    State(app): State<Arc<App>>,
    user: User,
    Query(search): Query<Search>,
) -> Result<Html<String>, Failure> {
    let folder = or(search.folder, "INBOX");
    let q = search.q.trim().chars().take(NAME_CHARS).collect();
    list(&app, user, folder, q, search.page).await
}

async fn list(app: &Arc<App>, user: User, folder: String, q: String, page: u32) -> Result<Html<String>, Failure> {
    let account = user.account.id;
    let sought = q.clone();
    let (mailboxes, mailbox, found) = blocking(app, move |app| {
        let mailbox = app.stores.mailboxes.open_mailbox(account, &folder)?;
        let wanted = Page { offset: page.saturating_mul(PAGE), limit: PAGE, containing: &sought };
        let found = app.stores.mailboxes.find(mailbox.id, wanted)?;
        Ok((app.stores.mailboxes.list(account)?, mailbox, found))
    })
    .await?;
    let shown = page.saturating_mul(PAGE).saturating_add(u32::try_from(found.messages.len()).unwrap_or(u32::MAX));
    let page = FolderPage {
        csrf: user.csrf,
        user: user.account.address,
        folders: names(mailboxes),
        current: mailbox.name,
        q,
        total: found.total,
        page,
        more: shown < found.total && !found.messages.is_empty(),
        rows: found.messages.into_iter().map(Line::from).collect(),
    };
    Ok(Html(page.render()?))
}

/// `POST /folders`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    user: User,
    Form(form): Form<NewFolder>,
) -> Result<Redirect, Failure> {
    user.verify(&form.csrf)?;
    let name = form.name.trim().trim_matches('/').to_owned();
    let plain = !name.chars().any(|c| c.is_control() || matches!(c, '%' | '*'));
    if name.is_empty() || name.chars().count() > NAME_CHARS || !plain || name.split('/').any(str::is_empty) {
        return Err(Failure::Refused("A folder cannot have this name."));
    }
    let made = blocking(&app, move |app| {
        let mailbox = app.stores.mailboxes.create(user.account.id, &name, None)?;
        app.stores.mailboxes.subscribe(user.account.id, &mailbox.name, true)?;
        Ok(mailbox)
    })
    .await?;
    Ok(Redirect::to(&path_of(&made.name)))
}

/// The address of a folder's page.
pub(super) fn path_of(folder: &str) -> String {
    let mut path = String::from("/folders/");
    for octet in folder.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(octet)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                path.push('%');
                path.push(char::from(HEX[usize::from(octet >> 4)]));
                path.push(char::from(HEX[usize::from(octet & 15)]));
            }
        }
    }
    path
}
