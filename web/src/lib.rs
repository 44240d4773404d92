//! The operator's dashboard and the public uptime page.
//!
//! **In**: HTTP. **Out**: HTML that works without JavaScript, and JSON. It reads watchers' status and ClickHouse, and
//! writes nothing but acknowledgements. **Must not know**: how anything is probed, mended or stored.
