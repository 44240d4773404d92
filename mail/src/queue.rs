//! The queue: durable from the reply 250 on, tried until every recipient is settled.
//!
//! **In**: accepted messages. **Out**: messages in mailboxes and at next hops, reports to senders, events.
//! **Must not know**: how messages came in, how mailboxes are kept.
//!
//! A body is a blob; everything else is in `queue.db`, which several processes share. Each process writes through one
//! thread ([`writer`]) that commits what concurrent callers ask for together. A queue process takes entries under
//! leases with fencing numbers ([`store`]): when it dies another takes them again, and what it may still say about
//! them no longer counts.

pub mod attempt;
pub mod collect;
pub mod dsn;
pub mod health;
pub mod id;
pub mod manager;
pub mod relay;
pub mod retry;
pub mod route;
pub mod store;
pub mod writer;
