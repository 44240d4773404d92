//! What the process says of itself: to standard error, for people at a terminal and JSON under a supervisor.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::Cli;

/// Starts logging; `RUST_LOG` overrides the level.
pub fn start(cli: &Cli) {
    let default = if cli.verbose { "debug,hyper=info,rustls=info,h2=info" } else { "info,hickory=warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.with_ansi(false).init();
    }
}

/// Says why the command failed, cause by cause, on one line.
#[expect(clippy::print_stderr, reason = "the last word of a failed command belongs on standard error")]
pub fn failure(error: &anyhow::Error) {
    eprintln!("varde: {error:#}");
}
