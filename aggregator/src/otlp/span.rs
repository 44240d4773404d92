//! A message as a trace: one span for the message, under it its reception and its stay in the queue, under that each
//! attempt to deliver, under each attempt its stages. A pure function of the message's steps.
//!
//! Identities are derived, not drawn: the same step is the same span whenever and by whomever it is told, so what is
//! told twice can be known as one.

use crate::event::{EventId, Time};
use crate::otlp::message::{ExportTraces, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanStatus};
use crate::trace::Step;

/// `SpanKind` of OpenTelemetry.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// `StatusCode` of OpenTelemetry: an error. What went well is left unset, as the conventions ask.
const ERROR: i32 = 2;

/// The id of a trace: our 128 bits as they are, 64 bits after as many zeros, anything else by its hash.
pub fn trace_id(text: &str) -> [u8; 16] {
    let value = (matches!(text.len(), 16 | 32)).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    // An id of zeros is none (W3C Trace Context section 3.2.2.3).
    let value = value.filter(|value| *value != 0).unwrap_or_else(|| EventId::of(&[text.as_bytes()]).0.max(1));
    value.to_be_bytes()
}

fn span_id(trace: &[u8; 16], parts: &[&[u8]]) -> Vec<u8> {
    let all: Vec<&[u8]> = std::iter::once(&trace[..]).chain(parts.iter().copied()).collect();
    let octets = EventId::of(&all).0.to_be_bytes();
    (u64::from_be_bytes(octets[..8].try_into().unwrap_or([1; 8])).max(1)).to_be_bytes().to_vec()
}

/// Everything that is told of one message whose steps these are, in order of time. `after`: what happened until then was
/// told before; the message itself and its reception were, too.
pub fn export(trace: &str, steps: &[Step], after: Option<Time>) -> ExportTraces {
    let id = trace_id(trace);
    let message = Message::new(id, steps);
    let mut resources: Vec<ResourceSpans> = Vec::new();
    for step in steps.iter().filter(|step| after.is_none_or(|after| step.ts > after)) {
        let spans = match step.kind.as_str() {
            "delivery" => message.delivery(step),
            _ if after.is_none() => message.reception(step),
            _ => continue,
        };
        add(&mut resources, step, spans);
    }
    if let (None, Some(first)) = (after, steps.first()) {
        add(&mut resources, first, message.whole(first));
    }
    ExportTraces { resource_spans: resources }
}

/// Puts spans to those of the program and the host that they are of.
fn add(resources: &mut Vec<ResourceSpans>, step: &Step, spans: Vec<Span>) {
    let name = if step.mta.is_empty() { "unknown_service" } else { &step.mta };
    let resource = Resource {
        attributes: vec![KeyValue::new("service.name", name), KeyValue::new("host.name", step.node.as_str())],
    };
    let known = resources.iter_mut().find(|known| known.resource.as_ref() == Some(&resource));
    if let Some(scope) = known.and_then(|known| known.scope_spans.first_mut()) {
        scope.spans.extend(spans);
        return;
    }
    let scope = Scope { name: "varde".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    resources.push(ResourceSpans { resource: Some(resource), scope_spans });
}

struct Message {
    id: [u8; 16],
    root: Vec<u8>,
    queue: Vec<u8>,
    arrived: Time,
    queued: Time,
    ended: Time,
    /// Whether the last that is known of a recipient is that he did not get it.
    failed: bool,
}

impl Message {
    fn new(id: [u8; 16], steps: &[Step]) -> Self {
        let deliveries = || steps.iter().filter(|step| step.kind == "delivery");
        let arrivals = deliveries().map(arrival).chain(steps.iter().map(|step| step.ts));
        let arrived = arrivals.min().unwrap_or_default();
        let queued = deliveries().map(|step| after(arrival(step), step.delay_a_ms)).min();
        Self {
            id,
            root: span_id(&id, &[b"message"]),
            queue: span_id(&id, &[b"queue"]),
            arrived,
            queued: queued.unwrap_or(arrived).max(arrived),
            ended: steps.iter().map(|step| step.ts).max().unwrap_or(arrived),
            failed: steps.iter().any(is_failure),
        }
    }

    fn span(&self, id: Vec<u8>, parent: &[u8], name: &str, kind: i32, (from, to): (Time, Time)) -> Span {
        let nanos = |at: Time| u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000);
        Span {
            trace_id: self.id.to_vec(),
            span_id: id,
            parent_span_id: parent.to_vec(),
            name: name.to_owned(),
            kind,
            start_time_unix_nano: nanos(from.min(to)),
            end_time_unix_nano: nanos(to),
            attributes: Vec::new(),
            status: None,
        }
    }

    /// The message, and its stay in the queue.
    fn whole(&self, first: &Step) -> Vec<Span> {
        let mut root = self.span(self.root.clone(), &[], "message", INTERNAL, (self.arrived, self.ended));
        root.attributes = vec![KeyValue::new("messaging.system", "smtp")];
        text(&mut root, "messaging.message.id", &first.message_id);
        if self.failed {
            root.status = Some(SpanStatus { message: String::new(), code: ERROR });
        }
        let queue = self.span(self.queue.clone(), &self.root, "queue", INTERNAL, (self.queued, self.ended));
        vec![root, queue]
    }

    fn reception(&self, step: &Step) -> Vec<Span> {
        let id = span_id(&self.id, &[b"reception", step.node.as_bytes(), step.queue_id.as_bytes()]);
        // When it began, only the deliveries of the same queue tell.
        let began = if step.ts > self.queued { step.ts } else { self.arrived };
        let mut span = self.span(id, &self.root, "receive", SERVER, (began, step.ts));
        span.attributes =
            vec![KeyValue::new("messaging.system", "smtp"), KeyValue::new("messaging.operation.type", "receive")];
        text(&mut span, "messaging.message.id", &step.message_id);
        text(&mut span, "varde.queue_id", &step.queue_id);
        text(&mut span, "client.address", &step.peer_ip.as_ref().map_or_else(String::new, ToString::to_string));
        text(&mut span, "varde.outcome", &step.outcome);
        reply(&mut span, step, matches!(step.outcome.as_str(), "rejected" | "deferred"));
        vec![span]
    }

    /// An attempt for one recipient, and its stages.
    fn delivery(&self, step: &Step) -> Vec<Span> {
        let (ts, attempt) = (step.ts.0.to_le_bytes(), step.attempt.to_le_bytes());
        let said = [step.node.as_bytes(), step.queue_id.as_bytes(), step.recipient.as_bytes()];
        let id = span_id(&self.id, &[b"delivery", said[0], said[1], said[2], &attempt, &ts]);
        let mut from = arrival(step);
        let mut span = self.span(id.clone(), &self.queue, "deliver", CLIENT, (from, step.ts));
        span.attributes =
            vec![KeyValue::new("messaging.system", "smtp"), KeyValue::new("messaging.operation.type", "send")];
        text(&mut span, "messaging.message.id", &step.message_id);
        text(&mut span, "varde.queue_id", &step.queue_id);
        // The domain is enough to follow a message; the address is a person's.
        text(&mut span, "varde.recipient.domain", step.recipient.rsplit('@').next().unwrap_or_default());
        text(&mut span, "server.address", &step.peer_host);
        text(&mut span, "network.peer.address", &step.peer_ip.as_ref().map_or_else(String::new, ToString::to_string));
        text(&mut span, "varde.outcome", &step.outcome);
        span.attributes.push(KeyValue::new("varde.attempt", i64::from(step.attempt)));
        reply(&mut span, step, step.outcome != "delivered");
        let mut spans = vec![span];
        let stages = [
            ("before the queue", step.delay_a_ms),
            ("in the queue", step.delay_b_ms),
            ("connect", step.delay_c_ms),
            ("transmit", step.delay_d_ms),
        ];
        for (name, ms) in stages {
            let to = after(from, ms).min(step.ts);
            let stage = span_id(&self.id, &[&id, name.as_bytes()]);
            spans.push(self.span(stage, &id, name, INTERNAL, (from, to)));
            from = to;
        }
        spans
    }
}

fn is_failure(step: &Step) -> bool {
    matches!(step.outcome.as_str(), "bounced" | "expired" | "rejected")
}

fn arrival(step: &Step) -> Time {
    after(step.ts, 0).plus_millis(-i64::try_from(step.delay_total_ms).unwrap_or(0))
}

fn after(at: Time, ms: u64) -> Time {
    at.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn text(span: &mut Span, key: &str, value: &str) {
    if !value.is_empty() {
        span.attributes.push(KeyValue::new(key, value));
    }
}

/// The reply of the peer, and the error if it was one.
fn reply(span: &mut Span, step: &Step, failed: bool) {
    if step.smtp_code > 0 {
        span.attributes.push(KeyValue::new("varde.smtp.code", i64::from(step.smtp_code)));
    }
    text(span, "varde.smtp.enhanced_code", &step.enhanced_code);
    if failed {
        let class = [step.class.as_str(), &step.enhanced_code, &step.outcome].into_iter().find(|text| !text.is_empty());
        text(span, "error.type", class.unwrap_or_default());
        span.status = Some(SpanStatus { message: without_addresses(&step.response), code: ERROR });
    }
}

/// A reply without the words that hold an address: servers like to repeat the recipient's.
fn without_addresses(response: &str) -> String {
    let words = response.split(' ').map(|word| if word.contains('@') { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
