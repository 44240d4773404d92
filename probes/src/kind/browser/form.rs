//! The forms of a page, found as a tolerant browser would, without building a document.

/// Forms, and fields of one, that are looked at.
const FORMS_MAX: usize = 200;
const FIELDS_MAX: usize = 500;
/// Links of a page that are looked at.
const LINKS_MAX: usize = 2_000;

/// A form of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Where it is sent; empty: to the page itself.
    pub action: String,
    /// The fields that are sent as they stand: hidden ones and those filled in already.
    pub fields: Vec<(String, String)>,
    /// Whether it is sent part by part, as forms with files are (RFC 7578).
    pub multipart: bool,
    /// The names of all fields.
    names: Vec<String>,
}

impl Form {
    /// Whether it has a field of this name.
    pub fn has(&self, field: &str) -> bool {
        self.names.iter().any(|name| name == field)
    }

    /// What is sent when these fields are filled in.
    pub fn filled(&self, values: &[(&str, &str)]) -> Vec<(String, String)> {
        let kept = self.fields.iter().filter(|(name, _)| !values.iter().any(|(filled, _)| filled == name)).cloned();
        kept.chain(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }
}

/// The forms of a page, in order.
pub fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut open = false;
    // A choice that is not closed yet: its first entry is what a browser sends when none is selected.
    let mut choice: Option<Choice> = None;
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (tag, after) = Tag::parse(&rest[at + 1..]);
        rest = after;
        match tag.name.as_str() {
            "form" if forms.len() == FORMS_MAX => break,
            "form" => {
                let multipart =
                    tag.value("enctype").is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"));
                forms.push(Form { action: tag.value("action").unwrap_or_default(), multipart, ..Form::default() });
                open = true;
            }
            "/form" => open = false,
            "option" => {
                if let Some(choice) = &mut choice {
                    choice.add(&tag, rest);
                }
            }
            "/select" => {
                if let (Some(form), Some(value)) = (forms.last_mut(), choice.take().and_then(Choice::value)) {
                    form.fields.push(value);
                }
            }
            "select" if open => {
                choice = Choice::new(&tag);
                if let Some(form) = forms.last_mut().filter(|form| form.names.len() < FIELDS_MAX) {
                    add_field(form, &tag);
                }
            }
            "input" | "textarea" | "button" if open => {
                if let Some(form) = forms.last_mut().filter(|form| form.names.len() < FIELDS_MAX) {
                    add_field(form, &tag);
                }
            }
            _ => {}
        }
    }
    forms
}

/// A `<select>` under way.
struct Choice {
    name: String,
    first: Option<String>,
    selected: Option<String>,
}

impl Choice {
    fn new(tag: &Tag) -> Option<Self> {
        let name = tag.value("name").filter(|name| !name.is_empty())?;
        Some(Self { name, first: None, selected: None })
    }

    fn add(&mut self, tag: &Tag, after: &str) {
        let text = || unescape(after[..after.find('<').unwrap_or(after.len())].trim());
        let value = tag.value("value").unwrap_or_else(text);
        if tag.value("selected").is_some() {
            self.selected.get_or_insert_with(|| value.clone());
        }
        self.first.get_or_insert(value);
    }

    fn value(self) -> Option<(String, String)> {
        Some((self.name, self.selected.or(self.first)?))
    }
}

/// The addresses that a page's links lead to, in order.
pub fn links(html: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (tag, after) = Tag::parse(&rest[at + 1..]);
        rest = after;
        if links.len() == LINKS_MAX {
            break;
        }
        if tag.name == "a" {
            links.extend(tag.value("href"));
        }
    }
    links
}

fn add_field(form: &mut Form, tag: &Tag) {
    let Some(name) = tag.value("name").filter(|name| !name.is_empty()) else { return };
    let kind = tag.value("type").unwrap_or_default().to_ascii_lowercase();
    let sent = tag.name == "input"
        && match kind.as_str() {
            "submit" | "button" | "image" | "reset" | "file" => false,
            "checkbox" | "radio" => tag.value("checked").is_some(),
            _ => true,
        };
    if sent {
        form.fields.push((name.clone(), tag.value("value").unwrap_or_default()));
    }
    form.names.push(name);
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    /// A tag, of which the `<` has been read, and what follows it.
    fn parse(text: &str) -> (Self, &str) {
        if let Some(comment) = text.strip_prefix("!--") {
            let after = comment.split_once("-->").map_or("", |(_, after)| after);
            return (Self { name: String::new(), attributes: Vec::new() }, after);
        }
        let end = text.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(text.len());
        let mut tag = Self { name: text[..end].trim_end_matches('/').to_ascii_lowercase(), attributes: Vec::new() };
        let mut rest = &text[end..];
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return (tag, rest);
            }
            if let Some(after) = rest.strip_prefix('>') {
                return (tag, after);
            }
            let ends = |c: char| c.is_ascii_whitespace() || "=>/".contains(c);
            let end = rest.char_indices().skip(1).find(|(_, c)| ends(*c)).map_or(rest.len(), |(at, _)| at);
            let name = rest[..end].to_ascii_lowercase();
            rest = rest[end..].trim_start();
            let mut value = "";
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = attribute_value(after.trim_start());
            }
            if tag.attributes.len() < FIELDS_MAX {
                tag.attributes.push((name, unescape(value)));
            }
        }
    }

    fn value(&self, attribute: &str) -> Option<String> {
        self.attributes.iter().find(|(name, _)| name == attribute).map(|(_, value)| value.clone())
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    text.split_at(text.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(text.len()))
}

/// Resolves the character references that templates write.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let reference = rest.split_once(';').filter(|(name, _)| name.len() <= 8);
        match reference.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_is_sent_with_its_hidden_fields_and_what_is_filled_in() {
        let html = r#"<!-- <form action=/no> --><FORM method="post" action='/login?a=1&amp;b=2'>
            <input type=hidden name=csrf value="x&#34;&#x3c;y">
            <input name="address" value=""><input type="password" name='password'/>
            <input type=checkbox name=stay value=1><button name=go>Log in</button></form>
            <input name=outside>"#;
        let forms = forms(html);
        assert_eq!(forms.len(), 1);
        assert_eq!(forms[0].action, "/login?a=1&b=2");
        assert!(forms[0].has("password") && forms[0].has("stay") && !forms[0].has("outside"));
        let sent = forms[0].filled(&[("address", "a@b"), ("password", "p")]);
        let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(sent, [("csrf", "x\"<y"), ("address", "a@b"), ("password", "p")]);
    }

    #[test]
    fn a_choice_is_sent_as_a_browser_would() {
        let html = r#"<form><select name=a><option value=1>one<option value="2" selected>two</select>
            <select name=b><option>first &amp; only</option></select><select name=c></select></form>"#;
        let sent = forms(html)[0].filled(&[]);
        let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(sent, [("a", "2"), ("b", "first & only")]);
        assert_eq!(links("<a href='/x?a=1&amp;b=2'>x</a><a name=y>"), ["/x?a=1&b=2"]);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(html in "([<>='\"/ &#;!-]|form|input|select|option|name|é|x){0,60}") {
            forms(&html);
            links(&html);
        }
    }
}
