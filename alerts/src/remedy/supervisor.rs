//! Who carries out a restart: a trait, and the client of the supervisor of `varde up` over its Unix socket.
//!
//! One JSON line there, one back: `{"verb":"restart","unit":"mail-imap"}` -> `{"ok":true,"pid":123,
//! "previous_pid":99}` or `{"ok":false,"error":"…"}`; `{"verb":"units"}` -> `{"ok":true,"units":[…]}`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aggregator::event::Time;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// How long a supervisor may take to answer about its units.
const UNITS_DEADLINE: Duration = Duration::from_secs(3);
/// How long a restart may take: the unit's own time to stop, and its start.
const RESTART_DEADLINE: Duration = Duration::from_secs(20);
/// Octets of an answer.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A unit and its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name: `mail-imap`.
    pub name: String,
    /// Its process; `None`: it has none now.
    pub pid: Option<u32>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// When its process was started.
    #[serde(default)]
    pub since: Option<Time>,
    /// Where it listens.
    #[serde(default)]
    pub address: Option<String>,
    /// Its log.
    #[serde(default)]
    pub log: Option<PathBuf>,
}

/// A restart that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// The new process.
    pub pid: u32,
    /// The old one, if there was one.
    pub previous_pid: Option<u32>,
}

/// Why a supervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("the supervisor cannot be reached: {0}")]
    Unreachable(String),
    /// It said no, or could not.
    #[error("the supervisor answered: {0}")]
    Refused(String),
}

/// Who knows the units of a host and can restart them.
pub trait Supervisor: Send + Sync + 'static {
    /// All units.
    fn units(&self) -> BoxFuture<'_, Result<Vec<Unit>, Error>>;
    /// Restarts one unit; returns when its new process runs.
    fn restart<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<Restarted, Error>>;
}

/// A question to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Question {
    /// What units are there?
    Units,
    /// Restart this one.
    Restart {
        /// Its name.
        unit: String,
    },
}

/// Its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The new process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_pid: Option<u32>,
    /// The units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<Unit>>,
}

/// The supervisor of `varde up`.
#[derive(Debug, Clone)]
pub struct SupervisorSocket {
    path: PathBuf,
}

impl SupervisorSocket {
    /// The supervisor that listens at `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }

    async fn ask(&self, question: &Question, deadline: Duration) -> Result<Answer, Error> {
        let unreachable = |error: std::io::Error| Error::Unreachable(format!("{}: {error}", self.path.display()));
        let exchange = async {
            let mut line = serde_json::to_vec(question)?;
            line.push(b'\n');
            let mut stream = UnixStream::connect(&self.path).await?;
            stream.write_all(&line).await?;
            let mut answer = String::new();
            BufReader::new(stream.take(MAX_LINE_BYTES)).read_line(&mut answer).await?;
            Ok(serde_json::from_str::<Answer>(&answer)?)
        };
        let answer = tokio::time::timeout(deadline, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(unreachable)?;
        if answer.ok { Ok(answer) } else { Err(Error::Refused(answer.error.unwrap_or_default())) }
    }
}

impl Supervisor for SupervisorSocket {
    fn units(&self) -> BoxFuture<'_, Result<Vec<Unit>, Error>> {
        Box::pin(async move {
            let answer = self.ask(&Question::Units, UNITS_DEADLINE).await?;
            answer.units.ok_or_else(|| Error::Refused("no \"units\" in its answer".to_owned()))
        })
    }

    fn restart<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<Restarted, Error>> {
        Box::pin(async move {
            let answer = self.ask(&Question::Restart { unit: unit.to_owned() }, RESTART_DEADLINE).await?;
            let pid = answer.pid.ok_or_else(|| Error::Refused("no \"pid\" in its answer".to_owned()))?;
            Ok(Restarted { pid, previous_pid: answer.previous_pid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_speaks_one_line_each_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let answers = [
                r#"{"ok":true,"pid":123,"previous_pid":99}"#,
                r#"{"ok":false,"error":"there is no unit \"x\""}"#,
                r#"{"ok":true,"units":[{"name":"mail-imap","pid":123,"restarts":1,"log":"logs/mail-imap.log"}]}"#,
            ];
            let mut questions = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let mut question = String::new();
                stream.read_line(&mut question).await.unwrap();
                questions.push(question);
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.write_all(b"\n").await.unwrap();
            }
            questions
        });
        let supervisor = SupervisorSocket::new(&path);
        assert_eq!(supervisor.restart("mail-imap").await, Ok(Restarted { pid: 123, previous_pid: Some(99) }));
        let refused = Error::Refused("there is no unit \"x\"".to_owned());
        assert_eq!(supervisor.restart("x").await, Err(refused));
        let units = supervisor.units().await.unwrap();
        assert_eq!((units[0].name.as_str(), units[0].pid, units[0].restarts), ("mail-imap", Some(123), 1));
        let questions = server.await.unwrap();
        assert_eq!(questions[0], "{\"verb\":\"restart\",\"unit\":\"mail-imap\"}\n");
        assert_eq!(questions[2], "{\"verb\":\"units\"}\n");
    }
}
