//! The grammar of an SPF record, RFC 7208 section 12.

use std::net::{Ipv4Addr, Ipv6Addr};

/// More terms than this are not read.
const TERMS_MAX: usize = 500;

/// A record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The mechanisms in order.
    pub terms: Vec<Term>,
    /// The target of `redirect=`.
    pub redirect: Option<String>,
    /// Where it breaks the grammar.
    pub faults: Vec<String>,
}

/// A mechanism with its qualifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// As it stands in the record.
    pub text: String,
    /// What a match means.
    pub qualifier: Qualifier,
    /// What matches.
    pub mechanism: Mechanism,
}

/// What a match means, RFC 7208 section 4.6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    /// `+`
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// What matches, RFC 7208 section 5; the domain is that of the record when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(String),
    A(Option<String>),
    Mx(Option<String>),
    Ptr,
    Address,
    Exists(String),
}

impl Record {
    /// Reads a record; what breaks the grammar is named and left out.
    pub fn parse(text: &str) -> Self {
        let mut record = Self::default();
        let terms = text.trim().get("v=spf1".len()..).unwrap_or_default();
        if !text.is_ascii() {
            record.faults.push("it has characters that are not ASCII".to_owned());
        }
        for term in terms.split_ascii_whitespace().take(TERMS_MAX) {
            if let Err(fault) = record.read(term) {
                record.faults.push(format!("{term}: {fault}"));
            }
        }
        record
    }

    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        if let Some((name, value)) = text.split_once('=').filter(|(name, _)| is_name(name)) {
            return match name.to_ascii_lowercase().as_str() {
                "redirect" if self.redirect.is_some() => Err("stands there twice"),
                "redirect" => {
                    self.redirect = Some(domain(value)?);
                    Ok(())
                }
                "exp" => domain(value).map(drop),
                // Modifiers that are not known are ignored, section 6.
                _ => Ok(()),
            };
        }
        let (qualifier, rest) = match text.chars().next() {
            Some('+') => (Qualifier::Pass, &text[1..]),
            Some('-') => (Qualifier::Fail, &text[1..]),
            Some('~') => (Qualifier::SoftFail, &text[1..]),
            Some('?') => (Qualifier::Neutral, &text[1..]),
            _ => (Qualifier::Pass, text),
        };
        let end = rest.find([':', '/']).unwrap_or(rest.len());
        let (name, value) = rest.split_at(end);
        let mechanism = match (name.to_ascii_lowercase().as_str(), value) {
            ("all", "") => Mechanism::All,
            ("all", _) => return Err("all has no value"),
            ("include", value) => Mechanism::Include(domain(after_colon(value)?)?),
            ("exists", value) => Mechanism::Exists(domain(after_colon(value)?)?),
            ("a", value) => Mechanism::A(host(value)?),
            ("mx", value) => Mechanism::Mx(host(value)?),
            ("ptr", "") => Mechanism::Ptr,
            ("ptr", value) => domain(after_colon(value)?).map(|_| Mechanism::Ptr)?,
            ("ip4", value) => network::<Ipv4Addr>(after_colon(value)?, 32)?,
            ("ip6", value) => network::<Ipv6Addr>(after_colon(value)?, 128)?,
            _ => return Err("there is no such mechanism"),
        };
        self.terms.push(Term { text: text.to_owned(), qualifier, mechanism });
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn after_colon(value: &str) -> Result<&str, &'static str> {
    value.strip_prefix(':').filter(|value| !value.is_empty()).ok_or("needs a value after a colon")
}

/// A domain-spec: a name, maybe with macros (section 7.1).
fn domain(value: &str) -> Result<String, &'static str> {
    let macros = value.contains('%');
    if value.is_empty() || !value.chars().all(|c| c.is_ascii_graphic()) || value.contains('/') && !macros {
        return Err("is no domain");
    }
    if !macros {
        let name = value.trim_end_matches('.');
        let label = |label: &str| (1..=63).contains(&label.len());
        if name.len() > 253 || !name.contains('.') || !name.split('.').all(label) {
            return Err("is no domain");
        }
        return Ok(name.to_ascii_lowercase());
    }
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        let length = match rest.as_bytes().first() {
            Some(b'%' | b'_' | b'-') => 1,
            Some(b'{') => rest.find('}').map(|end| end + 1).ok_or("has a macro without end")?,
            _ => return Err("has a % that is no macro"),
        };
        let letter = rest.as_bytes().get(1).map(u8::to_ascii_lowercase).unwrap_or_default();
        if length > 1 && !b"slodiphcrtv".contains(&letter) {
            return Err("has a macro that does not exist");
        }
        rest = &rest[length..];
    }
    Ok(value.to_owned())
}

/// `[:domain][/prefix][//prefix]`
fn host(value: &str) -> Result<Option<String>, &'static str> {
    let (name, prefix) = value.split_at(value.find('/').unwrap_or(value.len()));
    if let Some(prefix) = prefix.strip_prefix('/') {
        let (v4, v6) = match prefix.split_once("//") {
            Some((v4, v6)) => (v4, v6),
            None => prefix.strip_prefix('/').map_or((prefix, ""), |v6| ("", v6)),
        };
        length(v4, 32)?;
        length(v6, 128)?;
    }
    if name.is_empty() { Ok(None) } else { domain(after_colon(name)?).map(Some) }
}

fn length(text: &str, max: u8) -> Result<(), &'static str> {
    let fits = text.is_empty()
        || (text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|length| length <= max));
    if fits { Ok(()) } else { Err("has a prefix that is too long") }
}

fn network<A: std::str::FromStr>(value: &str, max: u8) -> Result<Mechanism, &'static str> {
    let (address, prefix) = value.split_once('/').unwrap_or((value, ""));
    length(prefix, max)?;
    if value.ends_with('/') {
        return Err("has no prefix after the slash");
    }
    address.parse::<A>().map(|_| Mechanism::Address).map_err(|_| "is no address")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_of_every_mechanism_is_read() {
        let record = Record::parse(
            "v=spf1 a mx:Mail.test/24//64 include:_spf.test ip4:192.0.2.0/24 ip6:2001:db8::/32 exists:%{ir}.x.test ptr ?all redirect=b.test x-new=1",
        );
        assert_eq!(record.faults, Vec::<String>::new());
        let mechanisms: Vec<_> = record.terms.iter().map(|term| term.mechanism.clone()).collect();
        assert_eq!(
            mechanisms,
            [
                Mechanism::A(None),
                Mechanism::Mx(Some("mail.test".to_owned())),
                Mechanism::Include("_spf.test".to_owned()),
                Mechanism::Address,
                Mechanism::Address,
                Mechanism::Exists("%{ir}.x.test".to_owned()),
                Mechanism::Ptr,
                Mechanism::All,
            ]
        );
        assert_eq!((record.terms[7].qualifier, record.redirect.as_deref()), (Qualifier::Neutral, Some("b.test")));
    }

    #[test]
    fn what_breaks_the_grammar_is_named() {
        for (term, fault) in [
            ("ipv4:192.0.2.1", "there is no such mechanism"),
            ("ip4:192.0.2.300", "is no address"),
            ("ip4:192.0.2.0/33", "has a prefix that is too long"),
            ("ip6:192.0.2.1", "is no address"),
            ("include:", "needs a value after a colon"),
            ("include:localhost", "is no domain"),
            ("exists:%{q}.test", "has a macro that does not exist"),
            ("all:x.test", "all has no value"),
            ("a:x.test/40", "has a prefix that is too long"),
            ("mail.test", "there is no such mechanism"),
        ] {
            assert_eq!(Record::parse(&format!("v=spf1 {term} -all")).faults, [format!("{term}: {fault}")]);
        }
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(text in "v=spf1( [-+~?]?(a|mx|ip4|include|exists|ptr|all|redirect)?[:=/%{}a-z0-9.é]{0,12}){0,6}") {
            Record::parse(&text);
        }
    }
}
