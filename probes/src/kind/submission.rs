//! `submission`: a submission server takes the account's login (RFC 6409).

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe};
use super::{Kind, Need, Steps, Stop, smtp};
use crate::conversation::smtp::Smtp;
use crate::conversation::{Class, Fault};

pub(super) const KIND: Kind = Kind {
    name: "submission",
    title: "Submission: connect, greeting, EHLO, TLS, AUTH",
    patience: 3,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    smtp::plan_opening(probe, steps);
    steps.plan(&["auth", "quit"]);
    let login = probe.login(steps).await?;
    let mut smtp = open(probe, &login, steps).await?;
    steps.run("quit", format!("QUIT to {}", probe.place()), smtp.quit()).await?;
    Ok(ProbeOutcome::Ok)
}

/// Connects and logs in.
pub(super) async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Smtp, Stop> {
    let mut smtp = smtp::open(probe, steps).await?;
    let work = async {
        if smtp.extension("AUTH").is_none() {
            return Err(Fault::new(Class::AuthFailed, "the server offers no AUTH here"));
        }
        smtp.auth(&login.user, &login.password).await
    };
    steps.run("auth", format!("AUTH as {} at {}", login.user, probe.place()), work).await?;
    Ok(smtp)
}
