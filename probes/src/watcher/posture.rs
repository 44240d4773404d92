//! The daily audit of the watched domains. Of all watchers one audits a domain, by a hash of both names: one writer, and
//! one day's look-ups. It keeps what it found on its own disk; neither the pages nor the comparison need ClickHouse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{EventId, Time};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Domain, Watch};
use crate::exchange;
use crate::history::{History, HistoryError};
use crate::posture::{self, Change, Report};
use crate::schedule::Slots;

/// A domain is audited this often.
pub const EVERY: Duration = Duration::from_secs(86_400);
/// An audit that could not begin or be kept is tried again after this time.
const RETRY: Duration = Duration::from_secs(3_600);
/// The clock may be set: it is looked at this often at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Changes of a domain that are told, the newest.
const TOLD_CHANGES: u32 = 50;

/// The last audit of a domain, as a watcher tells it: `GET /api/v1/posture`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audited {
    /// The watcher that made it.
    pub vantage: String,
    /// What it found.
    pub report: Report,
    /// When the audit before it was made.
    pub previous: Option<Time>,
    /// What has changed, newest first; changes of the last audit have its instant.
    pub changes: Vec<Change>,
}

/// How a domain is audited.
pub type Audit = Arc<dyn for<'a> Fn(&'a Domain, Time) -> BoxFuture<'a, Result<Report, posture::Error>> + Send + Sync>;

/// The audit of `varde audit`.
pub fn audit() -> Audit {
    Arc::new(|domain, now| Box::pin(async move { posture::audit(&domain.name, &domain.options(), now).await }))
}

/// The domains that are `me`'s to audit.
pub fn assigned(watch: &Watch, me: &str) -> Vec<Domain> {
    let owner = |domain: &Domain| {
        let watchers = watch.watcher.iter().map(|watcher| watcher.name.as_str());
        watchers.max_by_key(|name| EventId::of(&[domain.name.as_bytes(), name.as_bytes()]).0)
    };
    watch.domain.iter().filter(|domain| owner(domain) == Some(me)).cloned().collect()
}

/// The task that audits.
pub struct Auditor {
    /// The domains that are its own.
    pub domains: Vec<Domain>,
    /// The watcher's name.
    pub me: String,
    /// Where reports are kept.
    pub history: Arc<History>,
    /// Where events go.
    pub emitter: Emitter,
    /// The last audits, for who asks.
    pub told: watch::Sender<Arc<Vec<Audited>>>,
    /// How it is done.
    pub audit: Audit,
    /// When to stop.
    pub shutdown: CancellationToken,
}

impl Auditor {
    /// Audits until `shutdown`, one domain at a time. An audit that goes on then is given up.
    pub async fn run(self) {
        let mut retries = BTreeMap::new();
        self.tell().await;
        loop {
            let now = Time::now();
            let next = self.next(now, &retries).await;
            let pause = match next {
                Some((at, domain)) if at <= now => {
                    let audited = tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        audited = (self.audit)(domain, now) => audited,
                    };
                    match audited {
                        Ok(report) => {
                            match self.keep(report).await {
                                true => retries.remove(&domain.name),
                                false => retries.insert(domain.name.clone(), later(now, RETRY)),
                            };
                            self.tell().await;
                        }
                        Err(error) => {
                            tracing::warn!(domain = %domain.name, "the domain could not be audited: {error}; trying again in an hour");
                            retries.insert(domain.name.clone(), later(now, RETRY));
                        }
                    }
                    Duration::ZERO
                }
                Some((at, _)) => Duration::from_millis(at.millis_since(now) + 1).min(LONGEST_PAUSE),
                None => LONGEST_PAUSE,
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The domain whose turn comes first, and when.
    async fn next(&self, now: Time, retries: &BTreeMap<String, Time>) -> Option<(Time, &Domain)> {
        let mut first: Option<(Time, &Domain)> = None;
        for domain in &self.domains {
            let name = domain.name.clone();
            let last = self.ask(move |history| history.posture_reports(&name, exchange::horizon(now))).await;
            let at = match last {
                Some(reports) => due(&domain.name, reports.first().map(|report| report.at), now),
                None => later(now, RETRY),
            };
            // After the clock was set back, no retry is further away than it was to be.
            let retry = retries.get(&domain.name).map_or(Time(i64::MIN), |retry| later(now, RETRY).min(*retry));
            let at = at.max(retry);
            if first.is_none_or(|(before, _)| at < before) {
                first = Some((at, domain));
            }
        }
        first
    }

    /// Keeps a report, and tells ClickHouse of it and of what it changed. False: it is not on disk.
    async fn keep(&self, report: Report) -> bool {
        let (domain, until) = (report.domain.clone(), report.at);
        let before = self.ask(move |history| history.posture_reports(&domain, until)).await.unwrap_or_default();
        let changes = Change::between(&before, &report);
        for change in &changes {
            let (from, to) = (change.from.as_str(), change.to.as_str());
            tracing::info!(domain = %report.domain, check = %change.check, from, to, "posture changed");
            self.emitter.emit(change.to_event(&report.domain));
        }
        report.to_events().into_iter().for_each(|row| self.emitter.emit(row));
        self.ask(move |history| history.keep_posture(&report, &changes)).await.is_some()
    }

    /// Tells the last audits to who asks.
    async fn tell(&self) {
        let mut all = Vec::new();
        for domain in &self.domains {
            let (name, vantage) = (domain.name.clone(), self.me.clone());
            let read = move |history: &History| {
                let mut reports = history.posture_reports(&name, Time(i64::MAX))?.into_iter();
                let (last, previous) = (reports.next(), reports.next().map(|report| report.at));
                let changes = history.posture_changes(&name, TOLD_CHANGES)?;
                Ok(last.map(|report| Audited { vantage, report, previous, changes }))
            };
            all.extend(self.ask(read).await.flatten());
        }
        self.told.send_replace(Arc::new(all));
    }

    /// Asks the history off the runtime; a fault of the disk is said once, here.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Option<T> {
        let history = self.history.clone();
        let answer = tokio::task::spawn_blocking(move || question(&history)).await;
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::error!("{error}; audits of domains are neither kept nor compared until it is mended");
                None
            }
            Err(_) => None,
        }
    }
}

/// When a domain's turn comes: in its slot of the day; at once when it has never been audited, or missed its slot.
fn due(domain: &str, last: Option<Time>, now: Time) -> Time {
    let slots = Slots::new(domain, "posture", EVERY, 0, 1);
    let current = slots.current(now);
    match last {
        Some(last) if last >= slots.at(current) => slots.at(current + 1),
        Some(_) | None => now,
    }
}

fn later(now: Time, span: Duration) -> Time {
    now.plus_millis(span.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aggregator::event::Event;

    use super::*;
    use crate::config::Watcher;
    use crate::posture::{Check, Grade, Outcome};

    fn watch(watchers: &[&str], domains: usize) -> Watch {
        let watcher = |name: &&str| Watcher {
            name: (*name).to_owned(),
            title: None,
            listen: ([127, 0, 0, 1], 1).into(),
            url: None,
            public_key_file: "x".into(),
            key_file: None,
            certificate: None,
            certificate_key: None,
        };
        let domain = |n: usize| toml::from_str(&format!("name = \"d{n}.test\"")).unwrap();
        Watch {
            watcher: watchers.iter().map(watcher).collect(),
            domain: (0..domains).map(domain).collect(),
            ..Watch::default()
        }
    }

    #[test]
    fn every_domain_has_one_watcher_and_keeps_it_when_another_one_goes() {
        let names = ["us", "oslo", "sydney"];
        let of = |names: &[&str], me: &str| -> Vec<String> {
            assigned(&watch(names, 60), me).into_iter().map(|domain| domain.name).collect()
        };
        let shares = names.map(|me| of(&names, me));
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 60);
        assert!(shares.iter().all(|share| share.len() > 8), "{shares:?}");
        let without = of(&["us", "oslo"], "us");
        assert!(shares[0].iter().all(|domain| without.contains(domain)));
    }

    #[test]
    fn a_domain_is_audited_once_a_day_in_its_slot_and_at_once_when_that_was_missed() {
        let slots = Slots::new("a.test", "posture", EVERY, 0, 1);
        let begin = slots.at(20_000);
        let now = later(begin, Duration::from_secs(3_600));
        assert_eq!(due("a.test", None, now), now);
        assert_eq!(due("a.test", Some(begin), now), slots.at(20_001));
        assert_eq!(due("a.test", Some(Time(begin.0 - 1)), now), now);
    }

    #[tokio::test]
    async fn an_audit_is_kept_told_and_compared_with_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (history, _) = History::open(&folder.path().join("history.sqlite")).unwrap();
        let history = Arc::new(history);
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        let audit: Audit = Arc::new(move |domain, now| {
            let run = count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                let result = if run == 0 { Outcome::Pass } else { Outcome::Fail };
                let check = Check {
                    id: "spf.record".into(),
                    family: "spf".into(),
                    heading: "SPF".into(),
                    title: "There is one".into(),
                    result,
                    evidence: "seen".to_owned(),
                    why: "It matters.".into(),
                    remedy: String::new(),
                    weight: 9,
                };
                // Two days ago the first time: then the next one is due at once.
                let at = if run == 0 { now.plus_millis(-2 * 86_400_000) } else { now };
                Ok(Report { domain: domain.name.clone(), at, score: 50, grade: Grade::F, checks: vec![check] })
            })
        });
        let (emitter, mut events) = Emitter::channel();
        let (told, mut answers) = watch::channel(Arc::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let domains = watch(&["us"], 1).domain;
        let me = "us".to_owned();
        let auditor = Auditor { domains, me, history, emitter, told, audit, shutdown: shutdown.clone() };
        let task = tokio::spawn(auditor.run());
        let both = answers.wait_for(|all| all.first().is_some_and(|audited| audited.previous.is_some()));
        let all = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap().unwrap().clone();
        let [audited] = &all[..] else { panic!("{all:?}") };
        assert_eq!((audited.vantage.as_str(), audited.report.domain.as_str()), ("us", "d0.test"));
        let [change] = &audited.changes[..] else { panic!("{audited:?}") };
        assert_eq!((change.from, change.to, change.at), (Outcome::Pass, Outcome::Fail, audited.report.at));
        shutdown.cancel();
        task.await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 2, "once a day");
        let mut tables: Vec<&str> =
            std::iter::from_fn(|| events.try_recv().ok()).map(|event: Event| event.table()).collect();
        tables.sort_unstable();
        assert_eq!(tables, ["posture_changes", "posture_checks", "posture_checks"]);
    }

    #[tokio::test]
    async fn an_audit_that_cannot_be_kept_is_not_made_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.sqlite");
        let (history, _) = History::open(&file).unwrap();
        let full = "CREATE TRIGGER full BEFORE INSERT ON posture_reports BEGIN SELECT RAISE(FAIL, 'full'); END";
        rusqlite::Connection::open(&file).unwrap().execute_batch(full).unwrap();
        let (runs, shutdown) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (count, enough) = (runs.clone(), shutdown.clone());
        let audit: Audit = Arc::new(move |domain, at| {
            if count.fetch_add(1, Ordering::SeqCst) > 0 {
                enough.cancel();
            }
            let domain = domain.name.clone();
            Box::pin(async move { Ok(Report { domain, at, score: 50, grade: Grade::F, checks: Vec::new() }) })
        });
        let (emitter, _events) = Emitter::channel();
        let (told, _) = watch::channel(Arc::new(Vec::new()));
        let (domains, me) = (watch(&["us"], 1).domain, "us".to_owned());
        let history = Arc::new(history);
        let auditor = Auditor { domains, me, history, emitter, told, audit, shutdown: shutdown.clone() };
        let task = tokio::spawn(auditor.run());
        let again = tokio::time::timeout(Duration::from_secs(1), shutdown.cancelled()).await;
        shutdown.cancel();
        task.await.unwrap();
        assert!(again.is_err(), "audited {} times", runs.load(Ordering::SeqCst));
    }
}
