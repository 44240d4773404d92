//! Fresh identities: of queue entries, of traces, of owners of leases.

use std::fmt::Write;

use aggregator::event::Time;

/// Random octets of the system.
///
/// # Errors
/// The system has none to give.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    Ok(octets)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// A queue id: the time in microseconds and 32 random bits, in hexadecimal. Never used again.
///
/// # Errors
/// See [`random`].
pub fn queue_id(now: Time) -> std::io::Result<String> {
    Ok(format!("{:013x}{}", now.0, hex(&random::<4>()?)))
}

/// A trace id: 128 random bits, in hexadecimal.
///
/// # Errors
/// See [`random`].
pub fn trace_id() -> std::io::Result<String> {
    Ok(hex(&random::<16>()?))
}
