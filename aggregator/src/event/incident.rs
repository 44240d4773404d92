//! Incidents, pages, remedies, evidence: one row for each change of one.

use super::{Time, row, word};

word! {
    /// Where a page is.
    PageState {
        /// In the outbox.
        Queued = "queued",
        /// Handed to the channel.
        Sent = "sent",
        /// The provider confirmed it.
        Delivered = "delivered",
        /// The channel refused it.
        Failed = "failed",
        /// A person answered.
        Acknowledged = "acknowledged",
    }
}

word! {
    /// Where a remedy is.
    RemedyState {
        /// The rules forbid it.
        Refused = "refused",
        /// The node has been told.
        Ordered = "ordered",
        /// The unit was restarted.
        Done = "done",
        /// The full chain passes again.
        Verified = "verified",
        /// It did not help, or could not be done.
        Failed = "failed",
    }
}

row! {
    /// A change of an incident.
    IncidentRow => "incidents" {
        /// Its key: hash(site, target, symptom chain) and generation.
        incident: String,
        /// Counts its changes, from 1.
        revision: u32,
        /// The short name by which people merge doubles: `V-7K3`.
        name: String,
        /// The mail system.
        target: String,
        /// The service of it.
        service: String,
        /// `firing`, `acknowledged`, `resolved`.
        state: String,
        /// The cause that the diagnosis names.
        cause: String,
        /// How sure it is: `certain`, `likely`, `undetermined`.
        confidence: String,
        /// `all_regions`, `one_region` …
        scope: String,
        /// What a person reads first.
        summary: String,
        /// What to do next, a line each.
        next_steps: String,
        /// When it began.
        opened_at: Option<Time>,
        /// When it ended.
        resolved_at: Option<Time>,
    }
}

row! {
    /// A change of a page.
    PageRow => "pages" {
        /// Its identity, the same over retries.
        page_id: String,
        /// Counts its changes, from 1.
        revision: u32,
        /// The incident.
        incident: String,
        /// Who is paged.
        person: String,
        /// How: `webhook`, `email` …
        channel: String,
        /// The number of this attempt, from 1.
        attempt: u32,
        /// Where it is.
        state: PageState,
        /// What the provider answered.
        receipt: String,
    }
}

row! {
    /// A change of a remedy.
    RemedyRow => "remedies" {
        /// Its identity.
        remedy_id: String,
        /// Counts its changes, from 1.
        revision: u32,
        /// The incident.
        incident: String,
        /// What is mended.
        unit: String,
        /// Where.
        host: String,
        /// `restart` …
        verb: String,
        /// Where it is.
        state: RemedyState,
        /// Why, in words.
        reason: String,
        /// The hash of the evidence that was taken before.
        evidence_hash: String,
    }
}

row! {
    /// One section of the evidence that was kept of an incident.
    EvidenceRow => "evidence" {
        /// The incident.
        incident: String,
        /// The unit that it is about.
        unit: String,
        /// The host that it was taken on.
        host: String,
        /// `process`, `threads`, `sockets`, `log`, `disk` …
        section: String,
        /// The text, redacted.
        content: String,
        /// The hash over this section and `previous_hash`.
        hash: String,
        /// The hash of the section before it.
        previous_hash: String,
    }
}
