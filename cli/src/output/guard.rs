//! Upstream quotas and circuit breakers, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    text, time, word,
};

/// An upstream quota that is used up. The fields are those of `Quota` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaView {
    pub key: String,
    pub until_unix_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<String>,
    pub waiting: u64,
    pub agent_ids: Vec<String>,
}

impl From<v1::Quota> for QuotaView {
    fn from(wire: v1::Quota) -> Self {
        Self {
            key: wire.key,
            until_unix_ms: time(wire.until_unix_ms),
            reason: text(wire.reason),
            reported_by: text(wire.reported_by),
            waiting: wire.waiting,
            agent_ids: wire.agent_ids,
        }
    }
}

impl QuotaView {
    fn reported_by(&self) -> &str {
        self.reported_by.as_deref().unwrap_or("an operator")
    }
}

impl Row for QuotaView {
    const HEADERS: &'static [&'static str] = &["quota", "used up until", "said by", "waiting", "agents", "reason"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.key),
            Cell::text(table::at(self.until_unix_ms)).tone(Tone::Warn),
            Cell::text(self.reported_by()),
            Cell::number(self.waiting),
            Cell::text(self.agent_ids.join(", ")),
            Cell::text(self.reason.as_deref().unwrap_or_default()),
        ]
    }
}

impl Show for QuotaView {
    fn show(&self, style: &Style) -> String {
        let pairs = [
            ("quota", Cell::text(&self.key)),
            ("used up until", Cell::text(table::at(self.until_unix_ms)).tone(Tone::Warn)),
            ("said by", Cell::text(self.reported_by())),
            ("waiting", Cell::text(self.waiting.to_string())),
            ("reason", Cell::text(self.reason.as_deref().unwrap_or_default())),
        ];
        table::pairs(&pairs, style)
    }
}

/// A circuit breaker. The fields are those of `Breaker` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerView {
    pub scope: String,
    pub name: String,
    pub state: String,
    pub since_unix_ms: Option<i64>,
    pub retry_unix_ms: Option<i64>,
    pub failures: u32,
    pub attempts: u32,
    pub times_opened: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<v1::Breaker> for BreakerView {
    fn from(wire: v1::Breaker) -> Self {
        Self {
            scope: word(wire.scope().as_str_name(), "BREAKER_SCOPE_"),
            state: word(wire.state().as_str_name(), "BREAKER_STATE_"),
            name: wire.name,
            since_unix_ms: time(wire.since_unix_ms),
            retry_unix_ms: time(wire.retry_unix_ms),
            failures: wire.failures,
            attempts: wire.attempts,
            times_opened: wire.times_opened,
            reason: text(wire.reason),
        }
    }
}

impl BreakerView {
    fn state(&self) -> Cell {
        Cell::text(self.state.replace('_', "-")).tone(match self.state.as_str() {
            "open" => Tone::Bad,
            "half_open" => Tone::Warn,
            _ => Tone::Good,
        })
    }
}

impl Row for BreakerView {
    const HEADERS: &'static [&'static str] =
        &["of", "name", "state", "since", "next trial", "failed", "opened", "reason"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.scope.replace('_', " ")),
            Cell::text(&self.name),
            self.state(),
            Cell::text(table::at(self.since_unix_ms)),
            Cell::text(table::at(self.retry_unix_ms)),
            Cell::text(format!("{} of {}", self.failures, self.attempts)),
            Cell::number(self.times_opened),
            Cell::text(self.reason.as_deref().unwrap_or_default()),
        ]
    }
}

impl Show for BreakerView {
    fn show(&self, style: &Style) -> String {
        let pairs = [
            ("breaker", Cell::text(format!("{} {}", self.scope.replace('_', " "), self.name))),
            ("state", self.state()),
            ("since", Cell::text(table::at(self.since_unix_ms))),
            ("next trial", Cell::text(table::at(self.retry_unix_ms))),
            ("reason", Cell::text(self.reason.as_deref().unwrap_or_default())),
        ];
        table::pairs(&pairs, style)
    }
}
