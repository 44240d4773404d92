//! The command line: every command, its options, its help.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::place::Place;

/// Audits the uptime and deliverability of mail systems, heals them, and brings one of its own.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// Say more of what is being done
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: mail, three watchers, events, pages
    #[command(
        after_help = "Examples:\n  varde up\n  varde up --dir /srv/varde --port-offset 1000\n  varde up --clickhouse http://clickhouse.example.net:8123"
    )]
    Up(Place),
    /// Write a commented configuration, certificates, secrets and accounts
    #[command(after_help = "Example:\n  varde init --dir /srv/varde")]
    Init(Place),
    /// Say every fault of a configuration, with line and key
    #[command(
        after_help = "Examples:\n  varde check-config --config /srv/varde/varde.toml\n  varde check-config --dir varde-data --json"
    )]
    CheckConfig(CheckConfig),
    /// The mail system, or one service of it
    #[command(after_help = "Example:\n  varde mail --service imap --dir /srv/varde")]
    Mail(Mail),
    /// The agent on a mail host: evidence, restarts, samples
    Node(Place),
    /// A watcher: probes, judges, pages, from one region
    #[command(after_help = WATCH_HELP)]
    Watch(Watch),
    /// The certificates by which watchers know each other
    #[command(after_help = PKI_HELP)]
    Pki(Pki),
    /// Take event batches in and write them to ClickHouse
    Aggregate(Place),
    /// The embedded ClickHouse engine, with its HTTP interface
    Clickhouse(Place),
    /// The operator's dashboard and the public uptime page
    Web(Place),
    /// The local pager inbox of `varde up`
    #[command(hide = true)]
    Pager(Place),
    /// Run the checks now and print what they saw
    #[command(
        after_help = "Examples:\n  varde probe\n  varde probe --check imap --json\n\nExit code: 0 when every check succeeded, 1 when one failed."
    )]
    Probe(Probe),
    /// Audit a mail domain: DNS, SPF, DKIM, DMARC, MTA-STS, DANE, TLS, relaying, blocklists
    #[command(after_help = AUDIT_HELP)]
    Audit(Audit),
    /// Ask ClickHouse in SQL, read-only and bounded
    #[command(
        after_help = "Examples:\n  varde sql \"select count() from probe_runs\"\n  varde sql --format JSONEachRow \"select * from incidents final\"\n  echo 'select 1' | varde sql"
    )]
    Sql(Sql),
    /// Print the statements that make the tables, or audit what is in them
    #[command(after_help = SCHEMA_HELP)]
    Schema(Schema),
    /// Run one of the SQL reports, or list them
    #[command(
        after_help = "Examples:\n  varde report\n  varde report deliverability --since 7d\n  varde report uptime --since 30d --format csv"
    )]
    Report(Report),
    /// Read mail logs and reports into ClickHouse, once each, and print what they say on one page
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
    /// The life of one message, over all hosts
    #[command(
        after_help = "Examples:\n  varde trace 4bX2c91Zl2z4w\n  varde trace '<20261122.1@example.net>' --json\n\nExit code: 1 when no host has seen it."
    )]
    Trace(Trace),
    /// Verdicts and availability of a recorded timeline
    #[command(after_help = VERDICT_HELP)]
    Verdict(Verdict),
    /// Read a mail log or reports: one JSON object a row, or a page of figures
    #[command(
        after_help = "Examples:\n  varde parse /var/log/mail.log\n  varde parse --summary --dialect postfix /var/log/mail.log\n  varde parse report.xml.gz bounce.eml ~/Maildir/.Reports\n  varde parse --reports - < message\n  varde parse --dialect postfix --all - < mail.log\n  varde parse --dialect exim --time-zone Europe/Oslo --year-of 2026-01-03T00:00:00Z mainlog.1"
    )]
    Parse(Parse),
    /// The engine of `varde clickhouse`
    Engine(Engine),
    /// Page the engineers
    #[command(after_help = "Example:\n  varde page --test")]
    Page(Page),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  varde completions bash > /etc/bash_completion.d/varde")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const WATCH_HELP: &str = "Examples:\n  varde watch --name no-oslo --dir /srv/varde\n  \
varde watch --name no-oslo --drain --dir /srv/varde    # it votes no more, from an instant on that all agree about\n  \
varde watch --name no-oslo --join --dir /srv/varde     # it votes (again)\n\n\
SIGHUP reloads the configuration; a faulty one is refused, and the watcher goes on with what it has.";

const PKI_HELP: &str = "Examples:\n  varde pki init --dir /srv/varde            # the authority, and what is missing\n  \
varde pki issue no-oslo --dir /srv/varde\n  varde pki show --json --dir /srv/varde\n  \
varde pki rotate --dir /srv/varde          # renews what ends within 30 days\n  varde pki rotate --all --dir /srv/varde\n\n\
A running watcher takes new certificates within the hour, or at SIGHUP.\n\
Exit code of show: 0 when all are well, 1 when one is missing, due or has ended.";

const IMPORT_HELP: &str = "Logs, and mail with reports: DMARC, TLS, feedback loops, bounces; as messages, mbox files, maildirs, or the bare\n\
XML, JSON, gzip and zip files. Logs may be compressed (gzip, zstd) and come in any order. What was read before is known by\n\
its content, whatever its name is now, and is not read again; so an import that was broken off is simply run again.\n\n\
Examples:\n  varde import /var/log/mail.log*\n  varde import ~/Maildir/.Reports report.xml.gz bounces.mbox\n  \
varde import --dialect exim --time-zone Europe/Oslo mainlog\n  \
ssh mx2 cat /var/log/mail.log | varde import --node mx2 -\n  \
journalctl -o export -u 'postfix*' | varde import -\n  varde import --mask hash mainlog";

const SCHEMA_HELP: &str = "With --cluster the tables are replicated, and database varde_all reads them over all shards; the macros {shard} and\n\
{replica} must be set on every server. Let each shipper's aggregator write to one shard, set insert_quorum = 2 in the\n\
profile of its user where there are replicas, and clickhouse.read_database = \"varde_all\" where reports are read.\n\n\
Examples:\n  varde schema\n  varde schema --cluster mail | clickhouse-client --multiquery\n  varde schema --audit --dir /srv/varde\n\n\
Exit code of --audit: 0 when every row is there once and every rollup agrees, 1 when not.";

const AUDIT_HELP: &str = "Examples:\n  varde audit example.org\n  varde audit example.org --selector mail2026 --json\n  \
varde audit example.org --resolver 127.0.0.1:5353 --connect 192.0.2.10\n\n\
No message is sent: the last command of a conversation is RCPT.\n\
Exit code: 0 when no check failed, 1 when one did.";

const VERDICT_HELP: &str = "Input, a JSON object a line, in any order:\n  \
{\"ts\":\"2026-11-22T10:00:00Z\",\"target\":\"example\",\"service\":\"imap\",\"vantage\":\"us-east\",\"outcome\":\"ok\"}\n\
Availability is a percentage, rounded down to three decimals; null below 95 % coverage.\n\n\
Example:\n  varde verdict --file observations.ndjson --watchers us-east,no-oslo,au-sydney --interval 900 --grace 300 \\\n    \
--from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --maintenance 2026-11-09T02:00:00Z/2026-11-09T04:00:00Z";

/// `varde check-config`
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// Print the faults as JSON
    #[arg(long)]
    pub json: bool,
}

/// `varde mail`
#[derive(Debug, Args)]
pub struct Mail {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// One service alone: mx, submission, queue, imap, pop3, web (default: all of them in one process)
    #[arg(long)]
    pub service: Option<mail::Service>,
}

/// `varde watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// The watcher's name in the configuration
    #[arg(long)]
    pub name: String,
    /// Instead of watching: let this watcher vote
    #[arg(long)]
    pub join: bool,
    /// Instead of watching: let this watcher vote no more; it finishes its runs and may then be stopped
    #[arg(long, conflicts_with = "join")]
    pub drain: bool,
}

/// `varde pki`
#[derive(Debug, Args)]
pub struct Pki {
    /// What to do
    #[command(subcommand)]
    pub command: PkiCommand,
}

/// `varde pki …`
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Make the authority and every certificate that is missing or due
    Init(Place),
    /// Make a new certificate for one watcher
    Issue {
        /// Which suite
        #[command(flatten)]
        place: Place,
        /// The watcher
        name: String,
    },
    /// List the certificates, and when they end
    Show {
        /// Which suite
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Renew the certificates that are due
    Rotate {
        /// Which suite
        #[command(flatten)]
        place: Place,
        /// Renew all of them
        #[arg(long)]
        all: bool,
        /// A new authority too; the old one is trusted until it ends
        #[arg(long, requires = "all")]
        authority: bool,
    },
}

/// `varde probe`
#[derive(Debug, Args)]
pub struct Probe {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// Only this target
    #[arg(long)]
    pub target: Option<String>,
    /// Only this check
    #[arg(long)]
    pub check: Option<String>,
    /// Print the observations as JSON
    #[arg(long)]
    pub json: bool,
}

/// `varde audit`
#[derive(Debug, Args)]
pub struct Audit {
    /// The domain after the @
    pub domain: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print one page of HTML, whole in itself
    #[arg(long, conflicts_with = "json")]
    pub html: bool,
    /// Print the checks that passed or were skipped as well
    #[arg(long, conflicts_with_all = ["json", "html"])]
    pub all: bool,
    /// A DKIM selector that must exist; may be given several times (default: common ones are tried)
    #[arg(long, value_name = "NAME")]
    pub selector: Vec<String>,
    /// The resolver, best one that validates DNSSEC (default: the system's)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub resolver: Option<SocketAddr>,
    /// Connect here instead of to the published addresses: a server before its records point at it
    #[arg(long, value_name = "ADDRESS")]
    pub connect: Option<IpAddr>,
    /// The port of the MX hosts
    #[arg(long, value_name = "PORT", default_value_t = 25)]
    pub smtp_port: u16,
    /// The port of the policy hosts
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    pub https_port: u16,
    /// Trusted root certificates, PEM (default: the system's)
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// A blocklist of addresses; may be given several times, in place of the usual ones
    #[arg(long, value_name = "ZONE")]
    pub blocklist: Vec<String>,
    /// A blocklist of domains; may be given several times, in place of the usual ones
    #[arg(long, value_name = "ZONE")]
    pub domain_blocklist: Vec<String>,
    /// How long a look-up or a step of a conversation may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout: u64,
}

/// `varde sql`
#[derive(Debug, Args)]
pub struct Sql {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// The statement; standard input when it is not given
    pub statement: Option<String>,
    /// A ClickHouse output format (default: a table at a terminal, tab-separated otherwise)
    #[arg(long)]
    pub format: Option<String>,
    /// The same as --format JSONEachRow
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Table,
    /// For spreadsheets
    Csv,
    /// For scripts
    Json,
    /// For a mail or a page
    Html,
}

/// `varde report`
#[derive(Debug, Args)]
pub struct Report {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// The report; without it, the list of all
    pub name: Option<String>,
    /// From when on: 90m, 24h, 7d
    #[arg(long, default_value = "7d")]
    pub since: String,
    /// A parameter of the report; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub param: Vec<(String, String)>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    pub format: ReportFormat,
}

/// `varde schema`
#[derive(Debug, Args)]
pub struct Schema {
    /// Which suite, for --audit
    #[command(flatten)]
    pub place: Place,
    /// For this cluster: replicated tables, and Distributed ones to read
    #[arg(long, value_name = "NAME", conflicts_with = "audit")]
    pub cluster: Option<aggregator::schema::Cluster>,
    /// Look whether every row of every day is there once, and every rollup says what its table says
    #[arg(long)]
    pub audit: bool,
    /// Print what the audit found as JSON
    #[arg(long, requires = "audit")]
    pub json: bool,
}

/// `varde import`
#[derive(Debug, Args)]
pub struct Import {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// The logs, files with reports and maildirs; - for a log from standard input. None: only send what earlier
    /// imports could not
    #[arg(value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// What wrote them (default: guessed for each)
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    pub dialect: Option<&'static aggregator::dialect::Entry>,
    /// The zone of times that do not say
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: chrono_tz::Tz,
    /// The host they are from (default: as each line says)
    #[arg(long)]
    pub node: Option<String>,
    /// Keep every line in raw_lines, not only those that no dialect knows
    #[arg(long)]
    pub raw: bool,
    /// Local parts of addresses: off, hash or drop (default: site.mask)
    #[arg(long, value_name = "HOW")]
    pub mask: Option<aggregator::mask::Masking>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// `varde trace`
#[derive(Debug, Args)]
pub struct Trace {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// A Message-ID, a queue id or a trace id
    pub id: String,
    /// Print the steps as JSON
    #[arg(long)]
    pub json: bool,
}

/// `varde parse`.
#[derive(Debug, Args)]
pub struct Parse {
    /// Whose log it is; `mail` is a syslog file of several programs
    #[arg(long, default_value = "mail", value_name = "NAME", value_parser = dialect)]
    pub dialect: &'static aggregator::dialect::Entry,
    /// The log, or files and maildirs with reports; - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub file: Vec<PathBuf>,
    /// They hold reports that came by mail, also where that does not show
    #[arg(long)]
    pub reports: bool,
    /// Print the lines that are not recognised too
    #[arg(long)]
    pub all: bool,
    /// Print a page of figures instead of the events
    #[arg(long, conflicts_with = "all")]
    pub summary: bool,
    /// When the log was last written: it gives the year to times without one (RFC 3339) [default: the file's time]
    #[arg(long, value_name = "TIME")]
    pub year_of: Option<DateTime<Utc>>,
    /// The zone of times without one
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: chrono_tz::Tz,
}

fn dialect(name: &str) -> Result<&'static aggregator::dialect::Entry, String> {
    aggregator::dialect::find(name).ok_or_else(|| {
        let names: Vec<_> = aggregator::dialect::DIALECTS.iter().map(|entry| entry.name).collect();
        ["it is one of ", &names.join(", ")].concat()
    })
}

/// `varde verdict`
#[derive(Debug, Args)]
pub struct Verdict {
    /// The observations; - for standard input
    #[arg(long)]
    pub file: PathBuf,
    /// The assigned watchers
    #[arg(long, value_delimiter = ',', required = true)]
    pub watchers: Vec<String>,
    /// Seconds between two observations of a watcher
    #[arg(long)]
    pub interval: u64,
    /// Seconds after which a late observation no longer votes
    #[arg(long)]
    pub grace: u64,
    /// The begin of the window (RFC 3339)
    #[arg(long)]
    pub from: DateTime<Utc>,
    /// The end of the window (RFC 3339)
    #[arg(long)]
    pub to: DateTime<Utc>,
    /// Announced maintenance
    #[arg(long, value_name = "FROM/TO", num_args = 1.., value_parser = window)]
    pub maintenance: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// An objective in percent, 99.9: also tell the error budget of the window
    #[arg(long, value_name = "PERCENT")]
    pub objective: Option<probes::objective::Goal>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `varde engine`
#[derive(Debug, Args)]
pub struct Engine {
    /// What to do with it
    #[command(subcommand)]
    pub command: EngineCommand,
}

/// `varde engine …`
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Get the engine, unless it is here: by npm, or from its project's releases
    Fetch,
}

/// `varde page`
#[derive(Debug, Args)]
pub struct Page {
    /// Which suite
    #[command(flatten)]
    pub place: Place,
    /// Send every engineer a test page over every channel
    #[arg(long, required = true)]
    pub test: bool,
}

fn window(text: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    let (from, to) = text.split_once('/').ok_or("is FROM/TO, two RFC 3339 times with a slash between them")?;
    let time = |text: &str| text.parse::<DateTime<Utc>>().map_err(|error| format!("\"{text}\": {error}"));
    let (from, to) = (time(from)?, time(to)?);
    if from < to { Ok((from, to)) } else { Err("ends before it begins".to_owned()) }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
