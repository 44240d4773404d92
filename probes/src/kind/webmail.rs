//! `webmail`: a person's way through the webmail: open it, log in, see the messages, log out.

mod journey;
mod recipe;

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe};
use super::browser::Browser;
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault};

use journey::{Journey, Walker};
use recipe::Words;
pub(super) use recipe::is_named;

pub(super) const KIND: Kind = Kind {
    name: "webmail",
    title: "Webmail: open, log in, list, log out",
    patience: 3,
    needs: &[Need::Url, Need::Account, Need::Recipe],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    Browser::plan(probe, steps);
    steps.plan(&["load", "login", "list", "logout"]);
    let login = probe.login(steps).await?;
    let mut session = Session::open(probe, &login, steps).await?;
    steps.run("logout", "logging out", session.log_out()).await?;
    Ok(ProbeOutcome::Ok)
}

/// Someone who is logged in.
pub(super) struct Session(Walker);

impl Session {
    /// Logs in: the steps of [`Browser::open`], `load`, `login`, `list`.
    ///
    /// # Errors
    /// When a step failed.
    pub async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Self, Stop> {
        let name = probe.check.recipe.as_deref().unwrap_or_default();
        let recipe = match recipe::load(name, &probe.cx.base_dir).await {
            Ok(recipe) => recipe,
            Err(fault) => return Err(steps.misconfigured(fault.detail)),
        };
        let browser = Browser::open(probe, steps).await?;
        let mut words = Words::default();
        words.set("user", &login.user);
        words.set("password", &login.password);
        let mut walker = Walker::new(browser, recipe, words);
        let url = probe.place();
        steps.run("load", format!("opening the login page of {url}"), walker.walk(Journey::Load)).await?;
        steps.run("login", format!("login as {} at {url}", login.user), walker.walk(Journey::Login)).await?;
        steps.run("list", format!("showing the INBOX at {url}"), walker.walk(Journey::List)).await?;
        Ok(Self(walker))
    }

    /// Writes and sends a message.
    ///
    /// # Errors
    /// When the form is not there or not taken.
    pub async fn send(&mut self, to: &str, subject: &str, text: &str) -> Result<(), Fault> {
        if !self.0.knows(Journey::Send) {
            return Err(Fault::new(Class::Config, "the recipe does not say how to `send`; send by submission instead"));
        }
        for (name, value) in [("to", to), ("subject", subject), ("text", text)] {
            self.0.set(name, value);
        }
        self.0.walk(Journey::Send).await
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the form is not there or not taken.
    pub async fn log_out(&mut self) -> Result<(), Fault> {
        self.0.walk(Journey::Logout).await
    }
}
