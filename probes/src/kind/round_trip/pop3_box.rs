//! The receiver's mailbox by POP3, when there is no IMAP: looked at again and again, because POP3 tells of nothing.
//!
//! A session shows the mailbox as it was at its beginning, so that every look is a session of its own. The spam folder
//! is out of POP3's sight: what is there is missing.

use std::time::Duration;

use aggregator::event::Time;
use chrono::DateTime;
use tokio::time::Instant;

use super::letter::{self, Letter, PROBE_HEADER, header};
use super::sweep::{self, Candidate};
use super::{Arrival, INBOX, missing};
use crate::conversation::Fault;
use crate::conversation::pop3::Pop3;
use crate::kind::access::{Login, Probe};
use crate::kind::{Awaited, Finding, Steps, Stop, pop3};

/// How often the mailbox is looked at.
const POLL: Duration = Duration::from_secs(2);
/// Messages that are looked at, from the newest.
const LOOK_BACK: u64 = 30;
/// Messages that a sweep looks at, from the newest.
const SWEEP_BACK: u64 = 200;

/// Waits for a message. The steps of a look are those of `group`, of which one that fails fails the wait.
pub(super) async fn receive(
    place: &Probe<'_>,
    login: &Login,
    letter: &Letter,
    limit: Duration,
    group: &mut Steps,
) -> Result<Arrival, Stop> {
    let begun = Instant::now();
    loop {
        let mut session = pop3::open(place, login, group).await?;
        let look = async {
            let found = find(&mut session, letter).await?;
            let mut arrival = Arrival { folder: INBOX.to_owned(), copies: found.len(), ..Arrival::default() };
            if let Some(first) = found.first() {
                arrival.after = begun.elapsed();
                arrival.octets = session.retrieve(*first).await?;
            }
            session.quit().await?;
            Ok(arrival)
        };
        let arrival = group.run("look", format!("looking for the message at {}", place.place()), look).await?;
        if arrival.copies > 0 {
            return Ok(arrival);
        }
        if begun.elapsed() >= limit {
            let work = async { Err(missing(limit, "to the INBOX, which is all that POP3 shows")) };
            return group.run("look", format!("waiting for the message at {}", place.place()), work).await;
        }
        tokio::time::sleep(POLL.min(limit.saturating_sub(begun.elapsed()))).await;
    }
}

/// How often the message is there by now.
pub(super) async fn copies(
    place: &Probe<'_>,
    login: &Login,
    letter: &Letter,
    group: &mut Steps,
) -> Result<usize, Stop> {
    let mut session = pop3::open(place, login, group).await?;
    let look = async {
        let found = find(&mut session, letter).await?;
        session.quit().await?;
        Ok(found.len())
    };
    group.run("look", format!("looking for copies at {}", place.place()), look).await
}

async fn find(session: &mut Pop3, letter: &Letter) -> Result<Vec<u64>, Fault> {
    let (count, _) = session.stat().await?;
    let mut found = Vec::new();
    for number in (count.saturating_sub(LOOK_BACK) + 1..=count).rev() {
        if session.header(number).await?.is_some_and(|head| letter.is_subject_of(&head)) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Removes the probe messages that are due, and says which of them came late.
pub(super) async fn clean(
    session: &mut Pop3,
    run_id: &str,
    awaited: &[Awaited],
    now: Time,
) -> Result<Vec<Finding>, Fault> {
    let (count, _) = session.stat().await?;
    let mut candidates = Vec::new();
    for number in (count.saturating_sub(SWEEP_BACK) + 1..=count).rev() {
        let Some(head) = session.header(number).await? else { continue };
        let Some(subject) = header(&head, "subject") else { continue };
        if letter::run_of(&subject).is_none() {
            continue;
        }
        let probe = header(&head, PROBE_HEADER);
        candidates.extend(Candidate::new(number, &subject, probe, came(&head), Some(INBOX.to_owned())));
    }
    for candidate in candidates.iter_mut().filter(|one| one.is_unproven() && one.is_due(run_id, awaited, now)) {
        let octets = session.retrieve(candidate.id).await?;
        candidate.prove(&octets);
    }
    let (due, findings) = sweep::sort(&candidates, run_id, awaited, now);
    for number in due {
        session.delete(number).await?;
    }
    session.quit().await?;
    Ok(findings)
}

/// When a message came: POP3 does not say, but the topmost Received line does, which the receiver wrote.
fn came(head: &[u8]) -> Option<Time> {
    let received = header(head, "received")?;
    let date = received.rsplit_once(';').map(|(_, date)| date.trim().to_owned())?;
    let date = date.split_once(" (").map_or(date.as_str(), |(date, _)| date).to_owned();
    DateTime::parse_from_rfc2822(&date).ok().map(|date| Time::from_seconds(date.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use crate::conversation::{Class, Conversation, Heard};

    /// A maildrop of three messages of a run, and what it was asked. For the newest it answers `gone`.
    async fn maildrop(gone: &'static str) -> (Pop3, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let (mut asked, mut line) = (Vec::new(), String::new());
            while socket.read_line(&mut line).await.unwrap() > 0 {
                let command = std::mem::take(&mut line).trim_end().to_owned();
                let answer = match command.as_str() {
                    "STAT" => "+OK 3 3000\r\n".to_owned(),
                    "TOP 3 0" => gone.to_owned(),
                    "TOP 2 0" | "TOP 1 0" => {
                        let octets = letter().octets("a@t.test", "a@t.test", Time(0));
                        let message = String::from_utf8(octets).unwrap();
                        format!("+OK\r\n{}\r\n\r\n.\r\n", message.split_once("\r\n\r\n").unwrap().0)
                    }
                    _ => "+OK\r\n".to_owned(),
                };
                socket.write_all(answer.as_bytes()).await.unwrap();
                asked.push(command);
            }
            asked
        });
        let socket = TcpStream::connect(address).await.unwrap();
        (Pop3::new(Conversation::new(socket, Heard::default()).unwrap()), server)
    }

    fn letter() -> Letter {
        Letter::by_submission("run-1")
    }

    #[tokio::test]
    async fn a_message_that_was_removed_since_it_was_counted_is_gone_and_hides_no_other() {
        for gone in ["-ERR no such message\r\n", "-ERR [SYS/TEMP] it is being removed\r\n"] {
            let (mut session, server) = maildrop(gone).await;
            assert_eq!(find(&mut session, &letter()).await.unwrap(), [2, 1]);
            drop(session);
            assert_eq!(server.await.unwrap(), ["STAT", "TOP 3 0", "TOP 2 0", "TOP 1 0"]);

            let (mut session, server) = maildrop(gone).await;
            assert_eq!(clean(&mut session, "run-1", &[], Time(0)).await.unwrap(), []);
            drop(session);
            let asked = server.await.unwrap();
            assert_eq!(asked[1..], ["TOP 3 0", "TOP 2 0", "TOP 1 0", "DELE 2", "DELE 1", "QUIT"]);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_a_fault_and_not_a_message_that_is_gone() {
        let (mut session, server) = maildrop("what?\r\n").await;
        let fault = find(&mut session, &letter()).await.unwrap_err();
        assert_eq!(fault.class, Class::Protocol, "{fault:?}");
        drop(session);
        assert_eq!(server.await.unwrap(), ["STAT", "TOP 3 0"]);
    }

    #[test]
    fn the_topmost_received_line_says_when_a_message_came() {
        let head = b"Received: from a by b\r\n\tid x; Sun, 22 Nov 2026 10:00:05 +0100 (CET)\r\nReceived: y; Sun, 22 Nov 2026 08:00:00 +0000\r\n\r\n";
        assert_eq!(came(head).map(|at| at.to_string()), Some("2026-11-22T09:00:05.000000Z".to_owned()));
        assert_eq!(came(b"Subject: x\r\n\r\n"), None);
    }
}
