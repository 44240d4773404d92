//! How much of a report is looked at, and why one is refused.

/// What is bounded. Each is far beyond what receivers of mail send, and small beside what an attacker would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Octets of a message or a file, as it came.
    MessageBytes,
    /// Octets of everything that is packed in it, unpacked.
    UnpackedBytes,
    /// Octets out of one octet of an archive, beyond the first megabyte.
    UnpackRatio,
    /// Members of a zip archive.
    ZipEntries,
    /// Elements of an XML document.
    XmlElements,
    /// Elements of an XML document within each other.
    XmlDepth,
    /// Octets of one text, one name, or one tag with its attributes.
    TextBytes,
    /// Objects and lists of a JSON document.
    JsonElements,
    /// Records of a message: rows.
    Records,
    /// Octets of what a report says once and all of its rows repeat.
    RepeatedBytes,
    /// Parts of a message.
    MimeParts,
    /// Parts of a message within each other.
    MimeDepth,
    /// Octets of the header of a message or of a part.
    HeaderBytes,
    /// Recipients of a bounce.
    Recipients,
}

impl Bound {
    /// The most that is taken.
    pub const fn limit(self) -> u64 {
        match self {
            Bound::MessageBytes | Bound::UnpackedBytes | Bound::RepeatedBytes => 64 << 20,
            Bound::UnpackRatio => 400,
            Bound::ZipEntries | Bound::XmlDepth => 32,
            Bound::XmlElements => 4_000_000,
            Bound::TextBytes => 16 << 10,
            Bound::JsonElements => 400_000,
            Bound::Records => 100_000,
            Bound::MimeParts => 128,
            Bound::MimeDepth => 8,
            Bound::HeaderBytes => 256 << 10,
            Bound::Recipients => 10_000,
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Bound::MessageBytes => "message octets",
            Bound::UnpackedBytes => "unpacked octets",
            Bound::UnpackRatio => "unpacked octets per packed octet",
            Bound::ZipEntries => "members of a zip archive",
            Bound::XmlElements => "XML elements",
            Bound::XmlDepth => "XML elements within each other",
            Bound::TextBytes => "octets of one text",
            Bound::JsonElements => "JSON objects and lists",
            Bound::Records => "records",
            Bound::RepeatedBytes => "octets that its rows repeat",
            Bound::MimeParts => "parts of a message",
            Bound::MimeDepth => "parts of a message within each other",
            Bound::HeaderBytes => "octets of a header",
            Bound::Recipients => "recipients of a bounce",
        }
    }

    /// Whether `count` is within it.
    pub(super) fn hold(self, count: usize) -> Result<(), Fault> {
        if count as u64 > self.limit() { Err(Fault::Exceeds(self)) } else { Ok(()) }
    }
}

/// Why a report, or a record of it, was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More of something than is taken.
    #[error("has more than {} {}, so it is refused; look at it by hand, and ask its sender if it is genuine", .0.limit(), .0.name())]
    Exceeds(Bound),
    /// A document type declaration, the way of entity bombs and of files that are read from afar.
    #[error("declares a document type, which no report needs, so it is refused; look at it by hand")]
    Doctype,
    /// A reference to an entity that XML does not define itself.
    #[error("names the entity \"&{0};\", which XML does not define; ask its sender for a well-formed report")]
    Entity(String),
    /// It is not well-formed.
    #[error("is no well-formed XML at octet {at}: {why}; ask its sender for a well-formed report")]
    Xml {
        /// Where.
        at: u64,
        /// Why.
        why: String,
    },
    /// It is not well-formed.
    #[error("is no TLS report: {0}; ask its sender for one that RFC 8460 describes")]
    Json(String),
    /// An archive that is damaged or made to deceive.
    #[error("is a damaged archive: {0}; try to unpack it by hand and import what is in it")]
    Archive(&'static str),
    /// Something without which a report cannot be told from others.
    #[error("does not say its {0}; ask its sender for a complete report")]
    Missing(&'static str),
    /// A value that is none.
    #[error("says \"{value}\" for its {what}, which cannot be; ask its sender for a correct report")]
    Value {
        /// What.
        what: &'static str,
        /// The value, cut.
        value: String,
    },
    /// One record; the rest of the report was read.
    #[error("record {number}: {fault}")]
    Record {
        /// Its place, from 0.
        number: u32,
        /// Why.
        fault: Box<Fault>,
    },
}

impl Fault {
    /// A value that is none, cut to what a message can show.
    pub(super) fn value(what: &'static str, value: &str) -> Self {
        Fault::Value { what, value: value.chars().filter(|c| !c.is_control()).take(60).collect() }
    }

    /// Of one record.
    pub(super) fn of_record(self, number: u32) -> Self {
        Fault::Record { number, fault: Box::new(self) }
    }
}
