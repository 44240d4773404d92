//! `GET /v1/queue`: the queue of a foreign mail system on this host, in the form that the watchers' `queue` kind reads.
//!
//! The configured command prints one JSON object a message, as Postfix's `postqueue -j` does; others may be scripted to
//! do the same. It runs when somebody asks, one at a time, bounded in time, in the length of a line and in messages.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use aggregator::event::Time;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long the command may take. A watcher's own time-out is about as long.
const LIMIT: Duration = Duration::from_secs(4);
/// The longest line: a message with all its recipients.
const LINE_MAX: u64 = 1 << 20;
/// Messages that are counted; a longer queue is as bad.
const MESSAGES_MAX: u64 = 1_000_000;

/// What the watchers are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// `ok`: the queue could be read; otherwise why not.
    status: String,
    /// Messages in it.
    messages: u64,
    /// Those of them that somebody holds.
    held: u64,
    /// Since the oldest came, held or not.
    oldest_age_s: u64,
}

/// A message as `postqueue -j` prints it, as far as it is read.
#[derive(Debug, Deserialize)]
struct Message {
    queue_name: String,
    arrival_time: i64,
}

impl Told {
    fn add(&mut self, message: &Message, now: Time) {
        self.messages += 1;
        self.held += u64::from(message.queue_name == "hold");
        let age = now.millis_since(Time::from_seconds(message.arrival_time)) / 1_000;
        self.oldest_age_s = self.oldest_age_s.max(age);
    }
}

struct Asked {
    command: Vec<String>,
    turn: Mutex<()>,
}

/// The route; without a command there is none.
pub(super) fn router(command: Vec<String>) -> Router {
    if command.is_empty() {
        return Router::new();
    }
    let asked = Arc::new(Asked { command, turn: Mutex::new(()) });
    Router::new().route("/v1/queue", get(queue)).with_state(asked)
}

async fn queue(State(asked): State<Arc<Asked>>) -> (StatusCode, Json<Told>) {
    let work = async {
        let _turn = asked.turn.lock().await;
        read(&asked.command).await
    };
    let slow = || Err(format!("it was not read within {} s", LIMIT.as_secs()));
    match timeout(LIMIT, work).await.unwrap_or_else(|_| slow()) {
        Ok(told) => (StatusCode::OK, Json(Told { status: "ok".to_owned(), ..told })),
        Err(why) => {
            let status = format!("the queue cannot be read by {:?}: {why}", asked.command[0]);
            (StatusCode::SERVICE_UNAVAILABLE, Json(Told { status, ..Told::default() }))
        }
    }
}

async fn read(command: &[String]) -> Result<Told, String> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let Some(output) = child.stdout.take() else { return Err("it has no output".to_owned()) };
    let mut lines = BufReader::new(output);
    let (mut told, mut line) = (Told::default(), Vec::new());
    while told.messages < MESSAGES_MAX {
        line.clear();
        let read = (&mut lines).take(LINE_MAX).read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
        if read == 0 {
            let status = child.wait().await.map_err(|error| error.to_string())?;
            return if status.success() { Ok(told) } else { Err(format!("it ended with {status}")) };
        }
        let message: Message = serde_json::from_slice(&line).map_err(|error| format!("its output: {error}"))?;
        told.add(&message, Time::now());
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(script: &str) -> Result<Told, String> {
        read(&["sh".to_owned(), "-c".to_owned(), script.to_owned()]).await
    }

    #[tokio::test]
    async fn messages_are_counted_and_the_oldest_is_dated_held_or_not() {
        let now = Time::now().seconds();
        let line = |queue: &str, age: i64| {
            format!(
                r#"{{"queue_name": "{queue}", "queue_id": "4F1", "arrival_time": {}, "message_size": 340, "sender": "a@b", "recipients": [{{"address": "c@d"}}]}}"#,
                now - age
            )
        };
        let lines = [line("deferred", 90), line("hold", 4_000), line("active", 1)].join("\n");
        let seen = told(&format!("cat <<'END'\n{lines}\nEND")).await.unwrap();
        assert_eq!((seen.messages, seen.held), (3, 1));
        assert!((4_000..4_060).contains(&seen.oldest_age_s), "{seen:?}");
        assert_eq!(told("true").await, Ok(Told::default()));
    }

    #[tokio::test]
    async fn a_command_that_fails_babbles_or_is_not_there_says_so() {
        assert_eq!(told("exit 69").await, Err("it ended with exit status: 69".to_owned()));
        assert!(told("echo Mail queue is empty").await.unwrap_err().starts_with("its output: "));
        assert!(told("yes | tr -d '\\n'").await.unwrap_err().starts_with("its output: "));
        assert!(read(&["/nowhere/postqueue".to_owned()]).await.unwrap_err().contains("No such file"));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_cut_off() {
        let command = ["sleep", "600"].map(str::to_owned).to_vec();
        let asked = Arc::new(Asked { command, turn: Mutex::new(()) });
        let (status, Json(seen)) = queue(State(asked)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(seen.status, "the queue cannot be read by \"sleep\": it was not read within 4 s");
    }
}
