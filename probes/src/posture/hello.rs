//! A hand-made ClientHello: asks a server for what our TLS library refuses to speak, and reads only how it answers.

use crate::conversation::{Class, Conversation, Fault};

/// An answer's first record is read up to this; a ServerHello is far shorter.
const RECORD_MAX: usize = 16 * 1024 + 256;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const SERVER_HELLO: u8 = 2;

/// What is offered, and should be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// TLS 1.0 alone, RFC 2246; deprecated by RFC 8996.
    Tls10,
    /// TLS 1.1 alone, RFC 4346; deprecated by RFC 8996.
    Tls11,
    /// TLS 1.2 with broken cipher suites alone: no encryption, no authentication, export, DES, 3DES, RC4.
    Broken,
    /// TLS 1.2 with cipher suites without forward secrecy alone: RSA key exchange.
    StaticRsa,
}

impl Offer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tls10, Self::Tls11, Self::Broken, Self::StaticRsa];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
            Self::Broken => "broken cipher suites",
            Self::StaticRsa => "cipher suites without forward secrecy",
        }
    }

    fn version(self) -> u16 {
        match self {
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            Self::Broken | Self::StaticRsa => 0x0303,
        }
    }

    fn suites(self) -> &'static [u16] {
        match self {
            Self::Tls10 | Self::Tls11 => {
                &[0xc014, 0xc013, 0xc00a, 0xc009, 0x0039, 0x0033, 0x0035, 0x002f, 0xc012, 0x0016, 0x000a, 0x0005]
            }
            Self::Broken => &[
                0x0005, 0x0004, 0xc011, 0xc007, 0x000a, 0x0016, 0xc012, 0xc008, 0x0001, 0x0002, 0x003b, 0xc010, 0xc006,
                0x0003, 0x0006, 0x0008, 0x0011, 0x0014, 0x0034, 0x006c, 0x0018, 0xc018, 0x0009, 0x0015,
            ],
            Self::StaticRsa => &[0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f],
        }
    }
}

/// How a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes along: the version and the cipher suite it chose.
    Accepted(u16, u16),
    /// It refuses: by an alert, or by closing.
    Refused,
}

/// The ClientHello of RFC 5246 section 7.4.1.2, in its record.
fn client_hello(offer: Offer, name: &str, random: &[u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend_from_slice(&kind.to_be_bytes());
        extensions.extend_from_slice(&sized::<2>(body));
    };
    extension(0x0000, &sized::<2>(&[&[0][..], &sized::<2>(name.as_bytes())].concat()));
    extension(0x000a, &sized::<2>(&[0x00, 0x1d, 0x00, 0x17, 0x00, 0x18, 0x00, 0x19]));
    extension(0x000b, &[1, 0]);
    if offer.version() == 0x0303 {
        extension(0x000d, &sized::<2>(&[4, 1, 4, 3, 5, 1, 5, 3, 6, 1, 6, 3, 8, 4, 8, 5, 8, 6, 2, 1, 2, 3]));
    }
    extension(0xff01, &[0]);
    let suites: Vec<u8> = offer.suites().iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body =
        [&offer.version().to_be_bytes()[..], random, &[0], &sized::<2>(&suites), &[1, 0], &sized::<2>(&extensions)]
            .concat();
    let message = [&[1][..], &sized::<3>(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &sized::<2>(&message)].concat()
}

/// The octets behind their length in `N` octets.
fn sized<const N: usize>(octets: &[u8]) -> Vec<u8> {
    let length = (octets.len() as u64).to_be_bytes();
    [&length[8 - N..], octets].concat()
}

/// Offers, and reads the first record of the answer. The connection is of no use afterwards.
pub(super) async fn offer(conversation: &mut Conversation, offer: Offer, name: &str) -> Result<Answer, Fault> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Fault::new(Class::Config, "the system gives no random octets"))?;
    conversation.send(&client_hello(offer, name, &random)).await?;
    let head = match conversation.octets(5).await {
        Ok(head) => head,
        Err(fault) if matches!(fault.class, Class::Closed | Class::Reset) => return Ok(Answer::Refused),
        Err(fault) => return Err(fault),
    };
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    match head[0] {
        ALERT => Ok(Answer::Refused),
        HANDSHAKE if length <= RECORD_MAX => {
            let body = conversation.octets(length).await?;
            server_hello(&body).ok_or_else(|| Fault::new(Class::TlsProtocol, "this is no ServerHello"))
        }
        _ => Err(Fault::new(Class::TlsProtocol, "this is no answer to a ClientHello")),
    }
}

/// The version and the cipher suite of a ServerHello, RFC 5246 section 7.4.1.3.
fn server_hello(body: &[u8]) -> Option<Answer> {
    let hello = body.get(4..).filter(|_| body[0] == SERVER_HELLO)?;
    let version = u16::from_be_bytes(hello.get(..2)?.try_into().ok()?);
    let session = usize::from(*hello.get(34)?);
    let suite = hello.get(35 + session..37 + session)?;
    Some(Answer::Accepted(version, u16::from_be_bytes(suite.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library that checks it reads a TLS 1.2 offer; the older ones differ in the version only.
    #[test]
    fn the_hello_is_one_that_a_tls_library_reads() {
        let mut acceptor = rustls::server::Acceptor::default();
        let octets = client_hello(Offer::StaticRsa, "mx.example.test", &[7; 32]);
        acceptor.read_tls(&mut &octets[..]).unwrap();
        let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
        let hello = accepted.client_hello();
        assert_eq!(hello.server_name(), Some("mx.example.test"));
        assert_eq!(hello.cipher_suites().len(), Offer::StaticRsa.suites().len());
        let old = client_hello(Offer::Tls10, "mx.example.test", &[7; 32]);
        assert_eq!(old[9..11], [3, 1]);
    }

    #[test]
    fn a_server_hello_is_read_and_its_fragments_are_not() {
        let mut body = vec![2, 0, 0, 40, 3, 1];
        body.extend([9; 32]);
        body.extend([2, 0xaa, 0xbb, 0xc0, 0x14, 0]);
        assert_eq!(server_hello(&body), Some(Answer::Accepted(0x0301, 0xc014)));
        for length in 0..42 {
            assert_eq!(server_hello(&body[..length]), None, "{length}");
        }
    }
}
