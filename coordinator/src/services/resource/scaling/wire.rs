//! Policies, decisions and the rest as they are said over the wire.

use evenkeel_core::{
    capacity::{
        Action, Advice, Decision, Effect, MetricWeight, Override, Policy, Rules, ScalingMetric, TEMPLATES, Template,
        score,
    },
    manager::scaling::ScalingView,
};
use evenkeel_proto::v1;
use evenkeel_shared::{Timestamp, Violation, wire::quantities::to_unix_ms};

/// What a period is where nothing is said.
const PERIOD_MS: u64 = 60_000;
/// The same of the tolerance.
const TOLERANCE_PERCENT: u32 = 10;

/// A policy, as it was put: what is left out is as in its template. Whether it makes sense is not looked at.
///
/// # Errors
/// The template or metric that there is not.
pub fn policy(said: v1::ScalingPolicy) -> Result<Policy, Violation> {
    let template = template(&said.template)?;
    let base = template.policy();
    let given = |value: u32, base: u32| if value == 0 { base } else { value };
    let given_ms = |value: u64, base: u64| if value == 0 { base } else { value };
    Ok(Policy {
        name: if said.name.is_empty() { base.name } else { said.name },
        template: base.template,
        version: 0,
        agents_min: said.agents_min,
        agents_max: given(said.agents_max, base.agents_max),
        utilisation_target_percent: given(said.utilisation_target_percent, base.utilisation_target_percent),
        metrics: if said.metrics.is_empty() { base.metrics } else { weights(&said.metrics)? },
        scale_up_percent: given(said.scale_up_percent, base.scale_up_percent),
        scale_down_percent: given(said.scale_down_percent, base.scale_down_percent),
        up: said.up.map_or(base.up, |up| rules(&up)),
        down: said.down.map_or(base.down, |down| rules(&down)),
        tolerance_percent: given(said.tolerance_percent, TOLERANCE_PERCENT),
        predictive: said.predictive,
        wait_target_ms: given_ms(said.wait_target_ms, base.wait_target_ms),
        start_up_ms: given_ms(said.start_up_ms, base.start_up_ms),
    })
}

fn template(name: &str) -> Result<&'static Template, Violation> {
    if name.is_empty() {
        return Ok(&TEMPLATES[0]);
    }
    Template::named(name).ok_or_else(|| {
        let likeness = |template: &&Template| strsim::jaro_winkler(name, template.name);
        let nearest = TEMPLATES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.map_or("", |template| template.name);
        Violation::new("template", format!("there is no template `{name}`; did you mean `{nearest}`?"))
    })
}

fn weights(said: &[v1::MetricWeight]) -> Result<Vec<MetricWeight>, Violation> {
    said.iter()
        .enumerate()
        .map(|(at, said)| {
            let metric = metric(said.metric())
                .ok_or_else(|| Violation::new(format!("metrics[{at}].metric"), "must be one of the metrics"))?;
            let normaliser = (said.normaliser != 0.0).then_some(said.normaliser);
            Ok(MetricWeight { metric, weight: said.weight, normaliser })
        })
        .collect()
}

const fn rules(said: &v1::ScalingRules) -> Rules {
    Rules {
        stabilisation_ms: said.stabilisation_ms,
        step_agents_max: step(said.step_agents_max),
        step_percent_max: step(said.step_percent_max),
        period_ms: if said.period_ms == 0 { PERIOD_MS } else { said.period_ms },
        cooldown_ms: said.cooldown_ms,
    }
}

const fn step(said: u32) -> Option<u32> {
    if said == 0 { None } else { Some(said) }
}

const fn metric(said: v1::ScalingMetric) -> Option<ScalingMetric> {
    match said {
        v1::ScalingMetric::Unspecified => None,
        v1::ScalingMetric::Cpu => Some(ScalingMetric::Cpu),
        v1::ScalingMetric::Memory => Some(ScalingMetric::Memory),
        v1::ScalingMetric::ResponseTime => Some(ScalingMetric::ResponseTime),
        v1::ScalingMetric::ErrorRate => Some(ScalingMetric::ErrorRate),
        v1::ScalingMetric::RequestRate => Some(ScalingMetric::RequestRate),
        v1::ScalingMetric::Utilisation => Some(ScalingMetric::Utilisation),
    }
}

const fn to_metric(metric: ScalingMetric) -> v1::ScalingMetric {
    match metric {
        ScalingMetric::Cpu => v1::ScalingMetric::Cpu,
        ScalingMetric::Memory => v1::ScalingMetric::Memory,
        ScalingMetric::ResponseTime => v1::ScalingMetric::ResponseTime,
        ScalingMetric::ErrorRate => v1::ScalingMetric::ErrorRate,
        ScalingMetric::RequestRate => v1::ScalingMetric::RequestRate,
        ScalingMetric::Utilisation => v1::ScalingMetric::Utilisation,
    }
}

/// A policy with when it was stored and how it has done, if it was and has.
pub fn to_policy(policy: Policy, stored: Option<Timestamp>, effect: Option<&Effect>) -> v1::ScalingPolicy {
    let weight = |it: MetricWeight| v1::MetricWeight {
        metric: to_metric(it.metric).into(),
        weight: it.weight,
        normaliser: it.normaliser.unwrap_or_default(),
    };
    v1::ScalingPolicy {
        name: policy.name,
        template: policy.template,
        version: policy.version,
        agents_min: policy.agents_min,
        agents_max: policy.agents_max,
        utilisation_target_percent: policy.utilisation_target_percent,
        metrics: policy.metrics.into_iter().map(weight).collect(),
        scale_up_percent: policy.scale_up_percent,
        scale_down_percent: policy.scale_down_percent,
        up: Some(to_rules(&policy.up)),
        down: Some(to_rules(&policy.down)),
        tolerance_percent: policy.tolerance_percent,
        predictive: policy.predictive,
        stored_unix_ms: stored.map_or(0, to_unix_ms),
        effectiveness: effect.and_then(Effect::percent).unwrap_or_default(),
        wait_target_ms: policy.wait_target_ms,
        start_up_ms: policy.start_up_ms,
    }
}

fn to_rules(rules: &Rules) -> v1::ScalingRules {
    v1::ScalingRules {
        stabilisation_ms: rules.stabilisation_ms,
        step_agents_max: rules.step_agents_max.unwrap_or_default(),
        step_percent_max: rules.step_percent_max.unwrap_or_default(),
        period_ms: rules.period_ms,
        cooldown_ms: rules.cooldown_ms,
    }
}

pub fn to_advice(advice: Advice) -> v1::PolicyAdvice {
    v1::PolicyAdvice { field: advice.field.to_owned(), advice: advice.advice, error: advice.error }
}

pub fn to_template(template: &Template) -> v1::ScalingTemplate {
    v1::ScalingTemplate {
        name: template.name.to_owned(),
        description: template.description.to_owned(),
        policy: Some(to_policy(template.policy(), None, None)),
    }
}

/// How things stand.
pub fn to_scaling(view: ScalingView) -> v1::Scaling {
    let ScalingView { policy, policy_stored, effect, load, verdict, override_, actuator, last, waiting_for, .. } = view;
    let scored = |metric: score::ScoredMetric| v1::ScoredMetric {
        metric: to_metric(metric.metric).into(),
        value: metric.value,
        score: metric.percent,
        weight: metric.weight,
    };
    v1::Scaling {
        policy: Some(to_policy(policy, policy_stored, Some(&effect))),
        agents: load.agents,
        agents_wanted: verdict.wanted,
        agents_draining: load.draining,
        demand: verdict.demand.agents,
        demand_forecast: verdict.demand.foreseen_agents,
        headroom: verdict.demand.headroom,
        utilisation: verdict.demand.utilisation,
        score: verdict.score.percent,
        metrics: verdict.score.metrics.into_iter().map(scored).collect(),
        r#override: override_.as_ref().map(to_override),
        actuator,
        last: last.map(to_event),
        waiting_for,
    }
}

fn to_override(fixed: &Override) -> v1::ScalingOverride {
    v1::ScalingOverride {
        agents: fixed.agents,
        until_unix_ms: to_unix_ms(fixed.until),
        reason: fixed.reason.clone(),
        set_unix_ms: to_unix_ms(fixed.set),
    }
}

/// A decision, with its reasons in words; last what kept it from going further.
pub fn to_event(decision: Decision) -> v1::ScalingEvent {
    let action = match decision.action {
        Action::None => v1::ScalingAction::None,
        Action::Up => v1::ScalingAction::Up,
        Action::Down => v1::ScalingAction::Down,
    };
    let reasons = decision.reasons.iter().chain(&decision.waiting_for);
    v1::ScalingEvent {
        id: decision.id,
        at_unix_ms: to_unix_ms(decision.at),
        action: action.into(),
        agents_before: decision.agents_before,
        agents_after: decision.agents_after,
        agent_ids: decision.agents.iter().map(ToString::to_string).collect(),
        reasons: reasons.map(ToString::to_string).collect(),
        actuator: decision.actuator,
        outcome: decision.outcome.name().to_owned(),
        error: decision.error,
        policy: decision.policy,
        policy_version: decision.policy_version,
        score: decision.score_percent,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
