//! The kernel's own bound on what the engine may touch, set before the library is loaded.
//!
//! ClickHouse's SQL can read and write files and open connections in more ways than a filter of texts can
//! know. Landlock holds whatever a query finds: the engine's threads write to the data directory only,
//! read the few system files that they need, and open no TCP connection.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};

/// What the dynamic loader and the C library read.
const SYSTEM: &[&str] =
    &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"];

/// What the engine reads about the machine and itself. Not `/proc/self/environ`: it may hold secrets.
const MACHINE: &[&str] = &[
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/self/cgroup",
    "/proc/self/maps",
    "/proc/self/mountinfo",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
];

/// How far the kernel holds the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Files and connections.
    Full,
    /// Files; this kernel (older than 6.7) does not bound connections.
    FilesOnly,
    /// Nothing: this kernel (older than 5.19) has no Landlock that serves, or it is turned off.
    None,
}

/// Binds this thread, and every thread that it starts from now on, for good. The listening socket is open
/// already: after this no socket can be bound or connected.
///
/// # Errors
/// The kernel has Landlock and refused the rules.
pub fn enter(data_dir: &Path, library: &Path) -> Result<Bound, landlock::RulesetError> {
    let files = AccessFs::from_all(ABI::V3);
    let read = AccessFs::from_read(ABI::V3);
    // The first version cannot allow a rename into another directory, and DROP TABLE needs one: with it the
    // engine could not work.
    let Ok(rules) =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(ABI::V2))
    else {
        return Ok(Bound::None);
    };
    // One set for all: a second one on top would forbid those renames again.
    let mut rules = rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .create()?;
    rules = allow(rules, data_dir, files)?;
    rules = allow(rules, library, read)?;
    for path in SYSTEM.iter().chain(MACHINE) {
        rules = allow(rules, Path::new(path), read)?;
    }
    rules = allow(rules, Path::new("/dev/null"), AccessFs::from_file(ABI::V3))?;
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Bound::Full,
        RulesetStatus::PartiallyEnforced => Bound::FilesOnly,
        RulesetStatus::NotEnforced => Bound::None,
    })
}

/// Adds a rule for a path; one that is not there needs none.
fn allow(
    rules: landlock::RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, landlock::RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V3) };
    rules.add_rule(PathBeneath::new(opened, access))
}
