//! What an agent tells of the attempts that are traced: how long the execution took, and how long the coordinator took to
//! have its result.
//!
//! The decision which tasks are traced is the coordinator's and comes with the assignment. An agent that tells nothing
//! passes the place on to its executors all the same, so that what they do is in the trace.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_proto::v1::{self, coordinator_message::Message};
use evenkeel_shared::{
    AttemptRef, Kind, Outcome, Timestamp, TraceContext,
    otlp::{Counts, Exporter, Settings, Source, Span, StartError, is_disabled, new_span},
    trace::SpanId,
    wire::{agent::Assignment, task::attempt_ref},
};
use serde::{Deserialize, Serialize};

use crate::attempt::Ended;

/// Attempts followed at a time: as many as an agent may hold. Of further ones nothing is told.
const FOLLOWED_MAX: usize = evenkeel_shared::limits::HELD_ATTEMPTS_MAX;
/// What the last spans may take when the agent goes.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Where an agent's spans go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The collector of OpenTelemetry that spans are sent to by OTLP over gRPC, such as `http://127.0.0.1:4317`. Default:
    /// none, and no spans are made. The variables `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_ENDPOINT` name
    /// it too.
    pub otlp_endpoint: Option<String>,
    /// Spans that wait to be sent; further ones are dropped, and counted. At least 1. Default 2,048.
    pub queue_spans_max: usize,
    /// Longest wait for the collector's answer, in milliseconds. At least 1. Default 10,000.
    pub export_timeout_ms: u64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, queue_spans_max: 2_048, export_timeout_ms: 10_000 }
    }
}

impl TelemetryConfig {
    pub(crate) fn settings(&self) -> Option<Settings> {
        Some(Settings {
            endpoint: self.otlp_endpoint.clone().filter(|_| !is_disabled())?,
            queue_spans_max: self.queue_spans_max,
            timeout: Duration::from_millis(self.export_timeout_ms.max(1)),
        })
    }
}

/// What is told of traced attempts, if anything is.
#[derive(Default)]
pub(crate) struct Traces {
    exporter: Option<Exporter>,
    running: BTreeMap<AttemptRef, Execution>,
    /// Results that the coordinator has not acknowledged, since when, and where their attempt is.
    reported: BTreeMap<AttemptRef, (Timestamp, TraceContext)>,
}

struct Execution {
    place: TraceContext,
    parent: SpanId,
    since: Timestamp,
    kind: Kind,
    executor: &'static str,
}

impl Traces {
    /// As set, for the agent of this name; nothing is told if no collector is.
    pub fn start(settings: Option<&Settings>, agent: &str) -> Result<Self, StartError> {
        let Some(settings) = settings else { return Ok(Self::default()) };
        let source =
            Source { service: "evenkeel-agent", instance: agent.to_owned(), version: env!("CARGO_PKG_VERSION") };
        Ok(Self { exporter: Some(Exporter::start(settings, &source)?), ..Self::default() })
    }

    /// An attempt begins. Its place becomes that of its execution, if that is told.
    pub fn begins(&mut self, work: &mut Assignment, executor: &'static str) {
        if self.exporter.is_none() || self.running.len() >= FOLLOWED_MAX {
            return;
        }
        let Some(trace) = work.trace.as_deref_mut().filter(|trace| trace.is_sampled()) else { return };
        let parent = trace.span;
        trace.span = new_span();
        let (place, since, kind) = (trace.clone(), Exporter::wall_clock(), work.kind.clone());
        self.running.insert(work.attempt, Execution { place, parent, since, kind, executor });
    }

    /// An attempt has stopped.
    pub fn ended(&mut self, ended: &Ended) {
        let Some(exporter) = &self.exporter else { return };
        let Some(execution) = self.running.remove(&ended.attempt) else { return };
        let until = execution.since.plus(ended.run);
        let (how, error, exit_code) = match &ended.outcome {
            Outcome::Succeeded(_) => ("succeeded", None, None),
            Outcome::Failed(failure) => (failure.class.name(), Some(failure.message.clone()), failure.exit_code),
            Outcome::Cancelled => ("cancelled", Some("it was cancelled".to_owned()), None),
            Outcome::HandedBack(reason) => ("handed_back", Some(reason.clone()), None),
        };
        let attempt = execution.place.at(execution.parent);
        let failed = error.is_some();
        let span = Span::new(execution.place, "execute", execution.since, until)
            .child_of_remote(execution.parent)
            .kind(evenkeel_shared::otlp::Kind::Consumer)
            .with("evenkeel.task.id", ended.attempt.task.to_string())
            .with("evenkeel.attempt", ended.attempt.attempt.0)
            .with("evenkeel.task.kind", execution.kind.as_str().to_owned())
            .with("evenkeel.executor", execution.executor)
            .with("evenkeel.outcome", how)
            .with_some("process.exit.code", exit_code.map(i64::from))
            .with_some("error.type", failed.then_some(how));
        exporter.send(span.failed(error));
        if self.reported.len() < FOLLOWED_MAX {
            self.reported.insert(ended.attempt, (until, attempt));
        }
    }

    /// The coordinator said this.
    pub fn heard(&mut self, messages: &[v1::CoordinatorMessage]) {
        if self.reported.is_empty() {
            return;
        }
        for message in messages {
            let Some(Message::ResultAck(ack)) = &message.message else { continue };
            // What cannot be read is for the machine to refuse.
            let attempt = ack.attempt.clone().and_then(|attempt| attempt_ref(attempt).ok());
            if let (Some(exporter), Some((since, place))) =
                (&self.exporter, attempt.and_then(|attempt| self.reported.remove(&attempt)))
            {
                let span = Span::below(&place, "report", since, Exporter::wall_clock());
                let recorded = ack.status() == v1::ResultStatus::Recorded;
                exporter.send(span.kind(evenkeel_shared::otlp::Kind::Producer).with("evenkeel.recorded", recorded));
            }
        }
    }

    /// Sends what is queued, and ends.
    pub async fn stop(&self) {
        let Some(exporter) = &self.exporter else { return };
        let Counts { exported, dropped, failed, .. } = exporter.stop(STOP_TIMEOUT).await;
        if dropped + failed > 0 {
            tracing::warn!(exported, dropped, failed, "spans were lost");
        }
    }
}
