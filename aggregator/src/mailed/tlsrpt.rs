//! TLS reports (RFC 8460 section 4.4).
//!
//! A policy is one row, and each of its failures another. The sessions of a failure are counted in the failure's row,
//! and taken out of the policy's, so that sums over all rows are right.

use serde::{Deserialize, Deserializer};

use super::bound::{Bound, Fault};
use super::identity::{begin, cut, digest, domain, event_id, name};
use super::{Answer, Context, Entry, Paper, Reading};
use crate::event::{Time, TlsRptRow};

pub(super) const ENTRY: Entry = Entry { name: "tlsrpt", title: "TLS report", read };

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    #[serde(default)]
    organization_name: Option<String>,
    date_range: Option<DateRange>,
    #[serde(default)]
    report_id: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    #[serde(default)]
    start_datetime: Option<String>,
    #[serde(default)]
    end_datetime: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Policy {
    policy: Described,
    #[serde(default)]
    summary: Option<Counts>,
    #[serde(default, deserialize_with = "null_is_empty")]
    failure_details: Vec<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Described {
    #[serde(default)]
    policy_type: Option<String>,
    #[serde(default)]
    policy_domain: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Counts {
    #[serde(default, deserialize_with = "number")]
    total_successful_session_count: u64,
    #[serde(default, deserialize_with = "number")]
    total_failure_session_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Failure {
    #[serde(default)]
    result_type: Option<String>,
    #[serde(default)]
    sending_mta_ip: Option<String>,
    #[serde(default)]
    receiving_mx_hostname: Option<String>,
    #[serde(default, deserialize_with = "number")]
    failed_session_count: u64,
    #[serde(default)]
    additional_information: Option<String>,
    #[serde(default)]
    failure_reason_code: Option<String>,
}

/// A count, which some reporters write as a text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Text(String),
        Null(()),
    }
    match Number::deserialize(from)? {
        Number::Whole(number) => Ok(number),
        Number::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
        Number::Null(()) => Ok(0),
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Failure>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn read(paper: &Paper<'_>, context: &Context, out: &mut Reading) -> Result<Answer, Fault> {
    let Paper::Json(octets) = paper else { return Ok(Answer::NotMine) };
    let start = octets.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let document = octets.get(start..).unwrap_or_default();
    // Each becomes a struct many times its size, before a record can be counted.
    Bound::JsonElements.hold(memchr::memchr2_iter(b'{', b'[', document).count())?;
    let report: Report = serde_json::from_slice(document)
        .map_err(|why| Fault::Json(why.to_string().chars().filter(|c| !c.is_control()).take(200).collect()))?;
    let range = report.date_range.ok_or(Fault::Missing("period (date-range)"))?;
    let started = range.start_datetime.unwrap_or_default();
    let begin = begin(&started, time(&started), context)?;
    let end = range.end_datetime.as_deref().and_then(time).filter(|end| *end >= begin);
    let organisation = name(report.organization_name.as_deref().unwrap_or_default().trim()).to_lowercase();
    let report_id = match report.report_id.as_deref().map(str::trim) {
        Some(id) if !id.is_empty() => name(id).to_owned(),
        _ => digest(document),
    };
    let mut number = 0_u32;
    for policy in report.policies {
        let domain = domain(name(policy.policy.policy_domain.as_deref().unwrap_or_default().trim()));
        let policy_type = word(policy.policy.policy_type.as_deref().map(|kind| name(kind.trim())));
        let repeated = domain.len() + organisation.len() + report_id.len() + policy_type.len();
        out.make_room(1 + policy.failure_details.len(), repeated)?;
        if domain.is_empty() {
            out.fault(Fault::Missing("domain (policy-domain)").of_record(number));
            continue;
        }
        let period = begin.to_string();
        let mut row = |details: TlsRptRow| {
            let event_id = event_id("tlsrpt_rows", &[&domain, &organisation, &report_id, &period], number);
            let row = TlsRptRow {
                ts: begin,
                event_id,
                domain: domain.clone(),
                organisation: organisation.clone(),
                report_id: report_id.clone(),
                begin: Some(begin),
                end,
                row: number,
                policy_type: policy_type.clone(),
                ..details
            };
            out.rows.push(row.into());
            number += 1;
        };
        let counts = policy.summary.unwrap_or_default();
        let explained: u64 =
            policy.failure_details.iter().fold(0, |sum, failure| sum.saturating_add(failure.failed_session_count));
        row(TlsRptRow {
            successful: counts.total_successful_session_count,
            failed: counts.total_failure_session_count.saturating_sub(explained),
            ..TlsRptRow::default()
        });
        for failure in &policy.failure_details {
            row(of_failure(failure));
        }
    }
    Ok(Answer::Mine)
}

fn of_failure(failure: &Failure) -> TlsRptRow {
    let said = |text: &Option<String>| text.as_deref().map(|text| cut(text.trim()).to_owned()).unwrap_or_default();
    let [code, more] = [said(&failure.failure_reason_code), said(&failure.additional_information)];
    TlsRptRow {
        failed: failure.failed_session_count,
        result_type: word(failure.result_type.as_deref()),
        sending_ip: failure.sending_mta_ip.as_deref().and_then(|ip| ip.trim().parse().ok()),
        mx_host: domain(failure.receiving_mx_hostname.as_deref().unwrap_or_default()),
        reason: if code.is_empty() { more } else { code },
        ..TlsRptRow::default()
    }
}

fn word(text: Option<&str>) -> String {
    cut(text.unwrap_or_default().trim()).to_ascii_lowercase()
}

/// A time of RFC 3339; without a zone it is UTC.
fn time(text: &str) -> Option<Time> {
    let text = text.trim();
    text.parse().ok().or_else(|| [text, "Z"].concat().parse().ok())
}
