//! The supervisor's own way to people: a service that crashes in a loop is paged, whether or not a watcher sees it.

use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use alerts::responder::{self, Tested};
use tokio::sync::mpsc;

use crate::config::Config;

/// Alarms that may wait; a unit raises one an outbreak.
const ALARMS: usize = 32;
/// A channel that did not take the page is tried again so often, with this pause.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(15);

/// A service that does not stay up.
#[derive(Debug)]
struct CrashLoop {
    unit: String,
    how: String,
    crashes: u32,
    at: Time,
}

/// Where alarms are raised.
#[derive(Debug, Clone)]
pub struct Alarm(mpsc::Sender<CrashLoop>);

impl Alarm {
    /// Starts the task that pages. It ends when every alarm is dropped.
    pub fn start(config: Arc<Config>) -> Self {
        let (sender, mut receiver) = mpsc::channel(ALARMS);
        tokio::spawn(async move {
            while let Some(alarm) = receiver.recv().await {
                page(&config, &alarm).await;
            }
        });
        Self(sender)
    }

    /// Pages everybody that `unit` has crashed `crashes` times in a row.
    pub fn crash_loop(&self, unit: &str, how: &str, crashes: u32) {
        let alarm = CrashLoop { unit: unit.to_owned(), how: how.to_owned(), crashes, at: Time::now() };
        if self.0.try_send(alarm).is_err() {
            tracing::error!(unit, "crashes in a loop, and the alarms before it have not gone out yet");
        }
    }
}

/// Tries until every channel has taken the page, or time is up.
async fn page(config: &Config, alarm: &CrashLoop) {
    let log = config.path("log").join(format!("{}.log", alarm.unit));
    let summary = format!(
        "{} on {} crashes in a loop: {} times in a row, last it {}",
        alarm.unit, config.node.name, alarm.crashes, alarm.how
    );
    let steps = vec![
        format!("read the end of {}", log.display()),
        "if a configuration or a disk is at fault, mend it: the supervisor goes on trying with growing pauses"
            .to_owned(),
    ];
    for attempt in 1..=ATTEMPTS {
        let outcomes =
            responder::page_once(&config.alerts, &config.site.name, &alarm.unit, &summary, &steps, alarm.at).await;
        let left: Vec<&Tested> = outcomes.iter().filter(|outcome| outcome.result.is_err()).collect();
        if left.is_empty() {
            return;
        }
        tracing::warn!(
            unit = alarm.unit,
            attempt,
            "the page about a crash loop did not get to {} of {} channels",
            left.len(),
            outcomes.len()
        );
        tokio::time::sleep(PAUSE).await;
    }
}
