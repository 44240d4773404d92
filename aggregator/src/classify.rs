//! Why a message was not taken or not delivered, in one word; who runs the recipient's mail; a reply without its
//! variable parts.
//!
//! The enhanced status code decides where it is specific; then the text, by the rules of `classify/rules.toml`; then
//! the code as far as it goes. The rule that decided is kept beside the class.

mod rules;
mod template;

use std::collections::HashMap;

use self::rules::RULES;
pub use self::rules::version;
pub use self::template::template;
pub(crate) use self::template::template_and_values;
use crate::event::{Bounce, Delivery, DeliveryOutcome, Event, Reception, ReceptionVerdict};
use crate::quick::Quick;

/// Different replies whose class is remembered; when they are more, all are forgotten and found again.
const REMEMBERED: usize = 10_000;

/// A class and the rule that said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// One word of the classification.
    pub class: &'static str,
    /// The rule: an enhanced code, or the name of a text rule, with the blocklist where it names one.
    pub rule: String,
}

/// Fills in the columns that follow from a reply.
#[derive(Default)]
pub struct Classifier {
    known: Known,
    template: String,
}

/// The classes of replies that came before, by template and codes.
#[derive(Default)]
struct Known {
    classes: HashMap<String, Class, Quick>,
    key: String,
}

/// What is said of a reply that says nothing.
static OTHER: Class = Class { class: "other", rule: String::new() };

impl Classifier {
    /// Fills in `class` and `class_rule` of what was not taken or not delivered, `provider` and `response_template` of
    /// every delivery. What a dialect has set stays.
    pub fn classify(&mut self, event: &mut Event) {
        match event {
            Event::Delivery(row) => self.delivery(row),
            Event::Reception(row) => self.reception(row),
            Event::Bounce(row) => self.bounce(row),
            _ => {}
        }
    }

    /// Does what a count of events wants: who runs a mailbox that took its mail and what it said to that is not counted.
    pub fn classify_to_count(&mut self, event: &mut Event) {
        match event {
            Event::Delivery(row) if row.outcome == DeliveryOutcome::Delivered => {}
            event => self.classify(event),
        }
    }

    fn delivery(&mut self, row: &mut Delivery) {
        if row.provider.is_empty()
            && let Some(provider) = rules::provider(&row.mx_host, &row.rcpt_domain)
        {
            provider.clone_into(&mut row.provider);
        }
        if row.response_template.is_empty() {
            template(&row.response, &mut row.response_template);
        }
        if row.outcome == DeliveryOutcome::Delivered || row.outcome == DeliveryOutcome::Held || !row.class.is_empty() {
            return;
        }
        let class = self.known.class(&row.response_template, &row.enhanced_code, row.smtp_code);
        class.class.clone_into(&mut row.class);
        row.class_rule.clone_from(&class.rule);
    }

    fn bounce(&mut self, row: &mut Bounce) {
        if row.provider.is_empty()
            && let Some(provider) = rules::provider(&row.mx_host, &row.rcpt_domain)
        {
            provider.clone_into(&mut row.provider);
        }
        row.response_template.clear();
        template(&row.response, &mut row.response_template);
        if row.outcome == DeliveryOutcome::Delivered || !row.class.is_empty() {
            return;
        }
        let class = self.known.class(&row.response_template, &row.enhanced_code, row.smtp_code);
        class.class.clone_into(&mut row.class);
        row.class_rule.clone_from(&class.rule);
    }

    fn reception(&mut self, row: &mut Reception) {
        if row.verdict == ReceptionVerdict::Accepted || !row.class.is_empty() {
            return;
        }
        self.template.clear();
        template(&row.response, &mut self.template);
        let class = self.known.class(&self.template, &row.enhanced_code, row.smtp_code);
        // What we ourselves refuse for good, in words of our own, is our policy.
        if class.rule.is_empty() && row.verdict == ReceptionVerdict::Rejected {
            "policy".clone_into(&mut row.class);
            "refused".clone_into(&mut row.class_rule);
            return;
        }
        class.class.clone_into(&mut row.class);
        row.class_rule.clone_from(&class.rule);
    }
}

impl Known {
    /// The class of a reply by its template.
    fn class(&mut self, template: &str, enhanced_code: &str, smtp_code: Option<u16>) -> &Class {
        self.key.clear();
        self.key.extend([template, "\n", enhanced_code, "\n"]);
        // A number of three digits, as one character.
        self.key.extend(smtp_code.and_then(|code| char::from_u32(code.into())));
        if !self.classes.contains_key(&self.key) {
            if self.classes.len() >= REMEMBERED {
                self.classes.clear();
            }
            self.classes.insert(self.key.clone(), RULES.class(template, enhanced_code, smtp_code));
        }
        self.classes.get(&self.key).unwrap_or(&OTHER)
    }
}

/// The class of one reply.
pub fn class(response: &str, enhanced_code: &str, smtp_code: Option<u16>) -> Class {
    let mut text = String::new();
    template(response, &mut text);
    RULES.class(&text, enhanced_code, smtp_code)
}

#[cfg(test)]
mod tests;
