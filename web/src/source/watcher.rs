//! One watcher: how it is asked, and what it said last.

use std::time::Duration;

use aggregator::event::Time;
use alerts::view::IncidentView;
use futures_util::StreamExt;
use probes::status::Status;
use probes::watcher::posture::Audited;
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An answer takes at most this long.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// An acknowledgement may wait for the watcher's disk.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A longer answer is refused.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// So many incidents of a watcher are shown, the newest.
const MAX_INCIDENTS: usize = 200;

/// How to ask one watcher.
#[derive(Debug, Clone)]
pub struct WatcherClient {
    /// Its region's name.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// Where it listens.
    pub url: Url,
    http: Client,
}

/// What a watcher said last, if ever, and why it says nothing now.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its region's name.
    pub name: String,
    /// What a person reads.
    pub title: String,
    /// The last good answer.
    pub last: Option<Good>,
    /// Why the last question had no answer.
    pub failure: Option<String>,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Good {
    /// When it came in, by our clock.
    pub received: Time,
    /// Its status.
    pub status: Status,
    /// Its incidents, newest first.
    pub incidents: Vec<IncidentView>,
}

/// Why a watcher's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there, or nothing leads there.
    #[error("it cannot be reached (see whether varde watch runs there)")]
    Unreachable,
    /// It took too long.
    #[error("it did not answer in time")]
    TimedOut,
    /// It broke off.
    #[error("it broke off: {0}")]
    BrokenOff(reqwest::Error),
    /// It refused.
    #[error("it answered {0}")]
    Refused(reqwest::StatusCode),
    /// It sent something else than was asked for.
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It sent too much.
    #[error("its answer is longer than {MAX_ANSWER_BYTES} octets")]
    TooLong,
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        match () {
            () if error.is_timeout() => Self::TimedOut,
            () if error.is_connect() => Self::Unreachable,
            () => Self::BrokenOff(error.without_url()),
        }
    }
}

impl Answer {
    /// Takes what came of a question asked just now.
    ///
    /// An answer of the same instant as the one before is no news: a watcher whose answer stands still is not
    /// vouching for anything any more. (An earlier instant is news: clocks are put right.)
    pub fn take(&mut self, heard: Result<(Status, Vec<IncidentView>), AskError>, now: Time) {
        match heard {
            Ok((status, incidents)) => {
                let received = match &self.last {
                    Some(last) if status.as_of == last.status.as_of => last.received,
                    _ => now,
                };
                self.last = Some(Good { received, status, incidents });
                self.failure = None;
            }
            Err(error) => {
                if self.failure.is_none() {
                    tracing::warn!(watcher = %self.name, %error, "asking a watcher for its status failed; asking again");
                }
                self.failure = Some(error.to_string());
            }
        }
    }
}

impl WatcherClient {
    /// A client for the watcher at `url`.
    pub fn new(name: String, title: String, url: Url, http: Client) -> Self {
        Self { name, title, url, http }
    }

    /// Before the first question.
    pub fn nothing_yet(&self) -> Answer {
        Answer { name: self.name.clone(), title: self.title.clone(), last: None, failure: None }
    }

    /// Asks for status and incidents; for these it has to show the operators' key.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, operator_key: &str) -> Result<(Status, Vec<IncidentView>), AskError> {
        let (status, incidents) =
            tokio::join!(self.get::<Status>("status", ""), self.get::<Vec<IncidentView>>("incidents", operator_key));
        let mut incidents = incidents?;
        incidents.truncate(MAX_INCIDENTS);
        Ok((status?, incidents))
    }

    /// Asks for the audits that it has made.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn posture(&self) -> Result<Vec<Audited>, AskError> {
        self.get("posture", "").await
    }

    /// Says that `person` has `incident`.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn acknowledge(&self, incident: &str, person: &str, operator_key: &str) -> Result<(), AskError> {
        let answer = self
            .http
            .post(self.at(&["incidents", incident, "acknowledge"]))
            .timeout(ACKNOWLEDGE_TIMEOUT)
            .bearer_auth(operator_key)
            .json(&serde_json::json!({ "person": person }))
            .send()
            .await?;
        if answer.status().is_success() { Ok(()) } else { Err(AskError::Refused(answer.status())) }
    }

    /// Asks for `what`; an empty key is not shown.
    async fn get<T: DeserializeOwned>(&self, what: &str, key: &str) -> Result<T, AskError> {
        let mut question = self.http.get(self.at(&[what])).timeout(ANSWER_TIMEOUT);
        if !key.is_empty() {
            question = question.bearer_auth(key);
        }
        let answer = question.send().await?;
        if !answer.status().is_success() {
            return Err(AskError::Refused(answer.status()));
        }
        Ok(serde_json::from_slice(&bounded(answer).await?)?)
    }

    /// `{url}/api/v1/{path}`; each part is escaped.
    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }
}

async fn bounded(answer: Response) -> Result<Vec<u8>, AskError> {
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(AskError::TooLong);
        }
    }
    Ok(body)
}
