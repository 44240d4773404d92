//! The life of one message: from its Message-ID, a queue id or a trace id to everything that any host did with it.
//!
//! A host knows the message by its own queue id, tells the next host's (`next_queue_id`), and all hosts see the
//! Message-ID. Beginning with one of them, every row that shares one is found, then every row that shares one with
//! those, until nothing new comes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clickhouse::{self, Client};
use crate::event::{Address, Time};
use crate::source::trace_of_message;

/// Rows of one message that are looked at: a list with more recipients is told in part.
pub const ROWS: usize = 2_000;
/// Hops that are followed from row to row.
const ROUNDS: usize = 8;
/// How far a message's steps lie apart at most: a queue id comes again for another message some day.
const LIFETIME_MS: i64 = 7 * 86_400_000;
/// Identities that are followed; past it the rest is left.
const IDS: usize = 500;

/// One thing that happened to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub ts: Time,
    /// On which host.
    pub node: String,
    /// `reception`, `delivery`, or `bounce`: what a bounce that came by mail says.
    pub kind: String,
    /// By which program.
    pub mta: String,
    /// Its queue id there.
    pub queue_id: String,
    /// The queue id that the next host gave it.
    pub next_queue_id: String,
    /// The Message-ID.
    pub message_id: String,
    /// The trace id.
    pub trace_id: String,
    /// The reverse-path.
    pub sender: String,
    /// The forward-path, or its domain.
    pub recipient: String,
    /// The client's name of a reception, the next hop of a delivery.
    pub peer_host: String,
    /// Its address.
    pub peer_ip: Option<Address>,
    /// What came of it.
    pub outcome: String,
    /// The reply code.
    pub smtp_code: u16,
    /// The enhanced status code.
    pub enhanced_code: String,
    /// Why not, in one word.
    pub class: String,
    /// The text of the reply.
    pub response: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// From arrival to the end of the attempt.
    pub delay_total_ms: u64,
    /// Before the queue manager.
    pub delay_a_ms: u64,
    /// In the queue.
    pub delay_b_ms: u64,
    /// Making the connection.
    pub delay_c_ms: u64,
    /// Sending the message.
    pub delay_d_ms: u64,
}

const STEPS: &str = "SELECT formatDateTime(m.ts, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') AS ts, node, kind, mta, queue_id, \
    next_queue_id, message_id, trace_id, concat(sender_user, if(sender_domain = '', '', '@'), sender_domain) AS sender, \
    concat(rcpt_user, if(rcpt_user = '' OR rcpt_domain = '', '', '@'), rcpt_domain) AS recipient, peer_host, \
    if(peer_ip = toIPv6('::'), NULL, toString(peer_ip)) AS peer_ip, outcome, smtp_code, enhanced_code, class, response, \
    attempt, delay_total_ms, delay_a_ms, delay_b_ms, delay_c_ms, delay_d_ms \
    FROM message_trace AS m \
    WHERE m.ts BETWEEN {from:DateTime64(6, 'UTC')} AND {to:DateTime64(6, 'UTC')} AND (";
const IN_ORDER: &str = ") ORDER BY m.ts, kind DESC, queue_id LIMIT {rows:UInt32}";

/// Reading the filters of all parts is waiting for the disk: more threads than cores wait for more of it at once.
const SETTINGS: &[(&str, &str)] = &[("max_threads", "8")];

/// A column that holds an id. Each has a filter of its own, and a question that names only one reads only that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Queue,
    NextQueue,
    Message,
    Trace,
}

impl Column {
    const ALL: [Self; 4] = [Self::Queue, Self::NextQueue, Self::Message, Self::Trace];

    /// Where to look for an id of unknown kind, the likeliest first.
    fn likely(id: &str) -> &'static [Self] {
        // Trace ids are hexadecimal; looking for one is dear, because most are computed from the Message-ID.
        let is_trace = id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (id.contains('@'), is_trace) {
            (true, _) => &[Self::Message, Self::Queue, Self::NextQueue],
            (_, true) => &[Self::Trace, Self::Queue, Self::NextQueue, Self::Message],
            _ => &[Self::Queue, Self::NextQueue, Self::Message],
        }
    }

    const fn condition(self) -> &'static str {
        match self {
            Self::Queue => "queue_id IN {queue_ids:Array(String)}",
            Self::NextQueue => "next_queue_id IN {queue_ids:Array(String)}",
            Self::Message => "message_id IN {message_ids:Array(String)}",
            Self::Trace => "trace_id IN {trace_ids:Array(String)}",
        }
    }
}

const OF_TRACES: &str = "SELECT formatDateTime(m.ts, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') AS ts, node, kind, mta, queue_id, \
    next_queue_id, message_id, trace_id, concat(sender_user, if(sender_domain = '', '', '@'), sender_domain) AS sender, \
    concat(rcpt_user, if(rcpt_user = '' OR rcpt_domain = '', '', '@'), rcpt_domain) AS recipient, peer_host, \
    if(peer_ip = toIPv6('::'), NULL, toString(peer_ip)) AS peer_ip, outcome, smtp_code, enhanced_code, class, response, \
    attempt, delay_total_ms, delay_a_ms, delay_b_ms, delay_c_ms, delay_d_ms \
    FROM message_trace AS m WHERE m.ts >= {from:DateTime64(6, 'UTC')} AND trace_id IN {trace_ids:Array(String)} \
    ORDER BY trace_id, m.ts, kind DESC, queue_id LIMIT {most:UInt32} BY trace_id";

/// What is known of a message.
#[derive(Debug, Default)]
struct Ids {
    queue: BTreeSet<String>,
    message: BTreeSet<String>,
    trace: BTreeSet<String>,
}

impl Ids {
    fn of(id: &str) -> Self {
        let one = BTreeSet::from([id.to_owned()]);
        Self { queue: one.clone(), message: one.clone(), trace: one }
    }

    fn count(&self) -> usize {
        self.queue.len() + self.message.len() + self.trace.len()
    }

    fn learn(&mut self, steps: &[Step]) {
        for step in steps {
            learn(&mut self.queue, &step.queue_id);
            learn(&mut self.queue, &step.next_queue_id);
            learn(&mut self.message, &step.message_id);
            // One that follows from the Message-ID finds no other rows than that does, and takes longer.
            if step.trace_id != trace_of_message(&step.message_id) {
                learn(&mut self.trace, &step.trace_id);
            }
        }
    }
}

fn learn(ids: &mut BTreeSet<String>, id: &str) {
    if !id.is_empty() && ids.len() < IDS {
        ids.insert(id.to_owned());
    }
}

/// Everything that happened to the message of this id, in order. Empty when nobody has seen it.
///
/// # Errors
/// ClickHouse is away, or refused the statement.
pub async fn trace(client: &Client, id: &str) -> Result<Vec<Step>, clickhouse::Error> {
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    let ever = (Time(0), Time(i64::from(u32::MAX) * 1_000_000));
    let mut steps: Vec<Step> = Vec::new();
    for column in Column::likely(id) {
        steps = ask(client, &[*column], &Ids::of(id), ever).await?;
        if !steps.is_empty() {
            break;
        }
    }
    let mut ids = Ids::default();
    for _ in 0..ROUNDS {
        let count = ids.count();
        ids.learn(&steps);
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { break };
        if ids.count() == count {
            break;
        }
        let window = (first.ts.plus_millis(-LIFETIME_MS), last.ts.plus_millis(LIFETIME_MS));
        let columns = if ids.trace.is_empty() { &Column::ALL[..3] } else { &Column::ALL };
        steps = ask(client, columns, &ids, window).await?;
    }
    Ok(steps)
}

/// The rows between two times that have one of these ids in one of these columns.
async fn ask(
    client: &Client,
    columns: &[Column],
    ids: &Ids,
    (from, to): (Time, Time),
) -> Result<Vec<Step>, clickhouse::Error> {
    let conditions: Vec<&str> = columns.iter().map(|column| column.condition()).collect();
    let sql = [STEPS, &conditions.join(" OR "), IN_ORDER].concat();
    let [queue, message, trace] = [&ids.queue, &ids.message, &ids.trace].map(array);
    let [from, to] = [from, to].map(|at| at.to_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string());
    let rows = ROWS.to_string();
    let params = [
        ("queue_ids", queue.as_str()),
        ("message_ids", &message),
        ("trace_ids", &trace),
        ("rows", &rows),
        ("from", &from),
        ("to", &to),
    ];
    client.rows_with(&sql, &params, SETTINGS).await
}

/// Steps of one trace that are told of it.
const STEPS_OF_TRACE: usize = 200;

/// Everything that is known of these traces, which ended after `since`, by trace and in order; of each no more than 200
/// steps.
///
/// # Errors
/// ClickHouse is away, or refused the statement.
pub async fn of_traces(
    client: &Client,
    traces: &BTreeSet<String>,
    since: Time,
) -> Result<BTreeMap<String, Vec<Step>>, clickhouse::Error> {
    let mut found: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    if !traces.is_empty() {
        let (traces, most) = (array(traces), STEPS_OF_TRACE.to_string());
        let from = since.plus_millis(-LIFETIME_MS).to_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        let params = [("trace_ids", traces.as_str()), ("most", &most), ("from", &from)];
        for step in client.rows::<Step>(OF_TRACES, &params).await? {
            found.entry(step.trace_id.clone()).or_default().push(step);
        }
    }
    Ok(found)
}

/// A ClickHouse array of strings, as a parameter.
fn array(ids: &BTreeSet<String>) -> String {
    let mut text = String::from("[");
    for (at, id) in ids.iter().enumerate() {
        text.push_str(if at == 0 { "'" } else { ",'" });
        for c in id.chars() {
            match c {
                '\'' => text.push_str("\\'"),
                '\\' => text.push_str("\\\\"),
                // A parameter's own escapes are read before the array's.
                '\n' | '\t' | '\r' | '\0' => text.push(' '),
                other => text.push(other),
            }
        }
        text.push('\'');
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_quotes() {
        let ids = BTreeSet::from(["a'] OR 1 \\".to_owned(), "b".to_owned()]);
        assert_eq!(array(&ids), "['a\\'] OR 1 \\\\','b']");
    }

    #[test]
    fn an_id_is_looked_for_where_it_is_likeliest_first() {
        assert_eq!(Column::likely("x@example.net")[0], Column::Message);
        assert_eq!(Column::likely("9123bc5b17621613")[0], Column::Trace);
        assert_eq!(Column::likely("4ZxYk13Xjfz9rT")[0], Column::Queue);
        for id in ["x@example.net", "9123bc5b17621613", "4ZxYk13Xjfz9rT"] {
            let places = Column::likely(id);
            assert!([Column::Queue, Column::NextQueue, Column::Message].iter().all(|column| places.contains(column)));
        }
    }
}
