//! `smtp`: an MX greets, talks ESMTP and TLS, and, when a recipient is configured, would take mail for it.

use aggregator::event::ProbeOutcome;

use super::access::{Probe, remark};
use super::{Kind, Need, Steps, Stop};
use crate::config::Tls;
use crate::conversation::smtp::Smtp;

pub(super) const KIND: Kind = Kind {
    name: "smtp",
    title: "SMTP: connect, greeting, EHLO, TLS, optionally a recipient",
    patience: 3,
    needs: &[Need::Host, Need::Port],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    plan_opening(probe, steps);
    if probe.check.recipient.is_some() {
        steps.plan(&["rcpt"]);
    }
    steps.plan(&["quit"]);
    let mut smtp = open(probe, steps).await?;
    let place = probe.place();
    if let Some(recipient) = &probe.check.recipient {
        steps.run("rcpt", format!("RCPT TO:<{recipient}> at {place}"), smtp.ask_recipient(recipient)).await?;
    }
    steps.run("quit", format!("QUIT to {place}"), smtp.quit()).await?;
    Ok(ProbeOutcome::Ok)
}

/// The names of the steps of [`open`].
pub(super) fn plan_opening(probe: &Probe<'_>, steps: &mut Steps) {
    probe.plan_opening(steps);
    steps.plan(if probe.check.tls == Tls::Starttls { &["ehlo", "tls", "ehlo_tls"] } else { &["ehlo"] });
}

/// Connects and comes as far as EHLO, over TLS when the check asks for it.
pub(super) async fn open(probe: &Probe<'_>, steps: &mut Steps) -> Result<Smtp, Stop> {
    let place = probe.place();
    let mut smtp = Smtp::new(probe.open(steps).await?);
    steps.run("banner", format!("waiting for the greeting of {place}"), smtp.greeting()).await?;
    steps.run("ehlo", format!("EHLO to {place}"), smtp.ehlo()).await?;
    if probe.check.tls == Tls::Starttls {
        let work = async {
            smtp.ask_tls().await?;
            smtp.start_tls(&probe.tls().await?).await
        };
        let (secure, certificate) = steps.run("tls", format!("STARTTLS with {place}"), work).await?;
        steps.note(remark(&certificate));
        smtp = secure;
        steps.run("ehlo_tls", format!("EHLO over TLS to {place}"), smtp.ehlo()).await?;
    }
    Ok(smtp)
}
