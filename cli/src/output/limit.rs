//! Limits, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    text, time,
};

/// A limit with its use at this moment. The fields are those of `Limit` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct LimitView {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_label: Option<String>,
    pub each_tenant: bool,
    pub each_kind: bool,
    pub each_agent: bool,
    pub concurrency_max: u32,
    pub rate_per_s: f64,
    pub burst: u32,
    pub in_use: u32,
    pub tokens: f64,
    pub waiting: u64,
    pub throttled: u64,
    pub closed: bool,
    pub opens_unix_ms: Option<i64>,
}

impl From<v1::Limit> for LimitView {
    fn from(wire: v1::Limit) -> Self {
        let (scope, used) = (wire.scope.unwrap_or_default(), wire.r#use.unwrap_or_default());
        Self {
            name: wire.name,
            tenant: text(scope.tenant),
            kind: text(scope.kind),
            agent_id: text(scope.agent_id),
            agent_label: text(scope.agent_label),
            each_tenant: scope.each_tenant,
            each_kind: scope.each_kind,
            each_agent: scope.each_agent,
            concurrency_max: wire.concurrency_max,
            rate_per_s: wire.rate_per_s,
            burst: wire.burst,
            in_use: used.in_use,
            tokens: used.tokens,
            waiting: used.waiting,
            throttled: used.throttled,
            closed: used.closed,
            opens_unix_ms: time(used.opens_unix_ms),
        }
    }
}

impl LimitView {
    /// To what it applies, in words.
    fn applies_to(&self) -> String {
        let each = [(self.each_tenant, "each tenant"), (self.each_kind, "each kind"), (self.each_agent, "each agent")];
        let one =
            [("tenant", &self.tenant), ("kind", &self.kind), ("agent", &self.agent_id), ("label", &self.agent_label)];
        let one = one.into_iter().filter_map(|(what, name)| name.as_ref().map(|name| format!("{what} {name}")));
        let each = each.into_iter().filter(|(applies, _)| *applies).map(|(_, what)| what.to_owned());
        one.chain(each).collect::<Vec<_>>().join(", ")
    }

    fn allows(&self) -> (String, String) {
        let concurrency =
            if self.concurrency_max == 0 { "-".into() } else { format!("{} of {}", self.in_use, self.concurrency_max) };
        let rate = if self.rate_per_s == 0.0 {
            "-".into()
        } else {
            format!("{}/s, {:.0} left", table::measure(self.rate_per_s), self.tokens.floor())
        };
        (concurrency, rate)
    }

    fn state(&self) -> Cell {
        match (self.closed, self.opens_unix_ms) {
            (false, _) => Cell::text("open").tone(Tone::Good),
            (true, None) => Cell::text("closed until something ends").tone(Tone::Warn),
            (true, at) => Cell::text(format!("closed until {}", table::at(at))).tone(Tone::Warn),
        }
    }
}

impl Row for LimitView {
    const HEADERS: &'static [&'static str] =
        &["limit", "applies to", "in use", "rate", "state", "waiting", "throttled"];

    fn cells(&self) -> Vec<Cell> {
        let (concurrency, rate) = self.allows();
        vec![
            Cell::text(&self.name),
            Cell::text(self.applies_to()),
            Cell::text(concurrency),
            Cell::text(rate),
            self.state(),
            Cell::number(self.waiting),
            Cell::number(self.throttled),
        ]
    }
}

impl Show for LimitView {
    fn show(&self, style: &Style) -> String {
        let (concurrency, rate) = self.allows();
        let burst = if self.burst == 0 { "one second's worth".to_owned() } else { self.burst.to_string() };
        let pairs = [
            ("limit", Cell::text(&self.name)),
            ("applies to", Cell::text(self.applies_to())),
            ("in use", Cell::text(concurrency)),
            ("rate", Cell::text(rate)),
            ("burst", Cell::text(burst)),
            ("state", self.state()),
        ];
        table::pairs(&pairs, style)
    }
}

/// What was taken away.
#[derive(Clone, Debug, Serialize)]
pub struct RemovedView {
    /// What it was: a word such as `limit`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
}

impl Show for RemovedView {
    fn show(&self, _: &Style) -> String {
        format!("{} {} is removed", self.what, table::printable(&self.name))
    }
}

/// Limits that follow latency. The fields are those of `DynamicLimits` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct DynamicView {
    pub enabled: bool,
    pub algorithm: String,
    pub slots_min: u32,
    pub tolerance: f64,
    pub headroom_priority: u32,
    pub agents: Vec<DynamicAgentView>,
}

/// What was found for an agent.
#[derive(Clone, Debug, Serialize)]
pub struct DynamicAgentView {
    pub agent_id: String,
    pub slots: u32,
    pub limit: u32,
    pub latency_ratio: f64,
}

impl From<v1::DynamicLimits> for DynamicView {
    fn from(wire: v1::DynamicLimits) -> Self {
        let settings = wire.settings.unwrap_or_default();
        let agent = |agent: v1::DynamicLimit| DynamicAgentView {
            agent_id: agent.agent_id,
            slots: agent.slots,
            limit: agent.limit,
            latency_ratio: agent.latency_ratio,
        };
        Self {
            enabled: settings.enabled,
            algorithm: settings.algorithm,
            slots_min: settings.slots_min,
            tolerance: settings.tolerance,
            headroom_priority: settings.headroom_priority,
            agents: wire.agents.into_iter().map(agent).collect(),
        }
    }
}

impl Row for DynamicAgentView {
    const HEADERS: &'static [&'static str] = &["agent", "slots", "usable", "latency against its best"];

    fn cells(&self) -> Vec<Cell> {
        let tone = if self.limit < self.slots { Tone::Warn } else { Tone::Plain };
        vec![
            Cell::text(&self.agent_id),
            Cell::number(self.slots),
            Cell::number(self.limit).tone(tone),
            Cell::number(format!("{:.2}x", self.latency_ratio)),
        ]
    }
}

impl Show for DynamicView {
    fn show(&self, style: &Style) -> String {
        let state = if self.enabled { Cell::text("on").tone(Tone::Good) } else { Cell::text("off") };
        let pairs = [
            ("dynamic limits", state),
            ("algorithm", Cell::text(&self.algorithm)),
            ("slots kept", Cell::text(self.slots_min.to_string())),
            ("tolerance", Cell::text(format!("{}x the best latency", table::measure(self.tolerance)))),
            ("headroom", Cell::text(format!("priority {} and above", self.headroom_priority))),
        ];
        let settings = table::pairs(&pairs, style);
        if self.agents.is_empty() { settings } else { format!("{settings}\n\n{}", table::grid(&self.agents, style)) }
    }
}
