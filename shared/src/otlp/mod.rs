//! Spans, and their way to a collector of OpenTelemetry (OTLP over gRPC).
//!
//! Whoever has something to tell makes a [`Span`] of what has happened, with its own times and ids, and hands it to the
//! [`Exporter`], which never waits: a queue of bounded length takes it, or it is dropped and counted. A thread of its own
//! with a runtime of its own sends what is queued. So a collector that is slow or away costs spans, and nothing else.
//!
//! The messages are those of `opentelemetry-proto`. Its SDK is not used: it makes spans out of what is running, on the
//! thread that runs it, with ids that it draws; here they are made after the commit, of what the engine says has happened,
//! and of a task that outlives the process. Its exporter counts nothing that could be shown. `tracing-opentelemetry` turns
//! every span of the log into one of a trace, and would put that on the path of each task.

mod context;
mod exporter;
mod health;
mod queue;
#[cfg(test)]
#[allow(dead_code, reason = "tests of other crates use the rest")]
mod receiver;
mod sampler;
mod send;
mod span;

pub use context::{endpoint_from_environment, in_log, is_disabled, parent_from_environment};
pub use exporter::{Exporter, Settings, Source, StartError};
pub use health::{Counts, ExporterHealth};
pub use sampler::Sampler;
pub use span::{Kind, Span, Value, new_span, new_trace};
