//! Who asked for how much and got it, as printed.

use std::time::Duration;

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Line, Row,
    table::{self, Cell, Style, Tone},
    time,
};

/// What a tenant, a kind or an agent asked for and got. The fields are those of `AllocationRow` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct AllocationView {
    pub name: String,
    pub requested: u64,
    pub granted: u64,
    pub released: u64,
    pub timed_out: u64,
    pub refused: u64,
    pub waiting: u64,
    pub slots_in_use: u32,
    pub windows: Vec<WindowView>,
}

/// The same over the last minute, five minutes and hour.
#[derive(Clone, Debug, Serialize)]
pub struct WindowView {
    pub window_ms: u64,
    pub requested: u64,
    pub granted: u64,
    pub released: u64,
    pub timed_out: u64,
    pub wait_mean_us: u64,
    pub run_mean_us: u64,
    pub slots_mean: f64,
}

impl From<v1::AllocationRow> for AllocationView {
    fn from(wire: v1::AllocationRow) -> Self {
        let window = |window: v1::AllocationWindow| WindowView {
            window_ms: window.window_ms,
            requested: window.requested,
            granted: window.granted,
            released: window.released,
            timed_out: window.timed_out,
            wait_mean_us: window.wait_mean_us,
            run_mean_us: window.run_mean_us,
            slots_mean: window.slots_mean,
        };
        Self {
            name: wire.name,
            requested: wire.requested,
            granted: wire.granted,
            released: wire.released,
            timed_out: wire.timed_out,
            refused: wire.refused,
            waiting: wire.waiting,
            slots_in_use: wire.slots_in_use,
            windows: wire.windows.into_iter().map(window).collect(),
        }
    }
}

impl Row for AllocationView {
    const HEADERS: &'static [&'static str] =
        &["name", "slots", "waiting", "asked", "got", "given back", "timed out", "refused", "last 1m", "wait", "run"];

    fn cells(&self) -> Vec<Cell> {
        let minute = self.windows.first();
        let mean = |us: Option<u64>| us.map_or("-".to_owned(), |us| table::duration(Duration::from_micros(us)));
        let refused = Cell::number(self.refused).tone(if self.refused > 0 { Tone::Warn } else { Tone::Plain });
        vec![
            Cell::text(&self.name),
            Cell::number(self.slots_in_use),
            Cell::number(self.waiting),
            Cell::number(self.requested),
            Cell::number(self.granted),
            Cell::number(self.released),
            Cell::number(self.timed_out),
            refused,
            Cell::number(minute.map_or(0, |window| window.granted)),
            Cell::number(mean(minute.map(|window| window.wait_mean_us))),
            Cell::number(mean(minute.map(|window| window.run_mean_us))),
        ]
    }
}

/// Something that limits, breakers, quotas, budgets or a failover did.
#[derive(Clone, Debug, Serialize)]
pub struct AllocationEventView {
    /// Its number.
    pub id: u64,
    /// When.
    pub at_unix_ms: Option<i64>,
    /// `throttled`, `opened`, `refused`, `cooldown`, `breaker`, `budget` or `failover`.
    pub what: String,
    /// About what.
    pub subject: String,
    /// In words.
    pub message: String,
}

impl From<v1::AllocationEvent> for AllocationEventView {
    fn from(wire: v1::AllocationEvent) -> Self {
        Self {
            id: wire.id,
            at_unix_ms: time(wire.at_unix_ms),
            what: wire.what,
            subject: wire.subject,
            message: wire.message,
        }
    }
}

impl Line for AllocationEventView {
    fn line(&self, style: &Style) -> String {
        let tone = match self.what.as_str() {
            "refused" | "failover" => Tone::Bad,
            "throttled" | "cooldown" | "breaker" | "budget" => Tone::Warn,
            "opened" => Tone::Good,
            _ => Tone::Plain,
        };
        let what = table::printable(&self.what);
        format!(
            "{}  {}  {}  {}",
            table::at(self.at_unix_ms),
            table::tinted(&format!("{what:<9}"), tone, style),
            table::printable(&self.subject),
            table::printable(&self.message)
        )
    }
}
