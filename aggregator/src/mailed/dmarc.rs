//! DMARC aggregate reports: RFC 7489 appendix C, and its successor, whose schema has a few elements more.
//!
//! Reporters take liberties, and nothing is refused for one of these: elements in another order, in a namespace or of
//! other names, results in capitals, blanks around everything, a policy without tags, records without results.

use super::bound::{Bound, Fault};
use super::identity::{begin, cut, cut_to, digest, domain, event_id, name, unix};
use super::xml::{Step, walk};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::event::DmarcRow;

pub(super) const ENTRY: Entry = Entry { name: "dmarc", title: "DMARC aggregate report", read };

/// The tags of a policy, in the order of a record, with the elements that tell them.
const TAGS: [&str; 8] = ["p", "sp", "np", "adkim", "aspf", "t", "pct", "fo"];
/// Octets of a tag's value: all rows repeat them.
const TAG_BYTES: usize = 64;

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Xml(text) = paper else { return Ok(Answer::NotMine) };
    let mut report = Report::default();
    walk(text, &mut |path, step| report.step(path, step, out))?;
    report.finish(text, context, out)?;
    Ok(Answer::Mine)
}

/// What one check of one record said.
#[derive(Default, Clone)]
struct Check {
    domain: String,
    selector: String,
    result: String,
}

#[derive(Default)]
struct Report {
    organisation: String,
    id: String,
    begin: String,
    end: String,
    domain: String,
    tags: [String; TAGS.len()],
    rows: Vec<DmarcRow>,
    /// Records so far, with those that could not be read.
    records: u32,
    row: DmarcRow,
    count: String,
    source: String,
    reason: (String, String),
    reasons: Vec<String>,
    check: Check,
    dkim: Vec<Check>,
    spf: Vec<Check>,
}

impl Report {
    fn step(&mut self, path: &str, step: Step<'_>, out: &mut Reading) -> Result<(), Fault> {
        let Some(path) = path.strip_prefix("feedback/") else { return Ok(()) };
        match step {
            Step::Open if path == "record" => {
                Bound::Records.hold(self.records as usize + 1)?;
                self.row = DmarcRow::default();
                self.count.clear();
                self.source.clear();
                self.reasons.clear();
                self.dkim.clear();
                self.spf.clear();
            }
            Step::Open if matches!(path, "record/auth_results/dkim" | "record/auth_results/spf") => {
                self.check = Check::default();
            }
            Step::Open => {}
            Step::Close(_) if path == "record" => self.record(out),
            Step::Close(text) => match path.strip_prefix("record/") {
                Some(path) => self.of_record(path, text),
                None => self.of_report(path, text),
            },
        }
        Ok(())
    }

    fn of_report(&mut self, path: &str, text: &str) {
        let (field, text) = match path {
            "report_metadata/org_name" => (&mut self.organisation, name(text)),
            "report_metadata/report_id" => (&mut self.id, name(text)),
            "report_metadata/date_range/begin" => (&mut self.begin, name(text)),
            "report_metadata/date_range/end" => (&mut self.end, name(text)),
            "policy_published/domain" => (&mut self.domain, name(text)),
            _ => {
                // The successor calls the tag `t` by its meaning.
                let tag = match path.strip_prefix("policy_published/") {
                    Some("testing") => "t",
                    Some(tag) => tag,
                    None => return,
                };
                match TAGS.iter().position(|known| *known == tag).and_then(|at| self.tags.get_mut(at)) {
                    Some(field) => (field, cut_to(text, TAG_BYTES)),
                    None => return,
                }
            }
        };
        // The first word counts: some reporters tell a policy twice.
        if field.is_empty() {
            text.clone_into(field);
        }
    }

    fn of_record(&mut self, path: &str, text: &str) {
        let row = &mut self.row;
        match path {
            "row/source_ip" => text.clone_into(&mut self.source),
            "row/count" => text.clone_into(&mut self.count),
            "row/policy_evaluated/disposition" => row.disposition = word(text),
            "row/policy_evaluated/dkim" => row.dkim = word(text),
            "row/policy_evaluated/spf" => row.spf = word(text),
            "row/policy_evaluated/reason/type" => self.reason.0 = word(text),
            "row/policy_evaluated/reason/comment" => cut(text).clone_into(&mut self.reason.1),
            "row/policy_evaluated/reason" => {
                let (kind, comment) = std::mem::take(&mut self.reason);
                let gap = if kind.is_empty() || comment.is_empty() { "" } else { ": " };
                self.reasons.push([kind.as_str(), gap, &comment].concat());
            }
            "identifiers/header_from" | "identities/header_from" => row.header_from = domain(text),
            "identifiers/envelope_from" | "identities/envelope_from" => row.envelope_from = domain(text),
            "identifiers/envelope_to" | "identities/envelope_to" => row.envelope_to = domain(text),
            "auth_results/dkim/domain" | "auth_results/spf/domain" => self.check.domain = domain(text),
            "auth_results/dkim/selector" => cut(text).clone_into(&mut self.check.selector),
            "auth_results/dkim/result" | "auth_results/spf/result" => self.check.result = word(text),
            "auth_results/dkim" => self.dkim.push(std::mem::take(&mut self.check)),
            "auth_results/spf" => self.spf.push(std::mem::take(&mut self.check)),
            _ => {}
        }
    }

    /// A record has ended.
    fn record(&mut self, out: &mut Reading) {
        let number = self.records;
        self.records += 1;
        let Ok(count) = self.count.parse() else {
            out.fault(Fault::value("count of messages", &self.count).of_record(number));
            return;
        };
        let mut row = std::mem::take(&mut self.row);
        row.row = number;
        row.count = count;
        if !self.source.is_empty() {
            row.source_ip = self.source.parse().ok();
            if row.source_ip.is_none() {
                out.fault(Fault::value("source address", &self.source).of_record(number));
                return;
            }
        }
        if let Some(check) = best(&self.dkim, &row.header_from) {
            (row.dkim_domain, row.dkim_selector, row.dkim_result) = (check.domain, check.selector, check.result);
        }
        if let Some(check) = best(&self.spf, &row.header_from) {
            (row.spf_domain, row.spf_result) = (check.domain, check.result);
        }
        row.override_reason = cut(&self.reasons.join("; ")).to_owned();
        self.rows.push(row);
    }

    fn finish(mut self, text: &str, context: &Context, out: &mut Reading) -> Result<(), Fault> {
        let domain = domain(&self.domain);
        if domain.is_empty() {
            return Err(Fault::Missing("domain (policy_published/domain)"));
        }
        let begin = begin(&self.begin, unix(&self.begin), context)?;
        let end = unix(&self.end).filter(|end| *end >= begin);
        let organisation = self.organisation.to_lowercase();
        if self.id.is_empty() {
            self.id = digest(text.as_bytes());
        }
        let mut policy = String::new();
        for (tag, value) in TAGS.iter().zip(&self.tags).filter(|(_, value)| !value.is_empty()) {
            policy.extend([if policy.is_empty() { "" } else { "; " }, tag, "=", value]);
        }
        let repeated = domain.len() + organisation.len() + self.id.len() + policy.len();
        out.make_room(self.rows.len(), repeated)?;
        let period = begin.to_string();
        for row in self.rows {
            let event_id = event_id("dmarc_rows", &[&domain, &organisation, &self.id, &period], row.row);
            let row = DmarcRow {
                ts: begin,
                event_id,
                domain: domain.clone(),
                organisation: organisation.clone(),
                report_id: self.id.clone(),
                begin: Some(begin),
                end,
                policy: policy.clone(),
                ..row
            };
            out.rows.push(row.into());
        }
        Ok(())
    }
}

/// The check that matters most: one that passed and is of the domain in the From field, else one that passed.
fn best(checks: &[Check], header_from: &str) -> Option<Check> {
    let aligned = |check: &Check| {
        let below = |one: &str, other: &str| {
            one == other || one.strip_suffix(other).is_some_and(|rest| rest.ends_with('.') && !other.is_empty())
        };
        below(&check.domain, header_from) || below(header_from, &check.domain)
    };
    let rank = |check: &Check| (check.result == "pass", aligned(check));
    // Of equal ones the first.
    checks.iter().rev().max_by_key(|check| rank(check)).cloned()
}

/// A word of the schema, in lower case.
fn word(text: &str) -> String {
    cut(text).to_ascii_lowercase()
}
