//! `queue`: the queue says that it is being worked on.

use aggregator::event::ProbeOutcome;
use serde::Deserialize;

use super::access::Probe;
use super::browser::Browser;
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault, printable};

/// A queue that has not been looked through for so long is stuck.
const LAST_PASS_MAX_MS: u64 = 60_000;

pub(super) const KIND: Kind = Kind {
    name: "queue",
    title: "Queue: it is being worked on",
    patience: 3,
    needs: &[Need::Url],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

/// What the health page of a queue says. What it does not say is not judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Health {
    /// `ok`, or what is wrong.
    status: String,
    /// Since the queue was looked through last, in milliseconds.
    last_pass_age_ms: Option<u64>,
    /// Since the oldest message came, in seconds. A domain that is down may keep it for days: told, not judged.
    oldest_age_s: Option<u64>,
}

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    Browser::plan(probe, steps);
    steps.plan(&["health", "queue"]);
    let mut browser = Browser::open(probe, steps).await?;
    let url = probe.check.url.as_deref().unwrap_or_default();
    let work = async {
        let page = browser.get(browser.at(url)?).await?;
        let health = serde_json::from_str::<Health>(&page.body);
        // A queue in trouble may answer with 503 and still say what is wrong.
        match health {
            Ok(health) if page.status == 200 || !health.status.is_empty() => Ok(health),
            _ if page.status != 200 => Err(page.unexpected()),
            _ => Err(Fault::said(Class::Protocol, "this is no health of a queue", &page.body)),
        }
    };
    let health = steps.run("health", format!("GET {url}"), work).await?;
    let judged = judge(&health, probe.check.max_age_s);
    steps.run("queue", "the queue", async { judged }).await?;
    if let Some(age) = health.oldest_age_s {
        steps.note(format!("the oldest message has waited {age} s"));
    }
    Ok(ProbeOutcome::Ok)
}

fn judge(health: &Health, max_age_s: Option<u64>) -> Result<(), Fault> {
    if health.status != "ok" {
        return Err(Fault::new(Class::Stale, format!("it says {:?} of itself", printable(&health.status))));
    }
    match health.last_pass_age_ms {
        Some(age) if age > LAST_PASS_MAX_MS => {
            Err(Fault::new(Class::Stale, format!("nobody has looked through it for {} s", age / 1_000)))
        }
        _ => match (health.oldest_age_s, max_age_s) {
            (Some(age), Some(limit)) if age > limit => {
                Err(Fault::new(Class::Stale, format!("the oldest message has waited {age} s, more than {limit} s")))
            }
            _ => Ok(()),
        },
    }
}
