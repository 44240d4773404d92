//! `varde sql`.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::Sql;
use crate::roles;

/// Asks ClickHouse as the user that may only read.
pub async fn run(args: &Sql) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let statement = match &args.statement {
        Some(statement) if statement != "-" => statement.clone(),
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the statement cannot be read from standard input")?;
            text
        }
    };
    anyhow::ensure!(
        !statement.trim().is_empty(),
        "there is no statement; try: varde sql \"select * from current_state\""
    );
    let default = if std::io::stdout().is_terminal() { "PrettyCompact" } else { "TabSeparatedWithNames" };
    let format = if args.json { "JSONEachRow" } else { args.format.as_deref().unwrap_or(default) };
    let answer = roles::operator_clickhouse(&config)?.execute(&statement, &[("default_format", format)]).await?;
    std::io::stdout().write_all(&answer)?;
    Ok(ExitCode::SUCCESS)
}
