//! `varde report`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use aggregator::event::Time;
use aggregator::report::{self, Format};
use anyhow::Context;
use askama::Template;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use probes::objective;
use serde_json::Value;

use crate::cli::{Report, ReportFormat};
use crate::config::Config;
use crate::roles;

/// The parameter of a report that takes the configured objectives.
const OBJECTIVES: &str = "objectives";

/// Lists the reports, or runs one.
pub async fn run(args: &Report) -> anyhow::Result<ExitCode> {
    let Some(name) = &args.name else {
        list(args.format)?;
        return Ok(ExitCode::SUCCESS);
    };
    let known = report::list().into_iter().find(|report| report.name == *name);
    let mut params = args.param.clone();
    // A report about now has no since.
    if known.as_ref().is_some_and(|report| report.params.iter().any(|param| param.name == "since")) {
        params.insert(0, ("since".to_owned(), args.since.clone()));
    }
    let format = match args.format {
        ReportFormat::Table => Format::Table,
        ReportFormat::Csv => Format::Csv,
        ReportFormat::Json | ReportFormat::Html => Format::Json,
    };
    let config = args.place.load()?;
    if known.as_ref().is_some_and(|report| report.params.iter().any(|param| param.name == OBJECTIVES)) {
        params.extend(objectives(&config, &args.param));
    }
    let rows = report::run(&roles::operator_clickhouse(&config)?, name, &params, format, Time::now()).await?;
    let mut out = std::io::stdout().lock();
    match (args.format, known) {
        (ReportFormat::Html, Some(known)) => out.write_all(html(&known, &args.since, &rows)?.as_bytes())?,
        _ => out.write_all(&rows)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The configured objectives as the parameter, unless somebody gives another: ClickHouse's text of a map.
fn objectives(config: &Config, given: &[(String, String)]) -> Option<(String, String)> {
    if given.iter().any(|(name, _)| name == "objective" || name == OBJECTIVES) {
        return None;
    }
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut entries = BTreeMap::new();
    for target in &config.probes.target {
        for check in &target.check {
            // Of several windows the first: the report has a window of its own.
            if let Some((_, goal)) = objective::of_service(target, &check.service).first() {
                let name = format!("{}/{}", target.name, check.service);
                entries.insert(format!("'{}'", quoted(&name)), goal.as_percent().to_string());
            }
        }
    }
    let entries: Vec<String> = entries.iter().map(|(name, percent)| format!("{name}:{percent}")).collect();
    Some((OBJECTIVES.to_owned(), format!("{{{}}}", entries.join(","))))
}

#[expect(clippy::print_stdout, reason = "prints the list")]
fn list(format: ReportFormat) -> anyhow::Result<()> {
    if format == ReportFormat::Json {
        let reports = report::list();
        let reports: Vec<_> = reports
            .iter()
            .map(|report| serde_json::json!({"name": report.name, "title": report.title, "description": report.description}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&reports)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["report", "what it says"]);
    for report in report::list() {
        table.add_row([report.name, report.description]);
    }
    println!("{table}");
    Ok(())
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'a> {
    title: &'a str,
    description: &'a str,
    since: &'a str,
    made: Time,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The rows as a page that stands by itself, to be mailed or printed.
fn html(report: &report::Report, since: &str, json: &[u8]) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_slice(json).context("ClickHouse's answer is not JSON")?;
    let meta = answer["meta"].as_array().map_or(&[][..], Vec::as_slice);
    let columns: Vec<String> = meta.iter().map(|column| text(&column["name"])).collect();
    let data = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = data.iter().map(|row| columns.iter().map(|column| text(&row[column])).collect()).collect();
    let page =
        ReportPage { title: report.title, description: report.description, since, made: Time::now(), columns, rows };
    Ok(page.render()?)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
