//! `submission`: a submission server takes the account's login (RFC 6409).

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe};
use super::steps::grouped;
use super::{Kind, Need, Steps, Stop, smtp};
use crate::conversation::sasl::Mechanism;
use crate::conversation::smtp::Smtp;
use crate::conversation::{Class, Fault};

pub(super) const KIND: Kind = Kind {
    name: "submission",
    title: "Submission: connect, greeting, EHLO, TLS, AUTH",
    patience: 8,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    smtp::plan_opening(probe, steps);
    steps.plan(&["auth", "quit"]);
    let login = probe.login(steps).await?;
    let mut smtp = open(probe, &login, steps).await?;
    let others: Vec<Mechanism> = smtp.mechanisms().skip(1).collect();
    steps.run("quit", format!("QUIT to {}", probe.place()), smtp.quit()).await?;
    if probe.check.every_mechanism {
        for mechanism in others {
            log_in_by(mechanism, probe, &login, steps).await?;
        }
    }
    Ok(ProbeOutcome::Ok)
}

/// Logs in once more, over a connection of its own: an SMTP session can do so only once (RFC 4954 section 4).
async fn log_in_by(mechanism: Mechanism, probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<(), Stop> {
    let name = match mechanism {
        Mechanism::ScramSha256 => "auth_scram_sha_256",
        Mechanism::ScramSha1 => "auth_scram_sha_1",
        Mechanism::Plain => "auth_plain",
        Mechanism::Login => "auth_login",
    };
    steps.plan(&[name]);
    grouped(steps, name, async |group| {
        let mut smtp = smtp::open(probe, group).await?;
        let work = smtp.auth_by(mechanism, &login.user, &login.password);
        group.run("auth", format!("AUTH {} as {} at {}", mechanism.name(), login.user, probe.place()), work).await?;
        // What comes of QUIT was seen before.
        let _ = tokio::time::timeout(probe.timeout(), smtp.quit()).await;
        Ok(())
    })
    .await
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
    let by = steps.run("auth", format!("AUTH as {} at {}", login.user, probe.place()), work).await?;
    steps.note(by.name());
    Ok(smtp)
}
