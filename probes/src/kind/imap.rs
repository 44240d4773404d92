//! `imap`: the account logs in, opens its INBOX, searches it. When the check may write, it also adds a message, is told
//! of it in IDLE, finds, fetches and removes it, and looks at the quota.

use aggregator::event::{ProbeOutcome, Time};

use super::access::{Login, Probe, remark};
use super::round_trip::Letter;
use super::steps::grouped;
use super::{Kind, Need, Steps, Stop};
use crate::config::Tls;
use crate::conversation::imap::{Command, Imap};
use crate::conversation::{Class, Fault};

pub(super) const KIND: Kind = Kind {
    name: "imap",
    title: "IMAP: connect, TLS, greeting, login, SELECT, SEARCH; optionally IDLE, APPEND, FETCH, quota",
    patience: 6,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    probe.plan_opening(steps);
    if probe.check.tls == Tls::Starttls {
        steps.plan(&["tls"]);
    }
    steps.plan(&["login", "select"]);
    if probe.check.write {
        steps.plan(&["append", "idle", "fetch", "delete", "quota"]);
    }
    steps.plan(&["search", "logout"]);
    let login = probe.login(steps).await?;
    let mut imap = open(probe, &login, steps).await?;
    let place = probe.place();
    if probe.check.write {
        write(probe, &login, &mut imap, steps).await?;
    }
    let search = imap.run(Command::new("SEARCH UNSEEN"));
    steps.run("search", format!("SEARCH at {place}"), search).await?;
    steps.run("logout", format!("LOGOUT from {place}"), imap.logout()).await?;
    Ok(ProbeOutcome::Ok)
}

/// Adds a message by a second session, so that the first can be told of it; then fetches and removes it.
async fn write(probe: &Probe<'_>, login: &Login, imap: &mut Imap, steps: &mut Steps) -> Result<(), Stop> {
    let place = probe.place();
    let letter = Letter::by_append(&probe.cx.run_id);
    let octets = letter.octets(&login.user, &login.user, Time::now());
    let mut second = grouped(steps, "append", async |group| {
        let mut second = open(probe, login, group).await?;
        let work = second.append("INBOX", &octets);
        group.run("append", format!("APPEND to INBOX at {place}"), work).await?;
        Ok(second)
    })
    .await?;
    // A second message, while the first session is in IDLE: what it is told of then comes from nobody but IDLE.
    let news = Letter::by_idle(&probe.cx.run_id).octets(&login.user, &login.user, Time::now());
    let work = async { tokio::try_join!(imap.idle(), second.append("INBOX", &news)).map(|(heard, ())| heard) };
    if steps.run("idle", format!("IDLE at {place}"), work).await?.is_none() {
        steps.note("the server has no IDLE");
    }
    let work = async {
        let found = imap.search("SUBJECT", &letter.subject).await?;
        let messages = imap.fetch(&found, "(UID BODY.PEEK[])").await?;
        match messages.first() {
            Some(message) => letter.compare(&message.part)?,
            None => return Err(Fault::new(Class::Mismatch, "the message that APPEND added cannot be found")),
        }
        imap.search("SUBJECT", &Letter::of_run(&probe.cx.run_id)).await
    };
    let found = steps.run("fetch", format!("fetching the added message at {place}"), work).await?;
    steps.run("delete", format!("removing the added messages at {place}"), imap.delete(&found)).await?;
    let work = async {
        match imap.quota("INBOX").await? {
            Some((used, limit)) if used >= limit => {
                Err(Fault::new(Class::Quota, format!("the mailbox is full: {used} of {limit} KiB")))
            }
            quota => Ok(quota),
        }
    };
    let quota = steps.run("quota", format!("asking for the quota at {place}"), work).await?;
    steps.note(quota.map_or("no quota".to_owned(), |(used, limit)| format!("{used} of {limit} KiB used")));
    // That logging out works is the first session's to say.
    let _ = tokio::time::timeout(probe.timeout(), second.logout()).await;
    Ok(())
}

/// Connects, logs in and opens INBOX.
pub(super) async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Imap, Stop> {
    let place = probe.place();
    let mut imap = Imap::new(probe.open(steps).await?);
    steps.run("banner", format!("waiting for the greeting of {place}"), imap.greeting()).await?;
    if probe.check.tls == Tls::Starttls {
        let work = async { imap.start_tls(&probe.tls().await?).await };
        let (secure, certificate) = steps.run("tls", format!("STARTTLS with {place}"), work).await?;
        steps.note(remark(&certificate));
        imap = secure;
    }
    let work = imap.login(&login.user, &login.password);
    steps.run("login", format!("login as {} at {place}", login.user), work).await?;
    steps.run("select", format!("SELECT INBOX at {place}"), imap.select("INBOX")).await?;
    Ok(imap)
}
