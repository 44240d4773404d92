//! Three watchers in this process, with real sockets, keys and histories.

use std::net::SocketAddr;
use std::time::Instant;

use aggregator::event::{Event, ProbeOutcome, VerdictState};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Cadence, Watch, Watcher};
use crate::control;
use crate::kind::Finding;
use crate::status::RegionStatus;

const NAMES: [&str; 3] = ["us-east", "no-oslo", "au-sydney"];
/// Far more than anything here takes: a bound, not a measure.
const BOUND: Duration = Duration::from_secs(30);

/// A site whose slots are far apart, so that only what a test asks for happens.
struct Site {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    listeners: Vec<Option<TcpListener>>,
    shutdown: CancellationToken,
}

struct Running {
    handle: Handle,
    judgements: mpsc::Receiver<Judgement>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    address: SocketAddr,
}

async fn site(target: SocketAddr) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let (mut listeners, mut watcher) = (Vec::new(), Vec::new());
    for name in NAMES {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (secret, public) = (folder.path().join(name).join("key"), folder.path().join(name).join("pub"));
        SigningKey::write_pair(&secret, &public).unwrap();
        watcher.push(Watcher {
            name: name.to_owned(),
            title: None,
            listen: listener.local_addr().unwrap(),
            url: None,
            public_key_file: public,
            key_file: Some(secret),
            certificate: None,
            certificate_key: None,
        });
        listeners.push(Some(listener));
    }
    let text = format!(
        "[[target]]\nname = \"t\"\n[[target.check]]\nname = \"tcp\"\nkind = \"tcp\"\nservice = \"door\"\n\
         cadence = \"light\"\nhost = \"127.0.0.1\"\nport = {}\n",
        target.port()
    );
    let mut config: Config = toml::from_str(&text).unwrap();
    config.watch = Watch { light_interval_s: 86_400, confirm_s: 1, watcher, ..Watch::default() };
    assert_eq!(config.check(), []);
    assert_eq!(config.target[0].check[0].cadence, Cadence::Light);
    Site { folder, config: Arc::new(config), listeners, shutdown: CancellationToken::new() }
}

impl Site {
    async fn start(&mut self, index: usize) -> Running {
        self.start_with(index, run::kinds()).await
    }

    async fn start_with(&mut self, index: usize, prober: run::Prober) -> Running {
        let (emitter, events) = Emitter::channel();
        let (sender, judgements) = mpsc::channel(64);
        let context = WatcherContext {
            data_dir: self.folder.path().join(NAMES[index]),
            emitter,
            judgements: sender,
            time_zone: Tz::UTC,
            identity: None,
            shutdown: self.shutdown.clone(),
        };
        let (handle, task) = super::start_with(self.config.clone(), NAMES[index], context, prober).await.unwrap();
        let listener = self.listeners[index].take().unwrap();
        let address = listener.local_addr().unwrap();
        let (router, stop) = (handle.router(), self.shutdown.clone());
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await });
        Running { handle, judgements, events, task, address }
    }
}

impl Running {
    async fn state(&mut self, wanted: VerdictState) -> crate::judgement::Change {
        let next = async {
            loop {
                if let Judgement::Changed(change) = self.judgements.recv().await.unwrap()
                    && change.to == wanted
                {
                    return *change;
                }
            }
        };
        tokio::time::timeout(BOUND, next).await.unwrap_or_else(|_| panic!("not {wanted} in time"))
    }

    /// Waits until the status says so of a region.
    async fn region(&self, vantage: usize, wanted: impl Fn(&RegionStatus) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.handle.status().await.unwrap();
            if wanted(&status.services[0].regions[vantage]) {
                return;
            }
            assert!(begun.elapsed() < BOUND, "{status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A door that opens for everybody while it is there.
async fn door(address: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} })
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_target_that_stops_is_down_by_quorum_and_up_again_when_it_starts() {
    let address = free_address().await;
    let open = door(address).await;
    let mut site = site(address).await;
    let mut watchers = vec![site.start(0).await, site.start(1).await, site.start(2).await];
    for watcher in &mut watchers {
        watcher.state(VerdictState::Up).await;
    }
    open.abort();
    let _ = open.await;
    let seen = watchers[1].handle.run_target("t").await;
    assert_eq!(seen.iter().map(|seen| seen.outcome).collect::<Vec<_>>(), [ProbeOutcome::Failed]);
    for watcher in &mut watchers {
        let change = watcher.state(VerdictState::Down).await;
        assert_eq!((change.since, change.assigned), (seen[0].ts, 3));
        assert!(change.voters.contains(&"no-oslo".to_owned()) && change.voters.len() >= 2, "{:?}", change.voters);
        assert!(change.last_good.is_some_and(|good| good < seen[0].ts));
    }
    let open = door(address).await;
    let ended = watchers[0].state(VerdictState::Up).await;
    assert!(ended.since > seen[0].ts && ended.from != VerdictState::Up);
    watchers[0].region(2, |region| region.outcome == Some(ProbeOutcome::Ok)).await;
    let body =
        reqwest::get(format!("http://{}/api/v1/status", watchers[0].address)).await.unwrap().bytes().await.unwrap();
    let status: Status = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.vantage.as_str(), status.services[0].title.as_str()), ("us-east", "door"));
    assert_eq!(status.services[0].outages[0].from, seen[0].ts);
    assert!(status.peers.values().all(Option::is_some));
    open.abort();
    site.shutdown.cancel();
    for mut watcher in watchers {
        tokio::time::timeout(BOUND, watcher.task).await.unwrap().unwrap();
        let mut tables = std::collections::BTreeSet::new();
        while let Ok(event) = watcher.events.try_recv() {
            tables.insert(event.table());
        }
        assert_eq!(tables.into_iter().collect::<Vec<_>>(), ["probe_runs", "probe_steps", "verdicts"]);
    }
}

#[tokio::test]
async fn a_watcher_that_comes_later_catches_up_and_a_restart_remembers() {
    let address = free_address().await;
    let open = door(address).await;
    let mut site = site(address).await;
    let first = site.start(0).await;
    first.region(0, |region| region.outcome == Some(ProbeOutcome::Ok)).await;
    let mut second = site.start(1).await;
    second.region(0, |region| region.outcome == Some(ProbeOutcome::Ok)).await;
    second.state(VerdictState::Up).await;
    let before = second.handle.status().await.unwrap();
    site.shutdown.cancel();
    tokio::time::timeout(BOUND, second.task).await.unwrap().unwrap();
    site.shutdown = CancellationToken::new();
    site.listeners[1] = Some(TcpListener::bind(free_address().await).await.unwrap());
    let mut again = site.start(1).await;
    assert_eq!(again.state(VerdictState::Up).await.from, VerdictState::Up, "the responder is told what stands");
    let after = again.handle.status().await.unwrap();
    assert_eq!(after.services[0].state, VerdictState::Up);
    assert_eq!(after.services[0].since, before.services[0].since);
    assert_eq!(after.services[0].regions[0].seen, before.services[0].regions[0].seen);
    open.abort();
    site.shutdown.cancel();
}

#[tokio::test]
async fn what_is_not_signed_by_a_watcher_of_the_site_is_refused() {
    let mut site = site(free_address().await).await;
    let running = site.start(0).await;
    let (stranger, _) = SigningKey::generate().unwrap();
    let sent_at = Time::now();
    let batch = Batch { from: "no-oslo".to_owned(), sent_at, epochs: Vec::new(), observations: Vec::new() };
    let peer = SigningKey::read(&site.folder.path().join("no-oslo/key")).unwrap();
    let cases = [(&stranger, 403, "signature: "), (&peer, 200, "{"), (&peer, 409, "replayed: ")];
    for (key, expected, word) in cases {
        let (body, signature) = batch.seal(key).unwrap();
        let answer = reqwest::Client::new()
            .post(format!("http://{}{}", running.address, exchange::PATH))
            .header(exchange::WATCHER_HEADER, "no-oslo")
            .header(exchange::SIGNATURE_HEADER, signature)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), expected);
        let said = answer.text().await.unwrap();
        assert!(said.starts_with(word), "{said}");
    }
    let (body, signature) = batch.seal(&peer).unwrap();
    let refusal = running.handle.open(("no-oslo", &signature), Some("us-east"), &body, sent_at).unwrap_err();
    assert_eq!((refusal.word(), refusal.to_string().contains("is for \"us-east\"")), ("certificate", true));
    // What a watcher with a wrong clock saw is no vote, here or there.
    let seen = Observation { vantage: "no-oslo".to_owned(), ..running.handle.run_target("t").await.remove(0) };
    let late = Batch { sent_at: sent_at.plus_millis(-30_000), observations: vec![seen], ..batch.clone() };
    let (body, signature) = late.seal(&peer).unwrap();
    let refusal = running.handle.open(("no-oslo", &signature), None, &body, sent_at).unwrap_err();
    let refused = Refusal::Clock { watcher: "no-oslo".to_owned(), offset_ms: -30_000, sent_at: late.sent_at };
    assert_eq!(refusal, refused);
    assert_eq!(running.handle.status().await.unwrap().services[0].regions[1].seen, None);
    let large = reqwest::Client::new()
        .post(format!("http://{}{}", running.address, exchange::PATH))
        .body(vec![b' '; exchange::MAX_BODY_BYTES + 1])
        .send()
        .await;
    assert!(large.is_err() || large.is_ok_and(|answer| answer.status() == 413));
    site.shutdown.cancel();
}

#[tokio::test]
async fn a_replay_says_nothing_of_the_clocks_and_what_a_clock_that_is_wrong_said_counts_once() {
    let mut site = site(free_address().await).await;
    let running = site.start(0).await;
    let peers = ["no-oslo", "au-sydney"];
    let now = Time::now();
    let say = |sent_at: Time, now: Time| {
        for peer in peers {
            let key = SigningKey::read(&site.folder.path().join(peer).join("key")).unwrap();
            let batch = Batch { from: peer.to_owned(), sent_at, epochs: Vec::new(), observations: Vec::new() };
            let (body, signature) = batch.seal(&key).unwrap();
            let _ = running.handle.open((peer, &signature), None, &body, now);
        }
    };
    let clock = |now: Time| running.handle.health.clock_fault(now);
    // What was heard in its time comes again, again and again.
    say(now, now);
    for seconds in [60, 120, 180] {
        let later = now.plus_millis(seconds * 1_000);
        say(now, later);
        assert_eq!(clock(later), None);
    }
    // What was refused counts, and no longer than any other word.
    let (ahead, later) = (now.plus_millis(400_000), now.plus_millis(300_000));
    say(ahead, later);
    assert!(clock(later).is_some());
    let after = later.plus_millis(3_600_000);
    say(ahead, after);
    assert_eq!(clock(after), None);
    site.shutdown.cancel();
}

#[tokio::test]
async fn a_kind_that_hangs_is_cut_and_one_that_breaks_off_does_not_vote() {
    let mut config = (*site(([127, 0, 0, 1], 9).into()).await.config).clone();
    config.target[0].check[0].timeout_ms = Some(10);
    let (target, check) = (&config.target[0], &config.target[0].check[0]);
    let hangs: run::Prober = Arc::new(|_, _, _| Box::pin(std::future::pending()));
    let health = Health::new(&config.watch);
    let third = run::Turn { slot: Some(3), ..run::Turn::default() };
    let seen = run::observe(&hangs, &health, &config, target, check, "us-east", third).await.seen;
    assert_eq!((seen.outcome, seen.slot), (ProbeOutcome::Failed, Some(3)));
    assert_eq!(seen.failed_step().map(|step| step.error_class.as_str()), Some("timeout"));
    let breaks: run::Prober = Arc::new(|_, _, _| Box::pin(async { panic!("a fault of the kind") }));
    let seen = run::observe(&breaks, &health, &config, target, check, "us-east", run::Turn::default()).await.seen;
    assert_eq!(seen.outcome, ProbeOutcome::VantageFault);
}

#[tokio::test]
async fn a_failure_of_the_vantages_own_network_does_not_vote() {
    let nowhere = free_address().await;
    let site = site(nowhere).await;
    let mut config = (*site.config).clone();
    config.watch.control = vec![nowhere.to_string()];
    let (target, check) = (&config.target[0], &config.target[0].check[0]);
    let (health, turn) = (Health::new(&config.watch), run::Turn::default());
    let seen = run::observe(&run::kinds(), &health, &config, target, check, "us-east", turn).await.seen;
    assert_eq!(seen.outcome, ProbeOutcome::VantageFault);
    assert_eq!(seen.failed_step().map(|step| step.name.as_str()), Some("tcp"));
}

#[tokio::test]
async fn a_network_that_was_away_during_a_run_and_is_back_at_its_end_does_not_vote() {
    let control = free_address().await;
    let mut config = (*site(([127, 0, 0, 1], 9).into()).await.config).clone();
    config.watch.control = vec![control.to_string()];
    let (target, check) = (&config.target[0], &config.target[0].check[0]);
    let hangs: run::Prober = Arc::new(|_, _, _| {
        Box::pin(async {
            tokio::time::sleep(control::LONG_RUN * 3).await;
            let step = crate::observation::Step {
                name: "tcp".to_owned(),
                result: aggregator::event::StepResult::Failed,
                error_class: "timeout".to_owned(),
                detail: String::new(),
                ms: 1.0,
            };
            crate::kind::Report { outcome: ProbeOutcome::Failed, steps: vec![step], total_ms: 1, findings: Vec::new() }
        })
    });
    let health = Health::new(&config.watch);
    let run = || run::observe(&hangs, &health, &config, target, check, "us-east", run::Turn::default());
    let back = async {
        tokio::time::sleep(control::LONG_RUN * 2).await;
        let open = door(control).await;
        move || open.abort()
    };
    let (observed, close) = tokio::join!(run(), back);
    assert_eq!(observed.seen.outcome, ProbeOutcome::VantageFault);
    assert_eq!(observed.seen.steps.last().map(|step| step.error_class.as_str()), Some("network"));
    // The next one finds a network that is well from its begin to its end, and accuses the target.
    assert_eq!(run().await.seen.outcome, ProbeOutcome::Failed);
    close();
}

/// The first run misses its message, and later ones find what they are told to wait for.
#[tokio::test]
async fn a_message_that_comes_after_all_is_told_beside_the_run_that_missed_it() {
    let mut site = site(free_address().await).await;
    let prober: run::Prober = Arc::new(|_, _, cx| {
        let late = |run: &Awaited| {
            let (run_id, ts) = (run.run_id.clone(), run.ts);
            Finding::Late { run_id, ts, delay_ms: 700_000, folder: "INBOX".to_owned() }
        };
        let findings: Vec<Finding> = cx.awaited.iter().map(late).collect();
        let (outcome, steps) = (ProbeOutcome::Ok, Vec::new());
        Box::pin(async move { crate::kind::Report { outcome, steps, total_ms: 1, findings } })
    });
    // The run that misses its message is the last of a watcher that stops: the next one remembers it.
    let misses: run::Prober = Arc::new(|_, _, _| {
        let (steps, findings) = (Vec::new(), Vec::new());
        let report = crate::kind::Report { outcome: ProbeOutcome::Missing, steps, total_ms: 1, findings };
        Box::pin(async move { report })
    });
    let running = site.start_with(0, misses).await;
    let missed = running.handle.run_target("t").await;
    assert_eq!(missed[0].outcome, ProbeOutcome::Missing);
    site.shutdown.cancel();
    tokio::time::timeout(BOUND, running.task).await.unwrap().unwrap();
    site.shutdown = CancellationToken::new();
    site.listeners[0] = Some(TcpListener::bind(free_address().await).await.unwrap());

    let mut running = site.start_with(0, prober).await;
    running.handle.run_target("t").await;
    running.handle.run_target("t").await;
    site.shutdown.cancel();
    tokio::time::timeout(BOUND, running.task).await.unwrap().unwrap();
    let mut late = Vec::new();
    while let Ok(event) = running.events.try_recv() {
        if let Event::ProbeRun(row) = event
            && row.outcome == ProbeOutcome::Late
        {
            late.push((row.run_id, row.ts, row.total_ms));
        }
    }
    let told: Vec<_> = late.iter().filter(|(run_id, ..)| *run_id == format!("{}-late", missed[0].run_id)).collect();
    assert_eq!(told, [&(format!("{}-late", missed[0].run_id), missed[0].ts, Some(700_000))], "{late:?}");

    let (history, _) = History::open(&site.folder.path().join(NAMES[0]).join("history.sqlite")).unwrap();
    assert_eq!(history.unanswered(NAMES[0], Time(0)).unwrap(), []);
    let kept = history.of_vantage(NAMES[0], 0, 100).unwrap();
    let first = kept.iter().find(|(_, seen)| seen.run_id == missed[0].run_id).unwrap();
    assert_eq!(first.1.outcome, ProbeOutcome::Missing, "what was said stands");
}

#[tokio::test]
async fn probe_once_runs_what_was_asked_for() {
    let address = free_address().await;
    let open = door(address).await;
    let config = site(address).await.config;
    let seen = probe_once(&config, "here", None, None).await;
    assert_eq!(
        seen.iter().map(|seen| (seen.check.as_str(), seen.outcome)).collect::<Vec<_>>(),
        [("tcp", ProbeOutcome::Ok)]
    );
    assert_eq!(probe_once(&config, "here", Some("t"), Some("other")).await, []);
    open.abort();
}
