//! The supervisor's own way to people: a service that crashes in a loop is paged, whether or not a watcher sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use alerts::channel::NotSent;
use alerts::responder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

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
            // Each alarm has a task of its own: a channel that is dead for one does not hold up the next.
            let mut pages = JoinSet::new();
            while let Some(alarm) = receiver.recv().await {
                let config = config.clone();
                pages.spawn(async move { page(&config, &alarm).await });
                while pages.try_join_next().is_some() {}
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
    // Who has it, or never will over that channel.
    let mut settled = BTreeSet::new();
    for attempt in 1..=ATTEMPTS {
        let outcomes =
            responder::page_once(&config.alerts, &config.site.name, &alarm.unit, &summary, &steps, alarm.at, &settled)
                .await;
        let mut left = 0;
        for outcome in outcomes {
            match outcome.result {
                Ok(_) => {}
                Err(NotSent::ForGood(why)) => {
                    tracing::error!(
                        unit = alarm.unit,
                        channel = outcome.channel,
                        why,
                        "a channel refuses the page about a crash loop"
                    );
                }
                Err(NotSent::ForNow(_)) => {
                    left += 1;
                    continue;
                }
            }
            settled.insert((outcome.person, outcome.channel));
        }
        if left == 0 {
            return;
        }
        tracing::warn!(unit = alarm.unit, attempt, left, "channels did not take the page about a crash loop yet");
        tokio::time::sleep(PAUSE).await;
    }
}
