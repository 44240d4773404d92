//! Writing: Prometheus text format 0.0.4, and OpenMetrics 1.0 for who asks for it.

use super::family::{Family, Head, Kind};

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an Accept header asks for.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a format makes of families and samples.
pub struct Writer {
    out: String,
    format: Format,
}

/// The page of these families.
pub(super) fn page<'a>(families: impl Iterator<Item = &'a dyn Family>, format: Format) -> String {
    let mut writer = Writer { out: String::with_capacity(16 << 10), format };
    for family in families {
        family.write(&mut writer);
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

impl Writer {
    pub(super) fn head(&mut self, head: &Head, kind: Kind) {
        // OpenMetrics names the family of a counter without the ending of its samples.
        let name = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => head.name.trim_end_matches("_total"),
            _ => head.name,
        };
        self.put(&["# HELP ", name, " "]);
        self.escaped(head.help, self.format == Format::OpenMetrics);
        self.put(&["\n# TYPE ", name, " ", kind.as_str(), "\n"]);
    }

    /// One sample; `bound` is the label `le` of a bucket.
    pub(super) fn sample(&mut self, head: &Head, ending: &str, labels: &[Box<str>], bound: Option<&str>, value: &str) {
        self.put(&[head.name, ending]);
        let named = head.labels.iter().copied().zip(labels.iter().map(AsRef::as_ref));
        let mut before = "{";
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.put(&[before, name, "=\""]);
            self.escaped(value, true);
            self.out.push('"');
            before = ",";
        }
        self.put(&[if before == "," { "} " } else { " " }, value, "\n"]);
    }

    fn put(&mut self, parts: &[&str]) {
        self.out.extend(parts.iter().copied());
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if quotes => self.out.push_str("\\\""),
                c => self.out.push(c),
            }
        }
    }
}

/// A number as both formats read it.
pub(super) fn number(value: f64) -> String {
    value.to_string()
}
