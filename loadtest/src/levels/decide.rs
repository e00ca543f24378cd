//! Go or no-go.

use super::{LevelOutcome, Severity};
use crate::record::{ChangeOutcome, Decision, Totals};

/// The verdict over a run, and each reason why it is not go.
///
/// A broken promise is never weighed against anything. Levels of less than critical severity are told and do not decide.
#[must_use]
pub fn decide(totals: &Totals, levels: &[LevelOutcome], change: Option<&ChangeOutcome>) -> (Decision, Vec<String>) {
    let mut reasons = promises(totals);
    reasons.extend(levels.iter().filter_map(level));
    reasons.extend(change.and_then(change_under_test));
    (if reasons.is_empty() { Decision::Go } else { Decision::NoGo }, reasons)
}

fn promises(totals: &Totals) -> Vec<String> {
    let broken = [
        (totals.lost, "accepted and lost"),
        (totals.duplicated, "recorded more than once"),
        (totals.mismatched, "answered with another task's end"),
        (totals.unverified, "accepted, and of their end nobody can tell"),
    ];
    let told = broken.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!("promises: {count} tasks {what}")).collect()
}

fn level(outcome: &LevelOutcome) -> Option<String> {
    let level = &outcome.level;
    if outcome.kept || level.severity != Severity::Critical {
        return None;
    }
    let (measure, limits) = (&level.measure, level.limits());
    let over_all = outcome.value.map(|value| format!("{measure} was {}, {limits}", measure.show(value)));
    let mut parts: Vec<String> = over_all.into_iter().collect();
    if let Some((from_s, to_s)) = outcome.violations.first() {
        let count = outcome.violations.len();
        let more = if count > 1 { format!(", and {} times more", count - 1) } else { String::new() };
        let worst = outcome.worst.map(|worst| format!(", at worst {}", measure.show(worst))).unwrap_or_default();
        parts.push(format!("violated from {from_s:.1} s to {to_s:.1} s{more}{worst}"));
    }
    Some(format!("{}: {}", level.name, parts.join("; ")))
}

fn change_under_test(outcome: &ChangeOutcome) -> Option<String> {
    let change = &outcome.change;
    let because = outcome.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    let violation = outcome.violation.as_deref().unwrap_or("it is not known which");
    match outcome.rollback_succeeded {
        Some(true) => {
            let after_s = outcome.recovered_after_s.unwrap_or_default();
            let recovered = format!("the service levels held again {after_s:.1} s later");
            Some(format!("change `{change}`: rolled back after a violation ({violation}); {recovered}"))
        }
        Some(false) => Some(format!("change `{change}`: the rollback after a violation ({violation}) failed{because}")),
        None if outcome.made_at_s.is_none() => Some(format!("change `{change}`: not made{because}")),
        None => outcome.error.as_ref().map(|error| format!("change `{change}`: {error}")),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
