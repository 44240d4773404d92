//! `varde pki`.

use std::process::ExitCode;

use aggregator::event::Time;
use anyhow::Context;
use comfy_table::Table;

use crate::cli::PkiCommand;
use crate::config::Config;
use crate::pki::{self, Standing};
use crate::place::Place;

/// Makes, lists or renews certificates.
#[expect(clippy::print_stdout, reason = "says what it made")]
pub fn run(command: &PkiCommand) -> anyhow::Result<ExitCode> {
    let now = Time::now();
    match command {
        PkiCommand::Init(place) => {
            let config = load(place)?;
            told(&pki::complete(&config, now)?);
        }
        PkiCommand::Issue { place, name } => {
            let config = load(place)?;
            let watcher = config.probes.watch.watcher.iter().find(|watcher| watcher.name == *name);
            pki::issue(&config, watcher.with_context(|| format!("there is no [[watch.watcher]] named \"{name}\""))?)?;
            told(std::slice::from_ref(name));
        }
        PkiCommand::Rotate { place, all, authority } => {
            let config = load(place)?;
            let names = || config.probes.watch.watcher.iter().map(|watcher| watcher.name.clone()).collect::<Vec<_>>();
            match (all, authority) {
                (_, true) => pki::replace_authority(&config).map(|()| told(&names()))?,
                (true, false) => pki::issue_all(&config).map(|()| told(&names()))?,
                (false, false) => told(&pki::complete(&config, now)?),
            }
        }
        PkiCommand::Show { place, json } => {
            let listed = pki::list(&load(place)?, now);
            if *json {
                println!("{}", serde_json::to_string_pretty(&listed)?);
            } else if listed.is_empty() {
                println!("There is no authority (watch.authority): the watchers speak plain HTTP, signed.");
            } else {
                let mut table = Table::new();
                table
                    .load_preset(comfy_table::presets::NOTHING)
                    .set_header(["NAME", "STANDING", "ENDS", "DAYS", "FILE"]);
                for entry in &listed {
                    let standing = serde_json::to_value(entry.standing)?;
                    let ends = entry.not_after.map_or_else(|| "-".to_owned(), |end| end.to_string());
                    let days = entry.days_left.map_or_else(|| "-".to_owned(), |days| days.to_string());
                    let standing = standing.as_str().unwrap_or_default().to_owned();
                    table.add_row([entry.name.clone(), standing, ends, days, entry.file.display().to_string()]);
                }
                println!("{table}");
            }
            let well = listed.iter().all(|entry| entry.standing == Standing::Good);
            return Ok(ExitCode::from(u8::from(!well)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder may not be complete yet: what is missing is what this makes.
fn load(place: &Place) -> anyhow::Result<Config> {
    Ok(Config::load_incomplete(&place.file(), place.port_offset.unwrap_or(0))?)
}

#[expect(clippy::print_stdout, reason = "says what it made")]
fn told(names: &[String]) {
    if names.is_empty() {
        println!("Every certificate is there and good for more than a month.");
    } else {
        println!("New certificates: {}. Running watchers take them within the hour, or at SIGHUP.", names.join(", "));
    }
}
