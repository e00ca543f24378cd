//! What is said about policies.

use super::*;
use crate::capacity::{MetricWeight, Rules, ScalingMetric, TEMPLATES, validate};

/// Fields that are refused, and fields with advice.
fn fields(policy: &Policy) -> (Vec<&'static str>, Vec<&'static str>) {
    let (errors, hints): (Vec<_>, Vec<_>) = validate(policy).into_iter().partition(|advice| advice.error);
    let names = |advice: Vec<crate::capacity::Advice>| advice.into_iter().map(|it| it.field).collect();
    (names(errors), names(hints))
}

fn check_error(change: impl FnOnce(&mut Policy), field: &str) {
    let mut policy = policy("web-balanced");
    change(&mut policy);
    assert_eq!(fields(&policy).0, [field]);
}

fn check_hint(change: impl FnOnce(&mut Policy), field: &str) {
    let mut policy = policy("web-balanced");
    change(&mut policy);
    assert_eq!(fields(&policy), (vec![], vec![field]));
}

#[test]
fn templates_are_as_their_names_say_and_need_no_advice() {
    let thresholds: Vec<_> = TEMPLATES
        .iter()
        .map(|template| {
            let policy = template.policy();
            // Idle batch fleets are let go, and their first task waits for an agent: they have the time.
            assert_eq!(validate(&policy), [], "{}", template.name);
            (template.name, policy.scale_up_percent, policy.scale_down_percent)
        })
        .collect();
    let expected = [
        ("web-balanced", 70, 30),
        ("web-aggressive", 60, 40),
        ("api-performance", 60, 40),
        ("batch-cost-optimised", 80, 20),
        ("ml-gpu-optimised", 75, 25),
        ("dev-minimal", 90, 10),
    ];
    assert_eq!(thresholds, expected);
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    check_error(|it| it.name = "two words".into(), "name");
    check_error(|it| it.agents_min = 51, "agents_min");
    check_error(|it| (it.agents_min, it.agents_max) = (0, 0), "agents_max");
    check_error(|it| it.agents_max = 100_001, "agents_max");
    check_error(|it| it.utilisation_target_percent = 0, "utilisation_target_percent");
    check_error(|it| it.scale_up_percent = 101, "scale_up_percent");
    check_error(|it| it.scale_down_percent = 70, "scale_down_percent");
    check_error(|it| it.tolerance_percent = 51, "tolerance_percent");
    check_error(|it| it.metrics.clear(), "metrics");
    check_error(|it| it.metrics.iter_mut().for_each(|it| it.weight = 0.0), "metrics");
    check_error(|it| it.metrics[0].weight = f64::NAN, "metrics.weight");
    check_error(|it| it.metrics[1].normaliser = Some(0.0), "metrics.normaliser");
    check_error(|it| it.metrics[1].metric = ScalingMetric::Utilisation, "metrics");
    check_error(|it| it.up.period_ms = 0, "up.period_ms");
    check_error(|it| it.down.step_agents_max = Some(0), "down.step_agents_max");
    check_error(|it| it.down.stabilisation_ms = 3_600_001, "down.stabilisation_ms");
    check_error(|it| it.wait_target_ms = 0, "wait_target_ms");
}

#[test]
fn what_is_unwise_gets_advice() {
    check_hint(|it| it.scale_down_percent = 60, "scale_down_percent");
    check_hint(|it| it.utilisation_target_percent = 95, "utilisation_target_percent");
    check_hint(|it| it.tolerance_percent = 1, "tolerance_percent");
    check_hint(|it| it.agents_min = 50, "agents_min");
    check_hint(|it| (it.agents_min, it.wait_target_ms, it.start_up_ms) = (0, 30_000, 40_000), "agents_min");
    check_hint(|it| it.down.stabilisation_ms = 0, "down.stabilisation_ms");
    check_hint(|it| it.down.stabilisation_ms = 10_000, "down.stabilisation_ms");
    check_hint(|it| it.down.cooldown_ms = 10_000, "down.cooldown_ms");
    check_hint(|it| it.up.stabilisation_ms = 60_000, "up.stabilisation_ms");
    check_hint(|it| it.up.cooldown_ms = 600_000, "up.cooldown_ms");
    check_hint(|it| it.down.step_percent_max = None, "down.step_percent_max");
    let cpu = MetricWeight { metric: ScalingMetric::Cpu, weight: 1.0, normaliser: None };
    check_hint(|it| it.metrics = vec![cpu], "metrics");
}

#[test]
fn a_template_may_be_changed_and_stored_under_another_name() {
    let template = policy("web-balanced");
    let down = Rules { stabilisation_ms: 120_000, ..template.down };
    let clone = Policy { name: "mine".to_owned(), down, ..template };
    assert_eq!(validate(&clone), []);
    let read: Policy = serde_json::from_str(&serde_json::to_string(&clone).unwrap()).unwrap();
    assert_eq!(read, clone);
}
