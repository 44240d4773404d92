//! Walking through a webmail by a recipe: one act after the other, with what the pages give kept in between.

use std::collections::BTreeMap;

use super::recipe::{Act, Recipe, Words, in_json};
use crate::conversation::{Class, Fault};
use crate::kind::browser::{Body, Browser, Method, Page};

/// The longest text that an act keeps.
const KEPT_MAX: usize = 4 * 1024;

/// Where in the webmail someone is, which decides what a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journey {
    /// To the login form.
    Load,
    /// Through it.
    Login,
    /// To the messages.
    List,
    /// A message out.
    Send,
    /// Away.
    Logout,
}

impl Journey {
    fn acts(self, recipe: &Recipe) -> &[Act] {
        match self {
            Self::Load => &recipe.load,
            Self::Login => &recipe.login,
            Self::List => &recipe.list,
            Self::Send => &recipe.send,
            Self::Logout => &recipe.logout,
        }
    }

    /// What it means when the webmail says no.
    fn refusal(self) -> Class {
        if self == Self::Login { Class::AuthFailed } else { Class::Rejected }
    }

    /// What it means when the webmail says not now.
    fn deferral(self) -> Class {
        match self {
            Self::Login => Class::AuthTemporary,
            Self::Send => Class::Deferred,
            Self::Load => Class::Content,
            Self::List | Self::Logout => Class::Status,
        }
    }

    /// Whether the user is logged in on the way, so that a login form means that it did not last.
    fn is_inside(self) -> bool {
        matches!(self, Self::List | Self::Send)
    }
}

/// Someone in a webmail.
pub struct Walker {
    browser: Browser,
    recipe: Recipe,
    words: Words,
    page: Option<Page>,
}

impl Walker {
    /// Before the first page.
    pub fn new(browser: Browser, recipe: Recipe, words: Words) -> Self {
        Self { browser, recipe, words, page: None }
    }

    /// Puts a word in that the recipe may use.
    pub fn set(&mut self, name: &str, value: &str) {
        self.words.set(name, value);
    }

    /// Whether the recipe knows the way.
    pub fn knows(&self, journey: Journey) -> bool {
        !journey.acts(&self.recipe).is_empty()
    }

    /// Goes a whole way.
    ///
    /// # Errors
    /// What the first act that failed met.
    pub async fn walk(&mut self, journey: Journey) -> Result<(), Fault> {
        let acts = journey.acts(&self.recipe).to_vec();
        let several = acts.len() > 1;
        for act in &acts {
            self.act(journey, act).await.map_err(|fault| match several {
                true => Fault { detail: format!("{}: {}", act.deed(), fault.detail), ..fault },
                false => fault,
            })?;
        }
        Ok(())
    }

    async fn act(&mut self, journey: Journey, act: &Act) -> Result<(), Fault> {
        let page = self.answer(act).await?;
        self.judge(journey, act, &page)?;
        for (name, [before, after]) in &act.keep {
            let kept = page.body.split_once(before.as_str()).and_then(|(_, rest)| rest.split_once(after.as_str()));
            match kept {
                Some((kept, _)) if kept.len() <= KEPT_MAX => self.words.set(name, kept),
                _ => return Err(begins(&format!("has no {name} between {before:?} and {after:?}"), &page)),
            }
        }
        self.page = Some(page);
        Ok(())
    }

    /// Does what the act is, and gives the page that comes of it.
    async fn answer(&mut self, act: &Act) -> Result<Page, Fault> {
        let plain = |text: &str| self.words.put_into(text, str::to_owned);
        let headers: Vec<(String, String)> =
            act.headers.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        let filled: BTreeMap<&str, String> =
            act.fill.iter().map(|(name, value)| (name.as_str(), plain(value))).collect();
        let fields: Vec<(&str, &str)> = filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Some(path) = &act.open {
            let url = self.browser.at(&plain(path))?;
            return match headers.is_empty() {
                true => self.browser.follow(url).await,
                false => self.browser.request(Method::GET, url, &headers, Body::None).await,
            };
        }
        if let Some(path) = &act.post {
            let url = self.browser.at(&plain(path))?;
            let body = match &act.json {
                Some(json) => Body::Json(self.words.put_into(json, in_json)),
                None => Body::Pairs(filled.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            };
            return self.browser.request(Method::POST, url, &headers, body).await;
        }
        let Some(page) = self.page.clone() else {
            return Err(Fault::new(Class::Config, "the recipe acts on a page before it has opened one"));
        };
        if let Some(part) = &act.follow {
            let link = page.link_to(part).ok_or_else(|| begins(&format!("has no link to {part:?}"), &page))?;
            let url = self.browser.within(&page.url, &link)?;
            return self.browser.follow(url).await;
        }
        if act.arrive {
            return match page.redirect {
                Some(to) => self.browser.follow(to).await,
                None => Ok(page),
            };
        }
        let form = match (&act.submit, &act.submit_to) {
            (Some(field), _) => page.form_with(field).ok_or_else(|| no_form(field, &page))?,
            (None, Some(part)) => page.form_to(part).ok_or_else(|| no_form(part, &page))?,
            (None, None) => return Err(Fault::new(Class::Config, "the recipe has an act that does nothing")),
        };
        self.browser.submit(&page, &form, &fields).await
    }

    fn judge(&self, journey: Journey, act: &Act, page: &Page) -> Result<(), Fault> {
        let refused = |what: &str| Err(Fault::new(journey.refusal(), what.to_owned()));
        match page.status {
            401 | 403 if journey == Journey::Login => return refused("the user name and password are not taken"),
            429 | 500.. => return Err(Fault { class: journey.deferral(), ..page.unexpected() }),
            200 | 302 | 303 => {}
            400 | 422 if act.submit.is_some() => {}
            _ if journey == Journey::Send => return Err(Fault { class: Class::Rejected, ..page.unexpected() }),
            _ if journey == Journey::Load => {}
            _ => return Err(page.unexpected()),
        }
        if let (Some(end), Some(to)) = (&act.refused_at, &page.redirect)
            && to.path().ends_with(end.as_str())
        {
            return refused(&format!("it leads back to {end}"));
        }
        if let Some(word) = act.refused.iter().find(|word| page.body.contains(word.as_str())) {
            return Err(begins_as(journey.refusal(), &format!("says no ({word})"), page));
        }
        // A form that comes again has not been taken, unless the answer leads away from it.
        if let Some(field) = act.submit.as_ref().filter(|_| page.redirect.is_none())
            && page.form_with(field).is_some()
        {
            return refused("it shows the same form again");
        }
        if matches!(page.status, 400 | 422) {
            return Err(page.unexpected());
        }
        let lasted = |fault: Fault| match &self.recipe.password_field {
            Some(field) if journey.is_inside() && page.form_with(field).is_some() => {
                Fault::new(Class::AuthFailed, "the login did not last: it asks for the password again")
            }
            _ => fault,
        };
        if let Some(field) = act.form.as_ref().filter(|field| page.form_with(field).is_none()) {
            return Err(lasted(no_form(field, page)));
        }
        if let Some(part) = act.form_to.as_ref().filter(|part| page.form_to(part).is_none()) {
            return Err(lasted(no_form(part, page)));
        }
        if let Some(text) = act.expect.iter().find(|text| !page.body.contains(text.as_str())) {
            let class = if journey == Journey::Send { Class::Rejected } else { Class::Content };
            return Err(lasted(begins_as(class, &format!("does not contain {text:?}"), page)));
        }
        Ok(())
    }
}

fn no_form(which: &str, page: &Page) -> Fault {
    begins(&format!("has no form with {which:?}"), page)
}

fn begins(what: &str, page: &Page) -> Fault {
    begins_as(Class::Content, what, page)
}

fn begins_as(class: Class, what: &str, page: &Page) -> Fault {
    Fault::said(class, &format!("{} (HTTP {}) {what}; it begins", page.url.path(), page.status), &page.body)
}
