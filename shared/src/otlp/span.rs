//! Spans, as they are told to a collector.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{self as wire, span::SpanKind, status::StatusCode},
};

use crate::{
    time::Timestamp,
    trace::{SpanId, TraceContext, TraceId},
};

/// Longest text of an attribute or a status, in bytes: what a failure's message may be.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// The bits of `Span.flags` that say that something is known of where a parent or a link is, and that it is elsewhere.
const FLAGS_HAS_IS_REMOTE: u32 = 0x100;
const FLAGS_IS_REMOTE: u32 = 0x200;

/// What part a span has in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is within one program.
    Internal,
    /// It answers a call.
    Server,
    /// It makes a call.
    Client,
    /// It leaves work for somebody.
    Producer,
    /// It takes such work up.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

macro_rules! value_from {
    ($($from:ty => $to:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                $to(value)
            }
        }
    )*};
}

value_from! {
    &'static str => |text| Self::Text(Cow::Borrowed(text));
    String => |text| Self::Text(Cow::Owned(text));
    i64 => Self::Int;
    u64 => |number| Self::Int(i64::try_from(number).unwrap_or(i64::MAX));
    u32 => |number| Self::Int(i64::from(number));
    usize => |number| Self::Int(i64::try_from(number).unwrap_or(i64::MAX));
    f64 => Self::Float;
    bool => Self::Bool;
}

/// Something that took time, and has its place in a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    context: TraceContext,
    parent: Option<SpanId>,
    remote_parent: bool,
    name: Cow<'static, str>,
    kind: Kind,
    from: Timestamp,
    to: Timestamp,
    attributes: Vec<(&'static str, Value)>,
    links: Vec<(TraceId, SpanId, &'static str)>,
    /// What went wrong.
    error: Option<String>,
}

impl Span {
    /// The span at this place, from then to then. One that would end before it began ends as it begins.
    pub fn new(context: TraceContext, name: impl Into<Cow<'static, str>>, from: Timestamp, to: Timestamp) -> Self {
        let name = name.into();
        Self {
            context,
            parent: None,
            remote_parent: false,
            name,
            kind: Kind::Internal,
            from,
            to: to.max(from),
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    /// A new span below that place, from then to then.
    pub fn below(parent: &TraceContext, name: impl Into<Cow<'static, str>>, from: Timestamp, to: Timestamp) -> Self {
        Self::new(parent.at(new_span()), name, from, to).child_of(parent.span)
    }

    /// Below this span of the same program.
    #[must_use]
    pub fn child_of(mut self, parent: SpanId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Below this span of another program.
    #[must_use]
    pub fn child_of_remote(self, parent: SpanId) -> Self {
        Self { remote_parent: true, ..self.child_of(parent) }
    }

    /// What part it has.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// With an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// With an attribute, if there is one.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a link to another span, and what that one is to this.
    #[must_use]
    pub fn link(mut self, trace: TraceId, span: SpanId, what: &'static str) -> Self {
        self.links.push((trace, span, what));
        self
    }

    /// What went wrong, if anything did.
    #[must_use]
    pub fn failed(self, error: Option<String>) -> Self {
        Self { error, ..self }
    }

    /// Its place.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The span above it.
    #[must_use]
    pub const fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// From when to when.
    #[must_use]
    pub const fn times(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    /// The spans that it links to.
    pub fn links(&self) -> impl Iterator<Item = SpanId> {
        self.links.iter().map(|(_, span, _)| *span)
    }

    pub(super) fn to_wire(&self) -> wire::Span {
        let remote = if self.remote_parent { FLAGS_IS_REMOTE } else { 0 };
        let flags = u32::from(self.context.is_sampled()) | FLAGS_HAS_IS_REMOTE | remote;
        let link = |(trace, span, what): &(TraceId, SpanId, &'static str)| wire::span::Link {
            trace_id: trace.to_bytes().into(),
            span_id: span.to_bytes().into(),
            attributes: vec![attribute("evenkeel.link", &(*what).into())],
            ..wire::span::Link::default()
        };
        wire::Span {
            trace_id: self.context.trace.to_bytes().into(),
            span_id: self.context.span.to_bytes().into(),
            trace_state: self.context.state().to_owned(),
            parent_span_id: self.parent.map(|span| span.to_bytes().into()).unwrap_or_default(),
            flags,
            name: self.name.as_ref().to_owned(),
            kind: to_wire_kind(self.kind).into(),
            start_time_unix_nano: nanos(self.from),
            end_time_unix_nano: nanos(self.to),
            attributes: self.attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            links: self.links.iter().map(link).collect(),
            status: self
                .error
                .as_deref()
                .map(|message| wire::Status { message: cut(message), code: StatusCode::Error.into() }),
            ..wire::Span::default()
        }
    }
}

const fn to_wire_kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}

const fn nanos(at: Timestamp) -> u64 {
    at.unix_micros().saturating_mul(1_000)
}

pub(super) fn attribute(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(cut(text)),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Float(number) => any_value::Value::DoubleValue(*number),
        Value::Bool(is) => any_value::Value::BoolValue(*is),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// The number of a new span.
#[must_use]
pub fn new_span() -> SpanId {
    loop {
        if let Some(span) = SpanId::new(fastrand::u64(..)) {
            return span;
        }
    }
}

/// The place at which a new trace begins whose spans are kept.
#[must_use]
pub fn new_trace() -> TraceContext {
    loop {
        if let Some(trace) = TraceId::new(fastrand::u128(..)) {
            return TraceContext::root(trace, new_span(), true);
        }
    }
}

/// The time of day, for those who have no clock of their own.
pub(super) fn wall_clock() -> Timestamp {
    Timestamp::ZERO.plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_with_its_place_its_times_and_its_words() {
        let root = new_trace();
        let (from, to) = (Timestamp::from_unix_micros(7), Timestamp::from_unix_micros(9));
        let span = Span::below(&root, "attempt", from, to)
            .kind(Kind::Producer)
            .with("n", 3_u64)
            .link(root.trace, root.span, "earlier")
            .failed(Some("x".repeat(TEXT_BYTES_MAX + 9)));
        let wire = span.to_wire();
        assert_eq!(wire.trace_id, root.trace.to_bytes());
        assert_eq!(wire.parent_span_id, root.span.to_bytes());
        assert_ne!(wire.span_id, wire.parent_span_id);
        assert_eq!((wire.start_time_unix_nano, wire.end_time_unix_nano), (7_000, 9_000));
        assert_eq!(wire.links.len(), 1);
        assert_eq!(wire.status.unwrap().message.len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn a_span_never_ends_before_it_begins() {
        let (late, early) = (Timestamp::from_unix_micros(9), Timestamp::from_unix_micros(7));
        let wire = Span::new(new_trace(), "odd", late, early).to_wire();
        assert_eq!(wire.start_time_unix_nano, wire.end_time_unix_nano);
    }
}
