//! `varde import`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aggregator::event::Time;
use aggregator::ship::{Sender, Shipping, Stuck};
use aggregator::source::BATCH_ROOM;
use aggregator::source::import::{Done, Import, Options, Progress, Reports, State};
use aggregator::source::room::Waiting;
use aggregator::spool::Shelf;
use aggregator::summary::{Figures, grouped};
use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::roles;
use crate::stop;

/// What is drawn while logs are read, and while ClickHouse takes what is left; both fit into 80 columns.
const READING: &str = "Reading {wide_bar} {percent}% of {total_bytes}, {msg} lines, {eta} left";
const SHIPPING: &str = "Shipping {wide_bar} {pos} of {len} batches, {eta} left";
/// Between two drawings of the bar.
const DRAW: Duration = Duration::from_millis(100);
/// How long an intake that does not answer is waited for once everything is read, or once the spool is full.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two tries to reach it.
const RETRY: Duration = Duration::from_secs(1);
/// How long the reading may take to end after a signal: it may hang on standard input.
const LAST_LINES: Duration = Duration::from_secs(5);

/// What to do when the disk did not take a batch.
const STOPPED: &str = "the import has stopped; run it again, and it goes on where it stopped";

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report<'a> {
    files: &'a [Done],
    seconds: f64,
    lines_per_second: u64,
    shipped: bool,
    waiting_batches: usize,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// Reads logs and reports, ships what they say, prints a page of figures.
pub async fn run(args: &cli::Import) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let options = Options { dialect: args.dialect, zone: args.time_zone, node: args.node.clone(), raw: args.raw };
    let mut shipping = roles::shipping(&config, roles::IMPORT)?;
    if let Some(masking) = args.mask {
        shipping.mask = roles::mask(&config, masking)?;
    }
    let began = Instant::now();
    let stop = stop::on_signal();
    let import = open(&shipping, roles::shipper(&config, roles::LOGS), options, &stop)
        .await
        .context("the import cannot begin; is another import running?")?;
    let shelf = import.shelf();
    let (files, figures) = read(import, args.file.clone(), &shipping, !args.json, &stop).await?;
    let shipped = match stop.is_cancelled() {
        false => ship(&shipping, &shelf, !args.json, &stop).await,
        true if shelf.has_room_for(BATCH_ROOM) => Err(anyhow::anyhow!("stopped by a signal")),
        true => Err(anyhow::anyhow!("the spool is full (aggregate.spool_max_bytes) and the intake takes nothing")),
    };
    let seconds = began.elapsed().as_secs_f64();
    let report = Report {
        files: &files,
        seconds,
        lines_per_second: (figures.lines as f64 / seconds.max(0.001)) as u64,
        shipped: shipped.is_ok(),
        waiting_batches: shelf.len(),
        figures: &figures,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&mut out, &report)?;
    }
    drop(out);
    shipped.with_context(|| {
        format!(
            "{} batches wait in {} for the intake {}; once it runs, `varde import` sends them; nothing is read twice",
            shelf.len(),
            shipping.dir.display(),
            shipping.intake
        )
    })?;
    let refused = shelf.counters.refused.load(Ordering::Relaxed);
    anyhow::ensure!(refused == 0, "{refused} batches were refused and are set aside in {}", shipping.dir.display());
    let failed = files.iter().any(|done| match &done.state {
        State::Failed { .. } => true,
        State::Reports(found) => found.refused > 0,
        _ => false,
    });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Opens the spool, once its disk has room for it.
async fn open(
    shipping: &Shipping,
    beside: String,
    options: Options,
    stop: &CancellationToken,
) -> anyhow::Result<Import> {
    let waiting = Waiting::default();
    let (theirs, shipping, stopped) = (waiting.clone(), shipping.clone(), stop.clone());
    let mut opening = tokio::task::spawn_blocking(move || {
        theirs.until_done(&stopped, || Import::open(&shipping, &beside, options.clone(), Time::now()))
    });
    let (none, mut told) = (ProgressBar::hidden(), None);
    loop {
        tokio::select! {
            opened = &mut opening => return opened?.map_err(Into::into).and_then(|opened| opened.context("stopped by a signal")),
            () = tokio::time::sleep(DRAW) => tell(&none, &waiting, &mut told),
        }
    }
}

/// Says on standard error what the import waits for, and when it goes on.
fn tell(bar: &ProgressBar, waiting: &Waiting, told: &mut Option<PathBuf>) {
    let text = match (waiting.now(), &told) {
        (Some(full), None) => {
            let free = full.free_bytes.map_or_else(|| "unknown".to_owned(), |bytes| HumanBytes(bytes).to_string());
            let path = full.path.display().to_string();
            *told = Some(full.path);
            format!(
                "varde import: waits for room on the disk of {path} ({free} free); nothing is lost, and it goes on by itself"
            )
        }
        (None, Some(path)) => {
            let text = format!("varde import: there is room on the disk of {} again; it goes on", path.display());
            *told = None;
            text
        }
        _ => return,
    };
    bar.suspend(|| eprintln!("{text}"));
}

/// Reads on a thread that may block, and ships and draws meanwhile.
async fn read(
    mut import: Import,
    paths: Vec<PathBuf>,
    shipping: &Shipping,
    draw: bool,
    stop: &CancellationToken,
) -> anyhow::Result<(Vec<Done>, Figures)> {
    let never = CancellationToken::new();
    let (shelf, progress) = (import.shelf(), import.progress());
    let bar = bar(draw, READING);
    let (total, stopped) = (bar.clone(), stop.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let (mut logs, mut done) = (Vec::new(), Vec::new());
        for path in &paths {
            match import.prepare(path) {
                Ok(log) => logs.push(log),
                Err(what) => done.push(what),
            }
        }
        total.set_length(Import::size(&logs));
        let read = import.read(logs, &stopped);
        read.map(|read| {
            done.extend(read);
            (done, import.into_summary().figures())
        })
    });
    let sender = Sender::of_shelf(shipping, shelf.clone())?;
    let watched = async {
        tokio::pin!(reading);
        let mut told = None;
        loop {
            tokio::select! {
                read = &mut reading => {
                    tell(&bar, &progress.waiting, &mut told);
                    return read.context("the reading broke off").and_then(|read| read.context(STOPPED));
                }
                () = stop.cancelled() => break,
                () = tokio::time::sleep(DRAW) => {
                    show(&bar, &progress);
                    tell(&bar, &progress.waiting, &mut told);
                }
            }
        }
        let last = tokio::time::timeout(LAST_LINES, reading).await;
        last.context("the reading did not end; what was not sealed is read again next time")?
            .context("the reading broke off")
            .and_then(|read| read.context(STOPPED))
    };
    let full = async {
        wait_while_full_and_stuck(&shelf).await;
        stop.cancel();
        std::future::pending().await
    };
    let figures = tokio::select! {
        figures = watched => figures,
        () = sender.run(&never) => Err(anyhow::anyhow!("shipping ended before reading")),
        () = full => Err(anyhow::anyhow!("reading was given up")),
    };
    bar.finish_and_clear();
    figures
}

/// Returns when the spool has been full for long without anything leaving it.
async fn wait_while_full_and_stuck(shelf: &Shelf) {
    let (mut oldest, mut since) = (shelf.oldest(), Instant::now());
    loop {
        tokio::time::sleep(RETRY).await;
        if shelf.has_room_for(BATCH_ROOM) || shelf.oldest() != oldest {
            (oldest, since) = (shelf.oldest(), Instant::now());
        } else if since.elapsed() > PATIENCE {
            return;
        }
    }
}

/// Sends what is left, and draws how far it is: ClickHouse may take longer than the reading did.
async fn ship(
    shipping: &Shipping,
    shelf: &std::sync::Arc<Shelf>,
    draw: bool,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let bar = bar(draw, SHIPPING);
    let batches = shelf.len() as u64;
    bar.set_length(batches);
    let drawing = async {
        while !stop.is_cancelled() {
            bar.set_position(batches.saturating_sub(shelf.len() as u64));
            tokio::time::sleep(DRAW).await;
        }
        Err(anyhow::anyhow!("stopped by a signal"))
    };
    let shipped = tokio::select! {
        shipped = ship_all(shipping, shelf) => shipped,
        stopped = drawing => stopped,
    };
    bar.finish_and_clear();
    shipped
}

/// Waits for an intake that does not answer, but not for long.
async fn ship_all(shipping: &Shipping, shelf: &std::sync::Arc<Shelf>) -> anyhow::Result<()> {
    let sender = Sender::of_shelf(shipping, shelf.clone())?;
    let mut since = Instant::now();
    loop {
        let oldest = shelf.oldest();
        match sender.drain().await {
            Ok(_) => return Ok(()),
            // Nobody is there at all.
            Err(Stuck::Network(why)) if why.is_connect() && since.elapsed() > RETRY * 3 => return Err(why.into()),
            Err(why) if since.elapsed() > PATIENCE => return Err(why.into()),
            Err(_) if shelf.oldest() != oldest => since = Instant::now(),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

fn bar(draw: bool, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if draw && std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_message(grouped(progress.lines.load(Ordering::Relaxed)));
    bar.set_position(progress.bytes.load(Ordering::Relaxed));
}

fn print(out: &mut impl Write, report: &Report<'_>) -> std::io::Result<()> {
    for done in report.files {
        let said = match &done.state {
            State::Read { dialect, lines, resumed } => {
                let new = if *resumed { " new" } else { "" };
                format!("{}{new} lines, read as {dialect}", grouped(*lines))
            }
            State::Reports(found) => {
                writeln!(out, "{}: {}", done.name, reports(found))?;
                for fault in &found.faults {
                    writeln!(out, "  {fault}")?;
                }
                continue;
            }
            State::Known => "nothing new: it was read before".to_owned(),
            State::Followed => "left to varde node, which follows it".to_owned(),
            State::Empty => "empty".to_owned(),
            State::Failed { message } => message.clone(),
        };
        writeln!(out, "{}: {said}", done.name)?;
    }
    if report.figures.events > 0 || report.figures.lines > 0 {
        writeln!(out, "\n{}", report.figures)?;
    }
    if report.figures.lines > 0 {
        let [lines, rows, pace] = [report.figures.lines, report.figures.events, report.lines_per_second].map(grouped);
        writeln!(out, "{lines} lines made {rows} rows in {:.1} s ({pace} lines/s).", report.seconds)?;
        if let Some(from) = report.figures.from.filter(|_| report.shipped) {
            let days = Time::now().day() - from.day() + 1;
            writeln!(out, "Ask on: varde report deliverability --since {days}d; varde trace QUEUE-ID; varde sql")?;
        }
    }
    Ok(())
}

/// What was found in a mailbox, in a line.
fn reports(found: &Reports) -> String {
    let mut said: Vec<String> = found.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    for (count, what) in [(found.known, "read before"), (found.others, "no reports"), (found.refused, "refused")] {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    format!("{} messages ({}), {} rows", found.messages, said.join(", "), found.rows)
}
