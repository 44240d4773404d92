//! `jmap`: the session can be had, and mail is found by it (RFC 8620, RFC 8621).

mod client;

use aggregator::event::ProbeOutcome;
use serde_json::json;

use super::access::{Login, Probe};
use super::browser::Browser;
use super::{Kind, Need, Steps, Stop};

pub(super) use client::{Email, Jmap};

pub(super) const KIND: Kind = Kind {
    name: "jmap",
    title: "JMAP: session, echo, mailboxes, query",
    patience: 4,
    needs: &[Need::Url, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    Browser::plan(probe, steps);
    steps.plan(&["session", "echo", "mailboxes", "query"]);
    let login = probe.login(steps).await?;
    let mut jmap = open(probe, &login, steps).await?;
    let place = probe.place();
    steps.run("echo", format!("Core/echo at {place}"), jmap.echo(&probe.cx.run_id)).await?;
    let mailboxes = steps.run("mailboxes", format!("Mailbox/get at {place}"), jmap.mailboxes()).await?;
    steps.note(format!("{} mailboxes", mailboxes.len()));
    let inbox = mailboxes.iter().find(|mailbox| mailbox.role.as_deref() == Some("inbox"));
    let filter = json!({ "inMailbox": inbox.map(|inbox| inbox.id.as_str()) });
    steps.run("query", format!("Email/query at {place}"), jmap.query(filter, 1)).await?;
    Ok(ProbeOutcome::Ok)
}

/// Connects and fetches the session: the steps of [`Browser::open`] and `session`.
pub(super) async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Jmap, Stop> {
    let browser = Browser::open(probe, steps).await?;
    let url = probe.check.url.as_deref().unwrap_or_default();
    steps.hide(&format!("{}:{}", login.user, login.password));
    let work = Jmap::open(browser, probe.check.http_auth, login, url);
    let jmap = steps.run("session", format!("fetching the session of {} at {url}", login.user), work).await?;
    steps.note(jmap.about.clone());
    Ok(jmap)
}
