//! Asking a time server, as a client of RFC 5905 that sets no clock (SNTP, section 14).
//!
//! The request says nothing of this host: its transmit timestamp is random, and the answer must repeat it, so that
//! nobody who does not see the request can answer it.

use std::io;
use std::time::Duration;

use aggregator::event::Time;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::NTP_PORT;

/// The header of RFC 5905 section 7.3. What may follow it is not asked for.
const HEADER: usize = 48;
/// No leap warning, version 4, mode 3 (client).
const REQUEST: u8 = 0x23;
/// 1 January 1970 in seconds of NTP's first era.
const UNIX_EPOCH: i64 = 2_208_988_800;
/// Seconds of an era.
const ERA: i64 = 1 << 32;

/// Why a server gave no time.
#[derive(Debug, thiserror::Error)]
pub enum NoTime {
    /// It could not be asked.
    #[error("it cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// It does not answer.
    #[error("it did not answer in time")]
    Timeout,
    /// It answered something else.
    #[error("its answer is none: {0}")]
    Malformed(&'static str),
}

/// The time of a server (`host` or `host:port`) minus this clock's, in milliseconds.
///
/// # Errors
/// See [`NoTime`].
pub async fn offset_ms(server: &str, limit: Duration) -> Result<i64, NoTime> {
    timeout(limit, ask(server)).await.map_err(|_| NoTime::Timeout)?
}

async fn ask(server: &str) -> Result<i64, NoTime> {
    let place = if super::is_place(server) { server.to_owned() } else { format!("{server}:{NTP_PORT}") };
    let address = tokio::net::lookup_host(place).await?.next().ok_or(NoTime::Malformed("no address"))?;
    let here = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(address).await?;
    let mut nonce = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| NoTime::Malformed("no random bytes to ask with"))?;
    let mut request = [0_u8; HEADER];
    request[0] = REQUEST;
    request[40..].copy_from_slice(&nonce);
    let sent = Time::now();
    socket.send(&request).await?;
    let mut answer = [0_u8; 512];
    let length = socket.recv(&mut answer).await?;
    let came = Time::now();
    let (received, transmitted) = times(answer.get(..length).unwrap_or_default(), nonce, came)?;
    // RFC 5905 section 8: half of the way there plus half of the way back.
    Ok(((received.0 - sent.0) / 2 + (transmitted.0 - came.0) / 2) / 1_000)
}

/// When the server got the request and when it sent its answer, by its clock.
fn times(answer: &[u8], nonce: [u8; 8], now: Time) -> Result<(Time, Time), NoTime> {
    let Some(header) = answer.get(..HEADER) else { return Err(NoTime::Malformed("it is too short")) };
    if header[0] & 7 != 4 {
        return Err(NoTime::Malformed("it is no server's (mode 4)"));
    }
    if header[24..32] != nonce {
        return Err(NoTime::Malformed("it does not repeat what was asked"));
    }
    if header[0] >> 6 == 3 || !(1..=15).contains(&header[1]) {
        return Err(NoTime::Malformed("the server's own clock is not set"));
    }
    Ok((timestamp(&header[32..40], now), timestamp(&header[40..48], now)))
}

/// A timestamp (RFC 5905 section 6) of the era that is nearest to `now`.
fn timestamp(bytes: &[u8], now: Time) -> Time {
    let word = bytes.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    let (seconds, fraction) = ((word >> 32) as i64 - UNIX_EPOCH, word & 0xffff_ffff);
    let eras = (now.seconds() - seconds + ERA / 2).div_euclid(ERA);
    Time((seconds + eras * ERA) * 1_000_000 + ((fraction * 1_000_000) >> 32) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(time: Time) -> [u8; 8] {
        let seconds = ((time.0.div_euclid(1_000_000) + UNIX_EPOCH).rem_euclid(ERA)) as u64;
        let fraction = ((time.0.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
        ((seconds << 32) | fraction).to_be_bytes()
    }

    fn answer(nonce: [u8; 8], time: Time) -> Vec<u8> {
        let mut answer = vec![0; HEADER];
        (answer[0], answer[1]) = (0x24, 2);
        answer[24..32].copy_from_slice(&nonce);
        answer[32..40].copy_from_slice(&written(time));
        answer[40..48].copy_from_slice(&written(time));
        answer
    }

    #[test]
    fn times_of_this_era_and_of_the_next_are_read() {
        // NTP's seconds begin anew on 7 February 2036.
        for seconds in [1_800_000_000, 2_085_978_495, 2_085_978_496, 2_300_000_000] {
            let time = Time::from_seconds(seconds).plus_millis(250);
            let (received, transmitted) = times(&answer([7; 8], time), [7; 8], time.plus_millis(90_000)).unwrap();
            assert!((received.0 - time.0).abs() <= 1 && received == transmitted, "{received} {time}");
        }
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_refused() {
        let now = Time::from_seconds(1_800_000_000);
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = answer([7; 8], now);
            change(&mut bytes);
            times(&bytes, [7; 8], now).unwrap_err().to_string()
        };
        for (change, expected) in [
            (&(|bytes: &mut Vec<u8>| bytes.truncate(47)) as &dyn Fn(&mut Vec<u8>), "it is too short"),
            (&|bytes| bytes[0] = 0x23, "it is no server's (mode 4)"),
            (&|bytes| bytes[24] = 8, "it does not repeat what was asked"),
            (&|bytes| bytes[0] = 0xe4, "the server's own clock is not set"),
            (&|bytes| bytes[1] = 0, "the server's own clock is not set"),
            (&|bytes| bytes[1] = 16, "the server's own clock is not set"),
        ] {
            assert_eq!(refused(change), format!("its answer is none: {expected}"));
        }
    }

    #[tokio::test]
    async fn a_server_an_hour_ahead_is_measured_and_a_silent_one_given_up() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = server.local_addr().unwrap().to_string();
        let silent = offset_ms(&place, Duration::from_millis(50)).await;
        assert!(matches!(silent, Err(NoTime::Timeout)), "{silent:?}");
        let serve = async {
            let mut request = [0; HEADER];
            // The first is the one that was not answered.
            let (_, _) = server.recv_from(&mut request).await.unwrap();
            let (_, client) = server.recv_from(&mut request).await.unwrap();
            assert_eq!(request[0], REQUEST);
            let nonce = request[40..48].try_into().unwrap();
            let ahead = Time::now().plus_millis(3_600_000);
            server.send_to(&answer(nonce, ahead), client).await.unwrap();
        };
        let (offset, ()) = tokio::join!(offset_ms(&place, Duration::from_secs(30)), serve);
        let off = offset.unwrap() - 3_600_000;
        assert!(off.abs() < 20_000, "{off} ms off");
    }
}
