//! Addresses of the envelope: RFC 5321 section 4.1.2, RFC 6531 for those beyond ASCII.

use std::fmt;
use std::str::FromStr;

use crate::config::is_domain;

/// Octets of a local part (RFC 5321 section 4.5.3.1.1).
pub const MAX_LOCAL_PART: usize = 64;

/// A mailbox of the envelope. The local part is kept as it was written, quotes included; the domain in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    local: String,
    domain: String,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no domain. Only `postmaster` may stand alone (RFC 5321 section 4.5.1).
    #[error("an address has a local part, @ and a domain")]
    NoDomain,
    /// The local part is empty, too long or has characters that must be quoted.
    #[error("the local part is not one of RFC 5321")]
    Local,
    /// The domain is neither a domain name nor an address literal.
    #[error("the domain is not one of RFC 5321")]
    Domain,
}

impl EmailAddress {
    /// An address of parts.
    ///
    /// # Errors
    /// A part is not one of RFC 5321.
    pub fn new(local: &str, domain: &str) -> Result<Self, AddressError> {
        if !is_local(local) {
            return Err(AddressError::Local);
        }
        if !is_domain(domain) && !is_literal(domain) {
            return Err(AddressError::Domain);
        }
        Ok(Self { local: local.to_owned(), domain: domain.to_lowercase() })
    }
    /// The part before the `@`, as it was written.
    pub fn local(&self) -> &str {
        &self.local
    }
    /// The part after the `@`, in lower case: a domain name or an address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.domain
    }
    /// Whether SMTPUTF8 is not needed for it.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_ascii()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;
    /// Reads `local@domain`, without angle brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        Self::new(local, domain)
    }
}

fn is_local(local: &str) -> bool {
    if local.is_empty() || local.len() > MAX_LOCAL_PART {
        return false;
    }
    if let Some(quoted) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let mut escaped = false;
        for c in quoted.chars() {
            if c.is_control() || (!escaped && c == '"') {
                return false;
            }
            escaped = !escaped && c == '\\';
        }
        return local.len() > 1 && !escaped;
    }
    local.split('.').all(|atom| {
        !atom.is_empty()
            && atom.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c))
    })
}

fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !c.is_whitespace()
}

/// Whether a text is an address literal (RFC 5321 section 4.1.3).
pub fn is_literal(text: &str) -> bool {
    literal(text).is_some()
}

/// The address inside an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
pub fn literal(text: &str) -> Option<std::net::IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner.get(5..)?.parse::<std::net::Ipv6Addr>().ok().map(Into::into)
        }
        _ => inner.parse::<std::net::Ipv4Addr>().ok().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_local_part_and_lower_their_domain() {
        let address: EmailAddress = "Ada.Love+tag@Varde.TEST".parse().unwrap();
        assert_eq!((address.local(), address.domain()), ("Ada.Love+tag", "varde.test"));
        assert_eq!(address.to_string(), "Ada.Love+tag@varde.test");
        for good in ["\"a b@c\"@x.test", "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "jürgen@bücher.test"] {
            assert!(good.parse::<EmailAddress>().is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_part() {
        for (text, error) in [
            ("ada", AddressError::NoDomain),
            ("@x.test", AddressError::Local),
            ("a..b@x.test", AddressError::Local),
            ("a b@x.test", AddressError::Local),
            ("\"a\"b\"@x.test", AddressError::Local),
            ("\"a\\\"@x.test", AddressError::Local),
            ("a\r\nRCPT@x.test", AddressError::Local),
            ("a@", AddressError::Domain),
            ("a@x..test", AddressError::Domain),
            ("a@[300.1.1.1]", AddressError::Domain),
        ] {
            assert_eq!(text.parse::<EmailAddress>(), Err(error), "{text}");
        }
        let long = format!("{}@x.test", "a".repeat(65));
        assert_eq!(long.parse::<EmailAddress>(), Err(AddressError::Local));
    }
}
