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

/// The columns of a [`Step`], of some days; a condition follows.
const STEPS: &str = "SELECT formatDateTime(m.ts, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC') AS ts, node, kind, mta, queue_id, \
    next_queue_id, message_id, trace_id, concat(sender_user, if(sender_domain = '', '', '@'), sender_domain) AS sender, \
    concat(rcpt_user, if(rcpt_user = '' OR rcpt_domain = '', '', '@'), rcpt_domain) AS recipient, peer_host, \
    if(peer_ip = toIPv6('::'), NULL, toString(peer_ip)) AS peer_ip, outcome, smtp_code, enhanced_code, class, response, \
    attempt, delay_total_ms, delay_a_ms, delay_b_ms, delay_c_ms, delay_d_ms \
    FROM message_trace AS m WHERE toDate(m.ts) IN {days:Array(Date)} AND ";
const OF_IDS: &str = "m.ts BETWEEN {from:DateTime64(6, 'UTC')} AND {to:DateTime64(6, 'UTC')} AND (";
const IN_ORDER: &str = ") ORDER BY m.ts, kind DESC, queue_id LIMIT {rows:UInt32}";
const OF_TRACES: &str = "trace_id IN {trace_ids:Array(String)} \
    ORDER BY trace_id, m.ts, kind DESC, queue_id LIMIT {most:UInt32} BY trace_id";

/// The days on which any of these names was met. `bounces` are few, and kept for longer than days are known. The key of
/// `id_days` is used for a set of values or a subquery, not for an array that a function makes.
pub const DAYS: &str = "SELECT DISTINCT day FROM (\
    SELECT day FROM id_days WHERE id IN (SELECT toUInt32(cityHash64(arrayJoin({names:Array(String)})))) \
    UNION ALL \
    SELECT toDate(b.ts, 'UTC') AS day FROM bounces AS b \
    WHERE queue_id IN {names:Array(String)} OR message_id IN {messages:Array(String)} OR trace_id IN {names:Array(String)}) \
    WHERE day BETWEEN {from:Date} AND {to:Date} ORDER BY day";

/// Marks of the parts of many months are read for a few rows: more threads than cores would wait for each other.
const SETTINGS: &[(&str, &str)] = &[("max_threads", "2")];

/// What is known of a message.
#[derive(Debug, Default)]
struct Ids {
    queue: BTreeSet<String>,
    message: BTreeSet<String>,
    trace: BTreeSet<String>,
}

impl Ids {
    /// What an id of unknown kind can be, the likeliest first. As a trace id it is asked for alone: that is dear, because
    /// most are computed from the Message-ID.
    fn guesses(id: &str) -> [Self; 2] {
        let (mut of_mail, mut of_trace) = (Self::default(), Self::default());
        learn(&mut of_mail.queue, id);
        learn(&mut of_mail.message, id);
        learn(&mut of_trace.trace, id);
        let is_trace = id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_trace { [of_trace, of_mail] } else { [of_mail, of_trace] }
    }

    /// What `id_days` knows them by: a Message-ID by the trace id that follows from it.
    fn names(&self) -> BTreeSet<String> {
        let of_messages = self.message.iter().map(|id| trace_of_message(id));
        self.queue.iter().chain(&self.trace).cloned().chain(of_messages).collect()
    }

    /// The condition that a row has one of them.
    fn condition(&self) -> String {
        let columns = [
            (&self.queue, "queue_id IN {queue_ids:Array(String)}"),
            (&self.queue, "next_queue_id IN {queue_ids:Array(String)}"),
            (&self.message, "message_id IN {message_ids:Array(String)}"),
            (&self.trace, "trace_id IN {trace_ids:Array(String)}"),
        ];
        let asked: Vec<&str> = columns.iter().filter(|(ids, _)| !ids.is_empty()).map(|(_, sql)| *sql).collect();
        asked.join(" OR ")
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
    let mut steps = Vec::new();
    for guess in Ids::guesses(id) {
        steps = ask(client, &guess, ever).await?;
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
        steps = ask(client, &ids, window).await?;
    }
    Ok(steps)
}

/// The rows between two times that have one of these ids.
async fn ask(client: &Client, ids: &Ids, window: (Time, Time)) -> Result<Vec<Step>, clickhouse::Error> {
    let days = days(client, &ids.names(), &ids.message, window).await?;
    if days.is_empty() {
        return Ok(Vec::new());
    }
    let sql = [STEPS, OF_IDS, &ids.condition(), IN_ORDER].concat();
    let [queue, message, trace, days] = [&ids.queue, &ids.message, &ids.trace, &days].map(array);
    let [from, to] = [window.0, window.1].map(|at| at.to_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string());
    let rows = ROWS.to_string();
    let params = [
        ("queue_ids", queue.as_str()),
        ("message_ids", &message),
        ("trace_ids", &trace),
        ("days", &days),
        ("rows", &rows),
        ("from", &from),
        ("to", &to),
    ];
    client.rows(&sql, &params).await
}

/// The days between two times, as `YYYY-MM-DD`, on which any host said anything of these names. A few too many are
/// harmless.
async fn days(
    client: &Client,
    names: &BTreeSet<String>,
    messages: &BTreeSet<String>,
    (from, to): (Time, Time),
) -> Result<BTreeSet<String>, clickhouse::Error> {
    #[derive(Deserialize)]
    struct Met {
        day: String,
    }
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let [names, messages] = [names, messages].map(array);
    let [from, to] = [from, to].map(|at| at.to_utc().date_naive().to_string());
    let params = [("names", names.as_str()), ("messages", &messages), ("from", &from), ("to", &to)];
    let met: Vec<Met> = client.rows_with(DAYS, &params, SETTINGS).await?;
    Ok(met.into_iter().map(|met| met.day).collect())
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
    let window = (since.plus_millis(-LIFETIME_MS), Time::now().plus_millis(LIFETIME_MS));
    let days = days(client, traces, &BTreeSet::new(), window).await?;
    if days.is_empty() {
        return Ok(found);
    }
    let ([traces, days], most) = ([traces, &days].map(array), STEPS_OF_TRACE.to_string());
    let params = [("trace_ids", traces.as_str()), ("days", &days), ("most", &most)];
    for step in client.rows::<Step>(&[STEPS, OF_TRACES].concat(), &params).await? {
        found.entry(step.trace_id.clone()).or_default().push(step);
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
        let first_is_trace = |id: &str| Ids::guesses(id)[0].queue.is_empty();
        assert!(first_is_trace("9123bc5b17621613"));
        assert!(!first_is_trace("x@example.net") && !first_is_trace("4ZxYk13Xjfz9rT") && !first_is_trace("4F0A"));
    }

    #[test]
    fn no_id_is_not_that_of_every_row_without_one() {
        assert!(Ids::guesses("").iter().all(|ids| ids.names().is_empty() && ids.condition().is_empty()));
    }
}
