//! `dns`: a record that is asked for is there, and says what it should.

use std::net::SocketAddr;

use aggregator::event::ProbeOutcome;
use hickory_resolver::proto::rr::RecordType;

use super::access::Probe;
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault, printable};
use crate::dns::{Dns, canonical};

/// Where DNS listens.
const PORT: u16 = 53;

pub(super) const KIND: Kind = Kind {
    name: "dns",
    title: "DNS: a record is there, at the system's resolver or at one name server",
    patience: 2,
    needs: &[Need::Host, Need::Record],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    steps.plan(&["dns"]);
    let name = probe.check.host.as_deref().unwrap_or_default();
    let record = probe.check.record.as_deref().unwrap_or_default();
    let from = probe.check.server.map(|ip| format!(" at {ip}")).unwrap_or_default();
    let answers = steps.run("dns", format!("looking up {record} of {name}{from}"), look_up(probe, name, record));
    let answers = answers.await?;
    steps.note(printable(&answers.join("; ")));
    Ok(ProbeOutcome::Ok)
}

async fn look_up(probe: &Probe<'_>, name: &str, record: &str) -> Result<Vec<String>, Fault> {
    let config = |what: &str| Fault::new(Class::Config, what.to_owned());
    let kind: RecordType = record.to_ascii_uppercase().parse().map_err(|_| config("no such record type"))?;
    let name = canonical(name).ok_or_else(|| config("this is no domain name"))?;
    let answer = at(probe)?.ask(&name, kind).await;
    let answers: Vec<String> = answer.found()?.iter().map(|record| record.data.to_string()).collect();
    match &probe.check.expect {
        Some(text) if !answers.iter().any(|answer| answer.contains(text)) => {
            Err(Fault::said(Class::Content, &format!("none of the records contains {text:?}"), &answers.join("; ")))
        }
        _ => Ok(answers),
    }
}

/// Look-ups at the check's `server`, or at the system's resolver.
pub(super) fn at(probe: &Probe<'_>) -> Result<Dns, Fault> {
    let server = probe.check.server.map(|ip| SocketAddr::new(ip, port(probe)));
    Dns::within(server, probe.timeout())
        .map_err(|why| Fault::said(Class::Config, "the system's resolver is not set up", &why))
}

/// The port of the name servers.
pub(super) fn port(probe: &Probe<'_>) -> u16 {
    probe.check.port.unwrap_or(PORT)
}
