//! Samples of the host's resources, as events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aggregator::emit::Emitter;
use aggregator::event::{ResourceSample, Time};
use tokio_util::sync::CancellationToken;

/// Emits a sample every `every` until `shutdown`.
pub(super) async fn run(every: Duration, data_dir: PathBuf, emitter: Emitter, shutdown: CancellationToken) {
    let mut before = cpu_ticks();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let after = cpu_ticks();
        emitter.emit(sample(&data_dir, busy_share(before, after), Time::now()));
        before = after;
    }
}

fn sample(data_dir: &Path, cpu: Option<f32>, now: Time) -> ResourceSample {
    let (disk, inodes) = rustix::fs::statvfs(data_dir).map_or((None, None), |disk| {
        (share_used(disk.f_bavail, disk.f_blocks), share_used(disk.f_favail, disk.f_files))
    });
    ResourceSample {
        ts: now,
        cpu,
        memory: memory_share(&read("meminfo")),
        disk,
        inodes,
        fds: read("sys/fs/file-nr").split_whitespace().next().and_then(|count| count.parse().ok()),
        psi_cpu: some_avg10(&read("pressure/cpu")),
        psi_memory: some_avg10(&read("pressure/memory")),
        psi_io: some_avg10(&read("pressure/io")),
        ..ResourceSample::default()
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(name)).unwrap_or_default()
}

/// Ticks of all processors since the start: (idle, all).
fn cpu_ticks() -> Option<(u64, u64)> {
    parse_ticks(&read("stat"))
}

fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    let ticks: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time already.
    let all = ticks.iter().take(8).sum();
    Some((ticks.get(3)? + ticks.get(4)?, all))
}

fn busy_share(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<f32> {
    let ((idle_before, all_before), (idle, all)) = (before?, after?);
    share_used(idle.checked_sub(idle_before)?, all.checked_sub(all_before)?)
}

/// 0 to 1; `None` when there is nothing of which it could be a share.
fn share_used(free: u64, all: u64) -> Option<f32> {
    (all > 0).then(|| (1.0 - free as f64 / all as f64).clamp(0.0, 1.0) as f32)
}

fn memory_share(meminfo: &str) -> Option<f32> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    share_used(field("MemAvailable:")?, field("MemTotal:")?)
}

fn some_avg10(pressure: &str) -> Option<f32> {
    let words = pressure.lines().find(|line| line.starts_with("some "))?.split_whitespace();
    words.into_iter().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_from_what_the_kernel_says() {
        let before = parse_ticks("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3");
        let after = parse_ticks("cpu  125 0 75 840 60 0 0 0 0 0");
        assert_eq!(busy_share(before, after), Some(0.5));
        assert_eq!(busy_share(None, after), None);
        assert_eq!(memory_share("MemTotal: 1000 kB\nMemAvailable: 250 kB\n"), Some(0.75));
        assert_eq!(share_used(0, 0), None);
        assert_eq!(some_avg10("some avg10=1.50 avg60=0.00 total=1\nfull avg10=9"), Some(1.5));
    }
}
