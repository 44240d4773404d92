//! Imports whose disk is full for a while.

use super::*;

#[test]
fn a_full_disk_makes_an_import_wait_and_loses_and_doubles_nothing() {
    let mut world = World::new();
    world.append("log", 20_000);
    let mut import = Import::open(&world.shipping("import"), "logs", World::options(), Time::now()).unwrap();
    let (faults, progress, shelf) = (import.faults(), import.progress(), import.shelf());
    let log = import.prepare(&world.path("log")).map_err(|done| format!("{done:?}")).unwrap();
    *faults.left.lock().unwrap() = Some(6);
    let reading = std::thread::spawn(move || import.read(vec![log], &CancellationToken::new()));
    let mut waited = None;
    for _ in 0..200 {
        waited = progress.waiting.now();
        if waited.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let full = waited.expect("it waits");
    assert_eq!(full.path, world.spools.path().join("import"));
    assert!(full.free_bytes.is_some());
    assert!(!reading.is_finished());
    *faults.left.lock().unwrap() = None;
    let done = reading.join().unwrap().unwrap();
    assert_eq!(states(&done), [&read(20_000, false)]);
    assert_eq!(progress.waiting.now(), None);
    world.ship(&shelf);
    world.assert_each_once();
}

#[test]
fn an_import_that_is_stopped_while_its_disk_is_full_reads_the_rest_next_time() {
    let mut world = World::new();
    world.append("log", 20_000);
    let mut import = Import::open(&world.shipping("import"), "logs", World::options(), Time::now()).unwrap();
    let (faults, progress, shelf) = (import.faults(), import.progress(), import.shelf());
    let log = import.prepare(&world.path("log")).map_err(|done| format!("{done:?}")).unwrap();
    *faults.left.lock().unwrap() = Some(6);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let reading = std::thread::spawn(move || import.read(vec![log], &stopped));
    while progress.waiting.now().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    stop.cancel();
    reading.join().unwrap().unwrap();
    *faults.left.lock().unwrap() = None;
    world.ship(&shelf);
    world.import(&["log"]);
    world.assert_each_once();
}
