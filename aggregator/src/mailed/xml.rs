//! XML within bounds: a document as the texts of its elements, each with the path to it.
//!
//! Names are taken without their prefix, so that a report in a namespace reads like one without. There are no document
//! types and no entities but those of XML itself (section 4.6), so nothing can expand.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::bound::{Bound, Fault};

/// What happens on the way through a document.
pub(super) enum Step<'a> {
    /// An element begins.
    Open,
    /// An element ends; the text that stood directly in it, trimmed.
    Close(&'a str),
}

/// Whether octets begin as an aggregate report: its root is the first element.
pub(super) fn looks_like_report(head: &[u8]) -> bool {
    let text = decode(head);
    let mut rest = text.trim_start_matches(['\u{feff}', '\0']).trim_start();
    loop {
        rest = match rest {
            _ if rest.starts_with("<?") => rest.split_once("?>").map_or("", |(_, after)| after),
            _ if rest.starts_with("<!--") => rest.split_once("-->").map_or("", |(_, after)| after),
            // Refused when it is read, with a word.
            _ if rest.starts_with("<!") => return rest.contains("feedback"),
            _ => break,
        };
        rest = rest.trim_start();
    }
    let name = rest.strip_prefix('<').unwrap_or_default();
    let name = name.split([' ', '>', '/', '\t', '\r', '\n']).next().unwrap_or_default();
    name.rsplit(':').next() == Some("feedback")
}

/// A document as text: UTF-8, UTF-16 with its mark, or else one octet a character.
pub(super) fn decode(octets: &[u8]) -> Cow<'_, str> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units = octets.chunks_exact(2).skip(1).map(|pair| order([pair[0], pair[1]]));
        Cow::Owned(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match octets {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => match std::str::from_utf8(octets) {
            Ok(text) => Cow::Borrowed(text.trim_start_matches('\u{feff}')),
            // Cut within a character, at the end of a sample.
            Err(why) if why.error_len().is_none() => String::from_utf8_lossy(octets),
            Err(_) => Cow::Owned(octets.iter().map(|byte| char::from(*byte)).collect()),
        },
    }
}

/// Walks through a document. `visit` gets the path of an element's name and those around it, `a/b/c`.
pub(super) fn walk(text: &str, visit: &mut dyn FnMut(&str, Step<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let text = text.trim_start();
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut walk = Walk { path: String::new(), ends: Vec::new(), texts: Vec::new(), elements: 0 };
    loop {
        let at = reader.buffer_position();
        let event =
            reader.read_event().map_err(|why| Fault::Xml { at, why: why.to_string().chars().take(200).collect() })?;
        // What stands after the root, a mail footer say, is not looked at.
        match event {
            Event::Start(tag) => {
                Bound::TextBytes.hold(tag.len())?;
                walk.open(&String::from_utf8_lossy(tag.local_name().as_ref()))?;
                visit(&walk.path, Step::Open)?;
            }
            Event::End(_) => {
                let text = walk.texts.pop().unwrap_or_default();
                visit(&walk.path, Step::Close(text.trim()))?;
                walk.close();
                if walk.ends.is_empty() {
                    return Ok(());
                }
            }
            Event::Text(text) => walk.text(&String::from_utf8_lossy(&text))?,
            Event::CData(text) => walk.text(&String::from_utf8_lossy(&text))?,
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().ok().flatten();
                let name = String::from_utf8_lossy(&name).into_owned();
                let known = quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned);
                match known.or_else(|| character.map(String::from)) {
                    Some(text) => walk.text(&text)?,
                    None => return Err(Fault::Entity(name.chars().take(60).collect())),
                }
            }
            Event::DocType(_) => return Err(Fault::Doctype),
            Event::Eof => return Err(Fault::Xml { at, why: "it ends within an element".to_owned() }),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

struct Walk {
    path: String,
    /// How long the path was before each open element.
    ends: Vec<usize>,
    texts: Vec<String>,
    elements: usize,
}

impl Walk {
    fn open(&mut self, name: &str) -> Result<(), Fault> {
        self.elements += 1;
        Bound::XmlElements.hold(self.elements)?;
        self.ends.push(self.path.len());
        Bound::XmlDepth.hold(self.ends.len())?;
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(name);
        self.texts.push(String::new());
        Ok(())
    }

    fn close(&mut self) {
        self.path.truncate(self.ends.pop().unwrap_or(0));
    }

    fn text(&mut self, more: &str) -> Result<(), Fault> {
        // Blanks between elements are nobody's text.
        let Some(text) = self.texts.last_mut() else { return Ok(()) };
        if text.is_empty() && more.trim().is_empty() {
            return Ok(());
        }
        text.push_str(more);
        Bound::TextBytes.hold(text.len())
    }
}
