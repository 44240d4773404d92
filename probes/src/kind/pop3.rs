//! `pop3`: the account logs in and is told how much there is.

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe, remark};
use super::{Kind, Need, Steps, Stop};
use crate::config::Tls;
use crate::conversation::pop3::Pop3;

pub(super) const KIND: Kind = Kind {
    name: "pop3",
    title: "POP3: connect, TLS, greeting, login, STAT",
    patience: 3,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    probe.plan_opening(steps);
    if probe.check.tls == Tls::Starttls {
        steps.plan(&["tls"]);
    }
    steps.plan(&["auth", "stat", "quit"]);
    let login = probe.login(steps).await?;
    let mut pop3 = open(probe, &login, steps).await?;
    let place = probe.place();
    steps.run("stat", format!("STAT at {place}"), pop3.stat()).await?;
    steps.run("quit", format!("QUIT to {place}"), pop3.quit()).await?;
    Ok(ProbeOutcome::Ok)
}

/// Connects and logs in.
pub(super) async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Pop3, Stop> {
    let place = probe.place();
    let mut pop3 = Pop3::new(probe.open(steps).await?);
    steps.run("banner", format!("waiting for the greeting of {place}"), pop3.greeting()).await?;
    if probe.check.tls == Tls::Starttls {
        let work = async { pop3.start_tls(&probe.tls().await?).await };
        let (secure, certificate) = steps.run("tls", format!("STLS with {place}"), work).await?;
        steps.note(remark(&certificate));
        pop3 = secure;
    }
    let work = pop3.login(&login.user, &login.password);
    steps.run("auth", format!("login as {} at {place}", login.user), work).await?;
    Ok(pop3)
}
