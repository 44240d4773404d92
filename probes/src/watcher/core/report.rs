//! What a watcher tells the world of its state.

use aggregator::event::Time;
use chrono_tz::Tz;

use super::Core;
use crate::control;
use crate::observation::{Observation, Step};
use crate::status::{RegionStatus, ServiceStatus, Status};
use crate::verdict::Vote;

impl Core {
    /// What this watcher tells the world.
    #[cfg(test)]
    pub fn status(&self, now: Time, zone: Tz) -> Status {
        let services = (0..self.services.len()).map(|index| self.service_status(index, now, zone)).collect();
        Status { services, ..self.status_head(now) }
    }

    /// The status without its services; what ails the vantage is the driver's to say.
    pub fn status_head(&self, now: Time) -> Status {
        let peers = self.names.iter().zip(&self.contact).take(self.config.watch.watcher.len()).enumerate();
        let peers = peers.filter(|(index, _)| *index != self.me);
        let (generation, voters) = self.roster.in_force(now);
        Status {
            as_of: now,
            vantage: self.name().to_owned(),
            fault: None,
            fault_since: None,
            peers: peers.map(|(_, (name, contact))| (name.clone(), *contact)).collect(),
            generation,
            generation_since: self.roster.begin_of(generation),
            voters: voters.to_vec(),
            services: Vec::new(),
        }
    }

    /// One service of it: a driver that has a great many makes them a few at a time.
    pub fn service_status(&self, index: usize, now: Time, zone: Tz) -> ServiceStatus {
        let service = &self.services[index];
        let shown = service.shown(now, zone);
        let term = service.term(now);
        let regions = self.names.iter().enumerate().filter(|(watcher, _)| term.votes(*watcher));
        ServiceStatus {
            target: service.target.clone(),
            service: service.name.clone(),
            title: service.title.clone(),
            state: service.state(now),
            since: service.since(now),
            regions: regions.map(|(watcher, name)| self.region(index, watcher, name, now)).collect(),
            availability: shown.tally.availability(),
            bounds: shown.tally.bounds(),
            days: shown.days,
            outages: shown.outages,
            objectives: shown.objectives,
        }
    }

    /// What a watcher saw last of a service: of several checks the worst, and of those the newest.
    fn region(&self, service: usize, watcher: usize, name: &str, now: Time) -> RegionStatus {
        let limit = self.services[service].rules.freshness.as_micros() as i64;
        let is_fresh = |seen: &Observation| now.0.saturating_sub(seen.ts.0) < limit;
        let seats = self.of_service[service].iter().map(|seat| &self.seats[*seat]);
        let last = seats.filter_map(|seat| seat.last[watcher].as_ref()).map(|last| &last.seen);
        let last = last.max_by_key(|seen| (is_fresh(seen), Vote::of(seen.outcome), seen.ts));
        RegionStatus {
            vantage: name.to_owned(),
            seen: last.map(|seen| seen.ts),
            outcome: last.map(|seen| seen.outcome),
            fresh: last.is_some_and(is_fresh),
            total_ms: last.map(|seen| seen.total_ms),
            error: last.and_then(reason).map_or_else(String::new, |step| {
                let detail = if step.detail.is_empty() { &step.error_class } else { &step.detail };
                format!("{}: {detail}", step.name)
            }),
        }
    }
}

/// The step that says why: that the vantage is at fault goes before what failed because of it.
fn reason(seen: &Observation) -> Option<&Step> {
    seen.steps.iter().find(|step| step.name == control::STEP).or_else(|| seen.failed_step())
}
