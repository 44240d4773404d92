//! Pages that outlive their process, and the ranks of their senders.

use std::sync::{Arc, Mutex};

use aggregator::emit::Emitter;
use aggregator::event::{Event, PageRow, PageState, Time};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::channel::{Channel, Channels, NotSent, Receipt};
use crate::incident::Book;
use crate::outbox::store::Outcome;
use crate::page::{Notice, Page};

const BEGIN: Time = Time(1_000_000_000_000);

fn page(person: &str) -> Page {
    let incident = Book::told_incident("Varde", "Test", "test", "Nothing is wrong.", &[], BEGIN);
    Page::write(&incident, Notice::Opened, (person, "webhook"), BEGIN, "http://operator/", |_| String::new())
}

/// A provider that refuses the first attempts and then takes everything.
struct Provider {
    refusals: usize,
    attempts: Mutex<Vec<String>>,
}

impl Channel for Provider {
    fn send<'a>(&'a self, page: &'a Page, _now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push(page.page_id.clone());
        let refused = attempts.len() <= self.refusals;
        Box::pin(
            async move { if refused { Err(NotSent::ForNow("503".to_owned())) } else { Ok(Receipt("200".to_owned())) } },
        )
    }
}

struct World {
    outbox: Outbox,
    provider: Arc<Provider>,
    events: mpsc::Receiver<Event>,
    delivered: mpsc::Receiver<Delivered>,
    _folder: tempfile::TempDir,
}

fn world(refusals: usize) -> World {
    let folder = tempfile::tempdir().unwrap();
    let provider = Arc::new(Provider { refusals, attempts: Mutex::default() });
    let (emitter, events) = Emitter::channel();
    let (sender, delivered) = mpsc::channel(16);
    let way: Arc<dyn Channel> = provider.clone();
    let parts = Parts {
        store: Store::open(&folder.path().join("outbox.sqlite")).unwrap(),
        channels: Channels::from([(("Ada".to_owned(), "webhook".to_owned()), way)]),
        stagger_ms: 0,
        delivered: sender,
        emitter,
    };
    let (outbox, _task) = start(parts, CancellationToken::new());
    World { outbox, provider, events, delivered, _folder: folder }
}

impl World {
    /// The next change of a page.
    async fn next_row(&mut self) -> PageRow {
        match self.events.recv().await {
            Some(Event::PageRow(row)) => row,
            other => panic!("{other:?} is no change of a page"),
        }
    }
}

#[test]
fn a_page_that_was_appended_survives_a_kill_before_and_during_sending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.sqlite");
    let ada = page("Ada");
    let later = BEGIN.plus_millis(20_000);
    // `forget` ends the process's use of the file without a shutdown, as a kill does.
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.append(std::slice::from_ref(&ada), BEGIN, BEGIN).unwrap().len(), 1);
    std::mem::forget(store);

    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.due(BEGIN, 10).unwrap(), std::slice::from_ref(&ada));
    let row = store.attempt(&ada.page_id, BEGIN, BEGIN.plus_millis(15_000)).unwrap().unwrap();
    assert_eq!((row.state, row.attempt, row.revision), (PageState::Sent, 1, 2));
    assert_eq!(store.due(BEGIN, 10).unwrap(), []);
    std::mem::forget(store);

    let mut store = Store::open(&path).unwrap();
    assert_eq!(
        store.due(later, 10).unwrap(),
        std::slice::from_ref(&ada),
        "an attempt of which nothing is known is made again"
    );
    store.finish(&ada.page_id, &Outcome::Delivered("200".to_owned()), later).unwrap();
    assert!(
        store.append(std::slice::from_ref(&ada), later, later).unwrap().is_empty(),
        "the same page is not written twice"
    );
    assert_eq!(store.next_at().unwrap(), None);
}

#[test]
fn a_page_that_nobody_takes_is_given_up_when_its_news_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("outbox.sqlite")).unwrap();
    let ada = page("Ada");
    store.append(std::slice::from_ref(&ada), BEGIN, BEGIN).unwrap();
    let mut finish = |now| {
        store.attempt(&ada.page_id, now, now).unwrap();
        store.finish(&ada.page_id, &Outcome::Again("503".to_owned()), now).unwrap().unwrap().state
    };
    assert_eq!(finish(BEGIN), PageState::Queued);
    assert_eq!(finish(BEGIN.plus_millis(LIFETIME_MS)), PageState::Failed);
}

#[test]
fn an_old_receipt_suppresses_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("outbox.sqlite")).unwrap();
    let ada = page("Ada");
    store.received_elsewhere(&ada.page_id, "200 (told by us-east)", BEGIN).unwrap();
    let later = BEGIN.plus_millis(11 * 60_000);
    store.append(std::slice::from_ref(&ada), later, later).unwrap();
    assert_eq!(store.due(later, 10).unwrap(), [ada]);
}

#[test]
fn a_damaged_outbox_is_set_aside_and_pages_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.sqlite");
    std::fs::write(&path, vec![0x5a; 8_192]).unwrap();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(std::fs::read(folder.path().join("outbox.sqlite.damaged-1")).unwrap(), vec![0x5a; 8_192]);
    assert_eq!(store.append(&[page("Ada")], BEGIN, BEGIN).unwrap().len(), 1);
}

#[test]
fn a_page_that_cannot_be_read_holds_no_other_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.sqlite");
    let mut store = Store::open(&path).unwrap();
    let [ada, bjarne, cecilie] = ["Ada", "Bjarne", "Cecilie"].map(page);
    store.append(&[ada.clone(), bjarne.clone(), cecilie.clone()], BEGIN, BEGIN).unwrap();
    let damage = rusqlite::Connection::open(&path).unwrap();
    damage.execute("UPDATE pages SET document = '{\"page' WHERE page_id = ?1", [&ada.page_id]).unwrap();
    damage.execute("UPDATE pages SET document = x'ff' WHERE page_id = ?1", [&bjarne.page_id]).unwrap();
    assert_eq!(store.due(BEGIN, 10).unwrap(), std::slice::from_ref(&cecilie));
    store.finish(&cecilie.page_id, &Outcome::Delivered("200".to_owned()), BEGIN).unwrap();
    assert_eq!(store.next_at().unwrap(), None, "what cannot be read is not tried again");
}

#[test]
fn every_ways_oldest_page_comes_before_the_second_of_any() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("outbox.sqlite")).unwrap();
    let numbered = |person: &str, number: i64| {
        let mut page = page(person);
        page.page_id = format!("{person}-{number:03}");
        page
    };
    let dead: Vec<Page> = (0..400).map(|number| numbered("Ada", number)).collect();
    store.append(&dead, BEGIN, BEGIN).unwrap();
    let later = BEGIN.plus_millis(1_000);
    store.append(&[numbered("Bjarne", 0)], later, later).unwrap();
    let due = store.due(later, 2).unwrap();
    let due: Vec<&str> = due.iter().map(|page| page.page_id.as_str()).collect();
    assert_eq!(due, ["Ada-000", "Bjarne-000", "Ada-001"]);
}

/// A provider that takes a connection and never answers.
struct Silent(Mutex<usize>);

impl Channel for Silent {
    fn send<'a>(&'a self, _page: &'a Page, _now: Time) -> BoxFuture<'a, Result<Receipt, NotSent>> {
        *self.0.lock().unwrap() += 1;
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_way_that_takes_nothing_leaves_room_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let silent = Arc::new(Silent(Mutex::new(0)));
    let provider = Arc::new(Provider { refusals: 0, attempts: Mutex::default() });
    let (emitter, _events) = Emitter::channel();
    let (sender, mut delivered) = mpsc::channel(16);
    let (dead, alive): (Arc<dyn Channel>, Arc<dyn Channel>) = (silent.clone(), provider.clone());
    let parts = Parts {
        store: Store::open(&folder.path().join("outbox.sqlite")).unwrap(),
        channels: Channels::from([
            (("Ada".to_owned(), "webhook".to_owned()), dead),
            (("Bjarne".to_owned(), "webhook".to_owned()), alive),
        ]),
        stagger_ms: 0,
        delivered: sender,
        emitter,
    };
    let (outbox, _task) = start(parts, CancellationToken::new());
    let pages = (0..1_000).map(|number| {
        let mut page = page("Ada");
        page.page_id = format!("dead-{number}");
        page
    });
    outbox.append(pages.collect()).await;
    outbox.append(vec![page("Bjarne")]).await;
    assert_eq!(delivered.recv().await.unwrap().page_id, page("Bjarne").page_id);
    assert!(*silent.0.lock().unwrap() <= 4, "a dead way has its own bound");
}

#[test]
fn the_pauses_between_attempts_grow_to_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("outbox.sqlite")).unwrap();
    let ada = page("Ada");
    store.append(std::slice::from_ref(&ada), BEGIN, BEGIN).unwrap();
    let mut now = BEGIN;
    let pauses = [(); 8].map(|()| {
        store.attempt(&ada.page_id, now, now.plus_millis(15_000)).unwrap();
        store.finish(&ada.page_id, &Outcome::Again("503".to_owned()), now).unwrap();
        let next = store.next_at().unwrap().unwrap();
        let pause = next.millis_since(now) / 1_000;
        now = next;
        pause
    });
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_later_watcher_waits_its_turn_unless_a_provider_has_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("outbox.sqlite")).unwrap();
    let turn = BEGIN.plus_millis(15_000);
    let [first, second, third] = ["Ada", "Bjarne", "Cecilie"].map(page);
    // The receipt of the first comes before this watcher has written the page, that of the second after it.
    store.received_elsewhere(&first.page_id, "200 (told by us-east)", BEGIN).unwrap();
    let rows = store.append(&[first.clone(), second.clone(), third.clone()], BEGIN, turn).unwrap();
    let delivered: Vec<&str> =
        rows.iter().filter(|row| row.state == PageState::Delivered).map(|row| row.page_id.as_str()).collect();
    assert_eq!(delivered, [first.page_id.as_str()]);
    let row = store.received_elsewhere(&second.page_id, "200 (told by us-east)", BEGIN).unwrap().unwrap();
    assert_eq!((row.state, row.receipt.as_str()), (PageState::Delivered, "200 (told by us-east)"));

    assert_eq!(store.due(turn.plus_millis(-1), 10).unwrap(), []);
    assert_eq!(store.due(turn, 10).unwrap(), [third], "nobody's provider has it: its turn has come");
}

#[tokio::test]
async fn a_refused_page_is_sent_again_with_one_identity_and_the_peers_learn_of_the_receipt() {
    let mut world = world(1);
    world.outbox.append(vec![page("Ada")]).await;
    let delivered = world.delivered.recv().await.unwrap();
    assert_eq!(delivered, Delivered { page_id: page("Ada").page_id, receipt: "200".to_owned() });
    assert_eq!(*world.provider.attempts.lock().unwrap(), [page("Ada").page_id, page("Ada").page_id]);
    let mut states = Vec::new();
    while states.last() != Some(&("delivered", 2)) {
        let row = world.next_row().await;
        states.push((row.state.as_str(), row.attempt));
    }
    assert_eq!(states, [("queued", 0), ("sent", 1), ("queued", 1), ("sent", 2), ("delivered", 2)]);
}

#[tokio::test]
async fn a_channel_that_is_gone_fails_for_good_and_an_answer_ends_the_retries() {
    let mut world = world(usize::MAX);
    world.outbox.append(vec![page("Bjarne")]).await;
    let mut row = world.next_row().await;
    while row.state != PageState::Failed {
        row = world.next_row().await;
    }
    assert_eq!(row.receipt, "this channel is no longer configured");

    world.outbox.append(vec![page("Ada")]).await;
    let incident = page("Ada").document.data.incident;
    world.outbox.acknowledged(incident.clone(), "Ada".to_owned()).await;
    while row.state != PageState::Acknowledged {
        row = world.next_row().await;
    }
    let to = world.outbox.addressee(page("Ada").page_id).await;
    assert_eq!(to, Some(Addressee { incident, person: "Ada".to_owned() }));
}
