//! Webhooks, signed as Standard Webhooks prescribes: HMAC-SHA256 over `{id}.{timestamp}.{body}`, the id the same
//! over retries, so that a receiver may drop doubles.

use std::sync::Arc;

use aggregator::event::Time;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;

use super::{Channel, Kind, NotSent, Receipt, http_client};
use crate::config::{Config, Engineer, Fault, read_secret};
use crate::page::Page;

pub(super) const KIND: Kind = Kind { name: "webhook", open };

/// The shortest secret, in octets, that Standard Webhooks allows a sender to use.
const MIN_SECRET_BYTES: usize = 16;

struct Webhook {
    http: reqwest::Client,
    url: String,
    key: hmac::Key,
}

fn open(_: &Config, engineer: &Engineer, faults: &mut Vec<Fault>) -> Vec<Arc<dyn Channel>> {
    let Some(url) = &engineer.webhook_url else { return Vec::new() };
    let key = match &engineer.webhook_secret_file {
        Some(path) => read_secret(path).and_then(|text| secret(&text)),
        None => Err("a webhook needs a secret to sign with; name the file that holds it".to_owned()),
    };
    let made = key.and_then(|key| Ok((key, http_client().map_err(|error| error.to_string())?)));
    match made {
        Ok((key, http)) => vec![Arc::new(Webhook { http, url: url.clone(), key })],
        Err(message) => {
            faults.push(("webhook_secret_file".to_owned(), message));
            Vec::new()
        }
    }
}

/// `whsec_` and base64 of the key.
fn secret(text: &str) -> Result<hmac::Key, String> {
    let malformed = || format!("the secret is not \"whsec_\" and base64 of {MIN_SECRET_BYTES} octets or more");
    let encoded = text.strip_prefix("whsec_").ok_or_else(malformed)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| malformed())?;
    if bytes.len() < MIN_SECRET_BYTES {
        return Err(malformed());
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// The value of `webhook-signature`.
fn signature(key: &hmac::Key, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

impl Channel for Webhook {
    fn send<'a>(&'a self, page: &'a Page, now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&page.document).map_err(|error| NotSent::ForGood(error.to_string()))?;
            let timestamp = now.seconds();
            let request = self
                .http
                .post(&self.url)
                .header("content-type", "application/json")
                .header("webhook-id", &page.page_id)
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature(&self.key, &page.page_id, timestamp, &body))
                .body(body);
            // The URL of a hook is often its password: it stays out of messages.
            let answer = request
                .send()
                .await
                .map_err(|error| NotSent::ForNow(format!("the hook did not answer: {}", error.without_url())))?;
            match answer.status() {
                status if status.is_success() => Ok(Receipt(format!("HTTP {}", status.as_u16()))),
                StatusCode::GONE => Err(NotSent::ForGood("the hook answered 410: it is gone".to_owned())),
                // Whatever else it says: a person may mend it while the page is still worth something.
                status => Err(NotSent::ForNow(format!("the hook answered {}", status.as_u16()))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the Standard Webhooks specification's own libraries.
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        for text in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***", "whsec_c2hvcnQ="] {
            assert!(secret(text).unwrap_err().starts_with("the secret is not \"whsec_\""), "{text}");
        }
    }
}
