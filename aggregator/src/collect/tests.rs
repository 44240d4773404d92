//! Rounds over a maildir on real files, with a shelf in the place of the intake.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::mask::Mask;
use crate::spool::Aside;

const REPORT: &str = "<feedback><report_metadata><org_name>o</org_name><report_id>1</report_id><date_range>\
    <begin>1795000000</begin></date_range></report_metadata><policy_published><domain>example.org</domain>\
    </policy_published><record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";

fn collector(mail: &Path, spool: &Path) -> Collector {
    let source = ["name = \"reports\"\ndone = \"delete\"\nmaildir = \"", mail.to_str().unwrap(), "\"\n"].concat();
    let shipping = Shipping {
        dir: spool.to_owned(),
        shipper: "mx.reports".into(),
        tenant: "default".into(),
        node: "mx".into(),
        intake: "http://127.0.0.1:1".into(),
        key: String::new(),
        max_bytes: u64::MAX,
        mask: Mask::default(),
    };
    Collector::open(toml::from_str(&source).unwrap(), String::new(), &shipping).unwrap()
}

fn maildir(messages: &[(&str, String)]) -> TempDir {
    let mail = TempDir::new().unwrap();
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir(mail.path().join(folder)).unwrap();
    }
    for (name, text) in messages {
        fs::write(mail.path().join("new").join(name), text).unwrap();
    }
    mail
}

/// A round, while `take` does something with every segment that is sealed.
async fn round(collector: &mut Collector, take: impl Fn(&Shelf, u64)) -> Result<Round, Error> {
    let shelf = collector.spool_shelf();
    let taking = async {
        loop {
            match shelf.oldest() {
                Some(sequence) => take(&shelf, sequence),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::select! {
        round = collector.round() => round,
        () = taking => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn no_message_is_deleted_after_a_restart_either_when_its_rows_were_set_aside() {
    let mail = maildir(&[("1.report", [REPORT, "</feedback>"].concat())]);
    let spool = TempDir::new().unwrap();
    let aside = |shelf: &Shelf, sequence| shelf.set_aside(sequence, Aside::Refused, "no").unwrap();
    let mut before = collector(mail.path(), spool.path());
    assert!(matches!(round(&mut before, aside).await, Err(Error::Aside(_))));
    drop(before);
    let mut after = collector(mail.path(), spool.path());
    assert!(matches!(round(&mut after, aside).await, Err(Error::Aside(_))));
    assert!(mail.path().join("new/1.report").exists());
    // A person has looked.
    fs::remove_file(spool.path().join("mx.reports/00000000000000000000.segment.refused")).unwrap();
    assert_eq!(round(&mut after, aside).await.unwrap().done, 1);
    assert!(!mail.path().join("new/1.report").exists());
}

#[tokio::test]
async fn a_report_that_was_read_in_part_is_shipped_and_its_message_stays() {
    let part = [REPORT, "<record><row><source_ip>x</source_ip><count>1</count></row></record></feedback>"].concat();
    let mail = maildir(&[("1.whole", [REPORT, "</feedback>"].concat()), ("2.part", part)]);
    let spool = TempDir::new().unwrap();
    let mut collector = collector(mail.path(), spool.path());
    let done = round(&mut collector, |shelf, sequence| {
        assert_eq!(shelf.open(sequence).unwrap().header.rows(), 2);
        shelf.remove(sequence).unwrap();
    });
    assert_eq!(done.await.unwrap(), Round { read: 2, reports: 2, refused: 0, done: 1 });
    assert!(mail.path().join("new/2.part").exists() && !mail.path().join("new/1.whole").exists());
}
