//! Ed25519 keys (RFC 8032): watchers sign what they tell each other, and the orders they give to nodes.
//!
//! On disk a secret key is PKCS#8 (RFC 8410) in base64, mode 0600; a public key is its 32 bytes in base64.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What stands there is no such key.
    #[error("{what}: not {expected} in base64")]
    Malformed {
        /// Where it came from: a file's name, or what was being read.
        what: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The system gave no random bytes.
    #[error("no Ed25519 key could be made: the system's random generator failed")]
    Random,
}

/// A secret key. `Debug` shows its public half only.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, and its PKCS#8 form to be kept.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<(Self, Vec<u8>), KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        let pkcs8 = document.as_ref().to_vec();
        Ok((Self::from_pkcs8(&pkcs8, "the new key")?, pkcs8))
    }

    /// Makes a key and writes both halves: the secret one with mode 0600. Files that are there are replaced.
    ///
    /// # Errors
    /// [`KeyError::File`] or [`KeyError::Random`].
    pub fn write_pair(secret_path: &Path, public_path: &Path) -> Result<Self, KeyError> {
        let (key, pkcs8) = Self::generate()?;
        write_atomically(secret_path, &STANDARD.encode(pkcs8), 0o600)?;
        write_atomically(public_path, &key.public().to_base64(), 0o644)?;
        Ok(key)
    }

    /// Reads a secret key: base64 of PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::File`] or [`KeyError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let expected = "an Ed25519 secret key (PKCS#8)";
        let pkcs8 = decode(&read_text(path)?, || path.display().to_string(), expected)?;
        Self::from_pkcs8(&pkcs8, &path.display().to_string())
    }

    fn from_pkcs8(pkcs8: &[u8], what: &str) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8(pkcs8)
            .map(Self)
            .map_err(|_| KeyError::Malformed { what: what.to_owned(), expected: "an Ed25519 secret key (PKCS#8)" })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature of exactly these bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads a public key: base64 of 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::File`] or [`KeyError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&read_text(path)?, || path.display().to_string())
    }

    /// A public key from its base64 form.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Self::parse(text, || "the public key".to_owned())
    }

    fn parse(text: &str, what: impl Fn() -> String) -> Result<Self, KeyError> {
        let expected = "an Ed25519 public key (32 bytes)";
        let bytes = decode(text, &what, expected)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed { what: what(), expected })
    }

    /// Its base64 form.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Whether `signature` is this key's over exactly these bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

fn read_text(path: &Path) -> Result<String, KeyError> {
    fs::read_to_string(path).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

fn decode(text: &str, what: impl Fn() -> String, expected: &'static str) -> Result<Vec<u8>, KeyError> {
    STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed { what: what(), expected })
}

/// Writes beside the file and renames, so that a crash leaves the old key or the new one.
fn write_atomically(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| KeyError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_written_pair_reads_back_and_its_signature_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("secrets/a.key"), folder.path().join("keys/a.pub"));
        SigningKey::write_pair(&secret, &public).unwrap();
        let (secret_key, public_key) = (SigningKey::read(&secret).unwrap(), PublicKey::read(&public).unwrap());
        assert_eq!(secret_key.public(), public_key);
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let signature = secret_key.sign(b"restart");
        assert!(public_key.verify(b"restart", &signature));
        assert!(!public_key.verify(b"restart!", &signature));
        assert!(!public_key.verify(b"restart", &signature[..63]));
    }

    #[test]
    fn another_key_does_not_verify() {
        let (key, _) = SigningKey::generate().unwrap();
        let (other, _) = SigningKey::generate().unwrap();
        assert!(!other.public().verify(b"x", &key.sign(b"x")));
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let (key, pkcs8) = SigningKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.public().to_base64()));
        assert!(!shown.contains(&STANDARD.encode(pkcs8)));
    }

    #[test]
    fn a_malformed_key_is_named_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.pub");
        fs::write(&path, "AAAA").unwrap();
        let message = PublicKey::read(&path).unwrap_err().to_string();
        assert_eq!(message, format!("{}: not an Ed25519 public key (32 bytes) in base64", path.display()));
    }
}
