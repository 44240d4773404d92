//! DNS blocklists, RFC 5782: how one is asked, and what its answer means.

use std::net::IpAddr;

use super::reverse;

/// What a list says of an address or a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has no entry.
    NotListed,
    /// It has one.
    Listed,
    /// It does not answer this resolver: no listing, and no acquittal.
    Refused,
    /// It answers with addresses that no list answers with: its domain has another use by now.
    Foreign,
}

/// What the addresses that a list answered with mean. In 127.255.255.0/24 it says that it does not answer whoever
/// asks: an open resolver, one over its limit, or a misspelt zone.
pub(crate) fn verdict(codes: &[IpAddr]) -> Verdict {
    let octets = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    if codes.is_empty() {
        Verdict::NotListed
    } else if codes.iter().any(|ip| matches!(octets(ip), [127, 255, 255, _])) {
        Verdict::Refused
    } else if codes.iter().any(|ip| octets(ip)[0] == 127) {
        Verdict::Listed
    } else {
        Verdict::Foreign
    }
}

/// RFC 5782 section 2.1: the address in reverse, without the reverse zone's name.
pub(crate) fn label(ip: IpAddr) -> String {
    reverse(ip).trim_end_matches(".in-addr.arpa").trim_end_matches(".ip6.arpa").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_refuses_is_no_listing() {
        let of = |codes: &[&str]| verdict(&codes.iter().map(|code| code.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(of(&[]), Verdict::NotListed);
        assert_eq!(of(&["127.0.0.4", "127.0.0.2"]), Verdict::Listed);
        assert_eq!(of(&["127.255.255.254"]), Verdict::Refused);
        assert_eq!(of(&["127.0.0.2", "127.255.255.252"]), Verdict::Refused);
        assert_eq!(of(&["5.45.100.1"]), Verdict::Foreign);
        assert_eq!(of(&["::1"]), Verdict::Foreign);
    }

    #[test]
    fn an_address_is_asked_for_in_reverse() {
        assert_eq!(label("192.0.2.99".parse().unwrap()), "99.2.0.192");
        assert!(label("2a00::1".parse().unwrap()).ends_with("0.0.a.2"));
    }
}
