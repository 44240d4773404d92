//! The operator's dashboard and the public uptime page.
//!
//! **In**: HTTP. **Out**: HTML that works without JavaScript, and JSON. It reads watchers' status and ClickHouse, and
//! writes nothing but acknowledgements. **Must not know**: how anything is probed, mended or stored.
//!
//! In reading order: [`serve`] starts two listeners and two tasks; the tasks ([`source`]) ask the watchers and
//! ClickHouse and publish a [`snapshot`]; the table of [`routes`] leads to the [`page`]s, which only read it.

mod auth;
mod config;
mod page;
mod routes;
mod serve;
mod show;
mod snapshot;
mod source;

pub use auth::operators::{EntryError, OperatorEntry, Role, operator_entry};
pub use config::Config;
pub use page::posture::audit_page;
pub use serve::{ServeError, WebContext, serve};

#[cfg(test)]
mod tests;
