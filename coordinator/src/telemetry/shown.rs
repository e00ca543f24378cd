//! What became of spans, among the metrics.

use evenkeel_shared::otlp::{Counts, ExporterHealth};

use super::Traces;
use crate::{
    health::{Finding, Level},
    metrics::{
        Metrics,
        rows::{Row, Sort},
    },
};

type Count = (&'static str, &'static str, Sort, fn(&Counts) -> u64);

const COUNTS: [Count; 4] = [
    ("trace_spans_exported", "Spans that the collector took.", Sort::Counter, |counts| counts.exported),
    ("trace_spans_dropped", "Spans that found no room in the queue.", Sort::Counter, |counts| counts.dropped),
    (
        "trace_spans_failed",
        "Spans that were sent, and that the collector refused or did not answer for.",
        Sort::Counter,
        |counts| counts.failed,
    ),
    ("trace_spans_queued", "Spans that wait to be sent.", Sort::Gauge, |counts| counts.queued),
];

impl Traces {
    /// How the export is, as a part of the coordinator: degraded while a collector is named and does not take what it is
    /// sent. Nothing but traces is lost by that, so it is never worse.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let Some(ExporterHealth { endpoint, failing, counts }) = self.health() else { return Finding::healthy() };
        let finding = match failing {
            None => Finding::healthy(),
            Some((error, since)) => {
                let seconds = since.as_secs();
                let what = format!("the collector at {endpoint} has taken no spans for {seconds} s ({error})");
                Finding::of(
                    Level::Degraded,
                    format!("{what}; see that it runs and can be reached, or unset telemetry.otlp_endpoint"),
                )
            }
        };
        finding.with("spans_exported", counts.exported as f64).with("spans_dropped", counts.dropped as f64)
    }

    /// Shows what became of spans among these metrics; zeros where none are made.
    pub fn show(&self, metrics: &Metrics) {
        for (name, help, sort, read) in COUNTS {
            let traces = self.clone();
            metrics.add(Row::one((name, help, sort), move || read(&traces.counts()) as f64));
        }
        let traces = self.clone();
        let help = "Tasks that were to be traced, and were not because too many were.";
        metrics.add(Row::one(("traces_over_cap", help, Sort::Counter), move || traces.over_cap() as f64));
    }
}
