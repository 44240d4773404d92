//! `webmail`: a person's way through the webmail: open it, log in, see the messages, log out.

mod recipe;

use aggregator::event::ProbeOutcome;

use super::access::{Login, Probe};
use super::browser::{Browser, Page};
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault};

use recipe::Recipe;
pub(super) use recipe::recipe;

/// Redirects that are followed in a row.
const REDIRECTS_MAX: usize = 5;

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
pub(super) struct Session {
    browser: Browser,
    recipe: &'static Recipe,
    shown: Page,
}

impl Session {
    /// Logs in: the steps of [`Browser::open`], `load`, `login`, `list`.
    ///
    /// # Errors
    /// When a step failed.
    pub async fn open(probe: &Probe<'_>, login: &Login, steps: &mut Steps) -> Result<Self, Stop> {
        let Some(recipe) = probe.check.recipe.as_deref().and_then(recipe) else {
            return Err(
                steps.misconfigured(format!("check {:?} needs a `recipe` that is known: varde", probe.check.name))
            );
        };
        let mut browser = Browser::open(probe, steps).await?;
        let url = probe.place();
        let load = async {
            let page = follow(&mut browser, recipe.login).await?;
            let form = page.form_with(recipe.password).ok_or_else(|| no_form("login", &page))?;
            Ok((page, form))
        };
        let (page, form) = steps.run("load", format!("opening the login page of {url}"), load).await?;
        let fields = [(recipe.user, login.user.as_str()), (recipe.password, login.password.as_str())];
        let enter = async {
            let answer = browser.submit(&page, &form, &fields).await?;
            judge_login(&answer, recipe)
        };
        let inside = steps.run("login", format!("login as {} at {url}", login.user), enter).await?;
        let list = async {
            let page = follow(&mut browser, inside.as_str()).await?.ok()?;
            match page.form_to(recipe.logout) {
                Some(_) => Ok(page),
                None if page.form_with(recipe.password).is_some() => {
                    Err(Fault::new(Class::AuthFailed, "the login did not last: it asks for the password again"))
                }
                None => Err(no_form("log-out", &page)),
            }
        };
        let shown = steps.run("list", format!("showing the INBOX at {url}"), list).await?;
        Ok(Self { browser, recipe, shown })
    }

    /// Writes and sends a message.
    ///
    /// # Errors
    /// When the form is not there or not taken.
    pub async fn send(&mut self, to: &str, subject: &str, text: &str) -> Result<(), Fault> {
        let recipe = self.recipe;
        let page = follow(&mut self.browser, recipe.compose).await?.ok()?;
        let form = page.form_with(recipe.to).ok_or_else(|| no_form("compose", &page))?;
        let fields = [(recipe.to, to), (recipe.subject, subject), (recipe.text, text)];
        let answer = self.browser.submit(&page, &form, &fields).await?;
        match answer.status {
            200 | 302 | 303 if answer.form_with(recipe.to).is_none() => Ok(()),
            500.. | 429 => Err(Fault { class: Class::Deferred, ..answer.unexpected() }),
            _ => Err(Fault { class: Class::Rejected, ..answer.unexpected() }),
        }
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the form is not there or not taken.
    pub async fn log_out(&mut self) -> Result<(), Fault> {
        let form = self.shown.form_to(self.recipe.logout).ok_or_else(|| no_form("log-out", &self.shown))?;
        let answer = self.browser.submit(&self.shown, &form, &[]).await?;
        match answer.status {
            200 | 302 | 303 => Ok(()),
            _ => Err(answer.unexpected()),
        }
    }
}

/// Where the login leads, when it was taken.
fn judge_login(answer: &Page, recipe: &Recipe) -> Result<reqwest::Url, Fault> {
    let refused = |what: &str| Fault::new(Class::AuthFailed, what.to_owned());
    match (&answer.redirect, answer.status) {
        (Some(to), 302 | 303) if to.path().ends_with(recipe.login) => Err(refused("it leads back to the login page")),
        (Some(to), 302 | 303) => Ok(to.clone()),
        (_, 401 | 403) => Err(refused("the user name and password are not taken")),
        (_, 200 | 400 | 422) if answer.form_with(recipe.password).is_some() => {
            Err(refused("it shows the login form again"))
        }
        (_, 200) => Ok(answer.url.clone()),
        (_, 429 | 500..) => Err(Fault { class: Class::AuthTemporary, ..answer.unexpected() }),
        _ => Err(answer.unexpected()),
    }
}

async fn follow(browser: &mut Browser, path: &str) -> Result<Page, Fault> {
    let mut page = browser.get(browser.at(path)?).await?;
    for _ in 0..REDIRECTS_MAX {
        match page.redirect.take() {
            Some(to) => page = browser.get(to).await?,
            None => return Ok(page),
        }
    }
    Err(Fault::new(Class::Content, format!("the page redirects more than {REDIRECTS_MAX} times")))
}

fn no_form(which: &str, page: &Page) -> Fault {
    let status = page.status;
    Fault::said(
        Class::Content,
        &format!("{} (HTTP {status}) has no {which} form; it begins", page.url.path()),
        &page.body,
    )
}
