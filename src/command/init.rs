//! `varde init`.

use std::process::ExitCode;

use crate::init;
use crate::place::Place;

/// Makes the folder complete.
#[expect(clippy::print_stdout, reason = "says what it wrote")]
pub fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let (config, accounts) = init::complete(&place.dir, place.port_offset.unwrap_or(0))?;
    println!("{} is complete: configuration, certificates, keys, {} accounts.", config.dir.display(), accounts.len());
    println!("Read varde.toml there, then: varde up --dir {}", config.dir.display());
    Ok(ExitCode::SUCCESS)
}
