//! What ClickHouse knows of today's mail: deliverability by recipient domain, and the queues.

use std::time::Duration;

use aggregator::clickhouse::{Client, Error};
use aggregator::event::Time;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// How often ClickHouse is asked.
const REFRESH: Duration = Duration::from_secs(10);
/// A question takes at most this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// A queue's sample older than this is not shown.
const SAMPLES_MS: i64 = 3_600_000;

/// Deliveries to one recipient domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainToday {
    /// The domain of the forward-path.
    pub domain: String,
    /// Recipients whose message was taken by the next hop or the mailbox.
    pub delivered: u64,
    /// Attempts that were put off.
    pub deferred: u64,
    /// Recipients given up: refused for good, or expired in the queue.
    pub bounced: u64,
    /// Half of the delivered ones took no longer than this, from arrival, in milliseconds.
    pub median_delay_ms: Option<f64>,
}

/// The newest sample of one queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The host.
    pub node: String,
    /// The queue.
    pub queue: String,
    /// How many messages wait.
    pub depth: u64,
    /// Age of the oldest, in seconds.
    pub oldest_s: u64,
    /// When the sample was taken, in microseconds since 1970.
    pub sampled_us: i64,
}

/// One answer of ClickHouse.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// When it was asked.
    pub as_of: Time,
    /// The twenty domains with the most attempts today.
    pub domains: Vec<DomainToday>,
    /// Every queue.
    pub queues: Vec<Queue>,
}

/// What is known of the mail, and why there is nothing newer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Mail {
    /// The last answer.
    pub figures: Option<Figures>,
    /// Why the last question had no answer; `None` when it had one.
    pub failure: Option<String>,
}

/// Asks ClickHouse until `shutdown`.
pub async fn run(client: Client, zone: Tz, sender: watch::Sender<Mail>, shutdown: CancellationToken) {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return,
            answer = async {
                ticks.tick().await;
                timeout(ANSWER_TIMEOUT, ask(&client, Time::now(), zone)).await
            } => answer,
        };
        let failure = match answer {
            Ok(Ok(figures)) => {
                sender.send_replace(Mail { figures: Some(figures), failure: None });
                continue;
            }
            Ok(Err(error)) => in_words(&error),
            Err(_) => "ClickHouse did not answer within 8 s".to_owned(),
        };
        sender.send_modify(|mail| {
            if mail.failure.is_none() {
                tracing::warn!(error = %failure, "asking ClickHouse for today's mail failed; asking again every 10 s");
            }
            mail.failure = Some(failure);
        });
    }
}

/// Without the URL of the question, which says nothing to a person.
fn in_words(error: &Error) -> String {
    match error {
        Error::Unreachable { url, .. } => {
            ["ClickHouse at ", url, " cannot be reached (see whether varde aggregate, or the server, runs there)"]
                .concat()
        }
        Error::Refused { .. } | Error::Answer(_) => error.to_string(),
    }
}

async fn ask(client: &Client, now: Time, zone: Tz) -> Result<Figures, Error> {
    let today = midnight(now, zone).0.to_string();
    let recent = now.plus_millis(-SAMPLES_MS).0.to_string();
    let today = [("since_us", today.as_str())];
    let recent = [("since_us", recent.as_str())];
    let (domains, queues) = tokio::try_join!(
        client.rows(include_str!("../../sql/deliveries.sql"), &today),
        client.rows(include_str!("../../sql/queues.sql"), &recent),
    )?;
    Ok(Figures { as_of: now, domains, queues })
}

/// The first instant of the day of `now` in `zone`; where the clock skips midnight, the first instant after it.
fn midnight(now: Time, zone: Tz) -> Time {
    let day = now.to_utc().with_timezone(&zone).date_naive();
    let first = (0..24)
        .filter_map(|hour| day.and_hms_opt(hour, 0, 0)?.and_local_timezone(zone).earliest())
        .next()
        .map(|at: DateTime<Tz>| at.with_timezone(&Utc));
    first.map_or(now, Time::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_of_its_zone_even_where_the_clock_skips_it() {
        let midnight_of = |now: &str, zone| midnight(now.parse().unwrap(), zone).to_string();
        let oslo = midnight_of("2026-11-22T23:30:00Z", chrono_tz::Europe::Oslo);
        assert_eq!(oslo, "2026-11-22T23:00:00.000000Z");
        // In Santiago the day of 6 September 2026 begins at 01:00.
        let santiago = midnight_of("2026-09-06T12:00:00Z", chrono_tz::America::Santiago);
        assert_eq!(santiago, "2026-09-06T04:00:00.000000Z");
    }
}
