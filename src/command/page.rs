//! `varde page`.

use std::process::ExitCode;

use aggregator::event::Time;

use crate::cli::Page;

/// Sends every engineer a test page over every channel; exit code 1 when one did not go out.
#[expect(clippy::print_stdout, reason = "says what became of each page")]
pub async fn run(args: &Page) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let mut failed = false;
    for tested in alerts::responder::test_page(&config.alerts, &config.site.name, Time::now()).await {
        match tested.result {
            Ok(receipt) => println!("{} by {}: taken ({receipt})", tested.person, tested.channel),
            Err(error) => {
                failed = true;
                println!("{} by {}: NOT taken: {error}", tested.person, tested.channel);
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
