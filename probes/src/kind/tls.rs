//! `tls`: a server that speaks TLS from the first octet shows a certificate that is trusted, for its name, for a while.

use aggregator::event::{ProbeOutcome, Time};

use super::access::Probe;
use super::{Kind, Need, Steps, Stop};

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
    let conversation = probe.connect(steps).await?;
    let (_, certificate) = probe.secure(conversation, steps).await?;
    let days = certificate.days_left(Time::now());
    steps.note(format!(
        "{}, issued by {}, {days} days left, {} certificates sent, {}",
        certificate.subject, certificate.issuer, certificate.chain, certificate.protocol
    ));
    Ok(ProbeOutcome::Ok)
}
