//! How the coordinator's parts are, as printed.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Show,
    table::{self, Cell, Style, Tone},
};

/// How a coordinator is. The fields are those of `CoordinatorHealth` in admin.proto.
#[derive(Debug, Serialize)]
pub struct CoordinatorHealthView {
    pub status: &'static str,
    pub live: bool,
    pub ready: bool,
    pub started: bool,
    pub components: Vec<ComponentView>,
    pub start_phases: Vec<PhaseView>,
}

/// A part.
#[derive(Debug, Serialize)]
pub struct ComponentView {
    pub name: String,
    pub status: &'static str,
    pub needed: bool,
    pub since_unix_ms: i64,
    pub reasons: Vec<String>,
    pub measurements: BTreeMap<String, f64>,
}

/// A phase of the start.
#[derive(Debug, Serialize)]
pub struct PhaseView {
    pub name: String,
    pub duration_us: u64,
}

const fn status(status: v1::ComponentStatus) -> &'static str {
    match status {
        v1::ComponentStatus::Healthy => "healthy",
        v1::ComponentStatus::Degraded => "degraded",
        v1::ComponentStatus::Unhealthy => "unhealthy",
        v1::ComponentStatus::Unspecified => "unknown",
    }
}

fn tone(status: &str) -> Tone {
    match status {
        "healthy" => Tone::Good,
        "degraded" => Tone::Warn,
        _ => Tone::Bad,
    }
}

impl From<v1::CoordinatorHealth> for CoordinatorHealthView {
    fn from(wire: v1::CoordinatorHealth) -> Self {
        let component = |of: v1::ComponentHealth| ComponentView {
            status: status(of.status()),
            name: of.name,
            needed: of.needed,
            since_unix_ms: of.since_unix_ms,
            reasons: of.reasons,
            measurements: of.measurements.into_iter().collect(),
        };
        Self {
            status: status(wire.status()),
            live: wire.live,
            ready: wire.ready,
            started: wire.started,
            components: wire.components.into_iter().map(component).collect(),
            start_phases: wire
                .start_phases
                .into_iter()
                .map(|phase| PhaseView { name: phase.name, duration_us: phase.duration_us })
                .collect(),
        }
    }
}

impl Show for CoordinatorHealthView {
    fn show(&self, style: &Style) -> String {
        let word = |of: bool, word: &str| if of { word.to_owned() } else { format!("not {word}") };
        let total_us: u64 = self.start_phases.iter().map(|phase| phase.duration_us).sum();
        let ms = |us: u64| us / 1_000;
        let phases: Vec<_> =
            self.start_phases.iter().map(|phase| format!("{} {}", phase.name, ms(phase.duration_us))).collect();
        let head = format!(
            "{}, {}, {}; ready in {} ms: {}",
            table::tinted(self.status, tone(self.status), style),
            word(self.live, "live"),
            word(self.ready, "ready"),
            ms(total_us),
            phases.join(", "),
        );
        let row = |of: &ComponentView| {
            let numbers: Vec<_> =
                of.measurements.iter().map(|(name, value)| format!("{name} {}", table::measure(*value))).collect();
            let why = if of.reasons.is_empty() { numbers.join(", ") } else { of.reasons.join("; ") };
            vec![
                Cell::text(&of.name),
                Cell::text(of.status).tone(tone(of.status)),
                Cell::text(table::duration(age(of.since_unix_ms))),
                Cell::text(why),
            ]
        };
        let rows = table::cells(&["PART", "STATUS", "FOR", "WHY"], self.components.iter().map(row), style);
        format!("{head}\n\n{rows}")
    }
}

fn age(since_unix_ms: i64) -> Duration {
    let since = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(since_unix_ms).unwrap_or_default());
    since.elapsed().unwrap_or_default()
}
