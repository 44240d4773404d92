//! rspamd's symbols: their scores, and what some of them say of SPF, DKIM, DMARC and ARC.

use std::collections::BTreeMap;

use crate::event::Scores;

/// Symbols and the results that they stand for, in the words of RFC 8601.
type Group = &'static [(&'static str, &'static str)];

pub(super) const SPF: Group = &[
    ("R_SPF_ALLOW", "pass"),
    ("R_SPF_FAIL", "fail"),
    ("R_SPF_SOFTFAIL", "softfail"),
    ("R_SPF_NEUTRAL", "neutral"),
    ("R_SPF_DNSFAIL", "temperror"),
    ("R_SPF_PERMFAIL", "permerror"),
    ("R_SPF_NA", "none"),
];

/// One good signature is enough (RFC 6376 section 6.1).
pub(super) const DKIM: Group = &[
    ("R_DKIM_ALLOW", "pass"),
    ("R_DKIM_REJECT", "fail"),
    ("R_DKIM_TEMPFAIL", "temperror"),
    ("R_DKIM_PERMFAIL", "permerror"),
    ("R_DKIM_NA", "none"),
];

pub(super) const DMARC: Group = &[
    ("DMARC_POLICY_ALLOW", "pass"),
    ("DMARC_POLICY_ALLOW_WITH_FAILURES", "pass"),
    ("DMARC_POLICY_REJECT", "fail"),
    ("DMARC_POLICY_QUARANTINE", "fail"),
    ("DMARC_POLICY_SOFTFAIL", "fail"),
    ("DMARC_DNSFAIL", "temperror"),
    ("DMARC_BAD_POLICY", "permerror"),
    ("DMARC_NA", "none"),
];

pub(super) const ARC: Group = &[
    ("ARC_ALLOW", "pass"),
    ("ARC_REJECT", "fail"),
    ("ARC_INVALID", "fail"),
    ("ARC_DNSFAIL", "temperror"),
    ("ARC_NA", "none"),
];

/// The result of the first symbol of a group that is there.
pub(super) fn result(symbols: &Scores, group: &[(&str, &'static str)]) -> &'static str {
    group.iter().find(|(symbol, _)| symbols.0.contains_key(*symbol)).map_or("", |(_, result)| *result)
}

/// `A(1.0){option;},B(-0.1){},C(0)])` and what is behind it. An option may hold any of these signs; only `}` before a
/// comma or a bracket ends the options.
pub(super) fn split(text: &str) -> Option<(Scores, &str)> {
    let mut scores = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix(']') {
            return Some((Scores(scores), after.strip_prefix(')').unwrap_or(after)));
        }
        let end = rest.find(['(', ',', ']'])?;
        let (name, after) = rest.split_at(end);
        rest = after;
        if let Some(inner) = rest.strip_prefix('(') {
            let (score, after) = inner.split_once(')')?;
            rest = after;
            if let Some(score) = number(score) {
                scores.insert(name.to_owned(), score);
            }
        }
        if let Some(options) = rest.strip_prefix('{') {
            let end = options.match_indices('}').find(|(at, _)| {
                options.get(at + 1..).is_some_and(|after| after.is_empty() || after.starts_with([',', ']']))
            })?;
            rest = options.get(end.0 + 1..)?;
        }
        if rest.is_empty() {
            return Some((Scores(scores), ""));
        }
    }
}

/// A score. JSON has no word for those that are no number.
pub(super) fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|score: &f32| score.is_finite())
}
