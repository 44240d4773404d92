//! From a record to the line that a program wrote, and to how it is to be read.
//!
//! A collector that reads files sends whole lines. One that reads syslog or the journal has taken the line apart: then
//! it is put together again, with time, host and program before the message, as the dialects expect it.

use chrono_tz::Tz;

use super::find;
use crate::dialect::{self, Entry};
use crate::event::Time;
use crate::otlp::message::{AnyValue, KeyValue, LogRecord, Resource, Value, text_of};

/// The host of records that name none.
const NOWHERE: &str = "otlp";
/// Names under which collectors say the program, its process and its host; the last of each are the journal's.
const PROGRAM: [&str; 4] = ["appname", "syslog.appname", "syslog.identifier", "SYSLOG_IDENTIFIER"];
const PROCESS: [&str; 4] = ["proc_id", "syslog.procid", "process.pid", "_PID"];
const HOST: [&str; 4] = ["hostname", "syslog.hostname", "host.name", "_HOSTNAME"];
/// Names of the file that a line is from.
const FILE: [&str; 2] = ["log.file.path", "log.file.name"];

/// A line and how it is to be read.
pub(super) struct Spoken {
    pub(super) entry: &'static Entry,
    pub(super) zone: Tz,
    pub(super) node: String,
    pub(super) source: String,
    pub(super) line: String,
    pub(super) time: Time,
}

/// The line of a record that arrived `now`.
///
/// # Errors
/// It has none, or says a dialect or a time zone that there is not: in words.
pub(super) fn spoken(resource: &Resource, record: &LogRecord, now: Time) -> Result<Spoken, String> {
    let fields = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::KvlistValue(fields)) => fields.values.as_slice(),
        _ => &[],
    };
    let of = |names: &[&str]| {
        let places = [record.attributes.as_slice(), fields, resource.attributes.as_slice()];
        names
            .iter()
            .find_map(|name| places.iter().find_map(|place| text_of(place, name)))
            .filter(|text| !text.is_empty())
    };
    let entry = match of(&["log.dialect"]) {
        Some(name) => find(name)?,
        None => of(&["service.name"]).and_then(dialect::find).map_or_else(|| find("mail"), Ok)?,
    };
    let zone = match of(&["log.time_zone"]) {
        Some(name) => name.parse().map_err(|_| ["log.time_zone \"", name, "\" is no time zone"].concat())?,
        None => Tz::UTC,
    };
    let nanos = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|nanos| *nanos != 0);
    let time = nanos.map_or(now, |nanos| Time((nanos / 1_000).cast_signed()));
    let node = of(&HOST).unwrap_or(NOWHERE).to_owned();
    let message = match (text_of(fields, "MESSAGE"), &record.body) {
        (Some(message), _) => message.to_owned(),
        (None, Some(body)) => text(body).ok_or("a record has an empty body; the line is expected there")?,
        (None, None) => return Err("a record has no body; the line is expected there".to_owned()),
    };
    let message = message.trim_end_matches(['\r', '\n']);
    if message.is_empty() {
        return Err("a record has an empty body; the line is expected there".to_owned());
    }
    let line = match of(&PROGRAM) {
        Some(program) if !message.contains(&[program, "["].concat()) => {
            let process = of(&PROCESS).map_or_else(String::new, |pid| ["[", pid, "]"].concat());
            [&time.to_string(), " ", &node, " ", program, &process, ": ", message].concat()
        }
        _ => message.to_owned(),
    };
    let source = of(&FILE).or(of(&["service.name"])).unwrap_or_default();
    Ok(Spoken { entry, zone, node, source: ["otlp:", source].concat(), line, time })
}

/// The text of a value; fields and lists as JSON, because that is what a program wrote that a collector has parsed.
fn text(value: &AnyValue) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BytesValue(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
        Value::BoolValue(_)
        | Value::IntValue(_)
        | Value::DoubleValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_) => Some(json(value).to_string()),
    }
}

fn json(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        None => serde_json::Value::Null,
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(is)) => (*is).into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) => (*number).into(),
        Some(Value::BytesValue(octets)) => String::from_utf8_lossy(octets).into(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(json).collect::<Vec<_>>().into(),
        Some(Value::KvlistValue(fields)) => {
            let field = |field: &KeyValue| {
                let value = field.value.as_ref().map_or(serde_json::Value::Null, json);
                (field.key.clone(), value)
            };
            serde_json::Value::Object(fields.values.iter().map(field).collect())
        }
    }
}
