//! The macros that declare a table once, and the trait that follows from it.

use super::{EventId, Time};

/// What every row begins with: tenant, instant, node, identity.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Whose event it is; `default` on a site with one tenant.
    pub tenant: &'a str,
    /// The host, or the vantage of a watcher.
    pub node: &'a str,
    /// The identity, see [`EventId`].
    pub event_id: EventId,
}

/// A row of one table.
pub trait Row: Sized {
    /// The table's name.
    const TABLE: &'static str;
    /// The stored columns in their order, each with the type it is sent as.
    const COLUMNS: &'static [(&'static str, &'static str)];
    /// When it happened.
    fn ts(&self) -> Time;
    /// Fills in the common columns that are still empty.
    fn stamp(&mut self, stamp: Stamp<'_>);
    /// Makes every column unknown. Texts keep their memory, for another row to fill.
    fn reset(&mut self);
    /// Appends the row as a JSON object, `"table"` first, without what is not known.
    fn write_json(&self, out: &mut Vec<u8>);
    /// Appends the rows as one block of ClickHouse's Native format.
    fn write_block<'a>(rows: impl ExactSizeIterator<Item = &'a Self> + Clone, out: &mut Vec<u8>)
    where
        Self: 'a;
}

/// Declares a closed set of words: an enum that is `snake_case` text in tables and JSON.
/// The first word is the default.
macro_rules! word {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word as it stands in tables and JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }
        impl Default for $name {
            fn default() -> Self { Self::ALL[0] }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    format!("\"{text}\" is not one of {}", words.join(", "))
                })
            }
        }
        impl $crate::event::Cell for $name {
            const TYPE: &'static str = "String";
            fn write(&self, out: &mut Vec<u8>) {
                $crate::event::put_text(self.as_str(), out);
            }
            fn write_json(&self, out: &mut Vec<u8>) {
                out.push(b'"');
                out.extend_from_slice(self.as_str().as_bytes());
                out.push(b'"');
            }
        }
    };
}

/// Declares one table: a struct with the common columns and its own.
///
/// `response: String => response_values: Values = make` is a column that the table computes from others: what is
/// stored is `response_values`, which `make` gets from the row.
macro_rules! row {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $stored:ident) => { stringify!($stored) };
    (@type $type:ty) => { <$type as $crate::event::Cell>::TYPE };
    (@type $type:ty, $kind:ty) => { <$kind as $crate::event::Cell>::TYPE };
    (@write $rows:ident, $out:ident, $field:ident) => {
        $crate::event::Cell::write_column($rows.clone().map(|row| &row.$field), $out)
    };
    (@write $rows:ident, $out:ident, $field:ident, $make:path) => {{
        let cells: Vec<_> = $rows.clone().map($make).collect();
        $crate::event::Cell::write_column(cells.iter(), $out)
    }};
    ($(#[$meta:meta])* $name:ident => $table:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty $(=> $stored:ident: $kind:ty = $make:path)?),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// Whose event it is.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub tenant: String,
            /// When it happened.
            pub ts: $crate::event::Time,
            /// The host, or the vantage of a watcher.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub node: String,
            /// The identity of the event.
            #[serde(skip_serializing_if = "crate::event::Cell::is_unknown")]
            pub event_id: $crate::event::EventId,
            $($(#[$doc])* #[serde(skip_serializing_if = "crate::event::Cell::is_unknown")] pub $field: $type,)+
        }

        impl $crate::event::Row for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [(&'static str, &'static str)] = &[
                ("tenant", <String as $crate::event::Cell>::TYPE),
                ("ts", <$crate::event::Time as $crate::event::Cell>::TYPE),
                ("node", <String as $crate::event::Cell>::TYPE),
                ("event_id", <$crate::event::EventId as $crate::event::Cell>::TYPE),
                $(($crate::event::row!(@name $field $($stored)?), $crate::event::row!(@type $type $(, $kind)?)),)+
            ];
            fn ts(&self) -> $crate::event::Time { self.ts }
            fn stamp(&mut self, stamp: $crate::event::Stamp<'_>) {
                if self.tenant.is_empty() { self.tenant = stamp.tenant.to_owned(); }
                if self.node.is_empty() { self.node = stamp.node.to_owned(); }
                if self.event_id.0 == 0 { self.event_id = stamp.event_id; }
            }
            fn reset(&mut self) {
                use $crate::event::Cell;
                self.tenant.reset();
                self.ts.reset();
                self.node.reset();
                self.event_id.reset();
                $(self.$field.reset();)+
            }
            fn write_json(&self, out: &mut Vec<u8>) {
                use $crate::event::Cell;
                out.extend_from_slice(concat!("{\"table\":\"", $table, "\"").as_bytes());
                if !self.tenant.is_empty() {
                    out.extend_from_slice(b",\"tenant\":");
                    self.tenant.write_json(out);
                }
                out.extend_from_slice(b",\"ts\":");
                self.ts.write_json(out);
                if !self.node.is_empty() {
                    out.extend_from_slice(b",\"node\":");
                    self.node.write_json(out);
                }
                if !self.event_id.is_unknown() {
                    out.extend_from_slice(b",\"event_id\":");
                    self.event_id.write_json(out);
                }
                $(if !self.$field.is_unknown() {
                    out.extend_from_slice(concat!(",\"", stringify!($field), "\":").as_bytes());
                    self.$field.write_json(out);
                })+
                out.push(b'}');
            }
            fn write_block<'a>(rows: impl ExactSizeIterator<Item = &'a Self> + Clone, out: &mut Vec<u8>) {
                use $crate::event::Cell;
                $crate::event::put_varint(Self::COLUMNS.len() as u64, out);
                $crate::event::put_varint(rows.len() as u64, out);
                let mut columns = Self::COLUMNS.iter();
                let mut head = |out: &mut Vec<u8>| {
                    if let Some((name, kind)) = columns.next() {
                        $crate::event::put_text(name, out);
                        $crate::event::put_text(kind, out);
                    }
                };
                head(out);
                Cell::write_column(rows.clone().map(|row| &row.tenant), out);
                head(out);
                Cell::write_column(rows.clone().map(|row| &row.ts), out);
                head(out);
                Cell::write_column(rows.clone().map(|row| &row.node), out);
                head(out);
                Cell::write_column(rows.clone().map(|row| &row.event_id), out);
                $(head(out); $crate::event::row!(@write rows, out, $field $(, $make)?);)+
            }
        }
    };
}

/// Declares [`Event`](super::Event): one variant a table.
macro_rules! events {
    ($($name:ident),+ $(,)?) => {
        /// One row of any table. JSON: `{"table": "deliveries", …columns that are known…}`.
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        #[allow(clippy::large_enum_variant, reason = "events live in batches of one table; a box each would cost more than it saves")]
        pub enum Event { $(#[allow(missing_docs, reason = "each is the row of its own name")] $name($name)),+ }

        impl Event {
            /// Every table with its columns, in the order of the registry.
            pub const TABLES: &'static [(&'static str, &'static [(&'static str, &'static str)])] =
                &[$((<$name as Row>::TABLE, <$name as Row>::COLUMNS)),+];

            /// The table that it is a row of.
            pub fn table(&self) -> &'static str {
                match self { $(Event::$name(_) => <$name as Row>::TABLE),+ }
            }
            /// When it happened.
            pub fn ts(&self) -> Time {
                match self { $(Event::$name(row) => row.ts()),+ }
            }
            /// Fills in the common columns that are still empty.
            pub fn stamp(&mut self, stamp: Stamp<'_>) {
                match self { $(Event::$name(row) => row.stamp(stamp)),+ }
            }
            /// One JSON object without a line end, `"table"` first.
            ///
            /// # Errors
            /// Only when a column holds a number that JSON cannot say (NaN).
            pub fn to_json(&self) -> serde_json::Result<String> {
                #[derive(serde::Serialize)]
                struct Tagged<'a> { table: &'static str, #[serde(flatten)] row: &'a Event }
                serde_json::to_string(&Tagged { table: self.table(), row: self })
            }
            /// Appends what [`to_json`](Self::to_json) says, in a fraction of its time.
            pub fn write_json(&self, out: &mut Vec<u8>) {
                match self { $(Event::$name(row) => row.write_json(out)),+ }
            }
            /// Reads what [`to_json`](Self::to_json) wrote. Columns that are not there are unknown.
            ///
            /// # Errors
            /// Not JSON, no such table, or a column of another type.
            pub fn from_json(text: &str) -> serde_json::Result<Event> {
                #[derive(serde::Deserialize)]
                struct Head<'a> { #[serde(borrow)] table: std::borrow::Cow<'a, str> }
                let head: Head<'_> = serde_json::from_str(text)?;
                match head.table.as_ref() {
                    $(<$name as Row>::TABLE => serde_json::from_str(text).map(Event::$name),)+
                    other => Err(serde::de::Error::custom(format_args!("there is no table \"{other}\""))),
                }
            }
            /// The rows of `table` among `events` as one block of ClickHouse's Native format, and how many
            /// they are. Nothing is appended when there are none.
            pub fn write_block(table: &str, events: &[impl std::borrow::Borrow<Event>], out: &mut Vec<u8>) -> usize {
                match table {
                    $(<$name as Row>::TABLE => {
                        let rows: Vec<&$name> = events.iter()
                            .filter_map(|event| if let Event::$name(row) = event.borrow() { Some(row) } else { None }).collect();
                        if !rows.is_empty() { <$name as Row>::write_block(rows.iter().copied(), out); }
                        rows.len()
                    })+
                    _ => 0,
                }
            }
        }
        $(impl From<$name> for Event { fn from(row: $name) -> Self { Event::$name(row) } })+
    };
}

pub(super) use {events, row, word};

#[cfg(test)]
mod tests {
    use crate::event::{Event, ProbeRun, Reception, Scores, Time};

    #[test]
    fn both_ways_to_json_say_the_same() {
        let text = "é\"\\\u{1}\n\u{7f}".to_owned();
        let scores = Scores([(text.clone(), 1.5)].into());
        let reception = Reception {
            ts: Time(-1),
            event_id: crate::event::EventId(7),
            tenant: text.clone(),
            client_ip: "2001:db8::1".parse().ok(),
            response: text,
            spam_score: Some(f32::NAN),
            spam_symbols: scores,
            ..Reception::default()
        };
        for event in [Event::from(reception), Event::from(ProbeRun::default())] {
            let mut json = Vec::new();
            event.write_json(&mut json);
            assert_eq!(String::from_utf8(json).unwrap(), event.to_json().unwrap());
        }
    }
}
