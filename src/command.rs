//! One file a command; this is where they are told apart.

mod aggregate;
mod audit;
mod check_config;
mod clickhouse;
mod completions;
pub mod engine;
mod import;
mod init;
mod mail;
mod node;
mod page;
mod pager;
mod parse;
mod pki;
mod probe;
mod report;
mod schema;
mod sql;
mod trace;
mod up;
mod verdict;
mod watch;
mod web;

use std::process::ExitCode;

use crate::cli::Command;

/// Runs the command.
///
/// # Errors
/// What went wrong, and what to do.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(place) => wait(up::run(&place)),
        Command::Init(place) => init::run(&place),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Mail(args) => wait(mail::run(&args)),
        Command::Node(place) => wait(node::run(&place)),
        Command::Watch(args) => wait(watch::run(&args)),
        Command::Pki(args) => pki::run(&args.command),
        Command::Aggregate(place) => wait(aggregate::run(&place)),
        Command::Clickhouse(place) => wait(clickhouse::run(&place)),
        Command::Web(place) => wait(web::run(&place)),
        Command::Pager(place) => wait(pager::run(&place)),
        Command::Probe(args) => wait(probe::run(&args)),
        Command::Audit(args) => wait(audit::run(&args)),
        Command::Sql(args) => wait(sql::run(&args)),
        Command::Schema(args) => wait(schema::run(&args)),
        Command::Report(args) => wait(report::run(&args)),
        Command::Import(args) => wait(import::run(&args)),
        Command::Trace(args) => wait(trace::run(&args)),
        Command::Verdict(args) => verdict::run(&args),
        Command::Parse(args) => parse::run(&args),
        Command::Engine(args) => wait(engine::run(&args)),
        Command::Page(args) => wait(page::run(&args)),
        Command::Completions { shell } => Ok(completions::run(shell)),
    }
}

fn wait(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(command);
    // What still runs is a blocking read at most; the process ends either way.
    runtime.shutdown_background();
    code
}
