//! `dns`: a record that is asked for is there, and says what it should.

use std::net::IpAddr;

use aggregator::event::ProbeOutcome;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::access::{Probe, dns_fault, resolver};
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault, printable};

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
    let server = probe.check.server;
    let from = server.map(|ip| format!(" at {ip}")).unwrap_or_default();
    let answers =
        steps.run("dns", format!("looking up {record} of {name}{from}"), look_up(probe, name, record, server));
    let answers = answers.await?;
    steps.note(printable(&answers.join("; ")));
    Ok(ProbeOutcome::Ok)
}

async fn look_up(probe: &Probe<'_>, name: &str, record: &str, server: Option<IpAddr>) -> Result<Vec<String>, Fault> {
    let config = |what: &str| Fault::new(Class::Config, what.to_owned());
    let record_type: RecordType = record.to_ascii_uppercase().parse().map_err(|_| config("no such record type"))?;
    let mut name = Name::from_utf8(name).map_err(|_| config("this is no domain name"))?;
    name.set_fqdn(true);
    let resolver = match server {
        Some(ip) => at_server(ip, probe.check.port)?,
        None => resolver()?,
    };
    let found = resolver.lookup(name, record_type).await.map_err(|error| dns_fault(&error))?;
    let answers = found.answers().iter().filter(|answer| answer.record_type() == record_type);
    let answers: Vec<String> = answers.map(|answer| answer.data.to_string()).collect();
    match &probe.check.expect {
        _ if answers.is_empty() => Err(Fault::new(Class::NoRecords, "the name has no such record")),
        Some(text) if !answers.iter().any(|answer| answer.contains(text)) => {
            Err(Fault::said(Class::Content, &format!("none of the records contains {text:?}"), &answers.join("; ")))
        }
        _ => Ok(answers),
    }
}

fn at_server(ip: IpAddr, port: Option<u16>) -> Result<TokioResolver, Fault> {
    let mut server = NameServerConfig::udp_and_tcp(ip);
    for connection in &mut server.connections {
        connection.port = port.unwrap_or(connection.port);
    }
    let config = ResolverConfig::from_name_servers(vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .build()
        .map_err(|error| Fault::said(Class::Config, "the resolver cannot be set up", &error.to_string()))
}
