//! `varde check-config`.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::CheckConfig;
use crate::config::Config;

/// Prints every fault; exit code 1 when there is one.
#[expect(clippy::print_stdout, reason = "prints what it found")]
pub fn run(args: &CheckConfig) -> anyhow::Result<ExitCode> {
    let file = args.place.file();
    let read = Config::load(&file, args.place.port_offset.unwrap_or(0));
    if args.json {
        let faults = read.as_ref().err().map_or(&[][..], |faults| &faults.faults[..]);
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| json!({"line": fault.line, "key": fault.key, "message": fault.message}))
            .collect();
        println!("{:#}", json!({"file": file, "ok": faults.is_empty(), "faults": faults}));
    } else {
        match &read {
            Ok(_) => println!("{} is sound.", file.display()),
            Err(faults) => println!("{faults}"),
        }
    }
    Ok(if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
