//! SASL, the client's side: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-1 (RFC 5802) and SCRAM-SHA-256 (RFC 7677), as a value
//! without a socket.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Class, Fault};

/// A server that asks for more iterations would keep this machine busy; RFC 7677 asks for 4096 at least.
const ITERATIONS_MAX: u32 = 1_000_000;

/// A mechanism that we speak, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Proves the password in both directions without sending it.
    ScramSha256,
    /// The same with the older hash.
    ScramSha1,
    /// Sends it.
    Plain,
    /// Sends it, the old way.
    Login,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::ScramSha256, Self::ScramSha1, Self::Plain, Self::Login];

    /// The best of those offered.
    pub fn choose<'a>(offered: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        Self::spoken(offered).next()
    }

    /// Those offered that we speak, the best first.
    pub fn spoken<'a>(offered: impl Iterator<Item = &'a str> + Clone) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |mechanism| offered.clone().any(|name| name.eq_ignore_ascii_case(mechanism.name())))
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// What a SCRAM mechanism hashes with.
#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn derive(self, iterations: NonZeroU32, salt: &[u8], password: &str) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }

    fn mac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }
}

/// One authentication under way.
pub struct Exchange {
    user: String,
    password: String,
    state: State,
}

enum State {
    Plain,
    LoginUser,
    LoginPassword,
    ScramFirst { hash: Hash, nonce: String },
    ScramFinal { server_signature: Vec<u8> },
    Spent,
}

impl Exchange {
    /// Begins, with a fresh nonce.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(mechanism: Mechanism, user: &str, password: &str) -> Result<Self, Fault> {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginUser,
            Mechanism::ScramSha256 | Mechanism::ScramSha1 => {
                let hash = if mechanism == Mechanism::ScramSha1 { Hash::Sha1 } else { Hash::Sha256 };
                let mut nonce = [0; 18];
                rand::fill(&mut nonce).map_err(|_| Fault::new(Class::Config, "the system has no randomness"))?;
                State::ScramFirst { hash, nonce: BASE64.encode(nonce) }
            }
        };
        Ok(Self { user: user.to_owned(), password: password.to_owned(), state })
    }

    /// What is sent along with the mechanism's name, in Base64; `None` for LOGIN, in which the server speaks first.
    pub fn initial(&mut self) -> Option<String> {
        match &self.state {
            State::Plain => {
                self.state = State::Spent;
                Some(BASE64.encode(format!("\0{}\0{}", self.user, self.password)))
            }
            State::ScramFirst { nonce, .. } => {
                Some(BASE64.encode(format!("n,,n={},r={nonce}", scram_name(&self.user))))
            }
            State::LoginUser | State::LoginPassword | State::ScramFinal { .. } | State::Spent => None,
        }
    }

    /// Whether nothing is owed: a mechanism in which the server proves itself has done so.
    pub fn is_proven(&self) -> bool {
        matches!(self.state, State::Spent)
    }

    /// The answer to a challenge, both in Base64.
    ///
    /// # Errors
    /// When the server breaks the mechanism, or cannot prove that it knows the password.
    pub fn answer(&mut self, challenge: &str) -> Result<String, Fault> {
        let broken = |what: &str| Fault::new(Class::Protocol, format!("the server breaks the authentication: {what}"));
        let challenge = BASE64.decode(challenge.trim()).map_err(|_| broken("a challenge is no Base64"))?;
        let (answer, next) = match std::mem::replace(&mut self.state, State::Spent) {
            State::LoginUser => (self.user.clone(), State::LoginPassword),
            State::LoginPassword => (self.password.clone(), State::Spent),
            State::ScramFirst { hash, nonce } => {
                let text = String::from_utf8(challenge).map_err(|_| broken("its first message is no text"))?;
                let first = ServerFirst::parse(&text, &nonce).ok_or_else(|| broken("its first message"))?;
                let (proof, server_signature) = first.prove(hash, &self.user, &self.password, &nonce, &text);
                (proof, State::ScramFinal { server_signature })
            }
            State::ScramFinal { server_signature } => {
                let proof = challenge.strip_prefix(b"v=").and_then(|proof| BASE64.decode(proof).ok());
                let proof = proof.ok_or_else(|| broken("its last message"))?;
                constant_time::verify_slices_are_equal(&proof, &server_signature)
                    .map_err(|_| broken("it does not know the password either; is it the right server?"))?;
                (String::new(), State::Spent)
            }
            State::Plain | State::Spent => return Err(broken("it asks for more than there is to say")),
        };
        self.state = next;
        Ok(BASE64.encode(answer))
    }
}

struct ServerFirst {
    nonce: String,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl ServerFirst {
    fn parse(text: &str, ours: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = BASE64.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let iterations = NonZeroU32::new(parts.next()?.strip_prefix("i=")?.parse().ok()?)?;
        let sound = nonce.len() > ours.len() && nonce.starts_with(ours) && iterations.get() <= ITERATIONS_MAX;
        sound.then(|| Self { nonce: nonce.to_owned(), salt, iterations })
    }

    /// The client's final message, and the signature that the server must answer with. RFC 5802 section 3.
    fn prove(&self, hash: Hash, user: &str, password: &str, ours: &str, server_first: &str) -> (String, Vec<u8>) {
        let salted = hash.derive(self.iterations, &self.salt, password);
        let without_proof = format!("c=biws,r={}", self.nonce);
        let auth_message = format!("n={},r={ours},{server_first},{without_proof}", scram_name(user));
        let client_key = hash.mac(&salted, b"Client Key");
        let signature = hash.mac(&hash.digest(&client_key), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let server_signature = hash.mac(&hash.mac(&salted, b"Server Key"), auth_message.as_bytes());
        (format!("{without_proof},p={}", BASE64.encode(proof)), server_signature)
    }
}

fn scram_name(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scram_gives_the_messages_of_rfc_7677() {
        let mut exchange = Exchange::new(Mechanism::ScramSha256, "user", "pencil").unwrap();
        exchange.state = State::ScramFirst { hash: Hash::Sha256, nonce: "rOprNGfwEbeRWgbNEkqO".to_owned() };
        assert_eq!(exchange.initial(), Some(BASE64.encode("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")));
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(exchange.answer(&BASE64.encode(first)), Ok(BASE64.encode(expected)));
        let last = BASE64.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(exchange.answer(&last), Ok(String::new()));
    }

    #[test]
    fn scram_with_sha_1_gives_the_messages_of_rfc_5802() {
        let mut exchange = Exchange::new(Mechanism::ScramSha1, "user", "pencil").unwrap();
        exchange.state = State::ScramFirst { hash: Hash::Sha1, nonce: "fyko+d2lbbFgONRv9qkxdawL".to_owned() };
        let first = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let expected = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(exchange.answer(&BASE64.encode(first)), Ok(BASE64.encode(expected)));
        assert_eq!(exchange.answer(&BASE64.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")), Ok(String::new()));
    }

    #[test]
    fn a_server_that_asks_for_a_second_of_work_or_echoes_the_nonce_is_refused() {
        assert!(ServerFirst::parse("r=abcdef,s=c2FsdA==,i=4294967295", "abc").is_none());
        assert!(ServerFirst::parse("r=abc,s=c2FsdA==,i=4096", "abc").is_none());
        assert!(ServerFirst::parse("r=xyzdef,s=c2FsdA==,i=4096", "abc").is_none());
    }

    #[test]
    fn the_best_offered_mechanism_is_chosen() {
        assert_eq!(Mechanism::choose(["GSSAPI", "login", "plain"].into_iter()), Some(Mechanism::Plain));
        assert_eq!(Mechanism::choose(["plain", "scram-sha-256"].into_iter()), Some(Mechanism::ScramSha256));
        assert_eq!(Mechanism::choose(["XOAUTH2"].into_iter()), None);
        let spoken: Vec<_> = Mechanism::spoken(["LOGIN", "SCRAM-SHA-1", "PLAIN", "X"].into_iter()).collect();
        assert_eq!(spoken, [Mechanism::ScramSha1, Mechanism::Plain, Mechanism::Login]);
    }

    #[test]
    fn plain_has_nothing_to_say_to_a_challenge() {
        let mut exchange = Exchange::new(Mechanism::Plain, "u", "p").unwrap();
        assert_eq!(exchange.initial(), Some(BASE64.encode("\0u\0p")));
        assert_eq!(exchange.answer("").map_err(|fault| fault.class), Err(Class::Protocol));
    }
}
