//! What watchers and nodes tell each other: a payload, who says it, when, what for, and an Ed25519 signature.
//!
//! The signature is over the exact text of the payload, so nobody has to agree on how JSON is written.

use std::collections::BTreeMap;

use aggregator::event::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use probes::keys::{PublicKey, SigningKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How far the time of a message may lie from the reader's own clock: replays end here.
pub const MAX_AGE_MS: i64 = 60_000;

/// The keys of those who may speak, by name.
pub type Keys = BTreeMap<String, PublicKey>;

/// What a message is for. A signature for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A watcher asks a node for evidence.
    EvidenceRequest,
    /// A node answers with evidence.
    Evidence,
    /// A watcher asks another to approve a restart.
    ApprovalRequest,
    /// A watcher approves a restart.
    Approval,
    /// A watcher orders a node.
    Order,
    /// A watcher tells that a provider confirmed a page.
    Receipt,
    /// A watcher tells that a person has an incident.
    Acknowledged,
}

/// A signed message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Who says it.
    pub from: String,
    /// When it was said.
    pub at: Time,
    /// What it is for.
    pub purpose: Purpose,
    /// What is said: the text of a JSON document.
    pub payload: String,
    /// Ed25519 over all of the above, base64.
    pub signature: String,
}

/// Why a signed message does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotValid {
    /// It is for something else.
    #[error("it was signed for another purpose")]
    Purpose,
    /// Nobody of that name may speak here.
    #[error("\"{0}\" is nobody that may sign here; is its public key in the configuration?")]
    UnknownSigner(String),
    /// The signature is not that signer's over this message.
    #[error("the signature of \"{0}\" does not fit")]
    Signature(String),
    /// It is too old, or from the future.
    #[error("it was signed at {at}, more than a minute from {now} here; are both clocks right?")]
    Time {
        /// When it was signed.
        at: Time,
        /// The reader's clock.
        now: Time,
    },
    /// The payload is not what it should be.
    #[error("its content cannot be read: {0}")]
    Payload(String),
}

impl Signed {
    /// Signs `payload` as `from`.
    ///
    /// # Errors
    /// The payload cannot be written as JSON.
    pub fn seal<T: Serialize>(
        purpose: Purpose,
        from: &str,
        key: &SigningKey,
        at: Time,
        payload: &T,
    ) -> serde_json::Result<Self> {
        let payload = serde_json::to_string(payload)?;
        let mut signed = Self { from: from.to_owned(), at, purpose, payload, signature: String::new() };
        signed.signature = STANDARD.encode(key.sign(&signed.bytes()));
        Ok(signed)
    }

    /// The payload, if one of `keys` signed it for `purpose` within the last minute.
    ///
    /// # Errors
    /// See [`NotValid`].
    pub fn open<T: DeserializeOwned>(&self, purpose: Purpose, keys: &Keys, now: Time) -> Result<T, NotValid> {
        if self.purpose != purpose {
            return Err(NotValid::Purpose);
        }
        let key = keys.get(&self.from).ok_or_else(|| NotValid::UnknownSigner(self.from.clone()))?;
        let signature = STANDARD.decode(&self.signature).map_err(|_| NotValid::Signature(self.from.clone()))?;
        if !key.verify(&self.bytes(), &signature) {
            return Err(NotValid::Signature(self.from.clone()));
        }
        if (now.0.saturating_sub(self.at.0)).unsigned_abs() > MAX_AGE_MS.unsigned_abs() * 1_000 {
            return Err(NotValid::Time { at: self.at, now });
        }
        serde_json::from_str(&self.payload).map_err(|error| NotValid::Payload(error.to_string()))
    }

    /// What is signed: each part behind its length, so that no two messages have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"varde-signed-1\0".to_vec();
        out.push(self.purpose as u8);
        out.extend_from_slice(&self.at.0.to_be_bytes());
        for part in [&self.from, &self.payload] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_opens_only_as_it_was_signed() {
        let (key, _) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        let keys = Keys::from([("a".to_owned(), key.public()), ("b".to_owned(), other.public())]);
        let at = Time::from_seconds(1_000);
        let good = Signed::seal(Purpose::Order, "a", &key, at, &"restart").unwrap();
        let open = |signed: &Signed, now| signed.open::<String>(Purpose::Order, &keys, now);
        assert_eq!(open(&good, at.plus_millis(59_000)), Ok("restart".to_owned()));

        assert_eq!(good.open::<String>(Purpose::Approval, &keys, at), Err(NotValid::Purpose));
        let late = at.plus_millis(60_001);
        assert_eq!(open(&good, late), Err(NotValid::Time { at, now: late }));
        let forged = Signed { from: "b".to_owned(), ..good.clone() };
        assert_eq!(open(&forged, at), Err(NotValid::Signature("b".to_owned())));
        let stranger = Signed { from: "c".to_owned(), ..good.clone() };
        assert_eq!(open(&stranger, at), Err(NotValid::UnknownSigner("c".to_owned())));
        let altered = Signed { payload: "\"stop\"".to_owned(), ..good.clone() };
        assert_eq!(open(&altered, at), Err(NotValid::Signature("a".to_owned())));
        let redated = Signed { at: late, ..good };
        assert_eq!(open(&redated, late), Err(NotValid::Signature("a".to_owned())));
    }
}
