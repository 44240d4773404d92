//! The links of DNSSEC that can be checked from outside, RFC 4034: a delegation, the zone's keys, the signature over
//! the zone's head.

use aggregator::event::Time;
use hickory_resolver::proto::dnssec::Verifier;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_resolver::proto::rr::{DNSClass, RData, Record, RecordType};

use super::Answer;

/// A signature with fewer days left should have been renewed.
pub(crate) const RENEW_DAYS: i64 = 3;

/// What the parent says of the zone's keys.
pub(crate) fn delegations(answer: &Answer) -> Vec<DS> {
    let ds = answer.records.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DS(ds)) => Some(ds.clone()),
        _ => None,
    });
    ds.collect()
}

/// The keys that sign a zone, each with its record.
pub(crate) fn zone_keys(answer: &Answer) -> Vec<(&Record, &DNSKEY)> {
    let keys = answer.records.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) if key.zone_key() && !key.revoke() => Some((record, key)),
        _ => None,
    });
    keys.collect()
}

/// The delegation that belongs to a key of the zone.
pub(crate) fn anchored<'a>(delegations: &'a [DS], keys: &[(&Record, &DNSKEY)]) -> Option<&'a DS> {
    delegations.iter().find(|ds| keys.iter().any(|(name, key)| ds.covers(&name.name, key).unwrap_or(false)))
}

/// The signatures over records of that type.
pub(crate) fn signatures(answer: &Answer, covered: RecordType) -> Vec<&RRSIG> {
    let signatures = answer.signatures.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) if signature.input().type_covered == covered => Some(signature),
        _ => None,
    });
    signatures.collect()
}

/// The signature that a key of the zone verifies.
pub(crate) fn verified<'a>(
    signatures: &[&'a RRSIG],
    records: &[Record],
    keys: &[(&Record, &DNSKEY)],
) -> Option<&'a RRSIG> {
    let head = records.first()?;
    signatures.iter().copied().find(|signature| {
        keys.iter().any(|(_, key)| {
            key.calculate_key_tag().is_ok_and(|tag| tag == signature.input().key_tag)
                && key.verify_rrsig(&head.name, DNSClass::IN, signature, records.iter()).is_ok()
        })
    })
}

/// How many seconds the longest of the signatures still holds; negative when all have expired.
///
/// Serial number arithmetic, RFC 4034 section 3.1.5: the difference is signed, so that 2106 is no end.
pub(crate) fn seconds_left(signatures: &[&RRSIG], now: Time) -> i64 {
    let now = now.seconds() as u32;
    let left = |signature: &&RRSIG| i64::from(signature.input().sig_expiration.get().wrapping_sub(now) as i32);
    signatures.iter().map(left).max().unwrap_or_default()
}
