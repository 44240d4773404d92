//! Watchers in this process.
