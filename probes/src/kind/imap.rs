//! `imap`: the account logs in, opens its INBOX, searches it.

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe, remark};
use super::{Kind, Need, Steps, Stop};
use crate::config::Tls;
use crate::conversation::imap::{Command, Imap};

pub(super) const KIND: Kind = Kind {
    name: "imap",
    title: "IMAP: connect, TLS, greeting, login, SELECT, SEARCH",
    patience: 3,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    probe.plan_opening(steps);
    if probe.check.tls == Tls::Starttls {
        steps.plan(&["tls"]);
    }
    steps.plan(&["login", "select", "search", "logout"]);
    let login = probe.login(steps).await?;
    let mut imap = open(probe, &login, steps).await?;
    let place = probe.place();
    let search = imap.run(Command::new("SEARCH UNSEEN"));
    steps.run("search", format!("SEARCH at {place}"), search).await?;
    steps.run("logout", format!("LOGOUT from {place}"), imap.logout()).await?;
    Ok(ProbeOutcome::Ok)
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
