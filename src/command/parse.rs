//! `varde parse`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use aggregator::dialect::{Reader, clock::Clock, guess, not_a_log};
use aggregator::event::Time;
use aggregator::mailed::{self, Bound};
use aggregator::parse::{Summary, figures, parse};
use aggregator::source::mailbox::{self, Flow, Mailbox, Message};
use aggregator::source::{self, journal};
use anyhow::Context;

use crate::cli::Parse;

/// Octets of the log's beginning that tell which dialect it looks like.
const SAMPLE_BYTES: usize = 64 * 1024;

/// Prints the rows of logs and reports, and on standard error what could not be read.
#[expect(clippy::print_stderr, reason = "says what was not recognised")]
pub fn run(args: &Parse) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in &args.file {
        let name = path.display();
        let mailbox = mailbox(args, path).with_context(|| format!("{name} cannot be read"))?;
        let done = match mailbox {
            Some(mailbox) => reports(&mailbox, &mut io::stdout().lock(), &mut |fault| {
                eprintln!("{fault}");
                code = ExitCode::FAILURE;
            }),
            None => log(args, path).map(|remark| remark.iter().for_each(|remark| eprintln!("{name}: {remark}"))),
        };
        match done {
            // The reader of our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            result => result.with_context(|| format!("{name}: reading it, or writing its rows"))?,
        }
    }
    Ok(code)
}

/// Where reports lie, if it is reports that a file holds.
fn mailbox(args: &Parse, path: &Path) -> io::Result<Option<Mailbox>> {
    match (args.reports, path.as_os_str() == "-") {
        (true, true) => {
            let mut octets = Vec::new();
            io::stdin().lock().take(Bound::MessageBytes.limit() + 1).read_to_end(&mut octets)?;
            Ok(Some(Mailbox::Given(octets)))
        }
        (true, false) => Ok(mailbox::recognise(path)?.or_else(|| Some(Mailbox::File(path.to_owned())))),
        (false, true) => Ok(None),
        (false, false) => mailbox::recognise(path),
    }
}

/// Prints the rows of all reports in a mailbox; `tell` gets a line for each thing that could not be read.
fn reports(mailbox: &Mailbox, out: &mut impl Write, tell: &mut dyn FnMut(String)) -> io::Result<()> {
    let now = Time::now();
    let mut reader = mailed::Reader::default();
    let mut text = Vec::new();
    mailbox.each(now, &mut |message: Message| {
        let reading = reader.read(&message.octets, &mailed::Context { now, received: message.received });
        for row in &reading.rows {
            row.write_json(&mut text);
            text.push(b'\n');
        }
        out.write_all(&text)?;
        text.clear();
        reading.faults.iter().for_each(|fault| tell(format!("{}: {fault}", message.name)));
        if reading.more_faults > 0 {
            tell(format!("{}: {} more records could not be read", message.name, reading.more_faults));
        }
        if reading.kind.is_none()
            && reading.faults.is_empty()
            && matches!(mailbox, Mailbox::File(_) | Mailbox::Given(_))
        {
            tell(format!("{}: holds no report that is known", message.name));
        }
        Ok(Flow::Next)
    })
}

/// Prints the events of a log, or a page of figures; what to say of it.
#[expect(clippy::print_stdout, reason = "prints the page")]
fn log(args: &Parse, path: &Path) -> io::Result<Option<String>> {
    let whole = std::fs::metadata(path).map_or(true, |metadata| metadata.is_file() || metadata.is_dir());
    let (mut input, written): (Box<dyn BufRead>, Time) = if path.as_os_str() == "-" {
        (live(io::stdin().lock())?, Time::now())
    } else if whole {
        let (input, written) = source::open(path)?;
        (Box::new(BufReader::with_capacity(SAMPLE_BYTES, input)), written)
    } else {
        (live(File::open(path)?)?, Time::now())
    };
    let sample = input.fill_buf()?.to_vec();
    let reference = args.year_of.map_or(written, Time::from);
    let mut reader = Reader::new(args.dialect, Clock::new(args.time_zone, reference));
    if args.summary {
        print!("{}", figures(input, &mut reader)?);
        return Ok(None);
    }
    let summary = parse(input, &mut reader, args.all, io::stdout().lock())?;
    Ok(remark(args, &summary, &sample))
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
