//! Varde audits the uptime and deliverability of mail systems, heals them, and brings one of its own.
//!
//! `main` is the life cycle: command line, log, runtime, the command, exit code. Each command is a file of
//! [`command`].

mod alarm;
mod cli;
mod command;
mod config;
mod init;
mod log;
mod pki;
mod place;
mod roles;
mod stop;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Mail, keys and pages are nobody else's: no file of ours is open to others unless it says so.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cli = cli::Cli::parse();
    log::start(&cli);
    // One provider for every TLS configuration in the process; a second call would be a programming error only.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            log::failure(&error);
            ExitCode::from(2)
        }
    }
}
