//! The SQL reports: one file each, with a head that names title, description, parameters and chart.
//!
//! A report is one file in `reports/` and one line in [`REPORTS`]. It runs as the read-only user of operators, whose
//! limits ClickHouse holds. Parameters are bound by ClickHouse (`{since:DateTime}`), never pasted into the text.

use bytes::Bytes;

use crate::clickhouse::{self, Client};
use crate::event::Time;

macro_rules! reports {
    ($($name:literal),+ $(,)?) => {
        /// Every report: its name and its file.
        const REPORTS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../reports/", $name, ".sql")))),+];
    };
}

reports! {
    "uptime",
    "deliverability",
    "deliverability-by-hour",
    "failures",
    "deliverability-by-provider",
    "deliverability-by-mx",
    "deliverability-by-source",
    "deferrals",
    "delays",
    "tls",
    "rejections",
    "login-failures",
    "top-senders",
    "queue-age",
    "dmarc",
    "tls-reports",
    "bounces",
    "complaints",
    "blocklists",
    "probe-latency",
    "outages",
    "remedies",
    "pages",
    "sessions",
    "slo-budget",
    "cohorts",
}

/// A report, as its head describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The name it is asked for by.
    pub name: &'static str,
    /// What a person calls it.
    pub title: &'static str,
    /// What it says, in a sentence.
    pub description: &'static str,
    /// What can be asked of it.
    pub params: Vec<Param>,
    /// How it is drawn: `bar provider delivered_percent`; empty for a table only.
    pub chart: &'static str,
    sql: &'static str,
}

/// A parameter of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name, `since`.
    pub name: &'static str,
    /// Its ClickHouse type. `DateTime` also takes how long ago: `7d`, `36h`, `90m`, `0s` for now.
    pub kind: &'static str,
    /// What it is when nobody says.
    pub default: &'static str,
    /// What it means.
    pub description: &'static str,
}

/// How the rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Table,
    /// RFC 4180, with a head.
    Csv,
    /// One JSON document with columns, types and rows.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// ClickHouse's name for it.
    pub fn clickhouse_name(self) -> &'static str {
        match self {
            Format::Table => "PrettyCompactNoEscapes",
            Format::Csv => "CSVWithNames",
            Format::Json => "JSON",
            Format::JsonLines => "JSONEachRow",
        }
    }
}

/// Why a report did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("there is no report \"{name}\"; there are {}", names().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It has no such parameter.
    #[error("the report \"{report}\" has no parameter \"{param}\"")]
    Param {
        /// The report.
        report: &'static str,
        /// The parameter.
        param: String,
    },
    /// A time that cannot be read.
    #[error("{param} \"{value}\" is neither a time (2026-11-22T09:00:00Z) nor how long ago (7d, 36h, 90m)")]
    Time {
        /// The parameter.
        param: &'static str,
        /// What was given.
        value: String,
    },
    /// ClickHouse did not run it.
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::Error),
}

/// Every report, in the order of the registry.
pub fn list() -> Vec<Report> {
    REPORTS.iter().map(|(name, sql)| parse(name, sql)).collect()
}

/// Runs a report and gives its rows as `format`. `params` are by name; the rest have their defaults. Times that say
/// how long ago count from `now`.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    client: &Client,
    name: &str,
    params: &[(String, String)],
    format: Format,
    now: Time,
) -> Result<Bytes, Error> {
    let found = REPORTS.iter().find(|(known, _)| *known == name);
    let report = found.map(|(name, sql)| parse(name, sql)).ok_or_else(|| Error::Unknown { name: name.to_owned() })?;
    let bound = bind(&report, params, now)?;
    let mut settings = vec![("default_format", format.clickhouse_name())];
    settings.extend(bound.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Ok(client.execute(report.sql, &settings).await?)
}

/// The value of every parameter, as the URL of ClickHouse's interface names it.
fn bind(report: &Report, given: &[(String, String)], now: Time) -> Result<Vec<(String, String)>, Error> {
    if let Some((unknown, _)) = given.iter().find(|(name, _)| report.params.iter().all(|param| param.name != name)) {
        return Err(Error::Param { report: report.name, param: unknown.clone() });
    }
    let value = |param: &Param| {
        let value = given.iter().rev().find(|(name, _)| name == param.name).map_or(param.default, |(_, value)| value);
        let bound = match param.kind {
            "DateTime" => instant(value, now).ok_or(Error::Time { param: param.name, value: value.to_owned() })?,
            _ => value.to_owned(),
        };
        Ok((["param_", param.name].concat(), bound))
    };
    report.params.iter().map(value).collect()
}

/// Seconds since the epoch of a time, or of how long ago it is.
fn instant(text: &str, now: Time) -> Option<String> {
    let at = match text.parse::<Time>() {
        Ok(at) => at,
        Err(_) => {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                "w" => 604_800,
                _ => return None,
            };
            let ago = number.parse::<u32>().ok()?;
            // Up to the whole second after now: what happened in this second is not cut off.
            let now = now.0.checked_add(999_999)?.div_euclid(1_000_000);
            Time::from_seconds(now.checked_sub(i64::from(ago) * unit)?)
        }
    };
    Some(at.seconds().max(0).to_string())
}

fn names() -> Vec<&'static str> {
    REPORTS.iter().map(|(name, _)| *name).collect()
}

/// Reads the head of a report: the lines `-- key: value` that it begins with.
fn parse(name: &'static str, sql: &'static str) -> Report {
    let mut report = Report { name, title: "", description: "", params: Vec::new(), chart: "", sql };
    for line in sql.lines() {
        let Some((key, value)) = line.strip_prefix("-- ").and_then(|head| head.split_once(": ")) else { break };
        match key {
            "title" => report.title = value,
            "description" => report.description = value,
            "chart" => report.chart = value,
            "param" => {
                let mut words = value.splitn(4, ' ');
                let mut word = || words.next().unwrap_or_default();
                let (name, kind, default, description) = (word(), word(), word(), word());
                // A dash stands for the empty text, which could not be seen.
                let default = if default == "-" { "" } else { default };
                report.params.push(Param { name, kind, default, description });
            }
            _ => {}
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_says_what_it_is_and_declares_exactly_the_parameters_it_uses() {
        let used = regex::Regex::new(r"\{(\w+):\w+\}").unwrap();
        for report in list() {
            assert!(!report.title.is_empty() && report.description.ends_with('.'), "{}", report.name);
            for param in &report.params {
                let used = ["{", param.name, ":", param.kind, "}"].concat();
                assert!(report.sql.contains(&used), "{} does not use {used}", report.name);
                assert!(!param.description.is_empty(), "{}: {}", report.name, param.name);
            }
            for name in used.captures_iter(report.sql).map(|found| found.extract::<1>().1[0].to_owned()) {
                assert!(
                    report.params.iter().any(|param| param.name == name),
                    "{} does not declare {name}",
                    report.name
                );
            }
        }
    }

    #[test]
    fn times_are_instants_or_how_long_ago() {
        let now = Time::from_seconds(1_000_000);
        let cases = [
            ("0s", Some("1000000")),
            ("2h", Some("992800")),
            ("1d", Some("913600")),
            ("1970-01-02T00:00:00Z", Some("86400")),
            ("99999w", Some("0")),
            ("7", None),
            ("7 d", None),
            ("", None),
            ("é", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(instant(text, now).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_parameter_that_a_report_does_not_have_is_refused() {
        let given = [("sincee".to_owned(), "7d".to_owned())];
        let fault = bind(&parse("uptime", REPORTS[0].1), &given, Time(0)).unwrap_err();
        assert_eq!(fault.to_string(), "the report \"uptime\" has no parameter \"sincee\"");
    }
}
