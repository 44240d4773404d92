//! `varde parse`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::process::ExitCode;

use aggregator::dialect::{Reader, clock::Clock, guess, not_a_log};
use aggregator::event::Time;
use aggregator::parse::{Summary, figures, parse};
use aggregator::source::{self, journal};
use anyhow::Context;

use crate::cli::Parse;

/// Octets of the log's beginning that tell which dialect it looks like.
const SAMPLE_BYTES: usize = 64 * 1024;

/// Prints the events of a log, and on standard error what the dialect does not know; or a page of figures.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "prints the page, and what was not recognised")]
pub fn run(args: &Parse) -> anyhow::Result<ExitCode> {
    let name = args.file.display();
    let unreadable = || format!("{name} cannot be read");
    let whole = std::fs::metadata(&args.file).map_or(true, |metadata| metadata.is_file() || metadata.is_dir());
    let (mut input, written): (Box<dyn BufRead>, Time) = if args.file.as_os_str() == "-" {
        (live(io::stdin().lock()).with_context(unreadable)?, Time::now())
    } else if whole {
        let (input, written) = source::open(&args.file).with_context(unreadable)?;
        (Box::new(BufReader::with_capacity(SAMPLE_BYTES, input)), written)
    } else {
        (live(File::open(&args.file).with_context(unreadable)?).with_context(unreadable)?, Time::now())
    };
    let sample = input.fill_buf().with_context(unreadable)?.to_vec();
    let reference = args.year_of.map_or(written, Time::from);
    let mut reader = Reader::new(args.dialect, Clock::new(args.time_zone, reference));
    if args.summary {
        let figures = figures(input, &mut reader).with_context(|| format!("{name} cannot be read to its end"))?;
        print!("{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    let summary = match parse(input, &mut reader, args.all, io::stdout().lock()) {
        // The reader of our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        result => result.with_context(|| format!("{name}: reading it, or writing its events"))?,
    };
    if let Some(remark) = remark(args, &summary, &sample) {
        eprintln!("{name}: {remark}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A pipe, in which a log may grow: nothing waits for more than is there.
fn live(input: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::with_capacity(SAMPLE_BYTES, input);
    Ok(match input.fill_buf()?.starts_with(journal::MAGIC) {
        true => Box::new(BufReader::with_capacity(SAMPLE_BYTES, journal::Text::new(input))),
        false => Box::new(input),
    })
}

fn remark(args: &Parse, summary: &Summary, sample: &[u8]) -> Option<String> {
    if summary.unrecognised == 0 {
        return None;
    }
    let unknown =
        format!("{} of {} lines are unknown to the dialect {}", summary.unrecognised, summary.lines, args.dialect.name);
    let strange = not_a_log(sample).map(|strange| format!("; {strange}")).unwrap_or_default();
    let unknown = unknown + &strange;
    let sample = String::from_utf8_lossy(sample);
    let better = guess(sample.lines()).filter(|found| found.name != args.dialect.name && args.dialect.name != "mail");
    Some(match better {
        Some(found) if summary.unrecognised * 2 > summary.lines => {
            format!("{unknown}; it looks like {}: try --dialect {}", found.title, found.name)
        }
        _ if args.all => unknown,
        _ => format!("{unknown}; --all prints them"),
    })
}
