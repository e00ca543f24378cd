//! The size of the fleet, its policy, and what was decided, as printed.

use evenkeel_proto::v1;
use serde::{Deserialize, Serialize};

use super::{
    Line, Row, Show,
    table::{self, Cell, Style, Tone},
    text, time, word,
};

/// A scaling policy, as it is printed and as `policy put --file` reads it. The fields are those of `ScalingPolicy` in
/// resource.proto; what is left out is as in its template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyView {
    pub name: String,
    pub template: String,
    pub version: u64,
    pub agents_min: u32,
    pub agents_max: u32,
    pub utilisation_target_percent: u32,
    pub metrics: Vec<WeightView>,
    pub scale_up_percent: u32,
    pub scale_down_percent: u32,
    pub up: Option<RulesView>,
    pub down: Option<RulesView>,
    pub tolerance_percent: u32,
    pub predictive: bool,
    pub wait_target_ms: u64,
    pub start_up_ms: u64,
    pub stored_unix_ms: Option<i64>,
    pub effectiveness: f64,
}

/// A measurement that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightView {
    pub metric: String,
    pub weight: f64,
    pub normaliser: f64,
}

/// How fast it may go in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesView {
    pub stabilisation_ms: u64,
    pub step_agents_max: u32,
    pub step_percent_max: u32,
    pub period_ms: u64,
    pub cooldown_ms: u64,
}

impl From<v1::ScalingPolicy> for PolicyView {
    fn from(wire: v1::ScalingPolicy) -> Self {
        let weight = |of: &v1::MetricWeight| WeightView {
            metric: metric_name(of.metric()),
            weight: of.weight,
            normaliser: of.normaliser,
        };
        Self {
            metrics: wire.metrics.iter().map(weight).collect(),
            name: wire.name,
            template: wire.template,
            version: wire.version,
            agents_min: wire.agents_min,
            agents_max: wire.agents_max,
            utilisation_target_percent: wire.utilisation_target_percent,
            scale_up_percent: wire.scale_up_percent,
            scale_down_percent: wire.scale_down_percent,
            up: wire.up.map(Into::into),
            down: wire.down.map(Into::into),
            tolerance_percent: wire.tolerance_percent,
            predictive: wire.predictive,
            wait_target_ms: wire.wait_target_ms,
            start_up_ms: wire.start_up_ms,
            stored_unix_ms: time(wire.stored_unix_ms),
            effectiveness: wire.effectiveness,
        }
    }
}

impl From<v1::ScalingRules> for RulesView {
    fn from(wire: v1::ScalingRules) -> Self {
        Self {
            stabilisation_ms: wire.stabilisation_ms,
            step_agents_max: wire.step_agents_max,
            step_percent_max: wire.step_percent_max,
            period_ms: wire.period_ms,
            cooldown_ms: wire.cooldown_ms,
        }
    }
}

impl From<RulesView> for v1::ScalingRules {
    fn from(rules: RulesView) -> Self {
        Self {
            stabilisation_ms: rules.stabilisation_ms,
            step_agents_max: rules.step_agents_max,
            step_percent_max: rules.step_percent_max,
            period_ms: rules.period_ms,
            cooldown_ms: rules.cooldown_ms,
        }
    }
}

impl TryFrom<PolicyView> for v1::ScalingPolicy {
    type Error = String;

    fn try_from(policy: PolicyView) -> Result<Self, String> {
        let weight = |of: &WeightView| {
            let metric = v1::ScalingMetric::from_str_name(&format!("SCALING_METRIC_{}", of.metric.to_uppercase()))
                .filter(|metric| *metric != v1::ScalingMetric::Unspecified)
                .ok_or_else(|| format!("`{}` is not a metric; there are: {METRICS}", of.metric))?;
            Ok::<_, String>(v1::MetricWeight { metric: metric.into(), weight: of.weight, normaliser: of.normaliser })
        };
        Ok(Self {
            metrics: policy.metrics.iter().map(weight).collect::<Result<_, _>>()?,
            name: policy.name,
            template: policy.template,
            version: policy.version,
            agents_min: policy.agents_min,
            agents_max: policy.agents_max,
            utilisation_target_percent: policy.utilisation_target_percent,
            scale_up_percent: policy.scale_up_percent,
            scale_down_percent: policy.scale_down_percent,
            up: policy.up.map(Into::into),
            down: policy.down.map(Into::into),
            tolerance_percent: policy.tolerance_percent,
            predictive: policy.predictive,
            wait_target_ms: policy.wait_target_ms,
            start_up_ms: policy.start_up_ms,
            // These are the coordinator's to say.
            stored_unix_ms: 0,
            effectiveness: 0.0,
        })
    }
}

/// The metrics that a policy may weigh.
const METRICS: &str = "cpu, memory, response_time, error_rate, request_rate, utilisation";

fn metric_name(metric: v1::ScalingMetric) -> String {
    word(metric.as_str_name(), "SCALING_METRIC_")
}

impl RulesView {
    fn words(&self) -> String {
        let mut words = Vec::new();
        let most = [(self.step_agents_max, "agents"), (self.step_percent_max, "%")];
        let most: Vec<_> = most.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
        if !most.is_empty() {
            words.push(format!("at most {} in {}", most.join(" and "), ms(self.period_ms)));
        }
        if self.stabilisation_ms > 0 {
            words.push(format!("the mildest of {}", ms(self.stabilisation_ms)));
        }
        if self.cooldown_ms > 0 {
            words.push(format!("then {} of rest", ms(self.cooldown_ms)));
        }
        if words.is_empty() { "at once".to_owned() } else { words.join(", ") }
    }
}

fn ms(ms: u64) -> String {
    let shown = table::duration(std::time::Duration::from_millis(ms));
    shown.replace(".0s", "s").replace("m 0s", "m").replace("h 0m", "h")
}

impl Show for PolicyView {
    fn show(&self, style: &Style) -> String {
        let weights: Vec<_> =
            self.metrics.iter().map(|of| format!("{} {}", of.metric, table::measure(of.weight))).collect();
        let version = match self.stored_unix_ms {
            Some(_) => format!("{}, of {}", self.version, table::at(self.stored_unix_ms)),
            None => "not stored".to_owned(),
        };
        let effectiveness = match self.effectiveness {
            0.0 => "too little history yet".to_owned(),
            score => format!("{score:.0} of 100"),
        };
        let predictive = if self.predictive { ", forecast demand counts" } else { "" };
        let pairs = [
            ("policy", Cell::text(&self.name)),
            ("template", Cell::text(&self.template)),
            ("version", Cell::text(version)),
            ("agents", Cell::text(format!("{} to {}", self.agents_min, self.agents_max))),
            ("utilisation", Cell::text(format!("{} %{predictive}", self.utilisation_target_percent))),
            ("weights", Cell::text(weights.join(", "))),
            ("up from", Cell::text(format!("{} %: {}", self.scale_up_percent, self.up.unwrap_or_default().words()))),
            (
                "down from",
                Cell::text(format!("{} %: {}", self.scale_down_percent, self.down.unwrap_or_default().words())),
            ),
            ("tolerance", Cell::text(format!("{} %", self.tolerance_percent))),
            ("wait target", Cell::text(ms(self.wait_target_ms))),
            ("start-up", Cell::text(ms(self.start_up_ms))),
            ("effectiveness", Cell::text(effectiveness)),
        ];
        table::pairs(&pairs, style)
    }
}

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

/// A template.
#[derive(Clone, Debug, Serialize)]
pub struct TemplateView {
    /// As `policy put --template` takes it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The policy that it gives.
    pub policy: PolicyView,
}

impl From<v1::ScalingTemplate> for TemplateView {
    fn from(wire: v1::ScalingTemplate) -> Self {
        Self { name: wire.name, description: wire.description, policy: wire.policy.unwrap_or_default().into() }
    }
}

impl Row for TemplateView {
    const HEADERS: &'static [&'static str] = &["template", "up", "down", "target", "agents", "for"];

    fn cells(&self) -> Vec<Cell> {
        let policy = &self.policy;
        vec![
            Cell::text(&self.name),
            Cell::number(format!("{} %", policy.scale_up_percent)),
            Cell::number(format!("{} %", policy.scale_down_percent)),
            Cell::number(format!("{} %", policy.utilisation_target_percent)),
            Cell::text(format!("{} to {}", policy.agents_min, policy.agents_max)),
            Cell::text(&self.description),
        ]
    }
}

/// A version of the policy.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// The policy as it was.
    pub policy: PolicyView,
    /// Why it was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<v1::ScalingPolicyVersion> for VersionView {
    fn from(wire: v1::ScalingPolicyVersion) -> Self {
        Self { policy: wire.policy.unwrap_or_default().into(), reason: text(wire.reason) }
    }
}

impl Row for VersionView {
    const HEADERS: &'static [&'static str] = &["version", "stored", "policy", "agents", "up", "down", "reason"];

    fn cells(&self) -> Vec<Cell> {
        let policy = &self.policy;
        vec![
            Cell::number(policy.version),
            Cell::text(table::at(policy.stored_unix_ms)),
            Cell::text(&policy.name),
            Cell::text(format!("{} to {}", policy.agents_min, policy.agents_max)),
            Cell::number(format!("{} %", policy.scale_up_percent)),
            Cell::number(format!("{} %", policy.scale_down_percent)),
            Cell::text(self.reason.as_deref().unwrap_or_default()),
        ]
    }
}

/// What is wrong with a policy, or would be better.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyAdviceView {
    /// Which setting.
    pub field: String,
    /// What about it.
    pub advice: String,
    /// Refused because of it.
    pub error: bool,
}

impl From<v1::PolicyAdvice> for PolicyAdviceView {
    fn from(wire: v1::PolicyAdvice) -> Self {
        Self { field: wire.field, advice: wire.advice, error: wire.error }
    }
}

impl Row for PolicyAdviceView {
    const HEADERS: &'static [&'static str] = &["", "setting", "advice"];

    fn cells(&self) -> Vec<Cell> {
        let weight =
            if self.error { Cell::text("error").tone(Tone::Bad) } else { Cell::text("advice").tone(Tone::Warn) };
        vec![weight, Cell::text(&self.field), Cell::text(&self.advice)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_was_printed_can_be_put_again() {
        let metrics = vec![WeightView { metric: "error_rate".into(), weight: 0.5, normaliser: 2.0 }];
        let up =
            RulesView { stabilisation_ms: 1, step_agents_max: 2, step_percent_max: 3, period_ms: 4, cooldown_ms: 5 };
        let policy = PolicyView {
            name: "p".into(),
            agents_max: 9,
            metrics,
            up: Some(up),
            predictive: true,
            ..PolicyView::default()
        };
        let printed = serde_json::to_string(&policy).unwrap();
        let read: PolicyView = serde_json::from_str(&printed).unwrap();
        assert_eq!(PolicyView::from(v1::ScalingPolicy::try_from(read).unwrap()), policy);
    }

    #[test]
    fn what_a_policy_cannot_say_is_named() {
        let unknown = serde_json::from_str::<PolicyView>("{\"agent_max\":9}").unwrap_err();
        assert!(unknown.to_string().contains("agent_max"), "{unknown}");
        let metrics = vec![WeightView { metric: "mood".into(), ..WeightView::default() }];
        let wrong = v1::ScalingPolicy::try_from(PolicyView { metrics, ..PolicyView::default() }).unwrap_err();
        assert!(wrong.contains("`mood`") && wrong.contains("response_time"), "{wrong}");
    }

    #[test]
    fn rules_are_said_in_words() {
        assert_eq!(RulesView::default().words(), "at once");
        let rules = RulesView { step_agents_max: 2, step_percent_max: 50, period_ms: 60_000, ..RulesView::default() };
        assert_eq!(rules.words(), "at most 2 agents and 50 % in 1m");
        let rules = RulesView { stabilisation_ms: 300_000, cooldown_ms: 30_000, ..RulesView::default() };
        assert_eq!(rules.words(), "the mildest of 5m, then 30s of rest");
    }
}
