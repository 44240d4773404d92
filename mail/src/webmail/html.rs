//! The HTML of a message, made safe. What would cost a parser out of all proportion is found first, in one pass.
//!
//! A parser of HTML builds open formatting elements (`<font>`, `<b>` …) anew in every block that follows, and so
//! makes of a few kilobytes millions of elements. [`weigh`] bounds how many there can be, without a tree: it counts
//! an element as open unless it surely was closed, and so may count too much, but never too little.

use std::borrow::Cow;

use ammonia::Builder;
use mail_parser::{Message, PartType};

/// Octets of HTML that are cleaned; newsletters have a tenth of that.
const HTML_BYTES: usize = 1 << 20;
/// Tags, opening and closing. Some steps of a parser look at all open elements.
const TAGS: usize = 20_000;
/// Attributes of one tag: a parser holds each against all others.
const ATTRIBUTES: usize = 100;
/// Tags that are not at an end before the next `<`: each is read to its end, wherever that is.
const BROKEN_TAGS: usize = 50;
/// `<html>` and `<body>`: a parser joins the attributes of all of them.
const ROOTS: usize = 100;
/// Octets of formatting elements that can be built anew, `ELEMENT_BYTES` and its own tag for each.
const REBUILT_BYTES: usize = 8 << 20;
/// What an element takes besides its tag.
const ELEMENT_BYTES: usize = 100;
/// Blocks that an end tag surely takes a formatting element out of ("adoption agency", WHATWG HTML section 13.2.6.4.7).
const ADOPTIONS: usize = 8;

/// The HTML of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// As it came, for [`clean`].
    Html(String),
    /// It would cost too much to clean: only its text is shown.
    TooHeavy,
}

impl Body {
    pub(super) fn of(message: &Message<'_>) -> Self {
        if !message.html_bodies().any(|part| matches!(part.body, PartType::Html(_))) {
            return Self::None;
        }
        match message.body_html(0) {
            Some(html) if html.is_empty() => Self::None,
            Some(html) if is_light(&html) => Self::Html(html.into_owned()),
            Some(_) => Self::TooHeavy,
            None => Self::None,
        }
    }
}

/// HTML without scripts, styles of its own, forms, and without anything that is loaded from elsewhere.
pub(super) fn clean(html: &str) -> String {
    Builder::default().rm_tags(["img", "map", "area"]).link_rel(Some("noopener noreferrer")).clean(html).to_string()
}

/// Whether [`clean`] is sure to end soon, in little memory.
fn is_light(html: &str) -> bool {
    html.len() <= HTML_BYTES && weigh(html).is_some()
}

/// What a tag does to the list of active formatting elements (WHATWG HTML section 13.2.4.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is put on the list.
    Formatting,
    /// Nothing, and it bounds no scope.
    Inline,
    /// Nothing, but an end tag takes formatting elements out of it one by one.
    Block,
    Root,
    /// It may bound a scope, change how tags are read, or make them text.
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "a" | "b" | "big" | "code" | "em" | "font" | "i" | "nobr" | "s" | "small" | "strike" | "strong" | "tt"
            | "u" => Self::Formatting,
            "br" | "img" | "hr" | "wbr" | "span" | "sub" | "sup" | "abbr" | "acronym" | "cite" | "q" | "del"
            | "ins" | "label" | "time" => Self::Inline,
            "p" | "div" | "center" | "blockquote" | "ul" | "ol" | "li" | "dl" | "dt" | "dd" | "h1" | "h2" | "h3"
            | "h4" | "h5" | "h6" | "pre" | "address" | "article" | "section" | "header" | "footer" => Self::Block,
            "html" | "body" => Self::Root,
            // Of a namespace of an office suite, as in `<o:p>`.
            name if name.contains(':') => Self::Inline,
            _ => Self::Other,
        }
    }
}

/// A formatting element that may be open.
struct Open<'a> {
    name: Cow<'a, str>,
    bytes: usize,
    /// How many blocks had begun before it.
    blocks: usize,
}

/// The formatting elements that may be open at a place.
#[derive(Default)]
struct Tally<'a> {
    /// Those that an end tag closes for sure, in order.
    closable: Vec<Open<'a>>,
    /// Elements on the list: `closable`, and those that count as open for ever.
    count: usize,
    /// Their octets.
    bytes: usize,
    blocks: usize,
    rebuilt_bytes: usize,
}

impl<'a> Tally<'a> {
    /// What begins here may keep end tags from closing what was opened before.
    fn part(&mut self) {
        self.closable.clear();
    }

    fn start(&mut self, name: Cow<'a, str>, tag_bytes: usize) {
        match Kind::of(&name) {
            Kind::Formatting => {
                let bytes = ELEMENT_BYTES + tag_bytes;
                self.count += 1;
                self.bytes += bytes;
                self.closable.push(Open { name, bytes, blocks: self.blocks });
            }
            Kind::Block => self.blocks += 1,
            Kind::Inline => {}
            Kind::Root | Kind::Other => self.part(),
        }
    }

    fn end(&mut self, name: &str) {
        match Kind::of(name) {
            Kind::Formatting => {
                let known = self.closable.iter().rposition(|open| open.name == name);
                if let Some(at) = known.filter(|at| self.blocks - self.closable[*at].blocks < ADOPTIONS) {
                    self.count -= 1;
                    self.bytes -= self.closable.remove(at).bytes;
                }
            }
            Kind::Inline | Kind::Block => {}
            Kind::Root | Kind::Other => self.part(),
        }
    }
}

/// How many formatting elements may be on a parser's list at the end; `None` when the HTML is beyond a bound.
fn weigh(html: &str) -> Option<usize> {
    let mut tally = Tally::default();
    let (mut tags, mut broken, mut roots) = (0, 0, 0);
    for (at, _) in html.match_indices('<') {
        let rest = &html[at + 1..];
        let (closing, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            // A comment or the like may hold what looks like tags.
            if closing || rest.starts_with(['!', '?']) {
                tally.part();
            }
            continue;
        }
        let length = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '<'));
        let (name, rest) = rest.split_at(length.unwrap_or(rest.len()));
        let read = Tag::read(rest.as_bytes());
        if !read.whole {
            // What follows may be in the tag, or not: it is counted, but closes nothing.
            broken += 1;
            tally.part();
        }
        let name = lower(name);
        tags += 1;
        roots += usize::from(Kind::of(&name) == Kind::Root);
        tally.rebuilt_bytes += tally.bytes;
        let beyond = tags > TAGS
            || broken > BROKEN_TAGS
            || roots > ROOTS
            || read.attributes > ATTRIBUTES
            || tally.rebuilt_bytes > REBUILT_BYTES;
        if beyond {
            return None;
        }
        match closing {
            true => tally.end(&name),
            false => tally.start(name, read.bytes),
        }
        if !read.whole {
            tally.part();
        }
    }
    Some(tally.count)
}

fn lower(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// A tag after its name (WHATWG HTML section 13.2.5.32 and on).
struct Tag {
    /// Its octets, to `>`.
    bytes: usize,
    attributes: usize,
    /// It ends before the next `<`.
    whole: bool,
}

impl Tag {
    fn read(octets: &[u8]) -> Self {
        enum In {
            Space,
            Name,
            AfterName,
            BeforeValue,
            Value,
            Quoted(u8),
        }
        let mut state = In::Space;
        let mut tag = Self { bytes: octets.len(), attributes: 0, whole: true };
        for (at, octet) in octets.iter().copied().enumerate() {
            tag.whole &= octet != b'<';
            let space = octet.is_ascii_whitespace();
            state = match (state, octet) {
                (In::Quoted(quote), octet) if octet != quote => In::Quoted(quote),
                (In::Quoted(_), _) => In::Space,
                (_, b'>') => {
                    tag.bytes = at;
                    return tag;
                }
                (In::BeforeValue, b'"' | b'\'') => In::Quoted(octet),
                (In::BeforeValue, _) if space => In::BeforeValue,
                (In::BeforeValue, _) => In::Value,
                (In::Value, _) => {
                    if space {
                        In::Space
                    } else {
                        In::Value
                    }
                }
                (In::Space | In::Name | In::AfterName, b'/') => In::Space,
                (In::Name | In::AfterName, b'=') => In::BeforeValue,
                (In::Name | In::AfterName, _) if space => In::AfterName,
                (In::Name, _) => In::Name,
                (In::Space, _) if space => In::Space,
                (In::Space | In::AfterName, _) => {
                    tag.attributes += 1;
                    In::Name
                }
            };
        }
        tag.whole = false;
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distinct(count: usize) -> String {
        (0..count).map(|n| ["<font color=", &n.to_string(), ">"].concat()).collect()
    }

    #[test]
    fn html_that_a_parser_makes_millions_of_elements_of_is_too_heavy() {
        let attributes: String = (0..5_000).map(|n| [" a", &n.to_string()].concat()).collect();
        for (what, html) in [
            ("paragraphs", ["<p>", &distinct(1_000), &"<p>x".repeat(2_000)].concat()),
            (
                "closed in a cell",
                [&distinct(200), "<table><tr><td>", &"</font>".repeat(500), "</table>", &"<p>x".repeat(2_000)].concat(),
            ),
            (
                "closed in an attribute",
                [&distinct(200), "<p title='", &"</font>".repeat(500), "'>", &"<p>x".repeat(2_000)].concat(),
            ),
            (
                "closed in a comment",
                [&distinct(200), "<!--", &"</font>".repeat(500), "-->", &"<p>x".repeat(2_000)].concat(),
            ),
            (
                "closed below many blocks",
                ["", &distinct(200), &"<div>".repeat(20), &"</font>".repeat(500), &"<p>x".repeat(2_000)].concat(),
            ),
            (
                "opened in a quote that a style ends",
                ["<style><p title='</style>", &distinct(1_000), &"<p>x".repeat(2_000)].concat(),
            ),
            ("formatting only", ["<b>", &distinct(1_000), "</b>x<b></b>x"].concat().repeat(2)),
            ("blocks", "<div>".repeat(TAGS + 1)),
            ("attributes", ["<p", &attributes, ">"].concat()),
            ("attributes beyond a <", ["<p a='<'", &attributes, ">"].concat()),
            ("tags without an end", "<p a='".repeat(BROKEN_TAGS + 1)),
            ("roots", "<html a>".repeat(ROOTS + 1)),
            ("long attributes", ["<p><b title=", &"x".repeat(20_000), ">", &"<p>x".repeat(1_000)].concat()),
            ("octets", "x".repeat(HTML_BYTES + 1)),
        ] {
            assert!(!is_light(&html), "{what}");
        }
    }

    #[test]
    fn mail_as_people_send_it_is_light() {
        let row = "<tr><td style=\"padding:0\"><!-- row --><p><FONT face=Arial><b><a href=\"https://news.test/?id=12345\"><img src=x alt='<Name>'>An item</a></b></FONT><o:p></o:p></p></td></tr>\n";
        let letter = ["<html><body><table>", &row.repeat(40), "</table></body></html>"].concat();
        // What is open around a `<` in an attribute is not known to be closed.
        assert_eq!(weigh(&letter), Some(120));
        let row = row.replace("<Name>", "Name");
        let long = [
            "<html><body bgcolor=white><center><font size=2><table>",
            &row.repeat(1_200),
            "</table></font></center></body></html>",
        ]
        .concat();
        assert_eq!(weigh(&long), Some(1));
    }

    proptest! {
        /// What a parser builds anew in a last paragraph is what it had on its list.
        #[test]
        fn a_parser_never_has_more_open_than_is_counted(pieces in proptest::collection::vec(prop_oneof![
            8 => (0..4u8).prop_map(|n| ["<b title=", &n.to_string(), ">"].concat()),
            8 => Just("</b>".to_owned()),
            2 => Just("<i title='</b>'>".to_owned()), 2 => Just("</i>".to_owned()),
            2 => Just("<a href=x>".to_owned()), 2 => Just("</a>".to_owned()),
            12 => prop_oneof![
                Just("<p>"), Just("</p>"), Just("<div>"), Just("</div>"), Just("<table>"), Just("</table>"),
                Just("<tr>"), Just("<td>"), Just("</td>"), Just("<caption>"), Just("x"), Just("<p title='"), Just("'>"),
                Just("<!--"), Just("-->"), Just("<style>"), Just("</style>"), Just("<select>"), Just("</select>"),
                Just("<svg>"), Just("<foreignObject>"), Just("</svg>"), Just("<button>"), Just("</button>"),
                Just("<textarea>"), Just("</textarea>"), Just("<template>"), Just("</template>"), Just("<object>"),
                Just("</object>"), Just("<span>"), Just("</span>"), Just("<li>"), Just("<o:p>"), Just("<html>"),
                Just("</body>"), Just("<div><div><div><div><div><div><div><div><div>"),
            ].prop_map(str::to_owned),
        ], 0..60)) {
            let html = pieces.concat();
            let Some(counted) = weigh(&html) else { return Ok(()) };
            let tags = ["p", "b", "i", "a"];
            let clean = Builder::default().tags(tags.into()).clean(&[&html, "<p><p>LAST"].concat()).to_string();
            if let Some((before, _)) = clean.rsplit_once("LAST") {
                let last = before.rsplit_once("<p>").map_or(before, |(_, last)| last).replace("\"</b>\"", "");
                let built = ["<b", "<i", "<a"].map(|tag| last.matches(tag).count()).iter().sum::<usize>();
                prop_assert!(built <= counted || last.contains("</"), "{built} > {counted}: {html} -> {clean}");
            }
        }
    }
}
