//! What went wrong with a peer: data, never an error of ours.

use std::error::Error;
use std::io;

use chrono::{DateTime, Utc};
use rustls::{CertificateError, Error as TlsError};

/// How much of what a peer said is kept in a detail, in characters.
const QUOTE_MAX: usize = 200;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The kind of a failure: what a diagnosis is looked up by.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Class { $($(#[$doc])* $name,)* }

        impl Class {
            /// As it stands in the `error_class` of a step.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

classes! {
    /// The name does not exist.
    NxDomain = "nxdomain",
    /// The name exists, without the record that was asked for.
    NoRecords = "no_records",
    /// No name server answered in time.
    DnsTimeout = "dns_timeout",
    /// The name servers answered with an error.
    DnsFailed = "dns_failed",
    /// A name server that the zone is delegated to does not serve it.
    Lame = "lame",
    /// The zone does not validate (DNSSEC).
    Bogus = "bogus",
    /// The zone's signature has expired.
    SignatureExpired = "signature_expired",
    /// On a blocklist.
    Listed = "listed",
    /// A blocklist that does not work: it says nothing about anybody.
    DeadList = "dead_list",
    /// The fault is this vantage's: no vote.
    Vantage = "vantage_fault",
    /// Nothing listens there.
    Refused = "refused",
    /// The peer cut the connection off.
    Reset = "reset",
    /// No way to the host.
    Unreachable = "unreachable",
    /// No answer, or no complete one, in time.
    Timeout = "timeout",
    /// The peer closed the connection where it should have answered.
    Closed = "closed",
    /// The certificate is outside its dates.
    CertificateExpired = "certificate_expired",
    /// The certificate does not lead to a root that is trusted.
    CertificateUntrusted = "certificate_untrusted",
    /// The certificate is for other names.
    CertificateName = "certificate_name",
    /// TLS was not offered, or failed before the certificate.
    TlsProtocol = "tls_protocol",
    /// The peer's answer breaks its protocol, or one of our limits.
    Protocol = "protocol",
    /// The server greets with a refusal.
    GreetingRefused = "greeting_refused",
    /// The server does not take this user name and password.
    AuthFailed = "auth_failed",
    /// The server cannot say now whether the password is right.
    AuthTemporary = "auth_temporary",
    /// The server refuses for good.
    Rejected = "rejected",
    /// The server asks to try later.
    Deferred = "deferred",
    /// The mailbox is full.
    Quota = "quota",
    /// A message did not arrive in time.
    Missing = "missing",
    /// What came back is not what was sent.
    Mismatch = "mismatch",
    /// An HTTP status other than the expected one.
    Status = "status",
    /// The page does not show what it should.
    Content = "content",
    /// The queue is not being worked on.
    Stale = "stale",
    /// The check cannot run as it is configured.
    Config = "config",
}

/// A failure: its kind, and words that an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub class: Class,
    /// What happened, without what was being done: the step says that.
    pub detail: String,
}

impl Fault {
    /// A failure in words.
    pub fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }

    /// A failure that quotes the peer: `said` is shortened and made printable.
    pub fn said(class: Class, what: &str, said: &str) -> Self {
        Self::new(class, format!("{what}: {}", printable(said)))
    }

    /// The operating system or the TLS layer reported an error.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(this) = cause {
            if let Some(tls) = this.downcast_ref::<TlsError>() {
                return from_tls(tls);
            }
            if let Some(io) = this.downcast_ref::<io::Error>() {
                // An io::Error may only wrap one of TLS or of another io::Error: that one says more.
                match io.get_ref() {
                    Some(inner) => {
                        cause = Some(inner);
                        continue;
                    }
                    None => return from_io(io),
                }
            }
            cause = this.source();
        }
        Self::said(Class::Protocol, "failed", &chain(error))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<TlsError>() || inner.is::<io::Error>() => Self::from_error(inner),
            _ => from_io(&error),
        }
    }
}

fn from_io(error: &io::Error) -> Fault {
    let (class, text) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (Class::Refused, "connection refused: nothing listens there"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            (Class::Reset, "the peer reset the connection")
        }
        io::ErrorKind::UnexpectedEof => (Class::Closed, "the peer closed the connection"),
        io::ErrorKind::TimedOut => (Class::Timeout, "the connection timed out"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            return Fault::new(Class::Unreachable, format!("no way there: {error}"));
        }
        _ => return Fault::said(Class::Protocol, "failed", &error.to_string()),
    };
    Fault::new(class, text)
}

fn from_tls(error: &TlsError) -> Fault {
    let TlsError::InvalidCertificate(certificate) = error else {
        return Fault::said(Class::TlsProtocol, "TLS failed", &error.to_string());
    };
    match certificate {
        CertificateError::ExpiredContext { not_after, .. } => Fault::new(
            Class::CertificateExpired,
            format!("its certificate expired at {}; renew it and reload the server", date(not_after.as_secs())),
        ),
        CertificateError::NotValidYetContext { not_before, .. } => Fault::new(
            Class::CertificateExpired,
            format!("its certificate is valid from {} on only; is a clock wrong?", date(not_before.as_secs())),
        ),
        CertificateError::Expired | CertificateError::NotValidYet => {
            Fault::new(Class::CertificateExpired, "its certificate is outside its dates")
        }
        CertificateError::NotValidForNameContext { expected, presented } => Fault::new(
            Class::CertificateName,
            format!(
                "its certificate is not for {}; it is for: {}",
                expected.to_str(),
                printable(&presented.join(", "))
            ),
        ),
        CertificateError::NotValidForName => Fault::new(Class::CertificateName, "its certificate is for other names"),
        CertificateError::UnknownIssuer => Fault::new(
            Class::CertificateUntrusted,
            "its certificate does not lead to a trusted root; is an intermediate missing, or `trust` unset?",
        ),
        other => Fault::said(Class::CertificateUntrusted, "its certificate is not accepted", &other.to_string()),
    }
}

fn date(seconds: u64) -> String {
    let at: DateTime<Utc> =
        i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or_default();
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(this) = source {
        text.push_str(": ");
        text.push_str(&this.to_string());
        source = this.source();
    }
    text
}

/// Text of a peer, short and without control characters.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.trim().chars().enumerate() {
        if i == QUOTE_MAX {
            out.push('…');
            break;
        }
        match c {
            '\r' => {}
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => out.push('·'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_shortened_and_made_printable() {
        assert_eq!(printable("  550 no\u{1b}[31m\r\nsuch\tuser\0 "), "550 no·[31m such user·");
        assert_eq!(printable(&"x".repeat(1_000)), format!("{}…", "x".repeat(QUOTE_MAX)));
    }

    #[test]
    fn a_tls_error_is_found_under_its_wrappers() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, TlsError::InvalidCertificate(CertificateError::Expired));
        assert_eq!(Fault::from(inner).class, Class::CertificateExpired);
        let wrapped = io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(Fault::from(wrapped).class, Class::Reset);
    }
}
