//! Bombs and what else is refused, each by the name of its bound.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::{read, rows};
use crate::mailed::{Bound, Fault};

const BEGIN: &str = "<feedback><report_metadata><org_name>r</org_name><report_id>1</report_id><date_range>\
    <begin>1795392000</begin><end>1795478399</end></date_range></report_metadata>\
    <policy_published><domain>example.org</domain></policy_published>";
const RECORD: &str = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";

/// What is the only fault of a report that gave no row.
fn fault_of(octets: &[u8]) -> Fault {
    let mut reading = read(octets);
    assert_eq!(rows(&reading), [""; 0]);
    assert_eq!(reading.faults.len(), 1, "{:?}", reading.faults);
    reading.faults.remove(0)
}

fn gzip(parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    parts.for_each(|part| gzip.write_all(&part).unwrap());
    gzip.finish().unwrap()
}

/// A zip archive of deflated members, each at its place, with the octets that its directory points to.
fn zip(members: &[(&[u8], usize)], bodies: &[u8], crc: u32) -> Vec<u8> {
    let mut archive = bodies.to_vec();
    let start = archive.len() as u32;
    for (packed, at) in members {
        archive.extend_from_slice(b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0");
        archive.extend_from_slice(&crc.to_le_bytes());
        archive.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        archive.extend_from_slice(&[0; 4]);
        archive.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        archive.extend_from_slice(&(*at as u32).to_le_bytes());
        archive.push(b'a');
    }
    let size = archive.len() as u32 - start;
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&(members.len() as u16).to_le_bytes());
    archive.extend_from_slice(&(members.len() as u16).to_le_bytes());
    archive.extend_from_slice(&size.to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

fn local(packed: &[u8]) -> Vec<u8> {
    let mut entry = b"PK\x03\x04\x14\0\0\0\x08\0".to_vec();
    entry.extend_from_slice(&[0; 16]);
    entry.extend_from_slice(&[1, 0, 0, 0, b'a']);
    entry.extend_from_slice(packed);
    entry
}

fn deflated(octets: &[u8]) -> Vec<u8> {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    deflate.write_all(octets).unwrap();
    deflate.finish().unwrap()
}

fn crc(octets: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(octets);
    crc.sum()
}

#[test]
fn a_gzip_bomb_is_refused_by_its_ratio_before_it_is_unpacked() {
    let blanks = std::iter::repeat_n(vec![b' '; 1 << 20], 100);
    let bomb = gzip(std::iter::once(BEGIN.as_bytes().to_vec()).chain(blanks));
    assert!(bomb.len() < 150 << 10, "{}", bomb.len());
    assert_eq!(fault_of(&bomb), Fault::Exceeds(Bound::UnpackRatio));
}

#[test]
fn what_unpacks_to_more_than_is_taken_is_refused_also_at_a_modest_ratio() {
    let mut seed = 1_u32;
    let mut noise = || {
        let text = (0..1 << 18).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (seed >> 28) as u8
        });
        [b"<x>".to_vec(), text.collect(), b"</x>".to_vec()].concat()
    };
    let bomb = gzip(std::iter::once(BEGIN.as_bytes().to_vec()).chain((0..300).map(|_| noise())));
    assert_eq!(fault_of(&bomb), Fault::Exceeds(Bound::UnpackedBytes));
}

#[test]
fn a_zip_archive_is_refused_for_members_that_overlap_or_are_too_many_or_lie() {
    let report = [BEGIN, RECORD, "</feedback>"].concat();
    let packed = deflated(report.as_bytes());
    let bodies = local(&packed);
    let good = crc(report.as_bytes());
    assert_eq!(rows(&read(&zip(&[(&packed, 0)], &bodies, good))).len(), 1, "one that is sound");
    assert_eq!(
        fault_of(&zip(&[(&packed, 0), (&packed, 0)], &bodies, good)),
        Fault::Archive("its members overlap, as those of a bomb do")
    );
    assert_eq!(fault_of(&zip(&[(packed.as_slice(), 0); 33], &bodies, good)), Fault::Exceeds(Bound::ZipEntries));
    assert_eq!(
        fault_of(&zip(&[(&packed, 0)], &bodies, good + 1)),
        Fault::Archive("a member is not what its checksum says")
    );
    let blanks = [BEGIN.as_bytes(), &vec![b' '; 80 << 20]].concat();
    let packed = deflated(&blanks);
    let bomb = zip(&[(&packed, 0)], &local(&packed), 0);
    assert_eq!(fault_of(&bomb), Fault::Exceeds(Bound::UnpackRatio));
}

#[test]
fn entities_and_document_types_are_refused_and_expand_to_nothing() {
    let laughs = "<?xml version=\"1.0\"?><!DOCTYPE feedback [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><feedback>&b;</feedback>";
    assert_eq!(fault_of(laughs.as_bytes()), Fault::Doctype);
    let outside = "<?xml version=\"1.0\"?><!DOCTYPE feedback SYSTEM \"file:///etc/passwd\"><feedback/>";
    assert_eq!(fault_of(outside.as_bytes()), Fault::Doctype);
    let undefined = ["<feedback><report_metadata><org_name>&b;</org_name></report_metadata></feedback>"].concat();
    assert_eq!(fault_of(undefined.as_bytes()), Fault::Entity("b".to_owned()));
}

#[test]
fn xml_is_bounded_in_depth_text_and_records_and_must_end() {
    let deep = ["<feedback>".to_owned(), "<a>".repeat(100_000)].concat();
    assert_eq!(fault_of(deep.as_bytes()), Fault::Exceeds(Bound::XmlDepth));
    let long =
        ["<feedback><report_metadata><org_name>", &"x".repeat(1 << 20), "</org_name></report_metadata></feedback>"];
    assert_eq!(fault_of(long.concat().as_bytes()), Fault::Exceeds(Bound::TextBytes));
    let tag = ["<feedback><a b=\"", &"x".repeat(1 << 20), "\"/></feedback>"].concat();
    assert_eq!(fault_of(tag.as_bytes()), Fault::Exceeds(Bound::TextBytes));
    let cut = [BEGIN, RECORD].concat();
    assert!(matches!(fault_of(cut.as_bytes()), Fault::Xml { .. }));
    let crossed = [BEGIN, "<record></row></record></feedback>"].concat();
    assert!(matches!(fault_of(crossed.as_bytes()), Fault::Xml { .. }));
}

#[test]
fn a_million_records_are_refused_and_as_many_as_are_taken_are_read() {
    // Short enough to be within the bound of octets.
    let short = "<record><row><count>1</count></row></record>";
    let many = [BEGIN.to_owned(), short.repeat(1_000_000), "</feedback>".to_owned()].concat();
    assert_eq!(fault_of(many.as_bytes()), Fault::Exceeds(Bound::Records));
    let most = [BEGIN.to_owned(), short.repeat(Bound::Records.limit() as usize), "</feedback>".to_owned()].concat();
    let reading = read(most.as_bytes());
    assert_eq!((reading.rows.len() as u64, reading.faults.len()), (Bound::Records.limit(), 0));
}

#[test]
fn a_message_is_bounded_in_octets_parts_depth_and_header() {
    let head = "From: a@example.org\nTo: b@example.org\n";
    let nested: String =
        (0..50).map(|depth| format!("Content-Type: multipart/mixed; boundary=\"b{depth}\"\n\n--b{depth}\n")).collect();
    assert_eq!(fault_of([head, &nested].concat().as_bytes()), Fault::Exceeds(Bound::MimeDepth));
    let parts =
        [head, "Content-Type: multipart/mixed; boundary=b\n\n", &"--b\n\nx\n".repeat(10_000), "--b--\n"].concat();
    assert_eq!(fault_of(parts.as_bytes()), Fault::Exceeds(Bound::MimeParts));
    let long = [head, &"X-A: b\n".repeat(100_000), "\n"].concat();
    assert_eq!(fault_of(long.as_bytes()), Fault::Exceeds(Bound::HeaderBytes));
    let large = [head, "\n", &" ".repeat(65 << 20)].concat();
    assert_eq!(fault_of(large.as_bytes()), Fault::Exceeds(Bound::MessageBytes));
    // Enclosed messages are not gone into: no depth of them is a danger.
    let enclosed = [head, &"Content-Type: message/rfc822\n\n".repeat(200_000)].concat();
    assert_eq!(read(enclosed.as_bytes()).kind, None);
}

#[test]
fn a_bounce_with_too_many_recipients_is_refused() {
    let head = "From: MAILER-DAEMON@example.net\nTo: a@example.org\nSubject: Undelivered\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n";
    let block = "Final-Recipient: rfc822; x@example.net\nAction: failed\nStatus: 5.1.1\n\n";
    let many = [head, &block.repeat(10_001), "--b--\n"].concat();
    assert_eq!(fault_of(many.as_bytes()), Fault::Exceeds(Bound::Recipients));
}

#[test]
fn what_all_rows_of_a_report_repeat_is_bounded_together() {
    let long = "x".repeat(8_000);
    let tags: String =
        ["p", "sp", "np", "adkim", "aspf", "pct", "fo"].map(|tag| format!("<{tag}>{long}</{tag}>")).concat();
    let head = BEGIN.replace("<org_name>r<", &format!("<org_name>{long}<")).replace("</policy_published>", &tags);
    let report = |records: usize| [&head, "</policy_published>", &RECORD.repeat(records), "</feedback>"].concat();
    let one = rows(&read(report(1).as_bytes()));
    assert!(one.len() == 1 && one[0].len() < 1_500, "{}", one[0].len());
    let many = gzip(std::iter::once(report(90_000).into_bytes()));
    assert!(many.len() < 64 << 10, "{}", many.len());
    assert_eq!(fault_of(&many), Fault::Exceeds(Bound::RepeatedBytes));
}

#[test]
fn the_bounds_hold_for_all_parts_of_a_message_together() {
    let head = "From: a@example.org\nTo: b@example.org\nContent-Type: multipart/mixed; boundary=b\n\n";
    let short = "<record><row><count>1</count></row></record>";
    let part = ["--b\nContent-Type: text/xml\n\n", BEGIN, &short.repeat(60_000), "</feedback>\n"].concat();
    assert_eq!(rows(&read([head, &part, "--b--\n"].concat().as_bytes())).len(), 60_000);
    assert_eq!(fault_of([head, &part, &part, "--b--\n"].concat().as_bytes()), Fault::Exceeds(Bound::Records));
    let noise = (0..3 << 20).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 27) as u8 + b'a');
    let text = std::iter::repeat_n(noise.collect::<Vec<_>>(), 12);
    let packed = gzip([b"<feedback><x>".to_vec()].into_iter().chain(text));
    let mut left = Bound::UnpackedBytes.limit();
    assert!(crate::mailed::container::unpack(&packed, &mut left).is_ok());
    let again = crate::mailed::container::unpack(&packed, &mut left);
    assert_eq!(again.map(|found| found.len()), Err(Fault::Exceeds(Bound::UnpackedBytes)));
}

#[test]
fn lists_of_nothing_are_refused_before_they_become_memory() {
    let head = "{\"organization-name\":\"o\",\"date-range\":{\"start-datetime\":\"2026-11-20T00:00:00Z\"},\
        \"report-id\":\"1\",\"policies\":[{\"policy\":{\"policy-domain\":\"example.org\"},\"failure-details\":[{}";
    let report = |count: usize| [head, &",{}".repeat(count), "]}]}"].concat();
    assert_eq!(rows(&read(report(1).as_bytes())).len(), 3);
    assert_eq!(fault_of(report(1_000_000).as_bytes()), Fault::Exceeds(Bound::JsonElements));
    assert_eq!(fault_of(report(100_000).as_bytes()), Fault::Exceeds(Bound::Records));
    let blocks = "a:\n\n".repeat(10_001);
    assert_eq!(crate::mailed::fields::blocks(blocks.as_bytes()).err(), Some(Fault::Exceeds(Bound::Recipients)));
}

#[test]
fn a_refusal_names_the_bound_and_what_to_do() {
    assert_eq!(
        Fault::Exceeds(Bound::UnpackRatio).to_string(),
        "has more than 400 unpacked octets per packed octet, so it is refused; look at it by hand, and ask its sender \
         if it is genuine"
    );
}
