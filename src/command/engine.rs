//! `varde engine fetch`, and the same for `varde up`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aggregator::engine::fetch::{self, FetchOptions, Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Engine, EngineCommand};

/// Gets the engine and says where it is.
#[expect(clippy::print_stdout, reason = "says where the engine is")]
pub async fn run(args: &Engine) -> anyhow::Result<ExitCode> {
    match args.command {
        EngineCommand::Fetch => println!("{}", ensure().await?.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The engine's library, fetched with a progress bar unless it is here.
///
/// # Errors
/// None of the ways to get it worked: says what to do.
pub async fn ensure() -> anyhow::Result<PathBuf> {
    let style =
        ProgressStyle::with_template("{msg:<28} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let shown = bar.clone();
    let options = FetchOptions::from_env(Arc::new(move |progress: Progress| {
        shown.set_message(match progress.phase {
            Phase::Waiting => "waiting for another process",
            Phase::Npm => "getting the engine by npm",
            Phase::Download => "getting the engine",
            Phase::Check => "checking its digest",
            Phase::Unpack => "unpacking it",
        });
        if let Some(total) = progress.total {
            shown.set_length(total);
        }
        shown.set_position(progress.done);
    }));
    let library = fetch::ensure(options).await;
    bar.finish_and_clear();
    Ok(library?)
}
