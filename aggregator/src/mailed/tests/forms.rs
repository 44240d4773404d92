//! The liberties that reporters take.

use super::{read, rows};
use crate::event::Event;
use crate::mailed::Fault;

fn dmarc(record: &str) -> String {
    [
        "<feedback><report_metadata><org_name>r</org_name><date_range><begin>1795392000</begin><end>1795478399</end>\
         </date_range></report_metadata><policy_published><domain>example.org.</domain></policy_published>",
        record,
        "</feedback>",
    ]
    .concat()
}

#[test]
fn a_report_without_an_id_is_known_by_its_content() {
    let id = |count: &str| {
        let report = dmarc(&["<record><row><count>", count, "</count></row></record>"].concat());
        match read(report.as_bytes()).rows.remove(0) {
            Event::DmarcRow(row) => (row.report_id, row.event_id, row.domain),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(id("1"), id("1"));
    assert_ne!(id("1").1, id("2").1);
    assert!(id("1").0.starts_with("blake3:") && id("1").2 == "example.org");
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_the_others_stand() {
    let record = |count: &str, ip: &str| {
        format!("<record><row><source_ip>{ip}</source_ip><count>{count}</count></row></record>")
    };
    let records = [record("1", "192.0.2.1"), record("many", "192.0.2.2"), record("3", "nowhere"), record("4", "")];
    let reading = read(dmarc(&records.concat()).as_bytes());
    let places: Vec<(u32, u64)> = reading
        .rows
        .iter()
        .filter_map(|row| if let Event::DmarcRow(row) = row { Some((row.row, row.count)) } else { None })
        .collect();
    assert_eq!(places, [(0, 1), (3, 4)]);
    let told: Vec<String> = reading.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        told,
        [
            "record 1: says \"many\" for its count of messages, which cannot be; ask its sender for a correct report",
            "record 2: says \"nowhere\" for its source address, which cannot be; ask its sender for a correct report",
        ]
    );
}

#[test]
fn a_period_that_cannot_be_is_refused_and_so_is_a_report_without_its_domain() {
    let good = dmarc("<record><row><count>1</count></row></record>");
    for (from, to, fault) in [
        ("1795392000", "99999999999", Fault::value("begin of its period", "99999999999")),
        ("1795392000", "0", Fault::value("begin of its period", "0")),
        ("<begin>1795392000</begin>", "", Fault::Missing("period")),
        ("<domain>example.org.</domain>", "", Fault::Missing("domain (policy_published/domain)")),
    ] {
        let reading = read(good.replace(from, to).as_bytes());
        assert_eq!((rows(&reading).len(), reading.faults), (0, vec![fault]));
    }
}

#[test]
fn other_encodings_are_read() {
    let report = dmarc("<record><row><count>1</count></row></record>").replace(">r<", ">Bücher<");
    let latin: Vec<u8> = report.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let wide: Vec<u8> = std::iter::once(0xfeff).chain(report.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let marked = ["\u{feff}", &report].concat().into_bytes();
    for octets in [latin, wide, marked] {
        match read(&octets).rows.first() {
            Some(Event::DmarcRow(row)) => assert_eq!(row.organisation, "bücher"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sums_over_the_rows_of_a_tls_report_are_its_totals() {
    let sample = include_str!("../samples/tlsrpt.json").replace("5326", "\"5326\"");
    let mut sums = (0, 0);
    for row in read(sample.as_bytes()).rows {
        if let Event::TlsRptRow(row) = row {
            sums = (sums.0 + row.successful, sums.1 + row.failed);
        }
    }
    assert_eq!(sums, (5326, 303));
    let faulty = read(sample.replace("\"policies\"", "\"policies\": 1, \"x\"").as_bytes());
    assert!(matches!(faulty.faults[..], [Fault::Json(_)]), "{:?}", faulty.faults);
}

#[test]
fn addresses_of_other_scripts_are_read_in_both_their_forms() {
    let sample = include_str!("../samples/postfix-utf8.eml");
    let user = |text: &str| match read(text.as_bytes()).rows.first() {
        Some(Event::Bounce(row)) => row.rcpt_user.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(user(sample), "nobodyæ");
    assert_eq!(user(&sample.replace("utf-8; nobodyæ@", "utf-8; nobody\\x{E6}@")), "nobodyæ");
}
