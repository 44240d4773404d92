//! Remedies: whether a restart may be tried, who must agree, and the order that a node obeys.
//!
//! Restarting fails closed. The decision here is pure and names its reason; a quorum of watchers signs
//! ([`order`]), the node checks all of it again and holds the budgets ([`budget`]).

pub mod budget;
pub mod order;
pub mod supervisor;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Action, Scope};

/// Everything that the decision reads.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// From where the outage is seen.
    pub scope: Scope,
    /// What the diagnosis allows.
    pub action: Action,
    /// The cause, for the reason's text.
    pub cause: &'a str,
    /// The unit behind the service.
    pub unit: Option<&'a str>,
    /// The hash of the evidence; `None`: none was kept.
    pub evidence_hash: Option<&'a str>,
    /// Services of the target that are down, the composite ones left out.
    pub down: usize,
    /// Services of the target that have a unit.
    pub fleet: usize,
    /// Whether the last restart for this service did not help.
    pub last_restart_failed: bool,
}

/// Why a restart is not tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Only one region sees it.
    #[error("only one region sees it")]
    OneRegion,
    /// No other watcher can be asked.
    #[error("no other watcher can confirm it")]
    Unconfirmed,
    /// No unit is configured for the service.
    #[error("no unit stands behind this service in the configuration")]
    NoUnit,
    /// A restart does not mend this cause.
    #[error("a restart does not mend the cause \"{0}\"")]
    CauseNotSafe(String),
    /// Nothing was kept of the state before.
    #[error("no evidence was kept, and a restart would destroy it")]
    NoEvidence,
    /// Too much fails at once: something common is the cause.
    #[error("{down} of {fleet} services fail together: the cause is something common")]
    FleetFails {
        /// How many fail.
        down: usize,
        /// Of how many.
        fleet: usize,
    },
    /// It was tried and did not help.
    #[error("the last restart for this service did not help")]
    LastRestartFailed,
}

impl Refusal {
    /// Its name in events: `one_region` …
    pub fn name(&self) -> &'static str {
        match self {
            Self::OneRegion => "one_region",
            Self::Unconfirmed => "unconfirmed",
            Self::NoUnit => "no_unit",
            Self::CauseNotSafe(_) => "cause_not_safe",
            Self::NoEvidence => "no_evidence",
            Self::FleetFails { .. } => "fleet_fails",
            Self::LastRestartFailed => "last_restart_failed",
        }
    }
}

/// Whether a restart may be asked for: the unit and the evidence's hash, or the reason why not.
///
/// # Errors
/// The first reason against it.
pub fn decide<'a>(situation: &Situation<'a>) -> Result<(&'a str, &'a str), Refusal> {
    match situation.scope {
        Scope::OneRegion => return Err(Refusal::OneRegion),
        Scope::Unconfirmed => return Err(Refusal::Unconfirmed),
        Scope::AllRegions => {}
    }
    let unit = situation.unit.ok_or(Refusal::NoUnit)?;
    let evidence = situation.evidence_hash.ok_or(Refusal::NoEvidence)?;
    if situation.action != Action::Restart {
        return Err(Refusal::CauseNotSafe(situation.cause.to_owned()));
    }
    if situation.down > 1 && situation.down * 2 > situation.fleet {
        return Err(Refusal::FleetFails { down: situation.down, fleet: situation.fleet });
    }
    if situation.last_restart_failed {
        return Err(Refusal::LastRestartFailed);
    }
    Ok((unit, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_refuses_by_its_name() {
        let good = Situation {
            scope: Scope::AllRegions,
            action: Action::Restart,
            cause: "process_hung",
            unit: Some("mail-imap"),
            evidence_hash: Some("abc"),
            down: 1,
            fleet: 6,
            last_restart_failed: false,
        };
        let check = |situation: Situation<'_>, expected: &str| {
            let name = decide(&situation).map_or_else(|refusal| refusal.name(), |_| "restart");
            assert_eq!(name, expected);
        };
        check(good, "restart");
        check(Situation { down: 3, ..good }, "restart");
        check(Situation { down: 1, fleet: 1, ..good }, "restart");
        check(Situation { down: 4, ..good }, "fleet_fails");
        check(Situation { scope: Scope::OneRegion, ..good }, "one_region");
        check(Situation { scope: Scope::Unconfirmed, ..good }, "unconfirmed");
        check(Situation { unit: None, ..good }, "no_unit");
        check(Situation { evidence_hash: None, ..good }, "no_evidence");
        check(Situation { action: Action::None, cause: "disk_full", ..good }, "cause_not_safe");
        check(Situation { last_restart_failed: true, ..good }, "last_restart_failed");
    }
}
