//! Tasks, as printed.

use std::time::Duration;

use evenkeel_proto::v1;
use evenkeel_shared::{TaskState, units::cores, wire::enums};
use serde::Serialize;

use super::{
    Blob, Row, Show,
    agent::ResourcesView,
    attempt::{AttemptView, FailureView},
    table::{self, Cell, Style, Tone},
    text, time,
};

/// Characters of an output or message shown in a table.
const PREVIEW_CHARS: usize = 60;

/// A task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct TaskView {
    /// Its id, a UUID.
    pub task_id: String,
    /// `queued`, `assigned`, `running`, `retry_wait`, `succeeded`, `failed`, `cancelled`, `expired` or `quarantined`.
    pub state: &'static str,
    /// What it is.
    pub kind: String,
    /// Whose it is.
    pub tenant: String,
    /// 0 to 9.
    pub priority: u32,
    /// Acceptance.
    pub accepted_unix_ms: Option<i64>,
    /// End.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_unix_ms: Option<i64>,
    /// Acceptance to end, in microseconds; 0 while it is not over.
    pub latency_us: u64,
    /// Attempts made, the running one included.
    pub attempts_made: u32,
    /// Attempts that ended because their agent died.
    pub crashes: u32,
    /// The agent that has it, or had it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Under which it was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What it asked for of each resource.
    pub resources: ResourcesView,
    /// What it reserves instead of processor and memory that it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<ReservedView>,
    /// Label rules that must hold, as `task submit --label` reads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Label rules that should hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<String>,
    /// Last progress reported, 0 to 1.
    pub progress: f64,
    /// And its note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_note: Option<String>,
    /// Size of the payload.
    pub payload_bytes: u32,
    /// The payload, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Blob>,
    /// The output, once it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Blob>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// The task that it drives again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redrive_of: Option<String>,
    /// The task that drives it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven_as: Option<String>,
    /// Its place in a trace, as the header `traceparent` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Its attempts, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
}

/// What a task reserves by the request size of its kind.
#[derive(Clone, Debug, Serialize)]
pub struct ReservedView {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// The version of the size.
    pub size_version: u64,
}

impl From<v1::Reserved> for ReservedView {
    fn from(wire: v1::Reserved) -> Self {
        let v1::Reserved { cpu_millis, memory_bytes, size_version } = wire;
        Self { cpu_millis, memory_bytes, size_version }
    }
}

impl ReservedView {
    fn summary(&self) -> String {
        let mut parts = vec![format!("{} memory", table::bytes(self.memory_bytes))];
        if self.cpu_millis > 0 {
            parts.insert(0, cores(self.cpu_millis));
        }
        format!("{}: request size of its kind, version {}", parts.join(", "), self.size_version)
    }
}

/// The name of a task's state.
#[must_use]
pub fn state_name(number: i32) -> &'static str {
    enums::task_state(number).map_or("unknown", TaskState::name)
}

/// A state, in the tone of its news.
pub(super) fn state_cell(name: &str) -> Cell {
    Cell::text(name).tone(match name {
        "succeeded" => Tone::Good,
        "failed" | "quarantined" | "expired" => Tone::Bad,
        "retry_wait" | "cancelled" => Tone::Warn,
        _ => Tone::Plain,
    })
}

impl From<v1::Task> for TaskView {
    fn from(wire: v1::Task) -> Self {
        let spec = wire.spec.unwrap_or_default();
        let requirements = spec.requirements.unwrap_or_default();
        Self {
            task_id: wire.task_id,
            state: state_name(wire.state),
            kind: spec.kind,
            tenant: spec.tenant,
            priority: spec.priority.unwrap_or_default(),
            accepted_unix_ms: time(wire.accepted_unix_ms),
            finished_unix_ms: time(wire.finished_unix_ms),
            latency_us: wire.latency_us,
            attempts_made: wire.attempts_made,
            crashes: wire.crashes,
            agent_id: text(wire.agent_id),
            idempotency_key: text(spec.idempotency_key),
            traceparent: text(spec.traceparent),
            resources: requirements.resources.unwrap_or_default().into(),
            reserved: spec.reserved.map(Into::into),
            required: rules(requirements.required),
            preferred: rules(requirements.preferred),
            progress: wire.progress,
            progress_note: text(wire.progress_note),
            payload_bytes: wire.payload_bytes,
            payload: Blob::new(&spec.payload),
            output: Blob::new(&wire.output),
            failure: wire.failure.map(Into::into),
            redrive_of: text(wire.redrive_of),
            redriven_as: text(wire.redriven_as),
            attempts: wire.attempts.into_iter().map(Into::into).collect(),
        }
    }
}

/// Rules as the selector grammar writes them; one that this build does not understand by its key alone.
fn rules(wire: Vec<v1::LabelRule>) -> Vec<String> {
    wire.into_iter()
        .map(|rule| {
            let key = rule.key.clone();
            evenkeel_shared::wire::labels::label_rule(rule).map_or(key, |rule| rule.to_string())
        })
        .collect()
}

/// The beginning of an output or failure, on one line.
pub(super) fn preview(blob: Option<&Blob>, failure: Option<&FailureView>) -> String {
    let whole = match (failure, blob) {
        (Some(failure), _) => failure.summary(),
        (None, Some(Blob::Text(text))) => text.trim_end().to_owned(),
        (None, Some(Blob::Binary { base64 })) => format!("base64:{base64}"),
        (None, None) => String::new(),
    };
    table::cut(&table::printable(&whole), PREVIEW_CHARS)
}

impl Row for TaskView {
    const HEADERS: &'static [&'static str] = &["task", "state", "kind", "tenant", "prio", "tries", "agent", "accepted"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.task_id),
            state_cell(self.state),
            Cell::text(&self.kind),
            Cell::text(&self.tenant),
            Cell::number(self.priority),
            Cell::number(self.attempts_made),
            Cell::text(self.agent_id.as_deref().unwrap_or_default()),
            Cell::text(table::at(self.accepted_unix_ms)),
        ]
    }
}

impl Show for TaskView {
    fn show(&self, style: &Style) -> String {
        let mut pairs = vec![
            ("task", Cell::text(&self.task_id)),
            ("state", state_cell(self.state)),
            ("kind", Cell::text(&self.kind)),
            ("tenant", Cell::text(&self.tenant)),
            ("priority", Cell::text(self.priority.to_string())),
            ("needs", Cell::text(self.resources.summary())),
            ("accepted", Cell::text(table::at(self.accepted_unix_ms))),
            ("attempts", Cell::text(format!("{} ({} crashed)", self.attempts_made, self.crashes))),
            ("payload", Cell::text(table::bytes(self.payload_bytes.into()))),
        ];
        let finished = self.finished_unix_ms.map(|_| {
            let latency = table::duration(Duration::from_micros(self.latency_us));
            format!("{}, after {latency}", table::at(self.finished_unix_ms))
        });
        let progress = (self.progress > 0.0 && self.finished_unix_ms.is_none()).then(|| table::percent(self.progress));
        let optional = [
            ("reserves", self.reserved.as_ref().map(ReservedView::summary)),
            ("finished", finished),
            ("agent", self.agent_id.clone()),
            ("key", self.idempotency_key.clone()),
            ("trace", self.traceparent.as_deref().and_then(|trace| trace.get(3..35)).map(ToOwned::to_owned)),
            ("required", text(self.required.join("; "))),
            ("preferred", text(self.preferred.join("; "))),
            ("progress", progress),
            ("note", self.progress_note.clone()),
            ("redrive of", self.redrive_of.clone()),
            ("redriven as", self.redriven_as.clone()),
            ("output", text(preview(self.output.as_ref(), None))),
            ("failure", self.failure.as_ref().map(FailureView::summary)),
        ];
        pairs.extend(optional.into_iter().filter_map(|(name, value)| Some((name, Cell::text(value?)))));
        let mut shown = table::pairs(&pairs, style);
        if !self.attempts.is_empty() {
            shown.push_str("\n\n");
            shown.push_str(&table::grid(&self.attempts, style));
        }
        shown
    }
}
