//! The export format as systemd documents and writes it, and octets that are none.

use proptest::prelude::*;

use super::*;
use crate::dialect::MAX_LINE_BYTES;

/// What `journalctl -o export` of systemd 252 prints.
const EXPORT: &[u8] = b"__CURSOR=s=bbaf;i=1f;b=0123;m=3e8;t=660d;x=e251\n\
    __REALTIME_TIMESTAMP=1795342608000123\n\
    __MONOTONIC_TIMESTAMP=1000\n\
    _BOOT_ID=0123456789abcdef0123456789abcdef\n\
    _HOSTNAME=mx\n\
    SYSLOG_IDENTIFIER=postfix/qmgr\n\
    SYSLOG_PID=812\n\
    _PID=1\n\
    MESSAGE=4F0A1B2C3D: removed\n\
    \n\
    __CURSOR=s=bbaf;i=20;b=0123;m=7d0;t=660e;x=3ea9\n\
    __REALTIME_TIMESTAMP=1795342609000123\n\
    _HOSTNAME=mx\n\
    _COMM=my prog\n\
    _PID=813\n\
    MESSAGE\n\x0a\0\0\0\0\0\0\0ab\ncd\xff\0efg\n\
    COREDUMP\n\x02\0\0\0\0\0\0\0\n\n\n\
    \n";

fn text(export: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Text::new(export).read_to_end(&mut out).unwrap();
    out
}

#[test]
fn each_entry_is_a_line_of_syslog() {
    let expected = b"2026-11-22T10:16:48.000123Z mx postfix/qmgr[812]: 4F0A1B2C3D: removed\n\
        2026-11-22T10:16:49.000123Z mx my_prog[813]: ab#012cd\xff\0efg\n";
    assert_eq!(String::from_utf8_lossy(&text(EXPORT)), String::from_utf8_lossy(expected));
}

#[test]
fn the_cursor_and_the_number_of_an_entry_are_known() {
    let mut decoder = Decoder::default();
    decoder.push(EXPORT);
    let Some(Piece::Entry(entry)) = decoder.next() else { panic!("an entry") };
    assert_eq!((entry.cursor.as_str(), entry.number()), ("s=bbaf;i=1f;b=0123;m=3e8;t=660d;x=e251", 0x1f));
}

#[test]
fn what_is_no_export_is_kept_as_it_came_and_the_next_entry_is_read() {
    let damaged = [b"not a field\n", EXPORT, b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n", EXPORT].concat();
    let text = String::from_utf8_lossy(&text(&damaged)).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "not a field");
    assert_eq!(lines.iter().filter(|line| line.ends_with("4F0A1B2C3D: removed")).count(), 2, "{text}");
    assert!(lines.iter().any(|line| line.starts_with("MESSAGE\\n")), "{text}");
}

#[test]
fn an_export_that_is_cut_off_says_so_after_its_whole_entries() {
    let mut out = Vec::new();
    let why = Text::new(&EXPORT[..EXPORT.len() - 30]).read_to_end(&mut out).unwrap_err();
    assert_eq!(
        why.to_string(),
        "the journal export is cut off in mid-entry; export it again, and what is new will be read"
    );
    assert_eq!(out.split(|byte| *byte == b'\n').count(), 2);
}

#[test]
fn a_message_of_any_size_takes_no_more_memory_than_the_longest_line() {
    let mut decoder = Decoder::default();
    decoder.push(b"__CURSOR=x\nMESSAGE\n\0\0\0\x10\0\0\0\0");
    for _ in 0..256 {
        decoder.push(&[b'y'; 1 << 20]);
    }
    decoder.push(b"\n\n");
    let Some(Piece::Entry(entry)) = decoder.next() else { panic!("an entry") };
    let mut line = Vec::new();
    entry.write_line(&mut line);
    assert!(line.len() > MAX_LINE_BYTES && line.len() < MAX_LINE_BYTES + 100);
}

proptest! {
    #[test]
    fn however_the_octets_come_the_pieces_are_the_same(
        noise in prop::collection::vec(any::<u8>(), 0..40),
        at in 0..EXPORT.len(),
        sizes in prop::collection::vec(1_usize..50, 1..5),
    ) {
        let octets = [&EXPORT[..at], &noise, &EXPORT[at..], b"\n\n"].concat();
        let pieces = |sizes: &[usize]| {
            let (mut decoder, mut rest, mut found) = (Decoder::default(), &octets[..], Vec::new());
            for size in sizes.iter().cycle() {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                decoder.push(now);
                found.extend(std::iter::from_fn(|| decoder.next()));
                rest = later;
                if rest.is_empty() {
                    return found;
                }
            }
            found
        };
        prop_assert_eq!(pieces(&sizes), pieces(&[octets.len()]));
    }
}
