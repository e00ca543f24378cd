//! The cluster's status and strategy, as printed.

use std::time::Duration;

use evenkeel_proto::v1;
use evenkeel_shared::StrategyConfig;
use serde::Serialize;

use super::{
    Show,
    table::{self, Cell, Style, Tone},
    time,
};

/// The cluster at one moment. The fields are those of `ClusterStatus` in cluster.proto, which says what they mean.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    pub coordinator_id: String,
    pub version: String,
    pub started_unix_ms: Option<i64>,
    pub strategy: String,
    pub ready: bool,
    pub panic_mode: bool,
    pub agents_healthy: u32,
    pub agents_degraded: u32,
    pub agents_unhealthy: u32,
    pub agents_lost: u32,
    pub slots_total: u32,
    pub slots_used: u32,
    pub tasks_queued: u64,
    pub tasks_assigned: u64,
    pub tasks_running: u64,
    pub tasks_retry_wait: u64,
    pub tasks_accepted: u64,
    pub tasks_succeeded: u64,
    pub tasks_failed: u64,
    pub tasks_cancelled: u64,
    pub tasks_expired: u64,
    pub tasks_quarantined: u64,
    pub attempts_lost: u64,
    pub stale_results: u64,
    pub queue_bytes: u64,
    pub oldest_queued_ms: u64,
    pub data_directory: String,
}

impl From<v1::ClusterStatus> for StatusView {
    fn from(wire: v1::ClusterStatus) -> Self {
        Self {
            coordinator_id: wire.coordinator_id,
            version: wire.version,
            started_unix_ms: time(wire.started_unix_ms),
            strategy: wire.strategy,
            ready: wire.ready,
            panic_mode: wire.panic_mode,
            agents_healthy: wire.agents_healthy,
            agents_degraded: wire.agents_degraded,
            agents_unhealthy: wire.agents_unhealthy,
            agents_lost: wire.agents_lost,
            slots_total: wire.slots_total,
            slots_used: wire.slots_used,
            tasks_queued: wire.tasks_queued,
            tasks_assigned: wire.tasks_assigned,
            tasks_running: wire.tasks_running,
            tasks_retry_wait: wire.tasks_retry_wait,
            tasks_accepted: wire.tasks_accepted,
            tasks_succeeded: wire.tasks_succeeded,
            tasks_failed: wire.tasks_failed,
            tasks_cancelled: wire.tasks_cancelled,
            tasks_expired: wire.tasks_expired,
            tasks_quarantined: wire.tasks_quarantined,
            attempts_lost: wire.attempts_lost,
            stale_results: wire.stale_results,
            queue_bytes: wire.queue_bytes,
            oldest_queued_ms: wire.oldest_queued_ms,
            data_directory: wire.data_directory,
        }
    }
}

impl Show for StatusView {
    fn show(&self, style: &Style) -> String {
        let ready = match (self.ready, self.panic_mode) {
            (true, false) => Cell::text("ready").tone(Tone::Good),
            (true, true) => Cell::text("ready; failover is slowed down (panic mode)").tone(Tone::Warn),
            (false, _) => Cell::text("not ready").tone(Tone::Bad),
        };
        let agents = format!(
            "{} healthy, {} degraded, {} unhealthy, {} lost",
            self.agents_healthy, self.agents_degraded, self.agents_unhealthy, self.agents_lost
        );
        let live = format!(
            "{} queued ({}, oldest {}), {} assigned, {} running, {} wait for a retry",
            self.tasks_queued,
            table::bytes(self.queue_bytes),
            table::duration(Duration::from_millis(self.oldest_queued_ms)),
            self.tasks_assigned,
            self.tasks_running,
            self.tasks_retry_wait
        );
        let over = format!(
            "{} accepted, {} succeeded, {} failed, {} cancelled, {} expired, {} quarantined",
            self.tasks_accepted,
            self.tasks_succeeded,
            self.tasks_failed,
            self.tasks_cancelled,
            self.tasks_expired,
            self.tasks_quarantined
        );
        let attempts = format!("{} lost with their agent, {} stale results", self.attempts_lost, self.stale_results);
        let pairs = [
            ("coordinator", Cell::text(format!("{} ({})", self.coordinator_id, self.version))),
            ("state", ready),
            ("started", Cell::text(table::at(self.started_unix_ms))),
            ("strategy", Cell::text(&self.strategy)),
            ("agents", Cell::text(agents)),
            ("slots", Cell::text(format!("{} of {} in use", self.slots_used, self.slots_total))),
            ("tasks", Cell::text(live)),
            ("since start", Cell::text(over)),
            ("attempts", Cell::text(attempts)),
            ("data", Cell::text(&self.data_directory)),
        ];
        table::pairs(&pairs, style)
    }
}

/// A strategy and its settings, tagged by its name.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct StrategyView(pub StrategyConfig);

impl Show for StrategyView {
    fn show(&self, style: &Style) -> String {
        let mut shown = vec![("strategy".to_owned(), self.0.name().to_owned())];
        if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(&self.0) {
            let rest = settings.into_iter().filter(|(name, _)| name != "name");
            shown.extend(rest.map(|(name, value)| (name, value.to_string())));
        }
        let pairs: Vec<_> = shown.iter().map(|(name, value)| (name.as_str(), Cell::text(value))).collect();
        table::pairs(&pairs, style)
    }
}
