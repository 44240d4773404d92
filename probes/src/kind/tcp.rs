//! `tcp`: something listens.

use aggregator::event::ProbeOutcome;

use super::access::Probe;
use super::{Kind, Need, Steps, Stop};

pub(super) const KIND: Kind = Kind {
    name: "tcp",
    title: "TCP: connect",
    patience: 2,
    needs: &[Need::Host, Need::Port],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    if probe.host_is_name() {
        steps.plan(&["dns"]);
    }
    steps.plan(&["tcp"]);
    probe.connect(steps).await?;
    Ok(ProbeOutcome::Ok)
}
