//! What the pager has received: a line a page in a file, the newest in memory.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

use aggregator::event::Time;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many pages are shown.
const SHOWN: usize = 500;

/// One page as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// When.
    pub at: Time,
    /// For whom: the last part of the hook's URL, or the e-mail address.
    pub engineer: String,
    /// `webhook` or `email`.
    pub channel: String,
    /// The webhook's or the message's identity: the same when it came twice.
    pub id: String,
    /// What a person reads first.
    pub subject: String,
    /// The whole text.
    pub text: String,
    /// Where it can be acknowledged.
    pub acknowledge: Option<String>,
    /// The webhook's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

impl Received {
    /// A page that came by webhook.
    pub fn from_webhook(id: &str, engineer: &str, payload: Value) -> Self {
        let data = &payload["data"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            at: Time::now(),
            engineer: engineer.to_owned(),
            channel: "webhook".to_owned(),
            id: id.to_owned(),
            subject: text(&data["summary"]),
            text: text(&data["text"]),
            // Only a web address becomes a link.
            acknowledge: data["links"]["acknowledge"].as_str().filter(|url| url.starts_with("http")).map(str::to_owned),
            payload: Some(payload),
        }
    }

    /// A page that came by e-mail.
    pub fn from_email(recipient: &str, message: &[u8]) -> Self {
        let parsed = mail_parser::MessageParser::default().parse(message);
        let parsed = parsed.as_ref();
        Self {
            at: Time::now(),
            engineer: recipient.to_owned(),
            channel: "email".to_owned(),
            id: parsed.and_then(|message| message.message_id()).unwrap_or_default().to_owned(),
            subject: parsed.and_then(|message| message.subject()).unwrap_or_default().to_owned(),
            text: parsed
                .and_then(|message| message.body_text(0))
                .map_or_else(|| String::from_utf8_lossy(message).into_owned(), |text| text.into_owned()),
            acknowledge: None,
            payload: None,
        }
    }
}

/// The pages, durable.
pub struct Inbox {
    kept: Mutex<(File, VecDeque<Received>)>,
}

impl Inbox {
    /// Opens the inbox in `dir` with what it has received before. A line cut off by a crash is passed over.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("inbox.ndjson");
        std::fs::create_dir_all(dir)
            .and_then(|()| OpenOptions::new().read(true).append(true).create(true).open(&path))
            .and_then(|file| {
                let lines = BufReader::new(file.try_clone()?).lines();
                let mut pages: VecDeque<Received> =
                    lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect();
                pages.drain(..pages.len().saturating_sub(SHOWN));
                Ok(Self { kept: Mutex::new((file, pages)) })
            })
            .with_context(|| format!("the pager's inbox {} cannot be opened", path.display()))
    }

    /// Keeps a page; on return it is on disk.
    ///
    /// # Errors
    /// The disk refused it: the sender will try again.
    pub fn add(&self, page: Received) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&page)?;
        line.push(b'\n');
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.0.write_all(&line).and_then(|()| kept.0.sync_data()).context("the page cannot be kept")?;
        kept.1.push_back(page);
        if kept.1.len() > SHOWN {
            kept.1.pop_front();
        }
        Ok(())
    }

    /// The newest pages.
    pub fn newest_first(&self) -> Vec<Received> {
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.1.iter().rev().cloned().collect()
    }
}
