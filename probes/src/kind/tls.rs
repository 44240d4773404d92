//! `tls`: a server that speaks TLS from the first octet shows a certificate that is trusted, for its name, for a while.

use aggregator::event::{ProbeOutcome, Time};

use super::access::Probe;
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault};

pub(super) const KIND: Kind = Kind {
    name: "tls",
    title: "TLS: handshake, chain, name, days left",
    patience: 3,
    needs: &[Need::Host, Need::Port],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    if probe.host_is_name() {
        steps.plan(&["dns"]);
    }
    steps.plan(&["tcp", "tls"]);
    if probe.check.min_days.is_some() {
        steps.plan(&["days"]);
    }
    let conversation = probe.connect(steps).await?;
    let (_, certificate) = probe.secure(conversation, steps).await?;
    let days = certificate.days_left(Time::now());
    steps.note(format!(
        "{}, issued by {}, {days} days left, {} certificates sent, {}",
        certificate.subject, certificate.issuer, certificate.chain, certificate.protocol
    ));
    if let Some(least) = probe.check.min_days {
        let soon =
            format!("the certificate of {} ends in {days} days, fewer than {least}; renew it", certificate.subject);
        let judged = async { if days < least { Err(Fault::new(Class::CertificateExpired, soon)) } else { Ok(()) } };
        steps.run("days", format!("the certificate of {}", probe.place()), judged).await?;
    }
    Ok(ProbeOutcome::Ok)
}
