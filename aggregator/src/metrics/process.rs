//! The process itself, in the names that every Prometheus client library uses.

use std::fs;
use std::sync::OnceLock;

use futures_util::FutureExt;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::collect::{Collecting, collect};
use super::family::{Family, Gauges, Seconds, Table};
use crate::event::Time;

static CPU: Table<Seconds> =
    Table::<Seconds>::new("process_cpu_seconds_total", "Processor time that the process has used, in seconds.", &[]);
static MEMORY: Gauges = Gauges::new("process_resident_memory_bytes", "Memory of the process that is in RAM.", &[]);
static VIRTUAL: Gauges = Gauges::new("process_virtual_memory_bytes", "Address space of the process.", &[]);
static FDS: Gauges = Gauges::new("process_open_fds", "Open file descriptors.", &[]);
static MAX_FDS: Gauges = Gauges::new("process_max_fds", "File descriptors that the process may open.", &[]);
static STARTED: Gauges =
    Gauges::new("process_start_time_seconds", "When the process began, in seconds since 1970.", &[]);
static BUILD: Gauges = Gauges::new(
    "varde_build_info",
    "Always 1; version of the program and name of this process.",
    &["version", "process"],
);

pub(super) static FAMILIES: &[&dyn Family] = &[&CPU, &MEMORY, &VIRTUAL, &FDS, &MAX_FDS, &STARTED, &BUILD];

/// When [`begin`] was called first: at the start of the process, give or take milliseconds.
static BEGAN: OnceLock<Time> = OnceLock::new();

/// Begins to tell of this process, which is called `process` (`mail-imap`, `watch-no-oslo` …), for as long as what it
/// gives is kept.
pub fn begin(process: &str) -> Collecting {
    let began = *BEGAN.get_or_init(Time::now);
    STARTED.with(&[]).set(began.0 as f64 / 1e6);
    BUILD.with(&[env!("CARGO_PKG_VERSION"), process]).set(1.0);
    // What /proc says comes out of memory: reading it waits for no disk.
    collect(|| async { look() }.boxed())
}

fn look() {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    CPU.with(&[]).mirror(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for (field, family) in [("VmRSS:", &MEMORY), ("VmSize:", &VIRTUAL)] {
            if let Some(kib) = kib(&status, field) {
                family.with(&[]).set((kib << 10) as f64);
            }
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        FDS.with(&[]).set(open.count().saturating_sub(1) as f64);
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        MAX_FDS.with(&[]).set(max as f64);
    }
}

/// A field of `/proc/self/status` (proc(5)): `VmRSS:      1234 kB`.
fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}
