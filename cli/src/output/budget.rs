//! Budgets, prices and costs, as printed.

use std::collections::BTreeMap;

use evenkeel_proto::v1;
use evenkeel_shared::wire;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    text, time, word,
};

/// A budget with what is spent of it. The fields are those of `Budget` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct BudgetView {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub unit: String,
    pub cap: f64,
    pub window: String,
    pub action: String,
    pub warning_percent: u32,
    pub critical_percent: u32,
    pub default_estimate: f64,
    pub window_start_unix_ms: Option<i64>,
    pub window_end_unix_ms: Option<i64>,
    pub spent: f64,
    pub reserved: f64,
    pub overrun: f64,
    pub level: String,
    pub waiting: u64,
}

impl From<v1::Budget> for BudgetView {
    fn from(wire: v1::Budget) -> Self {
        let used = wire.r#use.unwrap_or_default();
        Self {
            window: word(wire.window().as_str_name(), "BUDGET_WINDOW_"),
            action: word(wire.action().as_str_name(), "BUDGET_ACTION_"),
            name: wire.name,
            tenant: text(wire.tenant),
            kind: text(wire.kind),
            unit: wire.unit,
            cap: wire.cap,
            warning_percent: wire.warning_percent,
            critical_percent: wire.critical_percent,
            default_estimate: wire.default_estimate,
            window_start_unix_ms: time(used.window_start_unix_ms),
            window_end_unix_ms: time(used.window_end_unix_ms),
            spent: used.spent,
            reserved: used.reserved,
            overrun: used.overrun,
            level: word(used.level().as_str_name(), "BUDGET_LEVEL_"),
            waiting: used.waiting,
        }
    }
}

impl BudgetView {
    fn covers(&self) -> String {
        let one = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
        let covers: Vec<_> = [one("tenant", &self.tenant), one("kind", &self.kind)].into_iter().flatten().collect();
        if covers.is_empty() { "all tasks".to_owned() } else { covers.join(", ") }
    }

    fn cap(&self) -> String {
        let per = if self.window == "total" { "in total".to_owned() } else { format!("a {}", self.window) };
        format!("{}={} {per}", self.unit, table::amount(self.cap))
    }

    fn level(&self) -> Cell {
        Cell::text(&self.level).tone(match self.level.as_str() {
            "ok" => Tone::Good,
            "warning" => Tone::Warn,
            "critical" | "exhausted" => Tone::Bad,
            _ => Tone::Plain,
        })
    }

    fn share(&self) -> String {
        if self.cap > 0.0 { table::percent((self.spent + self.reserved) / self.cap) } else { "-".to_owned() }
    }
}

impl Row for BudgetView {
    const HEADERS: &'static [&'static str] =
        &["budget", "covers", "cap", "spent", "reserved", "used", "level", "then", "waiting"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.name),
            Cell::text(self.covers()),
            Cell::text(self.cap()),
            Cell::number(table::amount(self.spent)),
            Cell::number(table::amount(self.reserved)),
            Cell::number(self.share()),
            self.level(),
            Cell::text(&self.action),
            Cell::number(self.waiting),
        ]
    }
}

impl Show for BudgetView {
    fn show(&self, style: &Style) -> String {
        let then = match self.action.as_str() {
            "refuse" => "submissions are refused",
            _ => "tasks wait",
        };
        let pairs = [
            ("budget", Cell::text(&self.name)),
            ("covers", Cell::text(self.covers())),
            ("cap", Cell::text(self.cap())),
            (
                "spent",
                Cell::text(format!("{}, {} of it overrun", table::amount(self.spent), table::amount(self.overrun))),
            ),
            ("reserved", Cell::text(table::amount(self.reserved))),
            ("level", self.level()),
            ("levels", Cell::text(format!("warning {} %, critical {} %", self.warning_percent, self.critical_percent))),
            ("beyond it", Cell::text(then)),
            ("window ends", Cell::text(table::at(self.window_end_unix_ms))),
        ];
        table::pairs(&pairs, style)
    }
}

/// What resources cost. The fields are those of `Prices` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct PricesView {
    pub unit: String,
    pub agent_hour: f64,
    pub agent_prices: Vec<AgentPriceView>,
    pub core_hour: f64,
    pub memory_gb_hour: f64,
    pub storage_gb_hour: f64,
    pub network_mb: f64,
}

/// What agents with a label cost.
#[derive(Clone, Debug, Serialize)]
pub struct AgentPriceView {
    /// The rule, as `prices set --agent-price` takes it.
    pub label: String,
    pub agent_hour: f64,
}

impl From<v1::Prices> for PricesView {
    fn from(wire: v1::Prices) -> Self {
        let agent_price =
            |price: v1::AgentPrice| AgentPriceView { label: rule_shown(price.label), agent_hour: price.agent_hour };
        Self {
            unit: wire.unit,
            agent_hour: wire.agent_hour,
            agent_prices: wire.agent_prices.into_iter().map(agent_price).collect(),
            core_hour: wire.core_hour,
            memory_gb_hour: wire.memory_gb_hour,
            storage_gb_hour: wire.storage_gb_hour,
            network_mb: wire.network_mb,
        }
    }
}

/// A rule of labels as people write it; what this build cannot read, by its key.
fn rule_shown(wire: Option<v1::LabelRule>) -> String {
    let wire = wire.unwrap_or_default();
    let key = wire.key.clone();
    wire::labels::label_rule(wire).map_or(key, |rule| rule.to_string())
}

impl Show for PricesView {
    fn show(&self, style: &Style) -> String {
        let price = |amount: f64| format!("{}={}", self.unit, table::amount(amount));
        let mut shown = vec![("agent hour".to_owned(), price(self.agent_hour))];
        shown.extend(self.agent_prices.iter().map(|of| (format!("  {}", of.label), price(of.agent_hour))));
        shown.push(("core hour".to_owned(), price(self.core_hour)));
        shown.push(("memory GiB hour".to_owned(), price(self.memory_gb_hour)));
        shown.push(("storage GiB hour".to_owned(), price(self.storage_gb_hour)));
        shown.push(("network MB".to_owned(), price(self.network_mb)));
        let pairs: Vec<_> = shown.iter().map(|(name, value)| (name.as_str(), Cell::text(value))).collect();
        table::pairs(&pairs, style)
    }
}

/// What was spent. The fields are those of `Costs` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct CostsView {
    pub rows: Vec<CostView>,
    pub unit: String,
    pub total: f64,
    pub idle: f64,
    pub efficiency: f64,
    pub hourly_estimate: f64,
    pub daily_estimate: f64,
    pub monthly_estimate: f64,
}

/// What one of them spent.
#[derive(Clone, Debug, Serialize)]
pub struct CostView {
    pub name: String,
    pub tasks: u64,
    pub attempts: u64,
    pub resources: f64,
    pub reported: BTreeMap<String, f64>,
    pub total: f64,
    pub total_per_task: f64,
}

impl From<v1::Costs> for CostsView {
    fn from(wire: v1::Costs) -> Self {
        let row = |row: v1::CostRow| CostView {
            name: row.name,
            tasks: row.tasks,
            attempts: row.attempts,
            resources: row.resources,
            reported: row.reported.into_iter().collect(),
            total: row.total,
            total_per_task: row.total_per_task,
        };
        Self {
            rows: wire.rows.into_iter().map(row).collect(),
            unit: wire.unit,
            total: wire.total,
            idle: wire.idle,
            efficiency: wire.efficiency,
            hourly_estimate: wire.hourly_estimate,
            daily_estimate: wire.daily_estimate,
            monthly_estimate: wire.monthly_estimate,
        }
    }
}

impl Row for CostView {
    const HEADERS: &'static [&'static str] = &["name", "tasks", "attempts", "resources", "reported", "total", "a task"];

    fn cells(&self) -> Vec<Cell> {
        let reported: Vec<_> =
            self.reported.iter().map(|(unit, amount)| format!("{unit}={}", table::amount(*amount))).collect();
        vec![
            Cell::text(&self.name),
            Cell::number(self.tasks),
            Cell::number(self.attempts),
            Cell::number(table::amount(self.resources)),
            Cell::text(reported.join(" ")),
            Cell::number(table::amount(self.total)),
            Cell::number(table::amount(self.total_per_task)),
        ]
    }
}

impl Show for CostsView {
    fn show(&self, style: &Style) -> String {
        let amount = |amount: f64| Cell::text(format!("{}={}", self.unit, table::amount(amount)));
        let estimates = format!(
            "{} an hour, {} a day, {} a month",
            table::amount(self.hourly_estimate),
            table::amount(self.daily_estimate),
            table::amount(self.monthly_estimate)
        );
        let pairs = [
            ("total", amount(self.total)),
            ("idle", amount(self.idle)),
            ("efficiency", Cell::text(table::percent(self.efficiency))),
            ("estimate", Cell::text(estimates)),
        ];
        let whole = table::pairs(&pairs, style);
        if self.rows.is_empty() { whole } else { format!("{}\n\n{whole}", table::grid(&self.rows, style)) }
    }
}
