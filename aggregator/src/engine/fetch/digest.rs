//! Whether a file is the one that was pinned.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use base64::Engine as _;

use super::{FetchOptions, Phase};

/// The digest that a file must have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// SHA-512 in Base64, the form of npm's `integrity`.
    Sha512Base64(&'static str),
    /// SHA-256 in hexadecimal, the form of release pages.
    Sha256Hex(&'static str),
}

/// Reads the file and compares.
pub(super) fn check(file: &Path, expected: Expected, options: &FetchOptions) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let total = file.metadata()?.len();
    let mut context = Context::new(match expected {
        Expected::Sha512Base64(_) => &SHA512,
        Expected::Sha256Hex(_) => &SHA256,
    });
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        context.update(&buffer[..length]);
        done += length as u64;
        options.tell(Phase::Check, done, Some(total));
    }
    let digest = context.finish();
    Ok(match expected {
        Expected::Sha512Base64(text) => base64::engine::general_purpose::STANDARD.encode(digest.as_ref()) == text,
        Expected::Sha256Hex(text) => hex(digest.as_ref()) == text,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(n.into(), 16)).collect()
}
