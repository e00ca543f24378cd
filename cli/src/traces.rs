//! The client's part of a trace: where a task's story begins.
//!
//! With a collector in the environment (`OTEL_EXPORTER_OTLP_ENDPOINT`) each task gets a span of its submission, below the
//! place that `TRACEPARENT` names if it does, and the coordinator goes on from there. Without one, a place that was named is
//! passed on as it is: so a task that submits tasks has them in its own trace.

use std::time::{Duration, Instant};

use evenkeel_proto::v1;
use evenkeel_shared::{
    Timestamp, TraceContext,
    otlp::{
        Exporter, Kind, Sampler, Settings, Source, Span, endpoint_from_environment, new_span, new_trace,
        parent_from_environment,
    },
};

use crate::exit::CliError;

/// Tasks traced a second: what a coordinator follows by default.
const TRACED_PER_S: u32 = 100;
/// Spans that wait. One command has few.
const QUEUE_SPANS_MAX: usize = 4_096;
/// What spans may take when the command is done: whoever typed it waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for a collector's answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The share of tasks that are traced, as OpenTelemetry's own variable says it.
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What is told of submissions.
#[derive(Debug, Default)]
pub struct Traces {
    active: Option<(Exporter, Sampler)>,
    parent: Option<TraceContext>,
}

/// Traced tasks on their way.
#[derive(Debug)]
pub struct Submission {
    since: Timestamp,
    tasks: Vec<(TraceContext, String)>,
}

impl Traces {
    /// As the environment says.
    ///
    /// # Errors
    /// If the collector that it names cannot be one.
    pub fn from_environment() -> Result<Self, CliError> {
        let parent = parent_from_environment();
        let Some(endpoint) = endpoint_from_environment() else { return Ok(Self { active: None, parent }) };
        let settings = Settings { endpoint, queue_spans_max: QUEUE_SPANS_MAX, timeout: EXPORT_TIMEOUT };
        let source = Source {
            service: "evenkeel-cli",
            instance: std::process::id().to_string(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let exporter = Exporter::start(&settings, &source).map_err(|error| {
            CliError::usage("no spans can be sent").because(error).hint("unset OTEL_EXPORTER_OTLP_ENDPOINT")
        })?;
        // Who names a collector for one command wants to see it.
        let ratio = std::env::var(RATIO).ok().and_then(|ratio| ratio.parse().ok()).unwrap_or(1.0_f64);
        let sampler = Sampler::new(ratio.clamp(0.0, 1.0), TRACED_PER_S, Instant::now());
        Ok(Self { active: Some((exporter, sampler)), parent })
    }

    /// These tasks are about to be submitted: puts their places into them.
    pub fn begins(&self, tasks: &mut [v1::TaskSpec]) -> Submission {
        let mut traced = Vec::new();
        for task in tasks {
            let Some(place) = self.place() else { continue };
            task.traceparent = place.parent();
            task.tracestate = place.state().to_owned();
            if place.is_sampled() && self.active.is_some() {
                traced.push((place, task.kind.clone()));
            }
        }
        Submission { since: Exporter::wall_clock(), tasks: traced }
    }

    /// Where a task is submitted from.
    fn place(&self) -> Option<TraceContext> {
        let Some((_, sampler)) = &self.active else { return self.parent.clone() };
        match &self.parent {
            Some(parent) if parent.is_sampled() && sampler.allows(Instant::now()) => Some(parent.at(new_span())),
            Some(parent) => Some(parent.clone().unsampled()),
            None => sampler.draws(Instant::now).then(new_trace),
        }
    }

    /// They have been submitted, or have not.
    pub fn ends(&self, submission: Submission, error: Option<&str>) {
        let Some((exporter, _)) = &self.active else { return };
        let now = Exporter::wall_clock();
        for (place, kind) in submission.tasks {
            let span = Span::new(place, "submit", submission.since, now)
                .kind(Kind::Producer)
                .with("evenkeel.task.kind", kind)
                .failed(error.map(ToOwned::to_owned));
            exporter.send(match &self.parent {
                Some(parent) => span.child_of_remote(parent.span),
                None => span,
            });
        }
    }

    /// Sends what is left.
    pub async fn stop(self) {
        if let Some((exporter, _)) = self.active {
            exporter.stop(STOP_TIMEOUT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn without_a_collector_a_place_is_passed_on_as_it_is() {
        let traces = Traces { active: None, parent: TraceContext::parse(PARENT, "a=1") };
        let mut tasks = [v1::TaskSpec::default()];
        let submission = traces.begins(&mut tasks);
        assert_eq!((tasks[0].traceparent.as_str(), tasks[0].tracestate.as_str()), (PARENT, "a=1"));
        assert!(submission.tasks.is_empty());
        let mut untraced = [v1::TaskSpec::default()];
        drop(Traces::default().begins(&mut untraced));
        assert_eq!(untraced, [v1::TaskSpec::default()]);
    }
}
