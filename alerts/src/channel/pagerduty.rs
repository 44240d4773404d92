//! PagerDuty, Events API v2: the incident's key is the dedup key, so watchers, retries and updates are one alert.
//!
//! `[[alerts.engineer.channel]]`: `kind = "pagerduty"`, `routing_key_file`, `url` (optional, for a test).

use std::path::PathBuf;
use std::sync::Arc;

use aggregator::event::Time;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::{Channel, Kind, NotSent, Receipt, answered, http_client, options};
use crate::config::{Config, Engineer, Fault, read_secret};
use crate::page::{self, Page};

pub(super) const KIND: Kind = Kind { name: "pagerduty", open };

/// Characters of a summary.
const MAX_SUMMARY: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    routing_key_file: PathBuf,
    #[serde(default = "events_api")]
    url: String,
}

fn events_api() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

struct PagerDuty {
    http: reqwest::Client,
    url: String,
    routing_key: String,
}

fn open(_: &Config, engineer: &Engineer, faults: &mut Vec<Fault>) -> Vec<Arc<dyn Channel>> {
    let make = |options: Options| -> Result<Arc<dyn Channel>, String> {
        let routing_key = read_secret(&options.routing_key_file)?;
        let http = http_client().map_err(|error| error.to_string())?;
        Ok(Arc::new(PagerDuty { http, url: options.url, routing_key }))
    };
    options(engineer, &KIND, faults, make)
}

impl Channel for PagerDuty {
    fn send<'a>(&'a self, page: &'a Page, _now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        Box::pin(async move {
            let data = &page.document.data;
            let resolved = page.document.kind == page::Kind::Resolved;
            let event = json!({
                "routing_key": self.routing_key,
                "event_action": if resolved { "resolve" } else { "trigger" },
                "dedup_key": data.incident,
                "payload": {
                    "summary": page.subject().chars().take(MAX_SUMMARY).collect::<String>(),
                    "source": data.target,
                    "component": data.service,
                    "class": data.cause,
                    "severity": if data.scope == "one_region" { "warning" } else { "critical" },
                    "timestamp": page.document.timestamp,
                    "custom_details": {"summary": data.summary, "next_steps": data.next_steps, "text": data.text},
                },
                "links": [
                    {"href": data.links.acknowledge, "text": "I have it"},
                    {"href": data.links.operator, "text": "Dashboard"},
                ],
                "client": "Varde",
                "client_url": data.links.operator,
            });
            answered("PagerDuty", self.http.post(&self.url).json(&event).send().await).await
        })
    }
}
