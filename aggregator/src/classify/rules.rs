//! The tables of the classification, read once from the files beside this one.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::Class;
use crate::dialect::text::cut;
use crate::quick::Quick;

/// The words of the classification.
pub const CLASSES: &[&str] = &[
    "mailbox_full",
    "user_unknown",
    "policy",
    "spam_content",
    "ip_reputation",
    "rate_limited",
    "greylisted",
    "dns",
    "tls",
    "connection",
    "size",
    "auth_failure",
    "relay_denied",
    "protocol",
    "other",
];

/// The bundled rules.
pub static RULES: LazyLock<Rules> = LazyLock::new(Rules::bundled);

static PROVIDERS: LazyLock<Providers> =
    // A test reads the file; were it broken all the same, nothing would have a provider.
    LazyLock::new(|| toml::from_str(include_str!("providers.toml")).unwrap_or_default());

/// The version of the rules; it rises with every change of the file.
pub fn version() -> u32 {
    RULES.version
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Rises with every change.
    pub version: u32,
    /// Specific enhanced codes, by their class.
    pub codes: HashMap<String, Vec<String>>,
    /// Vague enhanced codes, for replies that no text rule knows.
    pub vague_codes: HashMap<String, Vec<String>>,
    /// Text rules, the first that matches decides.
    #[serde(rename = "rule")]
    pub rules: Vec<RuleEntry>,
}

/// The class of codes that neither the file nor a text knows, by their subject.
const SUBJECTS: &[(&str, &str)] = &[(".4.", "connection"), (".5.", "protocol"), (".7.", "policy")];

/// A text rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// What `class_rule` says.
    pub name: String,
    /// What `class` says.
    pub class: String,
    /// A regular expression on the octets of the reply's template, without regard to case. A group named `list` is the
    /// blocklist.
    pub text: String,
    /// Real replies that it is for.
    #[cfg_attr(not(test), allow(dead_code, reason = "the examples are read by the tests and by people"))]
    pub examples: Vec<String>,
}

/// The rules, compiled.
pub struct Rules {
    version: u32,
    codes: HashMap<String, &'static str>,
    vague_codes: HashMap<String, &'static str>,
    texts: RegexSet,
    rules: Vec<TextRule>,
}

struct TextRule {
    name: String,
    class: &'static str,
    /// For rules that name a blocklist.
    list: Option<Regex>,
}

impl Rules {
    fn bundled() -> Self {
        // A test reads and compiles the file; were it broken all the same, every class would be `other`.
        Self::new(toml::from_str(include_str!("rules.toml")).unwrap_or_default())
    }

    fn new(file: File) -> Self {
        let codes = |table: HashMap<String, Vec<String>>| {
            let pairs = table.into_iter().filter_map(|(class, codes)| Some((word(&class)?, codes)));
            pairs.flat_map(|(class, codes)| codes.into_iter().map(move |code| (code, class))).collect()
        };
        // Replies are ASCII, and what is not is not what a rule looks for: of octets, less has to be prepared.
        let mut texts = RegexSetBuilder::new(file.rules.iter().map(|rule| &rule.text));
        let texts = texts.unicode(false).case_insensitive(true).build().unwrap_or_else(|_| RegexSet::empty());
        let list = |text: &str| RegexBuilder::new(text).unicode(false).case_insensitive(true).build().ok();
        let rules = file.rules.into_iter().map(|rule| TextRule {
            list: rule.text.contains("<list>").then(|| list(&rule.text)).flatten(),
            class: word(&rule.class).unwrap_or("other"),
            name: rule.name,
        });
        Self {
            version: file.version,
            codes: codes(file.codes),
            vague_codes: codes(file.vague_codes),
            rules: rules.collect(),
            texts,
        }
    }

    /// The class of a reply, by its template and codes.
    pub fn class(&self, template: &str, enhanced_code: &str, smtp_code: Option<u16>) -> Class {
        if let Some(class) = self.codes.get(enhanced_code) {
            return Class { class, rule: enhanced_code.to_owned() };
        }
        if let Some(rule) =
            self.texts.matches(template.as_bytes()).iter().next().and_then(|index| self.rules.get(index))
        {
            let list = rule.list.as_ref().and_then(|list| {
                let found = list.captures(template.as_bytes())?.name("list")?;
                std::str::from_utf8(found.as_bytes()).ok()
            });
            let rule_name = match list.map(|list| list.trim_end_matches(['.', ':'])).filter(|list| list.contains('.')) {
                Some(list) => [rule.name.as_str(), ":", &list.to_ascii_lowercase()].concat(),
                None => rule.name.clone(),
            };
            return Class { class: rule.class, rule: rule_name };
        }
        if let Some(class) = self.vague_codes.get(enhanced_code) {
            return Class { class, rule: enhanced_code.to_owned() };
        }
        // RFC 3463 section 3: what the second number is about.
        let subject = enhanced_code.get(1..4).unwrap_or_default();
        if let Some((_, class)) = SUBJECTS.iter().find(|(number, _)| *number == subject) {
            return Class { class, rule: enhanced_code.to_owned() };
        }
        // RFC 5321 section 4.2.2: replies of the second digit 0 are about syntax.
        match smtp_code {
            Some(500..=504) => Class { class: "protocol", rule: "50x".to_owned() },
            _ => Class { class: "other", rule: String::new() },
        }
    }
}

fn word(class: &str) -> Option<&'static str> {
    CLASSES.iter().copied().find(|word| *word == class)
}

/// The file of providers: names of hosts and domains, each with all below it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Providers {
    /// By the name of the mail exchanger.
    pub mx: HashMap<String, String, Quick>,
    /// By the recipient's domain, where no exchanger is known.
    pub domain: HashMap<String, String, Quick>,
}

/// Who runs the mail of a recipient.
pub fn provider(mx_host: &str, rcpt_domain: &str) -> Option<&'static str> {
    below(&PROVIDERS.mx, mx_host).or_else(|| below(&PROVIDERS.domain, rcpt_domain))
}

/// The entry of the name itself or of the nearest name above it.
fn below(table: &'static HashMap<String, String, Quick>, name: &str) -> Option<&'static str> {
    let mut rest = name.trim_end_matches('.');
    loop {
        if let Some(provider) = table.get(rest) {
            return Some(provider);
        }
        rest = cut(rest, b'.')?.1;
    }
}
