//! The supervisor's socket: how the node agent lists and restarts units.
//!
//! A question and an answer, a line of JSON each. Only the owner of the folder can open it; what may be restarted at
//! all is the node's own decision.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alerts::remedy::supervisor::{Answer, Question, Unit};
use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::unit::Fleet;

/// A request is one short line.
const REQUEST_BYTES: u64 = 4096;
/// A peer that says nothing is closed.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// Peers at a time; the next one waits.
const PEERS: usize = 16;

/// The socket's path.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("run/supervisor.sock")
}

/// Serves the socket until `stop`.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(dir: &Path, fleet: Fleet, stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
    let path = path(dir);
    // A socket of an earlier run; the folder's lock says that nobody uses it.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| {
        format!("the supervisor's socket {} cannot be made (a path may have 107 octets)", path.display())
    })?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        let mut peers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = peers.join_next(), if !peers.is_empty() => {}
                accepted = listener.accept(), if peers.len() < PEERS => match accepted {
                    Ok((stream, _)) => { peers.spawn(answer(stream, fleet.clone())); }
                    Err(error) => tracing::warn!(%error, "the supervisor's socket cannot accept"),
                },
            }
        }
    }))
}

async fn answer(stream: UnixStream, fleet: Fleet) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read).take(REQUEST_BYTES);
    let reply = match tokio::time::timeout(REQUEST_WITHIN, read.read_line(&mut line)).await {
        Ok(Ok(_)) => match serde_json::from_str(&line) {
            Ok(question) => carry_out(question, &fleet).await,
            Err(error) => refusal(format!("not a question: {error}")),
        },
        _ => return,
    };
    if let Ok(mut line) = serde_json::to_vec(&reply) {
        line.push(b'\n');
        // The peer may have gone; there is nobody to tell then.
        let _ = write.write_all(&line).await;
    }
}

async fn carry_out(question: Question, fleet: &Fleet) -> Answer {
    match question {
        Question::Units => {
            let units = fleet.units().into_iter().map(|unit| Unit {
                name: unit.spec.name.clone(),
                pid: unit.pid,
                restarts: unit.restarts,
                since: Some(unit.since),
                address: Some(unit.spec.address.clone()),
                log: Some(unit.spec.log.clone()),
            });
            Answer { ok: true, units: Some(units.collect()), ..Answer::default() }
        }
        Question::Restart { unit } => match fleet.restart(&unit).await {
            Ok(done) => Answer { ok: true, pid: Some(done.pid), previous_pid: done.previous_pid, ..Answer::default() },
            Err(error) => refusal(error),
        },
    }
}

fn refusal(error: String) -> Answer {
    Answer { error: Some(error), ..Answer::default() }
}
