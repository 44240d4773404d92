//! `varde completions`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the completions of a shell.
pub fn run(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "varde", &mut std::io::stdout());
    ExitCode::SUCCESS
}
