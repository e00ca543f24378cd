//! What the environment says of traces, and what the log says of them.

use std::env;

use crate::trace::TraceContext;

/// The collector that the environment names by the variables of OpenTelemetry: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else
/// `OTEL_EXPORTER_OTLP_ENDPOINT`; none if `OTEL_SDK_DISABLED` is true.
#[must_use]
pub fn endpoint_from_environment() -> Option<String> {
    if is_disabled() {
        return None;
    }
    said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

/// Whether `OTEL_SDK_DISABLED` says that nothing is to be sent.
#[must_use]
pub fn is_disabled() -> bool {
    said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The place in a trace that whoever started this program is at: `TRACEPARENT` and `TRACESTATE`.
#[must_use]
pub fn parent_from_environment() -> Option<TraceContext> {
    TraceContext::parse(&said("TRACEPARENT")?, &said("TRACESTATE").unwrap_or_default())
}

pub(super) fn said(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A span of the log that names this place: lines that are written within it have `trace_id` and `span_id`. It is of the
/// highest level, so that it is there whatever the filter leaves of the lines.
#[must_use]
pub fn in_log(context: &TraceContext) -> tracing::Span {
    tracing::error_span!("traced", trace_id = %context.trace, span_id = %context.span)
}
