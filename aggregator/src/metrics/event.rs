//! What follows from the events that a process emits: whatever is told as a row is counted here, in one place.

use super::family::{Counters, Family, Gauges, Histograms};
use super::{LONG_SECONDS, SECONDS};
use crate::event::{
    AuthEvent, Delivery, DeliveryOutcome, Event, PageRow, PageState, ProbeOutcome, ProbeRun, ProbeStep, Reception,
    ReceptionVerdict, RemedyState, ResourceSample, Session, StepResult,
};

static EVENTS: Counters = Counters::new("varde_events_total", "Events of this process, by table.", &["table"]);
/// Events that found the channel to the spool full or closed.
pub static EVENTS_LOST: Counters = Counters::new(
    "varde_events_lost_total",
    "Events that were lost because the spool's writer could not keep up or its disk did not take them.",
    &[],
);

static RECEIVED: Counters =
    Counters::new("varde_messages_received_total", "Messages that were offered, by what became of them.", &["verdict"]);
static RECEIVED_BYTES: Counters =
    Counters::new("varde_messages_received_bytes_total", "Octets of the messages that were accepted.", &[]);
static ATTEMPTS: Counters = Counters::new(
    "varde_delivery_attempts_total",
    "Attempts to deliver, a recipient each, by protocol and outcome.",
    &["protocol", "outcome"],
);
static DELAY: Histograms = Histograms::new(
    "varde_delivery_delay_seconds",
    "From the arrival of a message to its delivery, a recipient each.",
    &["protocol"],
    LONG_SECONDS,
);
static STAGE: Histograms = Histograms::new(
    "varde_delivery_stage_duration_seconds",
    "The stages of an attempt: before the queue manager, in the queue, making the connection, sending.",
    &["stage"],
    LONG_SECONDS,
);
static SESSIONS: Counters = Counters::new(
    "varde_sessions_total",
    "Sessions that have ended, by protocol and why they ended.",
    &["protocol", "end_reason"],
);
static SESSION_DURATION: Histograms =
    Histograms::new("varde_session_duration_seconds", "How long sessions lasted.", &["protocol"], LONG_SECONDS);
static SESSION_COMMANDS: Counters =
    Counters::new("varde_session_commands_total", "Commands of the sessions that have ended.", &["protocol"]);
static SESSION_IN: Counters = Counters::new(
    "varde_session_received_bytes_total",
    "Octets from the clients of the sessions that have ended.",
    &["protocol"],
);
static SESSION_OUT: Counters = Counters::new(
    "varde_session_sent_bytes_total",
    "Octets to the clients of the sessions that have ended.",
    &["protocol"],
);
static LOGINS: Counters = Counters::new(
    "varde_auth_attempts_total",
    "Attempts to log in, by protocol, result and why they failed.",
    &["protocol", "result", "reason"],
);
static RUNS: Counters = Counters::new(
    "varde_probe_runs_total",
    "Runs of checks by this watcher, by outcome.",
    &["target", "check", "outcome"],
);
static RUN_DURATION: Histograms =
    Histograms::new("varde_probe_duration_seconds", "How long runs of checks took.", &["target", "check"], SECONDS);
static STEP_DURATION: Histograms = Histograms::new(
    "varde_probe_step_duration_seconds",
    "How long the steps of runs took that were tried.",
    &["step"],
    SECONDS,
);
static PAGES: Counters =
    Counters::new("varde_pages_total", "Changes of pages, by channel and where they are then.", &["channel", "state"]);
static REMEDIES: Counters =
    Counters::new("varde_remedies_total", "Changes of remedies, by verb and where they are then.", &["verb", "state"]);
static INCIDENTS: Counters =
    Counters::new("varde_incident_changes_total", "Changes of incidents, by their state then.", &["state"]);
static HOST: Gauges = Gauges::new(
    "varde_host_used_ratio",
    "Share of the host's resource that is in use: cpu, memory, the fullest disk, its inodes.",
    &["resource"],
);
static PRESSURE: Gauges = Gauges::new(
    "varde_host_pressure_ratio",
    "Share of the last 10 s in which some task waited for the resource.",
    &["resource"],
);

pub(super) static FAMILIES: &[&dyn Family] = &[
    &EVENTS,
    &EVENTS_LOST,
    &RECEIVED,
    &RECEIVED_BYTES,
    &ATTEMPTS,
    &DELAY,
    &STAGE,
    &SESSIONS,
    &SESSION_DURATION,
    &SESSION_COMMANDS,
    &SESSION_IN,
    &SESSION_OUT,
    &LOGINS,
    &RUNS,
    &RUN_DURATION,
    &STEP_DURATION,
    &PAGES,
    &REMEDIES,
    &INCIDENTS,
    &HOST,
    &PRESSURE,
];

/// Counts what an event tells.
pub fn count(event: &Event) {
    EVENTS.with(&[event.table()]).inc();
    match event {
        Event::Reception(row) => reception(row),
        Event::Delivery(row) => delivery(row),
        Event::Session(row) => session(row),
        Event::AuthEvent(row) => auth(row),
        Event::ProbeRun(row) => run(row),
        Event::ProbeStep(row) => step(row),
        Event::PageRow(row) => page(row),
        Event::RemedyRow(row) => REMEDIES.with(&[&row.verb, row.state.as_str()]).inc(),
        Event::IncidentRow(row) => INCIDENTS.with(&[&row.state]).inc(),
        Event::ResourceSample(row) => host(row),
        // Queues and verdicts are looked up when they are asked for; the rest is counted by table.
        _ => {}
    }
}

fn reception(row: &Reception) {
    RECEIVED.with(&[row.verdict.as_str()]).inc();
    if let (ReceptionVerdict::Accepted, Some(bytes)) = (row.verdict, row.size_bytes) {
        RECEIVED_BYTES.with(&[]).add(bytes);
    }
}

fn delivery(row: &Delivery) {
    ATTEMPTS.with(&[&row.protocol, row.outcome.as_str()]).inc();
    if let (DeliveryOutcome::Delivered, Some(ms)) = (row.outcome, row.delay_total_ms) {
        DELAY.with(&[&row.protocol]).observe_ms(ms);
    }
    let stages = [row.delay_a_ms, row.delay_b_ms, row.delay_c_ms, row.delay_d_ms];
    for (stage, ms) in ["reception", "queue", "connect", "transmit"].iter().zip(stages) {
        if let Some(ms) = ms {
            STAGE.with(&[stage]).observe_ms(ms);
        }
    }
}

fn session(row: &Session) {
    let protocol = [row.protocol.as_str()];
    SESSIONS.with(&[&row.protocol, &row.end_reason]).inc();
    SESSION_COMMANDS.with(&protocol).add(row.commands.unwrap_or(0).into());
    SESSION_IN.with(&protocol).add(row.bytes_in.unwrap_or(0));
    SESSION_OUT.with(&protocol).add(row.bytes_out.unwrap_or(0));
    if let Some(ms) = row.duration_ms {
        SESSION_DURATION.with(&protocol).observe_ms(ms);
    }
}

fn auth(row: &AuthEvent) {
    LOGINS.with(&[&row.protocol, &row.result, &row.reason]).inc();
}

fn run(row: &ProbeRun) {
    RUNS.with(&[&row.target, &row.check, row.outcome.as_str()]).inc();
    if let (false, Some(ms)) = (row.outcome == ProbeOutcome::Missed, row.total_ms) {
        RUN_DURATION.with(&[&row.target, &row.check]).observe_ms(ms.into());
    }
}

fn step(row: &ProbeStep) {
    if let (false, Some(ms)) = (row.result == StepResult::Unknown, row.ms) {
        STEP_DURATION.with(&[&row.step]).observe(f64::from(ms) / 1e3);
    }
}

fn page(row: &PageRow) {
    PAGES.with(&[&row.channel, row.state.as_str()]).inc();
}

fn host(row: &ResourceSample) {
    let used = [("cpu", row.cpu), ("memory", row.memory), ("disk", row.disk), ("inodes", row.inodes)];
    for (resource, share) in used {
        if let Some(share) = share {
            HOST.with(&[resource]).set(share.into());
        }
    }
    for (resource, percent) in [("cpu", row.psi_cpu), ("memory", row.psi_memory), ("io", row.psi_io)] {
        if let Some(percent) = percent {
            PRESSURE.with(&[resource]).set(f64::from(percent) / 100.0);
        }
    }
}

/// Shows the outcomes of messages from the start on: a rate needs a zero to begin with.
pub fn show_receptions() {
    for verdict in [ReceptionVerdict::Accepted, ReceptionVerdict::Rejected, ReceptionVerdict::Deferred] {
        RECEIVED.with(&[verdict.as_str()]);
    }
    RECEIVED_BYTES.with(&[]);
}

/// The same for attempts to deliver.
pub fn show_deliveries() {
    let outcomes = DeliveryOutcome::ALL.iter().filter(|outcome| **outcome != DeliveryOutcome::Held);
    for outcome in outcomes {
        for protocol in ["smtp", "local"] {
            ATTEMPTS.with(&[protocol, outcome.as_str()]);
        }
    }
}

/// The same for logins by a protocol.
pub fn show_logins(protocol: &str) {
    LOGINS.with(&[protocol, "ok", ""]);
    LOGINS.with(&[protocol, "failed", "wrong_credentials"]);
}

/// The same for pages by a channel, and for remedies.
pub fn show_pages<'a>(channels: impl IntoIterator<Item = &'a str>) {
    for channel in channels {
        for state in [PageState::Queued, PageState::Delivered, PageState::Failed] {
            PAGES.with(&[channel, state.as_str()]);
        }
    }
    for state in [RemedyState::Ordered, RemedyState::Verified, RemedyState::Failed] {
        REMEDIES.with(&["restart", state.as_str()]);
    }
}

/// The same for the runs of a check.
pub fn show_runs(target: &str, check: &str) {
    for outcome in [ProbeOutcome::Ok, ProbeOutcome::Failed, ProbeOutcome::Missed] {
        RUNS.with(&[target, check, outcome.as_str()]);
    }
}
