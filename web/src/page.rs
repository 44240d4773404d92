//! The pages: each file has a handler and what its template shows.

pub mod api;
pub mod asset;
pub mod budget;
pub mod error;
pub mod health;
pub mod incident;
pub mod login;
pub mod now;
pub mod posture;
pub mod public;
pub mod service;
pub mod watchers;

use std::sync::Arc;

use aggregator::event::VerdictState;
use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use chrono_tz::Tz;
use probes::watcher::posture::Audited;
use tokio::sync::{Notify, watch};

use crate::auth::Auth;
use crate::auth::operators::Role;
use crate::auth::session::Session;
use crate::show::{Span, When};
use crate::snapshot::{Heard, Snapshot};
use crate::source::mail::Mail;
use crate::source::watcher::WatcherClient;

/// What is the same on every page.
#[derive(Debug, Clone)]
pub struct Site {
    /// The site's name.
    pub name: String,
    /// The zone of every instant.
    pub zone: Tz,
    /// Where people read their mail.
    pub webmail_url: Option<String>,
}

impl Site {
    /// The style sheet's path.
    pub fn css(&self) -> &'static str {
        &asset::STYLE.path
    }
    /// The beacon's path.
    pub fn mark(&self) -> &'static str {
        &asset::MARK.path
    }
}

/// What the operator's handlers share.
pub struct OperatorSite {
    /// What is the same on every page.
    pub site: Site,
    /// Who may come in.
    pub auth: Auth,
    /// The newest snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The newest figures of ClickHouse.
    pub mail: watch::Receiver<Mail>,
    /// The newest audit of each domain.
    pub posture: watch::Receiver<Arc<Vec<Audited>>>,
    /// Every watcher, for acknowledgements.
    pub watchers: Vec<WatcherClient>,
    /// What proves to a watcher that an acknowledgement comes from here.
    pub operator_key: String,
    /// Wakes the task that asks the watchers.
    pub nudge: Arc<Notify>,
}

impl OperatorSite {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }
}

/// What the public handlers share.
pub struct PublicSite {
    /// The newest snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// A template as an answer.
pub struct Page<T>(pub T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => error::internal("rendering a page", &error),
        }
    }
}

/// Who is logged in, and the token of the forms on the page.
pub struct Visitor {
    /// The operator's name.
    pub name: String,
    /// Goes into every form.
    pub token: String,
    /// Whether the operator may acknowledge.
    pub may_act: bool,
}

impl Visitor {
    /// Of a session.
    pub fn new(site: &OperatorSite, session: &Session) -> Self {
        Self {
            name: session.name.clone(),
            token: site.auth.sealer.form_token(&session.id),
            may_act: session.role == Role::Admin,
        }
    }
}

/// Of when a page speaks.
pub enum AsOf {
    /// Nothing was ever heard.
    Never,
    /// Some watcher vouches for it.
    Current(When),
    /// Nobody does any more: when one last did, and how long ago that was.
    Last(When, Span),
}

impl AsOf {
    /// Of a snapshot.
    pub fn new(snapshot: &Snapshot, zone: Tz) -> Self {
        match snapshot.as_of {
            None => AsOf::Never,
            Some(at) if snapshot.is_current() => AsOf::Current(When::new(at, zone)),
            Some(at) => AsOf::Last(When::new(at, zone), Span::between(at, snapshot.made_at)),
        }
    }
}

/// A source that does not answer, as the operator reads it.
pub struct Missing {
    /// What it is.
    pub name: String,
    /// When it was last heard.
    pub since: Option<When>,
    /// Why it is missing; empty on the public page.
    pub why: String,
}

/// The watchers that do not answer.
pub fn missing(snapshot: &Snapshot, zone: Tz) -> Vec<Missing> {
    snapshot
        .silent()
        .map(|watcher| Missing {
            name: watcher.title.clone(),
            since: watcher.heard.as_of().map(|at| When::new(at, zone)),
            why: match &watcher.heard {
                Heard::Silent { failure, .. } | Heard::Never { failure } => failure.clone(),
                Heard::Current { .. } => String::new(),
            },
        })
        .collect()
}

/// A state as a mark and a word. The mark has a shape of its own, so that nothing depends on colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The class in the style sheet and the name of the shape.
    pub class: &'static str,
    /// What a person reads.
    pub word: &'static str,
}

impl Mark {
    /// Of a service's state.
    pub fn of(state: VerdictState) -> Self {
        let word = match state {
            VerdictState::Up => "Up",
            VerdictState::Down => "Down",
            VerdictState::Degraded => "Slow",
            VerdictState::Regional => "Up, not everywhere",
            VerdictState::Unknown => "Unknown",
            VerdictState::Maintenance => "Maintenance",
        };
        Self { class: state.as_str(), word }
    }
}
