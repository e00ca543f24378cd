//! Policies, as printed and as read: what was printed can be put again.

use evenkeel_proto::v1;
use serde::{Deserialize, Serialize};

use crate::output::{
    Row, Show,
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

pub(super) fn metric_name(metric: v1::ScalingMetric) -> String {
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
