//! `round_trip`: the audit. A message goes the whole way, through the webmail and by submission, is received, searched
//! for, filed, compared, seen by POP3, and removed.

mod mailbox;
mod message;

use std::future::Future;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time};
use tokio::time::Instant;

use super::access::{Login, Probe};
use super::{Kind, Need, Steps, Stop, imap, pop3, submission, webmail};
use crate::conversation::imap::Imap;
use crate::conversation::{Class, Fault};

use mailbox::Arrival;
use message::Letter;

/// A message that has not come after so many times the objective is missing: 30 s with the objective of 5 s.
const RECEIVE_PATIENCE: u32 = 6;
/// Messages that POP3 is asked for, from the newest.
const POP3_LOOK_BACK: u64 = 30;

pub(super) const KIND: Kind = Kind {
    name: "round_trip",
    title: "Round trip: webmail login, send, receive, search, folder, fetch, POP3, clean up",
    patience: 24,
    needs: &[Need::Account, Need::Imap, Need::Sender],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

/// A message that came, and how.
type Received = (Letter, Arrival);

/// What a round trip walks through.
struct Trip<'a> {
    probe: Probe<'a>,
    login: Login,
    imap: Probe<'a>,
    webmail: Option<Probe<'a>>,
    submission: Option<Probe<'a>>,
    pop3: Option<Probe<'a>>,
    begun: Time,
    /// Whether a message may be on its way, so that there is something to clean up.
    sent: bool,
}

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    let check = probe.check;
    plan(check.webmail.is_some(), check.submission.is_some(), check.pop3.is_some(), steps);
    let Some(imap) = &check.imap else {
        return Err(steps.misconfigured(format!("check {:?} needs `imap`, the name of an IMAP check", check.name)));
    };
    let mut trip = Trip {
        probe: *probe,
        login: probe.login(steps).await?,
        imap: probe.at(imap, steps)?,
        webmail: check.webmail.as_deref().map(|name| probe.at(name, steps)).transpose()?,
        submission: check.submission.as_deref().map(|name| probe.at(name, steps)).transpose()?,
        pop3: check.pop3.as_deref().map(|name| probe.at(name, steps)).transpose()?,
        begun: Time::now(),
        sent: false,
    };
    match trip.walk(steps).await {
        Ok((mut received, mut imap)) => {
            let work = async {
                // By now a second copy has had time to come.
                for (letter, arrival) in &mut received {
                    arrival.uids = mailbox::find(&mut imap, letter, arrival).await?;
                }
                mailbox::clean(&mut imap, &probe.cx.run_id, trip.begun).await
            };
            steps.run("cleanup", "removing the probe messages", work).await?;
            let outcomes = received.iter().map(|(_, arrival)| arrival.outcome(probe.cx.receive_objective));
            Ok(outcomes.max_by_key(|outcome| severity(*outcome)).unwrap_or(ProbeOutcome::Ok))
        }
        Err(Stop) => {
            trip.clean_up_after_failure(steps).await;
            Err(Stop)
        }
    }
}

fn plan(webmail: bool, submission: bool, pop3: bool, steps: &mut Steps) {
    if webmail {
        steps.plan(&["login"]);
    }
    steps.plan(&["imap", "send", "receive"]);
    if webmail && submission {
        steps.plan(&["submit", "receive_2"]);
    }
    steps.plan(&["search", "folder", "fetch"]);
    if pop3 {
        steps.plan(&["pop3"]);
    }
    steps.plan(&["cleanup"]);
}

impl Trip<'_> {
    async fn walk(&mut self, steps: &mut Steps) -> Result<(Vec<Received>, Imap), Stop> {
        let run_id = &self.probe.cx.run_id;
        let (by_web, by_submission) = (Letter::by_webmail(run_id), Letter::by_submission(run_id));
        let session = match &self.webmail {
            Some(webmail) => Some(
                grouped(steps, "login", async |group| webmail::Session::open(webmail, &self.login, group).await)
                    .await?,
            ),
            None => None,
        };
        let mut imap = grouped(steps, "imap", async |group| imap::open(&self.imap, &self.login, group).await).await?;
        let mut received = Vec::new();
        if let Some(mut session) = session {
            self.sent = true;
            let work = session.send(&self.login.user, &by_web.subject, &by_web.text);
            steps.run("send", "sending through the webmail", work).await?;
            received.push(self.receive("receive", by_web, &mut imap, steps).await?);
            if self.submission.is_some() {
                self.submit("submit", &by_submission, steps).await?;
                received.push(self.receive("receive_2", by_submission, &mut imap, steps).await?);
            }
            // That logging out works is the webmail check's to say.
            let _ = tokio::time::timeout(self.probe.timeout(), session.log_out()).await;
        } else {
            self.submit("send", &by_submission, steps).await?;
            received.push(self.receive("receive", by_submission, &mut imap, steps).await?);
        }
        self.use_mailbox(&received, &mut imap, steps).await?;
        Ok((received, imap))
    }

    async fn submit(&mut self, step: &'static str, letter: &Letter, steps: &mut Steps) -> Result<(), Stop> {
        let Some(place) = self.submission else {
            return Err(steps.misconfigured("a round trip needs `webmail` or `submission`"));
        };
        self.sent = true;
        let (login, timeout) = (&self.login, self.probe.timeout());
        let octets = letter.octets(&login.user, self.begun);
        grouped(steps, step, async |group| {
            let mut smtp = submission::open(&place, login, group).await?;
            let work = smtp.send(&login.user, &login.user, &octets);
            group.run("data", format!("sending by {}", place.place()), work).await?;
            // The message is taken: what comes of QUIT is the submission check's to say.
            let _ = tokio::time::timeout(timeout, smtp.quit()).await;
            Ok(())
        })
        .await
    }

    async fn receive(
        &self,
        step: &'static str,
        letter: Letter,
        imap: &mut Imap,
        steps: &mut Steps,
    ) -> Result<Received, Stop> {
        let timeout = self.probe.timeout();
        let limit = self.probe.cx.receive_objective * RECEIVE_PATIENCE;
        let work = mailbox::await_message(imap, &letter.subject, limit, timeout);
        let doing = format!("waiting for the message in the mailbox at {}", self.imap.place());
        let arrival = steps.run_within(limit + timeout * 3, step, doing, work).await?;
        if arrival.is_spam() {
            steps.note(format!("it was put into {}", arrival.folder));
        }
        Ok((letter, arrival))
    }

    /// What a person does with mail: the steps `search`, `folder`, `fetch`, `pop3`.
    async fn use_mailbox(&self, received: &[Received], imap: &mut Imap, steps: &mut Steps) -> Result<(), Stop> {
        let place = self.imap.place();
        let work = async {
            for (letter, arrival) in received {
                mailbox::search(imap, letter, arrival).await?;
            }
            Ok(())
        };
        steps.run("search", format!("searching by subject and text at {place}"), work).await?;
        if let Some((letter, arrival)) = received.first() {
            let work = mailbox::file(imap, letter, arrival, &self.probe.cx.run_id, self.begun);
            steps.run("folder", format!("creating, filling and deleting a folder at {place}"), work).await?;
        }
        let work = async {
            let mut hops = String::new();
            for (letter, arrival) in received {
                let octets = mailbox::fetch(imap, arrival).await?;
                letter.compare(&octets)?;
                hops = message::hops(&octets);
            }
            Ok(hops)
        };
        let hops = steps.run("fetch", format!("comparing the messages at {place} with what was sent"), work).await?;
        steps.note(hops);
        if let (Some(place), Some((letter, arrival))) = (&self.pop3, received.first()) {
            let wanted = (!arrival.is_spam()).then_some(letter);
            grouped(steps, "pop3", async |group| self.see_by_pop3(place, wanted, group).await).await?;
        }
        Ok(())
    }

    /// POP3 shows the INBOX only: what is in the spam folder is not looked for.
    async fn see_by_pop3(&self, place: &Probe<'_>, wanted: Option<&Letter>, steps: &mut Steps) -> Result<(), Stop> {
        let mut pop3 = pop3::open(place, &self.login, steps).await?;
        let work = async {
            let (count, _) = pop3.stat().await?;
            let Some(letter) = wanted else { return Ok(()) };
            for number in (count.saturating_sub(POP3_LOOK_BACK) + 1..=count).rev() {
                if letter.is_subject_of(&pop3.header(number).await?) {
                    letter.compare(&pop3.retrieve(number).await?)?;
                    return pop3.quit().await;
                }
            }
            Err(Fault::new(Class::Mismatch, format!("IMAP shows the message, POP3 does not, among {count}")))
        };
        steps.run("retr", format!("looking for the message at {}", place.place()), work).await
    }

    /// Leaves nothing behind if it can be helped; a later run removes what stays. The failure is told already.
    async fn clean_up_after_failure(&self, steps: &mut Steps) {
        if !self.sent {
            return;
        }
        let begun = Instant::now();
        let mut group = steps.group();
        let Ok(mut imap) = imap::open(&self.imap, &self.login, &mut group).await else { return };
        let work = within(self.probe.timeout(), mailbox::clean(&mut imap, &self.probe.cx.run_id, self.begun));
        if work.await.is_ok() {
            let _ = steps.settle_group("cleanup", begun, group, Ok(()));
        }
    }
}

/// Does many steps as one.
async fn grouped<T>(
    steps: &mut Steps,
    name: &'static str,
    work: impl AsyncFnOnce(&mut Steps) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let begun = Instant::now();
    let mut group = steps.group();
    let result = work(&mut group).await;
    steps.settle_group(name, begun, group, result)
}

/// A time-out for a part of a step.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Fault::new(Class::Timeout, format!("the server did not answer within {:.1} s", limit.as_secs_f32())))
    })
}

fn severity(outcome: ProbeOutcome) -> u8 {
    match outcome {
        ProbeOutcome::Ok => 0,
        ProbeOutcome::Late => 1,
        ProbeOutcome::Spam => 2,
        _ => 3,
    }
}
