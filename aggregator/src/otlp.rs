//! OpenTelemetry's protocol over HTTP (OTLP 1.x): its messages, in protobuf and, where we take them in, in JSON.
//!
//! Kept by hand from `opentelemetry/proto`: the few messages that we speak, with the tags that are stable for ever; the
//! generated crate would bring the whole SDK along.

pub mod exporter;
mod json;
pub mod message;
pub mod span;
