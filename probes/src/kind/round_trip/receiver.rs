//! Where a round trip's message is to come to: a mailbox by IMAP, or by JMAP, or by POP3, in this order.

use aggregator::event::Time;

use super::jmap_box::{self, Places};
use super::letter::Letter;
use super::{Arrival, RECEIVE_PATIENCE, mailbox, pop3_box};
use crate::conversation::imap::Imap;
use crate::kind::access::{Login, Probe};
use crate::kind::jmap::{self, Jmap};
use crate::kind::steps::grouped;
use crate::kind::{Awaited, Finding, Steps, Stop, imap, pop3};

/// Whom a message goes to, and how its mailbox is reached.
pub(super) struct Receiver<'a> {
    /// The account.
    pub login: Login,
    /// Its mailbox.
    pub way: Way<'a>,
    /// Where the message is looked for by POP3 as well, when the mailbox is reached by IMAP.
    pub pop3: Option<Probe<'a>>,
}

/// How a mailbox is reached.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// With folders, and told of news by IDLE.
    Imap(Probe<'a>),
    /// With folders, asked for news.
    Jmap(Probe<'a>),
    /// The INBOX alone.
    Pop3(Probe<'a>),
}

/// A mailbox that is open, as far as a protocol keeps one open.
pub(super) enum Open<'a> {
    /// A session.
    Imap(Imap),
    /// A session.
    Jmap(Box<Jmap>, Places),
    /// Sessions come and go.
    Pop3(Probe<'a>),
}

impl<'a> Receiver<'a> {
    /// The name of the step that opens the mailbox.
    pub fn opening(&self) -> &'static str {
        match self.way {
            Way::Imap(_) => "imap",
            Way::Jmap(_) => "jmap",
            Way::Pop3(_) => "pop3",
        }
    }

    /// The mailbox's place, for words.
    pub fn place(&self) -> String {
        self.probe().place()
    }

    fn probe(&self) -> &Probe<'a> {
        match &self.way {
            Way::Imap(probe) | Way::Jmap(probe) | Way::Pop3(probe) => probe,
        }
    }

    /// Opens the mailbox: one step. By POP3 a look that says that it could be opened.
    ///
    /// # Errors
    /// When a part of it failed.
    pub async fn open(&self, steps: &mut Steps) -> Result<Open<'a>, Stop> {
        grouped(steps, self.opening(), async |group| self.enter(group).await).await
    }

    /// The same, with the steps of the protocol.
    ///
    /// # Errors
    /// When one failed.
    pub async fn enter(&self, group: &mut Steps) -> Result<Open<'a>, Stop> {
        match &self.way {
            Way::Imap(probe) => imap::open(probe, &self.login, group).await.map(Open::Imap),
            Way::Jmap(probe) => {
                let mut jmap = jmap::open(probe, &self.login, group).await?;
                let places = Places::find(&mut jmap);
                let places = group.run("mailboxes", format!("Mailbox/get at {}", probe.place()), places).await?;
                Ok(Open::Jmap(Box::new(jmap), places))
            }
            Way::Pop3(probe) => {
                let mut session = pop3::open(probe, &self.login, group).await?;
                group.run("quit", format!("QUIT to {}", probe.place()), session.quit()).await?;
                Ok(Open::Pop3(*probe))
            }
        }
    }

    /// Waits for a message: one step.
    ///
    /// # Errors
    /// When it does not come, or the mailbox fails.
    pub async fn receive(
        &self,
        step: &'static str,
        letter: &Letter,
        open: &mut Open<'a>,
        steps: &mut Steps,
    ) -> Result<Arrival, Stop> {
        let probe = self.probe();
        let timeout = probe.timeout();
        let limit = probe.cx.receive_objective * RECEIVE_PATIENCE;
        let doing = format!("waiting for the message in the mailbox at {}", self.place());
        let patience = limit + timeout * 3;
        match open {
            Open::Imap(imap) => {
                let work = mailbox::await_message(imap, &letter.subject, limit, timeout);
                steps.run_within(patience, step, doing, work).await
            }
            Open::Jmap(jmap, places) => {
                let work = jmap_box::receive(jmap, places, letter, limit, timeout);
                steps.run_within(patience, step, doing, work).await
            }
            Open::Pop3(probe) => {
                grouped(steps, step, async |group| pop3_box::receive(probe, &self.login, letter, limit, group).await)
                    .await
            }
        }
    }

    /// How often the message is there by now, when a second copy has had time to come.
    ///
    /// # Errors
    /// When the mailbox fails.
    pub async fn recount(
        &self,
        letter: &Letter,
        arrival: &mut Arrival,
        open: &mut Open<'a>,
        group: &mut Steps,
    ) -> Result<(), Stop> {
        let doing = format!("looking for copies at {}", self.place());
        arrival.copies = match open {
            Open::Imap(imap) => {
                arrival.uids = group.run("copies", doing, mailbox::find(imap, letter, arrival)).await?;
                arrival.uids.len()
            }
            Open::Jmap(jmap, places) => {
                group.run("copies", doing, jmap_box::arrived(jmap, places, letter)).await?.len()
            }
            Open::Pop3(probe) => pop3_box::copies(probe, &self.login, letter, group).await?,
        };
        Ok(())
    }

    /// Removes what is due, and says which messages came late.
    ///
    /// # Errors
    /// When the mailbox fails.
    pub async fn clean(
        &self,
        open: &mut Open<'a>,
        awaited: &[Awaited],
        now: Time,
        group: &mut Steps,
    ) -> Result<Vec<Finding>, Stop> {
        let doing = format!("removing the probe messages at {}", self.place());
        let run_id = &self.probe().cx.run_id;
        match open {
            Open::Imap(imap) => group.run("clean", doing, mailbox::clean(imap, run_id, awaited, now)).await,
            Open::Jmap(jmap, places) => {
                group.run("clean", doing, jmap_box::clean(jmap, places, run_id, awaited, now)).await
            }
            Open::Pop3(probe) => {
                let mut session = pop3::open(probe, &self.login, group).await?;
                group.run("clean", doing, pop3_box::clean(&mut session, run_id, awaited, now)).await
            }
        }
    }
}
