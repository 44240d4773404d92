//! `round_trip`: the audit. A message goes the whole way, through the webmail and by submission, from any account to
//! any other, is received, searched for, filed, compared, seen by POP3, and removed.

mod arrival;
mod headers;
mod jmap_box;
mod letter;
mod mailbox;
mod pop3_box;
mod receiver;
mod sweep;

use std::future::Future;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, Time};
use tokio::time::Instant;

use super::access::{Login, Probe};
use super::steps::grouped;
use super::{Awaited, Kind, Need, Steps, Stop, imap, pop3, submission, webmail};
use crate::conversation::imap::Imap;
use crate::conversation::{Class, Fault};

use arrival::{Arrival, INBOX, severity};
pub(super) use letter::Letter;
use receiver::{Open, Receiver, Way};

/// A message that has not come after so many times the objective is missing: 30 s with the objective of 5 s.
const RECEIVE_PATIENCE: u32 = 6;
/// How often the mailbox is looked at when the server does not speak up: what a receipt's time is exact to.
const POLL: Duration = Duration::from_millis(50);
/// Messages that POP3 is asked for, from the newest.
const POP3_LOOK_BACK: u64 = 30;

pub(super) const KIND: Kind = Kind {
    name: "round_trip",
    title: "Round trip: webmail login, send, receive, search, folder, fetch, POP3, clean up",
    patience: 24,
    needs: &[Need::Account, Need::Mailbox, Need::Sender],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

/// A message that came, and how.
type Received = (Letter, Arrival);

/// What a round trip walks through.
struct Trip<'a> {
    probe: Probe<'a>,
    sender: Login,
    receiver: Receiver<'a>,
    webmail: Option<Probe<'a>>,
    submission: Option<Probe<'a>>,
    /// The sender's own mailbox, when it is another one: copies of what was sent lie there.
    sent_box: Option<Probe<'a>>,
    begun: Time,
    /// Whether a message may be on its way, so that there is something to clean up.
    sent: bool,
    /// Whether the receiver's mailbox cannot be opened, so that nothing can be cleaned up.
    shut: bool,
}

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    let mut trip = Trip::prepare(probe, steps).await?;
    match trip.walk(steps).await {
        Ok((mut received, mut open)) => {
            let result = grouped(steps, "cleanup", async |group| {
                // By now a second copy has had time to come.
                for (letter, arrival) in &mut received {
                    trip.receiver.recount(letter, arrival, &mut open, group).await?;
                }
                trip.clean(&mut open, &probe.cx.awaited, group).await
            });
            result.await?;
            let outcomes = received.iter().map(|(_, arrival)| arrival.outcome(probe.cx.receive_objective));
            Ok(outcomes.max_by_key(|outcome| severity(*outcome)).unwrap_or(ProbeOutcome::Ok))
        }
        Err(Stop) => {
            trip.clean_up_after_failure(steps).await;
            Err(Stop)
        }
    }
}

fn plan(check: &crate::config::Check, steps: &mut Steps) {
    if check.webmail.is_some() {
        steps.plan(&["login"]);
    }
    let opening = if check.imap.is_some() {
        "imap"
    } else if check.jmap.is_some() {
        "jmap"
    } else {
        "pop3"
    };
    steps.plan(&[opening, "send", "receive"]);
    if check.webmail.is_some() && check.submission.is_some() {
        steps.plan(&["submit", "receive_2"]);
    }
    if check.imap.is_some() {
        steps.plan(&["search", "folder"]);
    }
    steps.plan(&["fetch"]);
    if check.imap.is_some() && check.pop3.is_some() {
        steps.plan(&["pop3"]);
    }
    steps.plan(&["cleanup"]);
}

impl<'a> Trip<'a> {
    async fn prepare(probe: &Probe<'a>, steps: &mut Steps) -> Result<Self, Stop> {
        let check = probe.check;
        plan(check, steps);
        let sender = probe.login(steps).await?;
        let there = match (&check.to_target, probe.cx.receiver.as_deref()) {
            (Some(name), None) => return Err(steps.misconfigured(format!("there is no target {name:?} to send to"))),
            (Some(_), Some(target)) => probe.of(target),
            (None, _) => *probe,
        };
        let login = match &check.to {
            Some(address) => there.login_as(address, steps).await?,
            None => sender.clone(),
        };
        let pop3 = check.pop3.as_deref().map(|name| there.at(name, steps)).transpose()?;
        let (way, pop3) = match (&check.imap, &check.jmap, pop3) {
            (Some(imap), _, pop3) => (Way::Imap(there.at(imap, steps)?), pop3),
            (None, Some(jmap), _) => (Way::Jmap(there.at(jmap, steps)?), None),
            (None, None, Some(pop3)) => (Way::Pop3(pop3), None),
            (None, None, None) => {
                let what = format!("check {:?} needs `imap`, `jmap` or `pop3`, the name of a check", check.name);
                return Err(steps.misconfigured(what));
            }
        };
        let own = probe.target.check.iter().find(|other| other.kind == "imap" && other.account == check.account);
        let elsewhere = login.user != sender.user || check.to_target.is_some();
        Ok(Self {
            probe: *probe,
            receiver: Receiver { login, way, pop3 },
            sender,
            webmail: check.webmail.as_deref().map(|name| probe.at(name, steps)).transpose()?,
            submission: check.submission.as_deref().map(|name| probe.at(name, steps)).transpose()?,
            sent_box: own.filter(|_| elsewhere).map(|check| Probe { check, ..*probe }),
            begun: Time::now(),
            sent: false,
            shut: false,
        })
    }

    async fn walk(&mut self, steps: &mut Steps) -> Result<(Vec<Received>, Open<'a>), Stop> {
        let run_id = &self.probe.cx.run_id;
        let (by_web, by_submission) = (Letter::by_webmail(run_id), Letter::by_submission(run_id));
        let session = match &self.webmail {
            Some(webmail) => Some(
                grouped(steps, "login", async |group| webmail::Session::open(webmail, &self.sender, group).await)
                    .await?,
            ),
            None => None,
        };
        let opened = self.receiver.open(steps).await;
        self.shut = opened.is_err();
        let mut open = opened?;
        let mut received = Vec::new();
        if let Some(mut session) = session {
            self.sent = true;
            let work = session.send(&self.receiver.login.user, &by_web.subject, &by_web.text);
            steps.run("send", "sending through the webmail", work).await?;
            received.push(self.receive("receive", by_web, &mut open, steps).await?);
            if self.submission.is_some() {
                self.submit("submit", &by_submission, steps).await?;
                received.push(self.receive("receive_2", by_submission, &mut open, steps).await?);
            }
            // That logging out works is the webmail check's to say.
            let _ = tokio::time::timeout(self.probe.timeout(), session.log_out()).await;
        } else {
            self.submit("send", &by_submission, steps).await?;
            received.push(self.receive("receive", by_submission, &mut open, steps).await?);
        }
        if let Open::Imap(imap) = &mut open {
            self.use_mailbox(&received, imap, steps).await?;
        }
        self.compare(&mut received, &mut open, steps).await?;
        if let (Some(place), Some((letter, arrival))) = (&self.receiver.pop3, received.first()) {
            let wanted = (!arrival.is_spam()).then_some(letter);
            grouped(steps, "pop3", async |group| self.see_by_pop3(place, wanted, group).await).await?;
        }
        Ok((received, open))
    }

    async fn submit(&mut self, step: &'static str, letter: &Letter, steps: &mut Steps) -> Result<(), Stop> {
        let Some(place) = self.submission else {
            return Err(steps.misconfigured("a round trip needs `webmail` or `submission`"));
        };
        self.sent = true;
        let (login, to, timeout) = (&self.sender, &self.receiver.login.user, self.probe.timeout());
        grouped(steps, step, async |group| {
            let mut smtp = submission::open(&place, login, group).await?;
            let octets = letter.octets(&login.user, to, Time::now());
            let work = smtp.send(&login.user, to, &octets);
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
        open: &mut Open<'a>,
        steps: &mut Steps,
    ) -> Result<Received, Stop> {
        let arrival = self.receiver.receive(step, &letter, open, steps).await?;
        if arrival.is_spam() {
            steps.note(format!("it was put into {}", arrival.folder));
        }
        Ok((letter, arrival))
    }

    /// What a person does with mail: the steps `search`, `folder`.
    async fn use_mailbox(&self, received: &[Received], imap: &mut Imap, steps: &mut Steps) -> Result<(), Stop> {
        let place = self.receiver.place();
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
        Ok(())
    }

    /// The step `fetch`: what came is what was sent, and what the systems on the way wrote into it.
    async fn compare(&self, received: &mut [Received], open: &mut Open<'a>, steps: &mut Steps) -> Result<(), Stop> {
        let place = self.receiver.place();
        let work = async {
            let mut told = String::new();
            for (letter, arrival) in received {
                if let Open::Imap(imap) = open {
                    arrival.octets = mailbox::fetch(imap, arrival).await?;
                }
                letter.compare(&arrival.octets)?;
                told = headers::told(&arrival.octets);
            }
            Ok(told)
        };
        let told = steps.run("fetch", format!("comparing the messages at {place} with what was sent"), work).await?;
        steps.note(told);
        Ok(())
    }

    /// POP3 shows the INBOX only: what is in the spam folder is not looked for.
    async fn see_by_pop3(&self, place: &Probe<'_>, wanted: Option<&Letter>, steps: &mut Steps) -> Result<(), Stop> {
        let mut pop3 = pop3::open(place, &self.receiver.login, steps).await?;
        let work = async {
            let (count, _) = pop3.stat().await?;
            let Some(letter) = wanted else { return Ok(()) };
            for number in (count.saturating_sub(POP3_LOOK_BACK) + 1..=count).rev() {
                if pop3.header(number).await?.is_some_and(|head| letter.is_subject_of(&head)) {
                    letter.compare(&pop3.retrieve(number).await?)?;
                    return pop3.quit().await;
                }
            }
            Err(Fault::new(Class::Mismatch, format!("IMAP shows the message, POP3 does not, among {count}")))
        };
        steps.run("retr", format!("looking for the message at {}", place.place()), work).await
    }

    /// Removes what is due from the receiver's mailbox and from the sender's, and keeps what came late.
    async fn clean(&self, open: &mut Open<'a>, awaited: &[Awaited], group: &mut Steps) -> Result<(), Stop> {
        let found = self.receiver.clean(open, awaited, Time::now(), group).await?;
        found.into_iter().for_each(|finding| group.found(finding));
        let Some(place) = &self.sent_box else { return Ok(()) };
        let mut imap = imap::open(place, &self.sender, group).await?;
        let work = mailbox::clean(&mut imap, &self.probe.cx.run_id, awaited, Time::now());
        // What lies in the sender's mailbox has not come anywhere.
        group.run("clean", format!("removing what was sent at {}", place.place()), work).await.map(drop)
    }

    /// Leaves nothing behind if it can be helped; a later run removes what stays. The failure is told already.
    ///
    /// A message of this run that is found now came too late for it, and is kept as such.
    async fn clean_up_after_failure(&self, steps: &mut Steps) {
        if self.shut {
            return;
        }
        let begun = Instant::now();
        let mut group = steps.group();
        let mut awaited = self.probe.cx.awaited.clone();
        if steps.failed_as() == Some(ProbeOutcome::Missing) {
            awaited.push(Awaited { run_id: self.probe.cx.run_id.clone(), ts: self.begun });
        }
        let Ok(mut open) = self.receiver.enter(&mut group).await else { return };
        if self.clean(&mut open, &awaited, &mut group).await.is_ok() && self.sent {
            let _ = steps.settle_group("cleanup", begun, group, Ok(()));
        } else {
            group.take_findings().into_iter().for_each(|finding| steps.found(finding));
        }
    }
}

/// A time-out for a part of a step.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Fault::new(Class::Timeout, format!("the server did not answer within {:.1} s", limit.as_secs_f32())))
    })
}

fn missing(limit: Duration, whereto: &str) -> Fault {
    Fault::new(Class::Missing, format!("it did not come within {} s, {whereto}", limit.as_secs()))
}
