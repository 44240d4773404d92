//! What JSON says otherwise than protobuf: 64-bit numbers as text, octets in base64 (OTLP 1.x, "JSON Protobuf
//! Encoding").

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number, or its digits as text.
pub(super) fn number<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr,
    D: Deserializer<'de>,
{
    struct Digits<T>(PhantomData<T>);

    impl<T: FromStr> Digits<T> {
        fn parse<E: Error>(text: &str) -> Result<T, E> {
            text.parse().map_err(|_| E::custom(["\"", text, "\" is not a number that fits"].concat()))
        }
    }

    impl<T: FromStr> Visitor<'_> for Digits<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or its digits as text")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Self::parse(text)
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            Self::parse(&number.to_string())
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            Self::parse(&number.to_string())
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
            Self::parse(&number.to_string())
        }
    }

    deserializer.deserialize_any(Digits(PhantomData))
}

/// Octets in base64.
pub(super) fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}
