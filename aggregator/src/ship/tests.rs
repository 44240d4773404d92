//! From an emitter through a real intake to a ClickHouse that fails in every way it can.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::event::{RawLine, Time};
use crate::intake::fake::{Fake, Insert};
use crate::intake::tests::start as start_intake;

const QUICK: Pace = Pace {
    seal: Duration::from_millis(5),
    seal_in_backlog: Duration::from_millis(5),
    retry_first: Duration::from_millis(1),
    retry_max: Duration::from_millis(5),
    last_events: Duration::from_millis(20),
    last_ship: Duration::from_millis(500),
};

fn shipping(dir: &Path, intake: &str, key: &str) -> Shipping {
    Shipping {
        dir: dir.to_owned(),
        shipper: "test".into(),
        tenant: "default".into(),
        node: "n".into(),
        intake: intake.to_owned(),
        key: key.to_owned(),
        max_bytes: u64::MAX,
        mask: crate::mask::Mask::default(),
    }
}

fn line(text: &str) -> RawLine {
    RawLine { ts: Time::from_seconds(1), line: text.into(), ..RawLine::default() }
}

/// Which of the words are in what ClickHouse stored, and how many inserts stored something.
fn stored<'a>(fake: &Fake, words: &[&'a str]) -> (BTreeSet<&'a str>, usize) {
    let stored = fake.stored.lock().unwrap();
    let has = |word: &&&str| stored.values().any(|body| memchr::memmem::find(body, word.as_bytes()).is_some());
    (words.iter().filter(has).copied().collect(), stored.len())
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), patience).await.is_ok(), "waited in vain: {what}");
}

#[tokio::test]
async fn a_block_is_sent_again_with_its_token_until_it_is_acknowledged() {
    let (dir, (fake, client)) = (TempDir::new().unwrap(), Fake::start().await);
    fake.then(&[Insert::Fails, Insert::StoresAndFallsSilent, Insert::Fails]);
    let (intake, _stop) = start_intake(client).await;
    let shutdown = CancellationToken::new();
    let (emitter, task) = start_at(shipping(dir.path(), &intake, "the-key"), QUICK, shutdown.clone()).await.unwrap();
    emitter.emit(line("first"));
    until("four tries", || fake.seen().len() == 4).await;
    emitter.emit(line("second"));
    until("both are stored", || stored(&fake, &["first", "second"]).0.len() == 2).await;
    let tokens: BTreeSet<_> =
        fake.seen().iter().take(4).map(|seen| seen.settings["insert_deduplication_token"].clone()).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(stored(&fake, &[]).1, 2, "two blocks, each once");
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_block_that_is_refused_for_good_is_set_aside_named_and_the_next_goes_on() {
    let (dir, (fake, client)) = (TempDir::new().unwrap(), Fake::start().await);
    fake.then(&[Insert::RefusesData]);
    let (intake, _stop) = start_intake(client).await;
    let shutdown = CancellationToken::new();
    let (emitter, task) = start_at(shipping(dir.path(), &intake, "the-key"), QUICK, shutdown.clone()).await.unwrap();
    emitter.emit(line("poison"));
    // It is an event too: the note of the refusal names the file.
    until("the refusal is an event", || stored(&fake, &["00000000000000000000.segment.refused"]).0.len() == 1).await;
    assert!(dir.path().join("test/00000000000000000000.segment.refused").exists());
    assert!(stored(&fake, &["poison"]).0.is_empty());
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn events_without_an_intake_or_with_a_wrong_key_stay_on_disk_and_go_out_after_the_restart() {
    let (dir, (fake, client)) = (TempDir::new().unwrap(), Fake::start().await);
    let (intake, _stop) = start_intake(client).await;
    let words = ["nobody there", "wrong key", "at last"];
    for (word, url, key) in
        [(words[0], "http://127.0.0.1:1", "the-key"), (words[1], &intake, "another"), (words[2], &intake, "the-key")]
    {
        let shutdown = CancellationToken::new();
        let (emitter, task) = start_at(shipping(dir.path(), url, key), QUICK, shutdown.clone()).await.unwrap();
        emitter.emit(line(word));
        if word == words[2] {
            until("all are stored", || stored(&fake, &words).0.len() == 3).await;
        } else {
            assert_eq!(stored(&fake, &words).1, 0);
        }
        shutdown.cancel();
        task.await.unwrap();
    }
    let left: Vec<_> =
        std::fs::read_dir(dir.path().join("test")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("segment")), "{left:?}");
}
