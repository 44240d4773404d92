//! The event vocabulary: what a row is.
//!
//! Every table of the public contract is one struct, declared once with [`row!`]: its columns, its
//! JSON, its ClickHouse Native block all follow from that declaration. An [`Event`] is one row of any
//! table. Nothing here reads a clock, a socket or a disk.

mod address;
mod cell;
mod host;
mod incident;
mod mail;
mod probe;
mod report;
mod returned;
mod row;
mod session;
mod stored;

pub use address::Address;
pub use cell::{Cell, EventId, Scores, Time, Values, put_text, put_varint};
pub use host::{QueueSample, RawLine, ResourceSample};
pub use incident::{EvidenceRow, IncidentRow, PageRow, PageState, RemedyRow, RemedyState};
pub use mail::{Delivery, DeliveryOutcome, Reception, ReceptionVerdict};
pub use probe::{ProbeOutcome, ProbeRun, ProbeStep, StepResult, VerdictRow, VerdictState};
pub use report::{BlocklistHit, Complaint, DmarcRow, PostureChange, PostureCheck, TlsRptRow};
pub use returned::{AutoReply, Bounce, DmarcFailure};
pub use row::{Row, Stamp};
pub use session::{AuthEvent, Session};

use row::{events, row, word};

events! {
    Reception, Delivery, Session, AuthEvent, QueueSample, ResourceSample, RawLine,
    ProbeRun, ProbeStep, VerdictRow, IncidentRow, PageRow, RemedyRow, EvidenceRow,
    DmarcRow, TlsRptRow, Complaint, BlocklistHit, PostureCheck, PostureChange,
    Bounce, AutoReply, DmarcFailure,
}
