//! Agents, as printed.

use std::collections::BTreeMap;

use evenkeel_proto::v1;
use evenkeel_shared::wire::enums;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    time,
};

/// An amount of each resource.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ResourcesView {
    /// Places to run a task in.
    pub slots: u32,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// Named resources.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, u64>,
}

impl From<v1::Resources> for ResourcesView {
    fn from(wire: v1::Resources) -> Self {
        Self {
            slots: wire.slots,
            cpu_millis: wire.cpu_millis,
            memory_bytes: wire.memory_bytes,
            custom: wire.custom.into_iter().collect(),
        }
    }
}

impl ResourcesView {
    /// In one line.
    pub(super) fn summary(&self) -> String {
        let mut parts = vec![format!("{} slots", self.slots)];
        if self.cpu_millis > 0 {
            parts.push(format!("{} cores", self.cpu_millis as f64 / 1_000.0));
        }
        if self.memory_bytes > 0 {
            parts.push(format!("{} memory", table::bytes(self.memory_bytes)));
        }
        parts.extend(self.custom.iter().map(|(name, amount)| format!("{amount} {name}")));
        parts.join(", ")
    }
}

/// An agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentView {
    /// Its lasting name.
    pub agent_id: String,
    /// `healthy`, `degraded`, `unhealthy` or `lost`.
    pub health: &'static str,
    /// `active`, `cordoned` or `draining`.
    pub admin_state: &'static str,
    /// Why it is not healthy, or takes less than its capacity.
    pub conditions: Vec<String>,
    /// Kinds of task it takes.
    pub kinds: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it has in all.
    pub capacity: ResourcesView,
    /// Set aside for attempts that run.
    pub reserved: ResourcesView,
    /// Slots it may use now.
    pub slots_usable: u32,
    /// For the priority strategy.
    pub tier: u32,
    /// How much it is favoured.
    pub weight: u32,
    /// Its program's version.
    pub version: String,
    /// Which session of it this is, as text: it does not fit into JavaScript's numbers.
    pub session_epoch: String,
    /// Since when.
    pub connected_unix_ms: Option<i64>,
    /// Its last word.
    pub last_heard_unix_ms: Option<i64>,
    /// Attempts that run.
    pub running_tasks: u32,
    /// Attempts it holds ahead.
    pub prefetched_tasks: u32,
    /// Processor in use, 0 to 1.
    pub cpu_share: f64,
    /// Memory in use, 0 to 1.
    pub memory_share: f64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Received.
    pub network_rx_bytes_per_s: f64,
    /// Sent.
    pub network_tx_bytes_per_s: f64,
    /// Over a minute.
    pub load_average: f64,
    /// Attempts it did.
    pub succeeded: u64,
    /// And failed.
    pub failed: u64,
    /// How each kind fares on it, as the coordinator measured it.
    pub kinds_seen: Vec<KindView>,
}

/// How one kind of task fares on an agent.
#[derive(Clone, Debug, Serialize)]
pub struct KindView {
    /// The kind.
    pub kind: String,
    /// Attempts completed.
    pub completed: u64,
    /// Mean time of one.
    pub mean_us: f64,
}

impl From<v1::Agent> for AgentView {
    fn from(wire: v1::Agent) -> Self {
        let kind =
            |wire: v1::KindStatistics| KindView { kind: wire.kind, completed: wire.completed, mean_us: wire.mean_us };
        Self {
            health: enums::health(wire.health).map_or("unknown", |health| health.name()),
            admin_state: enums::admin_state(wire.admin_state).map_or("unknown", |state| state.name()),
            agent_id: wire.agent_id,
            conditions: wire.conditions,
            kinds: wire.kinds,
            labels: wire.labels.into_iter().collect(),
            capacity: wire.capacity.unwrap_or_default().into(),
            reserved: wire.reserved.unwrap_or_default().into(),
            slots_usable: wire.slots_usable,
            tier: wire.tier,
            weight: wire.weight,
            version: wire.version,
            session_epoch: wire.session_epoch.to_string(),
            connected_unix_ms: time(wire.connected_unix_ms),
            last_heard_unix_ms: time(wire.last_heard_unix_ms),
            running_tasks: wire.running_tasks,
            prefetched_tasks: wire.prefetched_tasks,
            cpu_share: wire.cpu_share,
            memory_share: wire.memory_share,
            memory_used_bytes: wire.memory_used_bytes,
            network_rx_bytes_per_s: wire.network_rx_bytes_per_s,
            network_tx_bytes_per_s: wire.network_tx_bytes_per_s,
            load_average: wire.load_average,
            succeeded: wire.succeeded,
            failed: wire.failed,
            kinds_seen: wire.kinds_seen.into_iter().map(kind).collect(),
        }
    }
}

fn health_cell(name: &str) -> Cell {
    Cell::text(name).tone(match name {
        "healthy" => Tone::Good,
        "degraded" => Tone::Warn,
        _ => Tone::Bad,
    })
}

fn admin_cell(name: &str) -> Cell {
    Cell::text(name).tone(if name == "active" { Tone::Plain } else { Tone::Warn })
}

impl Row for AgentView {
    const HEADERS: &'static [&'static str] =
        &["agent", "health", "admin", "slots", "ahead", "cpu", "memory", "done", "failed", "kinds"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.agent_id),
            health_cell(self.health),
            admin_cell(self.admin_state),
            Cell::number(format!("{}/{}", self.reserved.slots, self.capacity.slots)),
            Cell::number(self.prefetched_tasks),
            Cell::number(table::percent(self.cpu_share)),
            Cell::number(table::percent(self.memory_share)),
            Cell::number(self.succeeded),
            Cell::number(self.failed),
            Cell::text(self.kinds.join(", ")),
        ]
    }
}

impl Row for KindView {
    const HEADERS: &'static [&'static str] = &["kind", "completed", "mean"];

    fn cells(&self) -> Vec<Cell> {
        let mean = std::time::Duration::try_from_secs_f64(self.mean_us / 1e6).unwrap_or_default();
        vec![Cell::text(&self.kind), Cell::number(self.completed), Cell::number(table::duration(mean))]
    }
}

impl Show for AgentView {
    fn show(&self, style: &Style) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let network = |bytes_per_s: f64| format!("{}/s", table::bytes(bytes_per_s as u64));
        let memory = format!("{} ({})", table::percent(self.memory_share), table::bytes(self.memory_used_bytes));
        let pairs = [
            ("agent", Cell::text(&self.agent_id)),
            ("health", health_cell(self.health)),
            ("admin state", admin_cell(self.admin_state)),
            ("conditions", Cell::text(self.conditions.join("; "))),
            ("kinds", Cell::text(self.kinds.join(", "))),
            ("labels", Cell::text(labels.join(", "))),
            ("capacity", Cell::text(self.capacity.summary())),
            ("reserved", Cell::text(self.reserved.summary())),
            ("usable slots", Cell::text(self.slots_usable.to_string())),
            ("tier, weight", Cell::text(format!("{}, {}", self.tier, self.weight))),
            ("running", Cell::text(format!("{} and {} ahead", self.running_tasks, self.prefetched_tasks))),
            ("cpu", Cell::text(table::percent(self.cpu_share))),
            ("memory", Cell::text(memory)),
            (
                "network",
                Cell::text(format!(
                    "{} in, {} out",
                    network(self.network_rx_bytes_per_s),
                    network(self.network_tx_bytes_per_s)
                )),
            ),
            ("load average", Cell::text(format!("{:.2}", self.load_average))),
            ("done", Cell::text(format!("{} succeeded, {} failed", self.succeeded, self.failed))),
            ("connected", Cell::text(table::at(self.connected_unix_ms))),
            ("last heard", Cell::text(table::at(self.last_heard_unix_ms))),
            ("version", Cell::text(&self.version)),
        ];
        let mut shown = table::pairs(&pairs, style);
        if !self.kinds_seen.is_empty() {
            shown.push_str("\n\n");
            shown.push_str(&table::grid(&self.kinds_seen, style));
        }
        shown
    }
}
