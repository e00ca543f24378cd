//! The size of the fleet, its policy, and what was decided, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use self::policy::metric_name;
use super::{
    Line, Row, Show,
    table::{self, Cell, Style, Tone},
    text, time, word,
};

mod policy;

pub use policy::{PolicyAdviceView, PolicyView, TemplateView, VersionView};

/// How many agents there are, are wanted and why. The fields are those of `Scaling` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingView {
    pub agents: u32,
    pub agents_wanted: u32,
    pub agents_draining: u32,
    pub demand: f64,
    pub demand_forecast: f64,
    pub headroom: f64,
    pub utilisation: f64,
    pub score: f64,
    pub metrics: Vec<ScoredView>,
    pub policy: Option<PolicyView>,
    #[serde(rename = "override")]
    pub fixed: Option<OverrideView>,
    pub actuator: String,
    pub last: Option<ScalingEventView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// A measurement and what it counts for.
#[derive(Clone, Debug, Serialize)]
pub struct ScoredView {
    pub metric: String,
    pub value: f64,
    pub score: f64,
    pub weight: f64,
}

impl Row for ScoredView {
    const HEADERS: &'static [&'static str] = &["metric", "value", "score", "weight"];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.metric),
            Cell::number(table::measure(self.value)),
            Cell::number(format!("{:.0} %", self.score)),
            Cell::number(table::measure(self.weight)),
        ]
    }
}

/// A number of agents that was fixed by hand.
#[derive(Clone, Debug, Serialize)]
pub struct OverrideView {
    pub agents: u32,
    pub until_unix_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub set_unix_ms: Option<i64>,
}

impl From<v1::Scaling> for ScalingView {
    fn from(wire: v1::Scaling) -> Self {
        let scored = |of: &v1::ScoredMetric| ScoredView {
            metric: metric_name(of.metric()),
            value: of.value,
            score: of.score,
            weight: of.weight,
        };
        let fixed = |of: v1::ScalingOverride| OverrideView {
            agents: of.agents,
            until_unix_ms: time(of.until_unix_ms),
            reason: text(of.reason),
            set_unix_ms: time(of.set_unix_ms),
        };
        Self {
            metrics: wire.metrics.iter().map(scored).collect(),
            agents: wire.agents,
            agents_wanted: wire.agents_wanted,
            agents_draining: wire.agents_draining,
            demand: wire.demand,
            demand_forecast: wire.demand_forecast,
            headroom: wire.headroom,
            utilisation: wire.utilisation,
            score: wire.score,
            policy: wire.policy.map(Into::into),
            fixed: wire.r#override.map(fixed),
            actuator: wire.actuator,
            last: wire.last.map(Into::into),
            waiting_for: text(wire.waiting_for),
        }
    }
}

impl Show for ScalingView {
    fn show(&self, style: &Style) -> String {
        let wanted = match self.agents_wanted.cmp(&self.agents) {
            std::cmp::Ordering::Equal => Cell::text(self.agents_wanted.to_string()).tone(Tone::Good),
            _ => Cell::text(self.agents_wanted.to_string()).tone(Tone::Warn),
        };
        let policy = self.policy.as_ref().map_or_else(
            || "none; see `evenkeel scaling policy templates`".to_owned(),
            |policy| {
                format!(
                    "{} (version {}): {} to {} agents",
                    policy.name, policy.version, policy.agents_min, policy.agents_max
                )
            },
        );
        let fixed = self.fixed.as_ref().map_or_else(String::new, |fixed| {
            let reason = fixed.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{} agents until {}{reason}", fixed.agents, table::at(fixed.until_unix_ms))
        });
        let pairs = [
            ("agents", Cell::text(format!("{}, {} of them draining", self.agents, self.agents_draining))),
            ("wanted", wanted),
            ("demand", Cell::text(format!("{:.2} agents, {:.2} forecast", self.demand, self.demand_forecast))),
            ("headroom", Cell::text(format!("{:.2} agents", self.headroom))),
            ("utilisation", Cell::text(table::percent(self.utilisation))),
            ("score", Cell::text(format!("{:.0} %", self.score))),
            ("policy", Cell::text(policy)),
            ("override", Cell::text(fixed)),
            ("actuator", Cell::text(&self.actuator)),
            ("waiting for", Cell::text(self.waiting_for.as_deref().unwrap_or_default())),
            ("last", Cell::text(self.last.as_ref().map(|last| last.line(&Style::default())).unwrap_or_default())),
        ];
        let whole = table::pairs(&pairs, style);
        if self.metrics.is_empty() { whole } else { format!("{whole}\n\n{}", table::grid(&self.metrics, style)) }
    }
}

/// A decision and what became of it. The fields are those of `ScalingEvent` in resource.proto.
#[derive(Clone, Debug, Serialize)]
pub struct ScalingEventView {
    pub id: u64,
    pub at_unix_ms: Option<i64>,
    pub action: String,
    pub agents_before: u32,
    pub agents_after: u32,
    pub agent_ids: Vec<String>,
    pub reasons: Vec<String>,
    pub actuator: String,
    pub outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    pub policy_version: u64,
    pub score: f64,
}

impl From<v1::ScalingEvent> for ScalingEventView {
    fn from(wire: v1::ScalingEvent) -> Self {
        Self {
            action: word(wire.action().as_str_name(), "SCALING_ACTION_"),
            id: wire.id,
            at_unix_ms: time(wire.at_unix_ms),
            agents_before: wire.agents_before,
            agents_after: wire.agents_after,
            agent_ids: wire.agent_ids,
            reasons: wire.reasons,
            actuator: wire.actuator,
            outcome: wire.outcome,
            error: text(wire.error),
            policy: text(wire.policy),
            policy_version: wire.policy_version,
            score: wire.score,
        }
    }
}

impl Line for ScalingEventView {
    fn line(&self, style: &Style) -> String {
        let tone = match self.outcome.as_str() {
            "failed" => Tone::Bad,
            "done" => Tone::Good,
            _ => Tone::Plain,
        };
        let which = if self.agent_ids.is_empty() { String::new() } else { format!(" ({})", self.agent_ids.join(", ")) };
        let error = self.error.as_deref().map(|error| format!("; {error}")).unwrap_or_default();
        format!(
            "{}  {:<4}  {} -> {}{}  {}  {}{}",
            table::at(self.at_unix_ms),
            table::printable(&self.action),
            self.agents_before,
            self.agents_after,
            table::printable(&which),
            table::tinted(&format!("{:<7}", table::printable(&self.outcome)), tone, style),
            table::printable(&self.reasons.join("; ")),
            table::printable(&error),
        )
    }
}
