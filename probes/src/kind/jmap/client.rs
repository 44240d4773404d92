//! A client of JMAP (RFC 8620) and its mail (RFC 8621), as far as a probe walks: over the small browser, so within its
//! limits and on one host.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::HttpAuth;
use crate::conversation::{Class, Fault, printable};
use crate::kind::access::Login;
use crate::kind::browser::{Body, Browser, Method, Page, Url};

const CORE: &str = "urn:ietf:params:jmap:core";
const MAIL: &str = "urn:ietf:params:jmap:mail";
/// RFC 8620 section 2.2: where the session is found, when the check's `url` does not name it.
const WELL_KNOWN: &str = "/.well-known/jmap";
/// Messages that one query gives at most.
const QUERY_MAX: usize = 100;

/// The session object, RFC 8620 section 2, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionObject {
    capabilities: BTreeMap<String, Value>,
    accounts: BTreeMap<String, Value>,
    primary_accounts: BTreeMap<String, String>,
    #[serde(default)]
    username: String,
    api_url: String,
    download_url: String,
    state: String,
}

/// A session with a JMAP server.
pub struct Jmap {
    browser: Browser,
    api: Url,
    account: String,
    download: String,
    /// What there is to say of the session.
    pub about: String,
}

/// A message as a query shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// Its identity.
    pub id: String,
    /// The identity of its octets.
    pub blob_id: String,
    /// Its subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The mailboxes that it is in.
    #[serde(default)]
    pub mailbox_ids: BTreeMap<String, bool>,
    /// When it came, RFC 3339.
    #[serde(default)]
    pub received_at: Option<String>,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mailbox {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `inbox`, `junk` …
    #[serde(default)]
    pub role: Option<String>,
}

impl Jmap {
    /// Fetches the session, and sees that it is one.
    ///
    /// # Errors
    /// When the login is refused, or the session is none that mail can be had by.
    pub async fn open(mut browser: Browser, auth: HttpAuth, login: &Login, url: &str) -> Result<Self, Fault> {
        browser.authorize(match auth {
            HttpAuth::Basic => format!("Basic {}", BASE64.encode(format!("{}:{}", login.user, login.password))),
            HttpAuth::Bearer => format!("Bearer {}", login.password),
        });
        let mut at = browser.at(url)?;
        if at.path() == "/" {
            at = browser.at(WELL_KNOWN)?;
        }
        let page = answered(browser.follow(at).await?)?;
        let session: SessionObject = serde_json::from_str(&page.body)
            .map_err(|error| Fault::said(Class::Protocol, &format!("this is no JMAP session ({error})"), &page.body))?;
        let lacks = |what: &str| Fault::new(Class::Protocol, format!("the JMAP session has no {what}"));
        if !session.capabilities.contains_key(CORE) {
            return Err(lacks(CORE));
        }
        if !session.capabilities.contains_key(MAIL) {
            return Err(lacks(MAIL));
        }
        let account = session.primary_accounts.get(MAIL).ok_or_else(|| lacks("primary account for mail"))?;
        if !session.accounts.contains_key(account) {
            return Err(lacks("account of the identity that it names as the primary one"));
        }
        if session.state.is_empty() {
            return Err(lacks("state"));
        }
        let api = browser.within(&page.url, &session.api_url)?;
        let about = format!("{}, {} capabilities", printable(&session.username), session.capabilities.len());
        Ok(Self { browser, api, account: account.clone(), download: session.download_url, about })
    }

    /// Core/echo (RFC 8620 section 4): what is said comes back.
    ///
    /// # Errors
    /// When something else does.
    pub async fn echo(&mut self, token: &str) -> Result<(), Fault> {
        let said = json!({ "token": token });
        let heard = self.call("Core/echo", said.clone()).await?;
        if heard == said {
            Ok(())
        } else {
            Err(Fault::said(Class::Mismatch, "Core/echo gives back", &heard.to_string()))
        }
    }

    /// The user's mailboxes.
    ///
    /// # Errors
    /// When the server refuses, or there is no inbox.
    pub async fn mailboxes(&mut self) -> Result<Vec<Mailbox>, Fault> {
        let args = json!({ "accountId": self.account, "ids": null, "properties": ["id", "name", "role"] });
        let found = self.call("Mailbox/get", args).await?;
        let mailboxes: Vec<Mailbox> = list(&found, "Mailbox/get")?;
        if mailboxes.iter().any(|mailbox| mailbox.role.as_deref() == Some("inbox")) {
            Ok(mailboxes)
        } else {
            Err(Fault::new(Class::Content, format!("{} mailboxes, and none is the inbox", mailboxes.len())))
        }
    }

    /// The newest messages whose subject holds these words, at most 100. Servers answer this from an index, which may not
    /// have what has just come.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn find(&mut self, subject: &str) -> Result<Vec<Email>, Fault> {
        self.emails(json!({ "subject": subject })).await
    }

    /// The newest messages of these mailboxes, at most 100 together.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn newest(&mut self, mailboxes: &[&str]) -> Result<Vec<Email>, Fault> {
        let conditions: Vec<Value> = mailboxes.iter().map(|id| json!({ "inMailbox": id })).collect();
        self.emails(match conditions.as_slice() {
            [only] => only.clone(),
            _ => json!({ "operator": "OR", "conditions": conditions }),
        })
        .await
    }

    async fn emails(&mut self, filter: Value) -> Result<Vec<Email>, Fault> {
        let ids = self.query(filter, QUERY_MAX).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let properties = ["id", "blobId", "subject", "mailboxIds", "receivedAt"];
        let args = json!({ "accountId": self.account, "ids": ids, "properties": properties });
        let found = self.call("Email/get", args).await?;
        list(&found, "Email/get")
    }

    /// The identities of the newest messages that match a filter.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn query(&mut self, filter: Value, limit: usize) -> Result<Vec<String>, Fault> {
        let sort = json!([{ "property": "receivedAt", "isAscending": false }]);
        let args = json!({ "accountId": self.account, "filter": filter, "sort": sort, "limit": limit });
        let found = self.call("Email/query", args).await?;
        let ids = found.get("ids").cloned().unwrap_or_default();
        serde_json::from_value(ids)
            .map_err(|error| Fault::new(Class::Protocol, format!("Email/query gives no list of ids: {error}")))
    }

    /// The octets of a message (RFC 8620 section 6.2).
    ///
    /// # Errors
    /// When the server does not give them.
    pub async fn download(&mut self, blob: &str) -> Result<Vec<u8>, Fault> {
        let mut path = self.download.clone();
        for (name, value) in
            [("accountId", self.account.as_str()), ("blobId", blob), ("name", "probe.eml"), ("type", "message/rfc822")]
        {
            path = path.replace(&format!("{{{name}}}"), &escaped(value));
        }
        let url = self.browser.within(&self.api, &path)?;
        Ok(answered(self.browser.get(url).await?)?.body.into_bytes())
    }

    /// Removes messages for good.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn destroy(&mut self, ids: &[String]) -> Result<(), Fault> {
        if ids.is_empty() {
            return Ok(());
        }
        let args = json!({ "accountId": self.account, "destroy": ids });
        let done = self.call("Email/set", args).await?;
        match done.get("notDestroyed").and_then(Value::as_object).and_then(|refused| refused.iter().next()) {
            Some((id, why)) => {
                Err(Fault::said(Class::Rejected, &format!("Email/set does not destroy {id}"), &why.to_string()))
            }
            None => Ok(()),
        }
    }

    /// Calls one method; gives the arguments of its response.
    async fn call(&mut self, method: &str, args: Value) -> Result<Value, Fault> {
        let request = json!({ "using": [CORE, MAIL], "methodCalls": [[method, args, "0"]] });
        let body = Body::Json(request.to_string());
        let page = answered(self.browser.request(Method::POST, self.api.clone(), &[], body).await?)?;
        let nonsense =
            |why: String| Fault::said(Class::Protocol, &format!("after {method}, this is no JMAP ({why})"), &page.body);
        let answer: Value = serde_json::from_str(&page.body).map_err(|error| nonsense(error.to_string()))?;
        let response = answer.pointer("/methodResponses/0").and_then(Value::as_array);
        let Some([Value::String(name), args, Value::String(id)]) = response.map(Vec::as_slice) else {
            return Err(nonsense("no method response".to_owned()));
        };
        if id != "0" {
            return Err(nonsense(format!("a response to the call {}", printable(id))));
        }
        if name == "error" {
            let kind = args.get("type").and_then(Value::as_str).unwrap_or_default();
            let class = match kind {
                "serverUnavailable" | "serverFail" | "serverPartialFail" => Class::Deferred,
                "overQuota" => Class::Quota,
                _ => Class::Rejected,
            };
            return Err(Fault::said(
                class,
                &format!("after {method}, the server replied with the error"),
                &args.to_string(),
            ));
        }
        if name != method {
            return Err(nonsense(format!("a response to {}", printable(name))));
        }
        Ok(args.clone())
    }
}

/// A page that is no refusal.
fn answered(page: Page) -> Result<Page, Fault> {
    let class = match page.status {
        200 => return Ok(page),
        401 | 403 => Class::AuthFailed,
        429 | 503 => Class::Deferred,
        _ => Class::Status,
    };
    Err(Fault { class, ..page.unexpected() })
}

fn list<T: serde::de::DeserializeOwned>(found: &Value, method: &str) -> Result<Vec<T>, Fault> {
    let list = found.get("list").cloned().unwrap_or_default();
    serde_json::from_value(list)
        .map_err(|error| Fault::new(Class::Protocol, format!("{method} gives no list as it should: {error}")))
}

/// RFC 6570 section 3.2.2: all but the unreserved characters escaped.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for octet in value.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(octet)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_template_are_escaped() {
        assert_eq!(escaped("message/rfc822 é"), "message%2Frfc822%20%C3%A9");
    }
}
