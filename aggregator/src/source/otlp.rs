//! Log lines that come by OpenTelemetry's protocol: from an export to its records, from a record to a line and its
//! events.
//!
//! A record is known by what it says: resource, times, body, attributes, and how many like it stood before it in the export. The
//! export is known by its records. So an export that comes again is the same rows under the same tokens.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono_tz::Tz;
use prost::Message;
use serde::Deserialize;

use super::lines::Line;
use super::origin::Digest;
use super::scribe::{Place, Scribe, Source};
use crate::dialect::clock::Clock;
use crate::dialect::{self, Reader};
use crate::event::{Event, EventId, Stamp, Time};
use crate::mask::Mask;
use crate::otlp::message::{ExportLogs, LogRecord, Resource, ResourceLogs, ScopeLogs};
use line::Spoken;

/// An export unpacked.
pub const EXPORT_MAX_BYTES: u64 = 16 << 20;
/// One in JSON, which takes far more memory to read.
pub const JSON_MAX_BYTES: u64 = 4 << 20;
/// Records of one export.
pub const RECORDS: usize = 100_000;
/// Tables and days that the rows of one export belong to: each is an insert.
pub const BLOCKS: usize = 64;
/// Logs whose readers keep their state between exports; past it the one that was silent for longest begins anew.
const READERS: usize = 256;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Why an export cannot be taken. It never can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not what it says it is.
    #[error("the export cannot be read: {0}")]
    Encoding(String),
    /// It has too many records.
    #[error("the export has more than {RECORDS} records; send smaller batches")]
    Records,
    /// It has the lines of too many days.
    #[error("the lines of the export are of too many days: they would be more than {BLOCKS} inserts")]
    Days,
}

/// An export: its records in order, and what it is known by.
#[derive(Debug)]
pub struct Export {
    records: Vec<(usize, LogRecord, Digest)>,
    resources: Vec<(Resource, Digest)>,
    /// The same for the same records in the same order, whatever the encoding.
    pub token: String,
}

/// Rows of one table and one day, as ClickHouse takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The table.
    pub table: &'static str,
    /// Days since 1970-01-01.
    pub day: i64,
    /// How many.
    pub rows: u64,
    /// Their block in the Native format.
    pub native: Bytes,
}

/// What became of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What is to be inserted.
    pub blocks: Vec<Rows>,
    /// Records that were taken.
    pub taken: u64,
    /// Records that were not, because they have no line or name no dialect of ours.
    pub rejected: u64,
    /// Why the first of them was not.
    pub why: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonExport {
    resource_logs: Vec<JsonResourceLogs>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonResourceLogs {
    resource: Resource,
    scope_logs: Vec<JsonScopeLogs>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonScopeLogs {
    log_records: Vec<LogRecord>,
}

impl Export {
    /// Reads an export that is unpacked already.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn read(body: Bytes, encoding: Encoding) -> Result<Self, Malformed> {
        let mut export = Self { records: Vec::new(), resources: Vec::new(), token: String::new() };
        let mut like = HashMap::new();
        match encoding {
            Encoding::Protobuf => export.read_protobuf(body, &mut like)?,
            Encoding::Json => export.read_json(&body, &mut like)?,
        }
        let mut all = blake3::Hasher::new();
        for (_, _, id) in &export.records {
            all.update(&id.0);
        }
        export.token = all.finalize().to_hex().as_str()[..32].to_owned();
        Ok(export)
    }

    fn read_protobuf(&mut self, body: Bytes, like: &mut HashMap<Digest, u32>) -> Result<(), Malformed> {
        let wrong = |error: prost::DecodeError| Malformed::Encoding(error.to_string());
        for logs in ExportLogs::decode(body).map_err(wrong)?.resource_logs {
            let logs = ResourceLogs::decode(logs).map_err(wrong)?;
            let resource = self.resource(logs.resource.unwrap_or_default());
            for scope in logs.scope_logs {
                for record in ScopeLogs::decode(scope).map_err(wrong)?.log_records {
                    self.record(resource, LogRecord::decode(record).map_err(wrong)?, like)?;
                }
            }
        }
        Ok(())
    }

    fn read_json(&mut self, body: &[u8], like: &mut HashMap<Digest, u32>) -> Result<(), Malformed> {
        let export: JsonExport =
            serde_json::from_slice(body).map_err(|error| Malformed::Encoding(error.to_string()))?;
        for logs in export.resource_logs {
            let resource = self.resource(logs.resource);
            for record in logs.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                self.record(resource, record, like)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, resource: Resource) -> usize {
        let digest = Digest::of(&resource.encode_to_vec());
        self.resources.push((resource, digest));
        self.resources.len() - 1
    }

    fn record(&mut self, resource: usize, record: LogRecord, like: &mut HashMap<Digest, u32>) -> Result<(), Malformed> {
        if self.records.len() == RECORDS {
            return Err(Malformed::Records);
        }
        let body = record.body.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let times = [record.time_unix_nano.to_le_bytes(), record.observed_time_unix_nano.to_le_bytes()].concat();
        let attributes: Vec<u8> = record.attributes.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        let said = EventId::of(&[&self.resources[resource].1.0, &times, &body, &attributes]);
        let before = like.entry(Digest(said.0.to_le_bytes())).or_insert(0);
        let id = Digest(EventId::of(&[&said.0.to_le_bytes(), &before.to_le_bytes()]).0.to_le_bytes());
        *before += 1;
        self.records.push((resource, record, id));
        Ok(())
    }
}

/// A log: what keeps its state from export to export.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Log {
    resource: Digest,
    dialect: &'static str,
    zone: Tz,
}

/// The readers of all logs.
#[derive(Default)]
pub struct Readers {
    readers: HashMap<Log, (Reader, u64)>,
    exports: u64,
    mask: Mask,
}

impl Readers {
    /// Readers whose events are masked.
    pub fn masked(mask: Mask) -> Self {
        Self { mask, ..Self::default() }
    }

    /// Reads the lines of an export, which arrives `now`, for this tenant.
    ///
    /// # Errors
    /// [`Malformed::Days`].
    pub fn read(&mut self, export: &Export, tenant: &str, now: Time) -> Result<Batch, Malformed> {
        self.exports += 1;
        let (mut batch, mut events) = (Batch::default(), Vec::new());
        for (resource, record, id) in &export.records {
            let (resource, digest) = &export.resources[*resource];
            match line::spoken(resource, record, now) {
                Ok(spoken) => {
                    self.line(*digest, *id, spoken, &mut events);
                    batch.taken += 1;
                }
                Err(why) => {
                    batch.rejected += 1;
                    if batch.why.is_empty() {
                        batch.why = why;
                    }
                }
            }
        }
        let mut groups: BTreeMap<(&'static str, i64), Vec<&Event>> = BTreeMap::new();
        for event in &mut events {
            // Its identity it has already.
            event.stamp(Stamp { tenant, node: "otlp", event_id: EventId(0) });
        }
        for event in &events {
            groups.entry((event.table(), event.ts().day())).or_default().push(event);
        }
        if groups.len() > BLOCKS {
            return Err(Malformed::Days);
        }
        for ((table, day), rows) in groups {
            let mut native = Vec::new();
            let rows = Event::write_block(table, &rows, &mut native) as u64;
            batch.blocks.push(Rows { table, day, rows, native: native.into() });
        }
        Ok(batch)
    }

    fn line(&mut self, resource: Digest, id: Digest, spoken: Spoken, events: &mut Vec<Event>) {
        let Spoken { entry, zone, node, source, line, time } = spoken;
        let log = Log { resource, dialect: entry.name, zone };
        if self.readers.len() >= READERS && !self.readers.contains_key(&log) {
            let oldest = self.readers.iter().min_by_key(|(_, (_, used))| *used).map(|(log, _)| log.clone());
            oldest.and_then(|oldest| self.readers.remove(&oldest));
        }
        let new = || (Reader::new(entry, Clock::new(zone, time)).of_a_stream(), 0);
        let (reader, used) = self.readers.entry(log).or_insert_with(new);
        *used = self.exports;
        reader.set_reference(time);
        let scribe = Scribe { node, override_node: false, mask: self.mask.clone() };
        let mut place = Place::new(id, Source { name: source, raw: true, last: time });
        scribe.line(reader, &mut place, Line { offset: 0, bytes: line.as_bytes() }, events);
    }
}

/// The dialect of this name, for messages too.
fn find(name: &str) -> Result<&'static dialect::Entry, String> {
    let known = || dialect::DIALECTS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    dialect::find(name).ok_or_else(|| ["log.dialect \"", name, "\" is none of ", &known()].concat())
}
