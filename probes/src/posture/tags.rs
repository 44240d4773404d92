//! Lists of `tag=value` with semicolons between them: DKIM, DMARC, MTA-STS, TLS-RPT, BIMI.

use crate::dns::{Dns, Status};

/// More tags than this are not read.
const TAGS_MAX: usize = 100;

/// Such a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tags {
    list: Vec<(String, String)>,
    /// Where it breaks the grammar.
    pub faults: Vec<String>,
}

impl Tags {
    /// Reads a list; what breaks the grammar of RFC 6376 section 3.2 is named and left out.
    pub fn parse(text: &str) -> Self {
        let mut tags = Self::default();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()).take(TAGS_MAX) {
            let Some((name, value)) = item.split_once('=') else {
                tags.faults.push(format!("\"{item}\" is no tag=value"));
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) {
                tags.faults.push(format!("\"{name}\" is no tag"));
            } else if tags.get(name).is_some() {
                tags.faults.push(format!("tag {name} stands there twice"));
            } else {
                tags.list.push((name.to_owned(), value.to_owned()));
            }
        }
        tags
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(this, _)| this == name).map(|(_, value)| value.as_str())
    }

    /// The first tag's name and value.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.list.first().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The TXT records of a name that begin with this version: those that are meant.
///
/// # Errors
/// When the look-up itself failed: that no record is there is then not known.
pub(super) async fn versioned(dns: &Dns, name: &str, version: &str) -> Result<Vec<String>, String> {
    let answer = dns.txt(name).await;
    if let Status::Broken(why) = &answer.0 {
        return Err(format!("looking up TXT of {name}: {why}"));
    }
    let meant = |text: &&String| {
        let text = text.trim_start();
        text.get(..version.len()).is_some_and(|head| head.eq_ignore_ascii_case(version))
            && !text[version.len()..].starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    Ok(answer.1.iter().filter(meant).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_its_faults_are_named() {
        let tags = Tags::parse("v=DMARC1; p = none ;rua=mailto:a@b.test;; p=reject; bogus; 1x=2");
        assert_eq!((tags.get("p"), tags.get("rua"), tags.get("x")), (Some("none"), Some("mailto:a@b.test"), None));
        assert_eq!(tags.first(), Some(("v", "DMARC1")));
        assert_eq!(tags.faults, ["tag p stands there twice", "\"bogus\" is no tag=value", "\"1x\" is no tag"]);
    }
}
