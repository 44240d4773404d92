//! Which processes a suite is made of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Options;
use crate::config::Config;

/// One service: what it is called, how it is started, where it answers.
#[derive(Debug, Clone)]
pub struct Spec {
    /// `mail-imap`, `watch-no-oslo` …
    pub name: String,
    /// The arguments of this program.
    pub args: Vec<OsString>,
    /// Where it listens.
    pub address: String,
    /// Where its log goes.
    pub log: PathBuf,
    /// What must listen before it is started for the first time: a watcher that looks too early sees an outage.
    pub after: Vec<String>,
}

/// The services in the order in which they are started.
pub fn specs(config: &Config, dir: &Path, options: &Options, embedded: bool) -> Vec<Spec> {
    let spec = |name: &str, role: &[&str], address: String| {
        let mut args: Vec<OsString> = role.iter().map(OsString::from).collect();
        args.extend(["--dir".into(), dir.into(), "--port-offset".into(), options.port_offset.to_string().into()]);
        args.push("--supervised".into());
        if let Some(url) = &options.clickhouse {
            args.extend(["--clickhouse".into(), url.into()]);
        }
        Spec {
            name: name.to_owned(),
            args,
            address,
            log: dir.join("log").join(format!("{name}.log")),
            after: Vec::new(),
        }
    };
    let mail = &config.mail;
    let mut specs = Vec::new();
    if embedded {
        specs.push(spec("clickhouse", &["clickhouse"], config.events.clickhouse.listen.to_string()));
    }
    specs.push(spec("aggregate", &["aggregate"], config.events.aggregate.listen.to_string()));
    if let Some(pager) = &config.pager {
        specs.push(spec("pager", &["pager"], pager.listen.to_string()));
    }
    for (name, service, address) in [
        ("mail-mx", "mx", mail.mx_listen.to_string()),
        ("mail-submission", "submission", mail.submission_listen.to_string()),
        ("mail-queue", "queue", mail.queue_listen.to_string()),
        ("mail-imap", "imap", mail.imap_listen.to_string()),
        ("mail-pop3", "pop3", mail.pop3_listen.to_string()),
        ("mail-web", "web", mail.web_listen.to_string()),
    ] {
        specs.push(spec(name, &["mail", "--service", service], address));
    }
    specs.push(spec("node", &["node"], config.node.listen.to_string()));
    let listeners: Vec<String> = mail.listeners().iter().map(|(_, address)| address.to_string()).collect();
    for watcher in &config.probes.watch.watcher {
        let role = ["watch", "--name", &watcher.name];
        let watch = spec(&format!("watch-{}", watcher.name), &role, watcher.listen.to_string());
        specs.push(Spec { after: listeners.clone(), ..watch });
    }
    specs.push(spec("web", &["web"], config.web.operator_listen.to_string()));
    specs
}
