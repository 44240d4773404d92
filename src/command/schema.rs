//! `varde schema`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use aggregator::event::Time;
use aggregator::schema::{self, Audit, Scope};

use crate::cli::Schema;
use crate::roles;

/// Before what an audit found is looked at again: a batch that is on its way is no mismatch.
const CONFIRM: Duration = Duration::from_secs(5);

/// Prints the statements, or audits.
pub async fn run(args: &Schema) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if !args.audit {
        let statements = args.cluster.as_ref().map_or_else(schema::server, schema::cluster);
        return match writeln!(out, "{};", statements.join(";\n\n")) {
            // The reader of our output has seen enough.
            Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            written => Ok(written.map(|()| ExitCode::SUCCESS)?),
        };
    }
    let audit = audit(args).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&audit)?)?;
    } else {
        for mismatch in &audit.mismatches {
            writeln!(out, "{mismatch}")?;
        }
        let count = audit.mismatches.len();
        writeln!(out, "{} figures of tables and days were checked, {count} do not agree.", audit.checked)?;
    }
    Ok(if audit.mismatches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn audit(args: &Schema) -> anyhow::Result<Audit> {
    let config = args.place.load()?;
    let client = roles::full_clickhouse(&config)?;
    let look = || schema::audit(&client, Scope::Everything, &config.events.aggregate.ttl, Time::now());
    let first = look().await?;
    if first.mismatches.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(CONFIRM).await;
    Ok(first.confirmed_by(&look().await?))
}
