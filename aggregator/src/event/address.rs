//! An IP address as a column.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Cell;

/// An IP address. In a table: IPv6, with IPv4 mapped (`::ffff:192.0.2.1`). JSON: the plain form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub IpAddr);

impl Default for Address {
    fn default() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Every line of a log may have one.
        if let Some(ip) = ipv4(text.as_bytes()) {
            return Ok(Self(ip.into()));
        }
        match text.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Self(IpAddr::V6(ip).to_canonical())),
            // No address: the error that says so.
            Err(_) => text.parse().map(|ip: IpAddr| Self(ip.to_canonical())),
        }
    }
}

/// The usual form: four numbers without leading zeros.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (a, rest) = number(text)?;
    let (b, rest) = number(rest.strip_prefix(b".")?)?;
    let (c, rest) = number(rest.strip_prefix(b".")?)?;
    let (d, rest) = number(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(a, b, c, d))
}

/// A number up to 255 that a text begins with, and what follows it.
fn number(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    let (first, rest) = text.split_first()?;
    let first = digit(first)?;
    let Some((second, after)) = rest.split_first().and_then(|(byte, after)| Some((digit(byte)?, after))) else {
        return Some((first, rest));
    };
    if first == 0 {
        return None;
    }
    let two = first * 10 + second;
    let Some((third, after_three)) = after.split_first().and_then(|(byte, after)| Some((digit(byte)?, after))) else {
        return Some((two, after));
    };
    Some((two.checked_mul(10)?.checked_add(third)?, after_three))
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }
}

impl Cell for Address {
    const TYPE: &'static str = "IPv6";
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self.0.to_canonical() {
            IpAddr::V4(v4) => {
                for (place, octet) in v4.octets().into_iter().enumerate() {
                    if place > 0 {
                        out.push(b'.');
                    }
                    if octet >= 100 {
                        out.push(b'0' + octet / 100);
                    }
                    if octet >= 10 {
                        out.push(b'0' + octet / 10 % 10);
                    }
                    out.push(b'0' + octet % 10);
                }
            }
            // Writing to memory cannot fail.
            IpAddr::V6(v6) => drop(std::io::Write::write_fmt(out, format_args!("{v6}"))),
        }
        out.push(b'"');
    }
    fn write(&self, out: &mut Vec<u8>) {
        let v6 = match self.0 {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        out.extend_from_slice(&v6.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_mapped_in_tables_and_plain_in_json() {
        let address: Address = "192.0.2.1".parse().unwrap();
        let mut column = Vec::new();
        address.write(&mut column);
        assert_eq!(column, "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"192.0.2.1\"");
    }

    #[test]
    fn addresses_are_read_and_written_as_the_standard_library_does() {
        for text in [
            "0.0.0.0",
            "1.2.3.4",
            "255.255.255.255",
            "10.20.100.9",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "1..2.3",
            "256.1.1.1",
            "1.2.3.4 ",
            "",
            "::1",
            "2001:db8::7",
            "::ffff:192.0.2.1",
            "1.2.3.00",
            ".1.2.3",
            "1.2.3.",
        ] {
            let expected = text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
            assert_eq!(text.parse::<Address>().ok().map(|address| address.0), expected, "{text}");
            if let Some(ip) = expected {
                let mut json = Vec::new();
                Address(ip).write_json(&mut json);
                assert_eq!(json, format!("\"{ip}\"").into_bytes());
            }
        }
    }
}
