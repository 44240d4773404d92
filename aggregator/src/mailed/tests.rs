//! Reports of every kind, exactly what they say, and what is refused.

mod bounds;
mod forms;

use super::*;

/// 2026-11-30, after all samples.
pub(super) const NOW: Time = Time(1_796_000_000_000_000);

pub(super) fn read(octets: &[u8]) -> Reading {
    Reader::default().read(octets, &Context { now: NOW, received: NOW })
}

pub(super) fn rows(reading: &Reading) -> Vec<String> {
    reading.rows.iter().map(|row| row.to_json().unwrap()).collect()
}

fn samples() -> Vec<std::path::PathBuf> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mailed/samples");
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end != "ndjson"));
    found.sort();
    found
}

#[test]
fn every_sample_makes_exactly_the_rows_that_lie_beside_it() {
    let (mut differ, mut count) = (Vec::new(), 0);
    for sample in samples() {
        let reading = read(&std::fs::read(&sample).unwrap());
        assert_eq!(reading.faults, [], "{}", sample.display());
        let mut found = rows(&reading).join("\n");
        if !found.is_empty() {
            found.push('\n');
        }
        count += 1;
        let name = sample.file_name().unwrap().to_string_lossy().into_owned();
        let expected = sample.with_file_name([&name, ".ndjson"].concat());
        if std::fs::read_to_string(&expected).unwrap_or_else(|_| "no such file".to_owned()) != found {
            differ.push(format!("{}:\n{found}", expected.display()));
        }
    }
    assert!(count > 20, "only {count} samples");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_report_gives_the_same_rows_however_it_is_packed() {
    let sample = |name: &str| {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mailed/samples");
        rows(&read(&std::fs::read(dir.join(name)).unwrap()))
    };
    let bare = sample("dmarc.xml");
    assert_eq!(bare.len(), 2);
    assert_eq!(sample("dmarc.xml.gz"), bare);
    assert_eq!(sample("dmarc-zip.eml"), bare);
    assert_eq!(sample("tlsrpt-gzip.eml"), sample("tlsrpt.json"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_octets_panic_and_every_row_is_json(
        which in 0..64_usize,
        cut in 0..4_000_usize,
        skip in 0..40_usize,
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        // A good report with a piece taken out and noise put in.
        let samples = samples();
        let octets = std::fs::read(&samples[which % samples.len()]).unwrap();
        let cut = cut.min(octets.len());
        let after = octets.get(cut + skip..).unwrap_or_default();
        for octets in [[&octets[..cut], &noise, after].concat(), noise] {
            for row in read(&octets).rows {
                proptest::prop_assert!(row.to_json().is_ok());
                proptest::prop_assert!(row.ts() <= NOW.plus_millis(3 * 86_400_000));
            }
        }
    }
}
