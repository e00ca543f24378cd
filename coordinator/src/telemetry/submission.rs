//! Where a submission comes from, and whether its tasks are traced.

use std::time::Instant;

use evenkeel_core::engine::Submitted;
use evenkeel_shared::{
    Error, TaskSpec, Timestamp, TraceContext,
    otlp::{Kind, Span, in_log, new_span, new_trace},
    trace::SpanId,
};
use tonic::{Request, codegen::http::HeaderMap};

use super::{Active, Traces};
use crate::metrics::calls::TraceOfCall;

/// The headers of W3C Trace Context.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// A call that brings tasks.
#[derive(Clone, Debug)]
pub struct Call {
    traces: Traces,
    method: &'static str,
    /// Where its client is in a trace.
    from: Option<TraceContext>,
    /// Where the trace of its time is told, if anybody takes its time.
    timed: Option<TraceOfCall>,
}

/// A task that is traced, on its way in.
#[derive(Debug)]
pub struct Accept {
    place: TraceContext,
    parent: Option<SpanId>,
    since: Timestamp,
    method: &'static str,
}

/// Where the sender of these headers is in a trace.
#[must_use]
pub fn place_of(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parent = text(PARENT);
    if parent.is_empty() { None } else { TraceContext::parse(parent, text(STATE)) }
}

impl Call {
    /// A call of this method.
    #[must_use]
    pub fn new<T>(traces: &Traces, method: &'static str, request: &Request<T>) -> Self {
        let timed = request.extensions().get().cloned();
        Self { traces: traces.clone(), method, from: place_of(request.metadata().as_ref()), timed }
    }

    /// A span of the log for what is written meanwhile; none where the call is in no trace that is kept.
    #[must_use]
    pub fn in_log(&self) -> tracing::Span {
        self.from.as_ref().filter(|from| from.is_sampled()).map_or_else(tracing::Span::none, in_log)
    }

    /// Decides whether this task of the call is traced, and puts its place into what is kept of it.
    #[must_use]
    pub fn takes(&self, spec: &mut TaskSpec) -> Option<Accept> {
        let from = spec.trace.take().map(|own| *own).or_else(|| self.from.clone());
        let Some(active) = self.traces.active() else {
            // Who makes no spans passes on what came.
            self.is_timed_in(from.as_ref());
            spec.trace = from.map(Box::new);
            return None;
        };
        let (place, parent) = match from {
            None if active.sampler.draws(Instant::now) => (new_trace(), None),
            None => return None,
            Some(from) if from.is_sampled() && active.sampler.allows(Instant::now()) => {
                (from.at(new_span()), Some(from.span))
            }
            Some(from) => {
                spec.trace = Some(Box::new(from.unsampled()));
                return None;
            }
        };
        self.is_timed_in(Some(&place));
        spec.trace = Some(Box::new(place.clone()));
        Some(Accept { place, parent, since: active.now(), method: self.method })
    }

    /// The time that the call takes belongs to this trace, if its spans are kept.
    fn is_timed_in(&self, place: Option<&TraceContext>) {
        if let (Some(timed), Some(place)) = (&self.timed, place.filter(|place| place.is_sampled())) {
            timed.is(place.trace);
        }
    }

    /// The task has its answer.
    pub fn answered(&self, accept: Accept, answer: Result<Option<&Result<Submitted, Error>>, &Error>) {
        let answer = match answer {
            Ok(Some(answer)) => answer.as_ref(),
            // A defect that the client is told of.
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Some(active) = self.traces.active() {
            active.answered(accept, answer);
        }
    }
}

impl Active {
    fn answered(&self, accept: Accept, answer: Result<&Submitted, &Error>) {
        let span = Span::new(accept.place, "accept", accept.since, self.now())
            .kind(Kind::Server)
            .with("rpc.system", "grpc")
            .with("rpc.service", "evenkeel.v1.TaskService")
            .with("rpc.method", accept.method);
        let span = match accept.parent {
            Some(parent) => span.child_of_remote(parent),
            None => span,
        };
        self.exporter.send(match answer {
            Ok(submitted) => span
                .with("evenkeel.task.id", submitted.task.to_string())
                .with("evenkeel.task.duplicate", submitted.duplicate),
            Err(error) => span.with("error.type", format!("{:?}", error.code)).failed(Some(error.message.clone())),
        });
    }
}
