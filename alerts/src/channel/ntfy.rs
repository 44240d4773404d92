//! ntfy: a push to a topic. Its sequence id follows from the page, so that a retry replaces rather than doubles.
//!
//! `[[alerts.engineer.channel]]`: `kind = "ntfy"`, `url` (the server's root), `topic`, `token_file` (optional).

use std::path::PathBuf;
use std::sync::Arc;

use aggregator::event::Time;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::{Channel, Kind, NotSent, Receipt, answered, http_client, options};
use crate::config::{Config, Engineer, Fault, read_secret};
use crate::page::{self, Page};

pub(super) const KIND: Kind = Kind { name: "ntfy", open };

/// Octets of a message that ntfy takes as text; a longer one it turns into a file.
const MAX_MESSAGE_BYTES: usize = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    url: String,
    topic: String,
    token_file: Option<PathBuf>,
}

struct Ntfy {
    http: reqwest::Client,
    url: String,
    topic: String,
    token: Option<String>,
}

fn open(_: &Config, engineer: &Engineer, faults: &mut Vec<Fault>) -> Vec<Arc<dyn Channel>> {
    let make = |options: Options| -> Result<Arc<dyn Channel>, String> {
        let token = options.token_file.map(|path| read_secret(&path)).transpose()?;
        let http = http_client().map_err(|error| error.to_string())?;
        Ok(Arc::new(Ntfy { http, url: options.url, topic: options.topic, token }))
    };
    options(engineer, &KIND, faults, make)
}

impl Channel for Ntfy {
    fn send<'a>(&'a self, page: &'a Page, _now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        Box::pin(async move {
            let data = &page.document.data;
            let resolved = page.document.kind == page::Kind::Resolved;
            let message = json!({
                "topic": self.topic,
                "sequence_id": page.page_id,
                "title": page.subject(),
                "message": cut(&data.text, MAX_MESSAGE_BYTES),
                "priority": if resolved { 3 } else { 5 },
                "tags": [if resolved { "white_check_mark" } else { "rotating_light" }],
                "click": data.links.operator,
                "actions": [{"action": "view", "label": "I have it", "url": data.links.acknowledge}],
            });
            let mut request = self.http.post(&self.url).json(&message);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            answered("ntfy", request.send().await).await
        })
    }
}

/// As much of a text as fits.
fn cut(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!([cut("blåbær", 3), cut("blåbær", 4), cut("blå", 100)], ["bl", "blå", "blå"]);
    }
}
