//! What is wrong with a policy, and what would be better.

use std::collections::BTreeSet;

use super::{
    history::PROPOSALS_MAX,
    policy::{Policy, Rules, ScalingMetric},
};

/// Largest fleet that a policy may ask for.
pub const AGENTS_MAX: u32 = 100_000;
/// Longest window, period, cooldown or other time: the window's length in memory.
const TIME_MS_MAX: u64 = PROPOSALS_MAX as u64 * 1_000;
/// Characters in a name.
const NAME_CHARS_MAX: usize = 128;
/// Thresholds that are closer than this, in points, invite flutter.
const THRESHOLDS_APART: u32 = 15;

/// Something about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The field it is about, as in the interface.
    pub field: &'static str,
    /// What is wrong, and what would be right or better.
    pub advice: String,
    /// The policy is refused because of it.
    pub error: bool,
}

/// All that is wrong with `policy`, then all that could be better. A policy without errors can be put in force.
#[must_use]
pub fn validate(policy: &Policy) -> Vec<Advice> {
    let mut found = Findings::default();
    errors(policy, &mut found);
    if found.0.is_empty() {
        hints(policy, &mut found);
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<Advice>);

impl Findings {
    fn error(&mut self, wrong: bool, field: &'static str, advice: impl Into<String>) {
        if wrong {
            self.0.push(Advice { field, advice: advice.into(), error: true });
        }
    }

    fn hint(&mut self, doubtful: bool, field: &'static str, advice: impl Into<String>) {
        if doubtful {
            self.0.push(Advice { field, advice: advice.into(), error: false });
        }
    }
}

fn errors(policy: &Policy, found: &mut Findings) {
    let named = !policy.name.is_empty()
        && policy.name.len() <= NAME_CHARS_MAX
        && policy.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte));
    found.error(!named, "name", "must be 1 to 128 characters of [A-Za-z0-9._:/-]");
    let Policy { agents_min, agents_max, .. } = *policy;
    found.error(
        agents_max == 0,
        "agents_max",
        "must be at least 1; an override of 0 agents stops the fleet for a while",
    );
    found.error(agents_max > AGENTS_MAX, "agents_max", format!("must be at most {AGENTS_MAX}"));
    let crossed = agents_min > agents_max;
    found.error(crossed, "agents_min", format!("is {agents_min}, which is more than agents_max, {agents_max}"));
    let percent = |value: u32| (1..=100).contains(&value);
    let target = policy.utilisation_target_percent;
    found.error(!percent(target), "utilisation_target_percent", "must be 1 to 100; 70 to 80 suits most work");
    found.error(!percent(policy.scale_up_percent), "scale_up_percent", "must be 1 to 100");
    found.error(policy.scale_down_percent > 100, "scale_down_percent", "must be 0 to 100");
    let (up, down) = (policy.scale_up_percent, policy.scale_down_percent);
    found.error(down >= up, "scale_down_percent", format!("is {down}, which is not below scale_up_percent, {up}"));
    found.error(policy.tolerance_percent > 50, "tolerance_percent", "must be at most 50; 10 suits most work");
    weights(policy, found);
    times("up", &policy.up, found);
    times("down", &policy.down, found);
    let time = |ms: u64| (1..=TIME_MS_MAX).contains(&ms);
    found.error(!time(policy.wait_target_ms), "wait_target_ms", format!("must be 1 to {TIME_MS_MAX}"));
    found.error(!time(policy.start_up_ms), "start_up_ms", format!("must be 1 to {TIME_MS_MAX}"));
}

fn weights(policy: &Policy, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for weight in &policy.metrics {
        let name = weight.metric.name();
        found.error(!seen.insert(weight.metric), "metrics", format!("{name} is there twice"));
        let bad = !weight.weight.is_finite() || weight.weight < 0.0;
        found.error(bad, "metrics.weight", format!("of {name} must be a number of at least 0"));
        let bad = weight.normaliser.is_some_and(|normaliser| !normaliser.is_finite() || normaliser <= 0.0);
        found.error(bad, "metrics.normaliser", format!("of {name} must be a number above 0, or left out"));
    }
    let none = !policy.metrics.iter().any(|weight| weight.weight > 0.0);
    found.error(none, "metrics", "no metric has a weight above 0: there would be no score; give utilisation one");
}

fn times(direction: &'static str, rules: &Rules, found: &mut Findings) {
    let [stabilisation, period, cooldown, agents, percent] = match direction {
        "up" => ["up.stabilisation_ms", "up.period_ms", "up.cooldown_ms", "up.step_agents_max", "up.step_percent_max"],
        _ => [
            "down.stabilisation_ms",
            "down.period_ms",
            "down.cooldown_ms",
            "down.step_agents_max",
            "down.step_percent_max",
        ],
    };
    let long = |ms: u64| ms > TIME_MS_MAX;
    let most = || format!("must be at most {TIME_MS_MAX}");
    found.error(long(rules.stabilisation_ms), stabilisation, most());
    found.error(rules.period_ms == 0 || long(rules.period_ms), period, format!("must be 1 to {TIME_MS_MAX}"));
    found.error(long(rules.cooldown_ms), cooldown, most());
    let zero = |step: Option<u32>| step == Some(0);
    found.error(zero(rules.step_agents_max), agents, "must be at least 1, or left out");
    found.error(zero(rules.step_percent_max), percent, "must be at least 1, or left out");
}

fn hints(policy: &Policy, found: &mut Findings) {
    let Policy { scale_up_percent, scale_down_percent, .. } = *policy;
    let apart = scale_up_percent - scale_down_percent;
    found.hint(
        apart < THRESHOLDS_APART,
        "scale_down_percent",
        format!(
            "is only {apart} points below scale_up_percent: ordinary noise crosses both; {} would do",
            scale_up_percent.saturating_sub(THRESHOLDS_APART)
        ),
    );
    let target = policy.utilisation_target_percent;
    found.hint(
        target < 50,
        "utilisation_target_percent",
        "pays for more than twice what is used; 70 to 80 suits most work",
    );
    found.hint(
        target > 90,
        "utilisation_target_percent",
        "leaves no room for noise: waits grow steeply above 90; 70 to 80 suits most work",
    );
    found.hint(
        policy.tolerance_percent < 5,
        "tolerance_percent",
        "follows every ripple of the load; 10 suits most work",
    );
    found.hint(
        policy.agents_min == policy.agents_max,
        "agents_min",
        "is agents_max: the fleet will never change; an override does the same with an end and a reason",
    );
    found.hint(
        policy.agents_min == 0 && policy.wait_target_ms < policy.start_up_ms,
        "agents_min",
        "is 0, and a first agent takes longer to start than work may wait: the first task of each pause will miss; 1 keeps one ready",
    );
    windows(policy, found);
    let weighs = |metric: ScalingMetric| policy.metrics.iter().any(|it| it.metric == metric && it.weight > 0.0);
    found.hint(
        !weighs(ScalingMetric::Utilisation),
        "metrics",
        "utilisation has no weight: agents that wait for something else have full slots and idle processors, which the score will not see",
    );
    let total: f64 = policy.metrics.iter().map(|it| it.weight).sum();
    let errors = policy.metrics.iter().find(|it| it.metric == ScalingMetric::ErrorRate);
    found.hint(
        errors.is_some_and(|it| it.weight > 0.3 * total),
        "metrics",
        "error_rate weighs more than 30 %: more agents seldom make fewer errors, and a broken upstream would fill the fleet",
    );
}

fn windows(policy: &Policy, found: &mut Findings) {
    let Policy { up, down, start_up_ms, .. } = policy;
    found.hint(
        down.stabilisation_ms == 0,
        "down.stabilisation_ms",
        "is 0: the first lull takes agents away; 300000 is usual",
    );
    found.hint(
        down.stabilisation_ms > 0 && down.stabilisation_ms < *start_up_ms,
        "down.stabilisation_ms",
        format!("is shorter than an agent's start-up of {start_up_ms} ms: agents go that are wanted again before they can be back"),
    );
    found.hint(
        down.cooldown_ms > 0 && down.cooldown_ms < *start_up_ms,
        "down.cooldown_ms",
        format!("is shorter than an agent's start-up of {start_up_ms} ms: the next decision is made before the last one shows"),
    );
    found.hint(
        up.stabilisation_ms > policy.wait_target_ms,
        "up.stabilisation_ms",
        "is longer than work may wait: by the time that the fleet grows, tasks have missed",
    );
    found.hint(
        up.cooldown_ms > 5 * 60_000,
        "up.cooldown_ms",
        "is longer than five minutes: a second rise of the load is answered late",
    );
    let unlimited = down.step_agents_max.is_none() && down.step_percent_max.is_none();
    found.hint(
        unlimited && policy.agents_max > 4,
        "down.step_percent_max",
        "no step limits a scale-down: one wrong measurement may empty the fleet; 25 is usual",
    );
}
