//! `varde trace`.

use std::process::ExitCode;

use aggregator::event::Time;
use aggregator::trace::{self, Step};

use crate::cli::Trace;
use crate::roles;

/// Prints the life of a message; exit code 1 when nobody has seen it.
#[expect(clippy::print_stdout, reason = "prints the life of a message")]
pub async fn run(args: &Trace) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let steps = trace::trace(&roles::operator_clickhouse(&config)?, &args.id).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&steps)?);
    } else if let Some(first) = steps.first() {
        println!("{}", head(&steps));
        for step in &steps {
            println!("{}", line(step, first.ts));
        }
        if steps.len() == trace::ROWS {
            println!("… only the first {} steps are shown", trace::ROWS);
        }
    } else {
        println!("No host has said anything of \"{}\".", args.id);
    }
    Ok(if steps.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What all steps share.
fn head(steps: &[Step]) -> String {
    let first = |get: fn(&Step) -> &str| steps.iter().map(get).find(|text| !text.is_empty()).unwrap_or("?");
    format!(
        "Message-ID {}\ntrace      {}\nfrom       {}\nbegins     {}\n",
        first(|step| &step.message_id),
        first(|step| &step.trace_id),
        first(|step| &step.sender),
        steps.first().map(|step| step.ts.to_string()).unwrap_or_default(),
    )
}

/// One step: when since the begin, where, what, and how long it took.
fn line(step: &Step, begin: Time) -> String {
    let mut text = format!("{:>10}  {} {}", since(step.ts.millis_since(begin)), step.node, step.queue_id);
    let peer = match (&step.peer_host, &step.peer_ip) {
        (host, Some(ip)) if host.is_empty() => ip.to_string(),
        (host, Some(ip)) => format!("{host} [{ip}]"),
        (host, None) => host.clone(),
    };
    if step.kind == "reception" {
        let by = if step.outcome == "accepted" { "taken in" } else { &step.outcome };
        text += &format!("  {by}{}", if peer.is_empty() { String::new() } else { format!(" from {peer}") });
    } else {
        let told = if step.kind == "bounce" { "a bounce says: " } else { "" };
        text += &format!("  {told}{} to {}", step.outcome, step.recipient);
        if !peer.is_empty() {
            text += &format!(" by {peer}");
        }
        if step.attempt > 1 {
            text += &format!(", attempt {}", step.attempt);
        }
        if !step.next_queue_id.is_empty() {
            text += &format!(", there {}", step.next_queue_id);
        }
        text += &delays(step);
    }
    if !step.class.is_empty() {
        text += &format!("\n{:12}because of {}: {}", "", step.class, step.response);
    }
    text
}

fn delays(step: &Step) -> String {
    if step.delay_total_ms == 0 {
        return String::new();
    }
    let parts = [step.delay_a_ms, step.delay_b_ms, step.delay_c_ms, step.delay_d_ms];
    let mut text = format!("\n{:12}after {}", "", since(step.delay_total_ms));
    if parts.iter().any(|part| *part > 0) {
        let [a, b, c, d] = parts.map(since);
        text += &format!(": {a} before the queue, {b} in it, {c} connecting, {d} sending");
    }
    text
}

fn since(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{:03} s", ms / 1000, ms % 1000),
        60_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}
