//! Whether service levels, a webhook and a change under test make sense, before anything is started.

use evenkeel_shared::StrategyConfig;
use serde_json::{Number, Value};

use super::{Change, LEVELS_MAX, Measure, ServiceLevel, Severity, Webhook};

/// Characters of a level's name, at most: it stands in a column of tables and in alerts.
const NAME_CHARS_MAX: usize = 64;

/// What is wrong with the service levels of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// A field of a level.
    #[error("service level `{level}`: {field} {problem}")]
    Level {
        /// The level's name.
        level: String,
        /// Which of its fields.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// More than [`LEVELS_MAX`].
    #[error("{found} service levels are too many; at most {LEVELS_MAX}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// The change under test.
    #[error("change: {field} {problem}")]
    Change {
        /// Which of its fields.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The webhook.
    #[error("webhook: `{url}` {problem}")]
    Webhook {
        /// Its address.
        url: String,
        /// What is wrong with it, and what would be right.
        problem: &'static str,
    },
}

/// Checks levels, change and webhook of a scenario that takes `duration_s`.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    levels: &[ServiceLevel],
    duration_s: f64,
    change: Option<&Change>,
    webhook: Option<&Webhook>,
) -> Result<(), LevelError> {
    if levels.len() > LEVELS_MAX {
        return Err(LevelError::TooMany { found: levels.len() });
    }
    for (index, level) in levels.iter().enumerate() {
        let wrong =
            |(field, problem): (&'static str, String)| LevelError::Level { level: level.name.clone(), field, problem };
        level_alone(level, duration_s).map_err(wrong)?;
        if levels[..index].iter().any(|earlier| earlier.name == level.name) {
            return Err(wrong(("name", "is another level's too; alerts could not be told apart".to_owned())));
        }
        if level.rolls_back && change.is_none() {
            return Err(wrong(("rolls_back", "is set, but the scenario has no change under test".to_owned())));
        }
    }
    if let Some(change) = change {
        change_alone(change, levels)?;
    }
    webhook.map_or(Ok(()), |webhook| super::webhook::check(&webhook.url).map(|_| ()))
}

type Problem = (&'static str, String);

fn level_alone(level: &ServiceLevel, duration_s: f64) -> Result<(), Problem> {
    let no = |field: &'static str, problem: &str| Err((field, problem.to_owned()));
    if level.name.trim().is_empty() || level.name.chars().count() > NAME_CHARS_MAX {
        return Err(("name", format!("must have 1 to {NAME_CHARS_MAX} characters")));
    }
    if level.name.chars().any(char::is_control) {
        return no("name", "must have no control characters");
    }
    limits(level)?;
    measure(level)?;
    if !(level.grace_s.is_finite() && level.grace_s >= 0.0) {
        return Err(("grace_s", format!("is {}; it must be 0 or above", level.grace_s)));
    }
    if !(level.from_s >= 0.0 && level.from_s < duration_s) {
        return Err(("from_s", format!("is {}; it must be 0 to below the duration of {duration_s} s", level.from_s)));
    }
    if level.stops_run && level.severity != Severity::Critical {
        return no("stops_run", "needs the severity critical: a run that was stopped is no go");
    }
    if level.stops_run && level.rolls_back {
        return no(
            "stops_run",
            "and rolls_back exclude each other; use two levels, the one that stops with a longer grace",
        );
    }
    Ok(())
}

fn limits(level: &ServiceLevel) -> Result<(), Problem> {
    let (least, most) = (level.at_least, level.at_most);
    if least.is_none() && most.is_none() {
        return Err(("at_most", "and at_least are both missing; give one of them, or both".to_owned()));
    }
    let share = level.measure.is_share();
    for (field, limit) in [("at_most", most), ("at_least", least)] {
        let Some(limit) = limit else { continue };
        if !(limit.is_finite() && limit >= 0.0) {
            return Err((field, format!("is {limit}; it must be 0 or above")));
        }
        // More tasks than were offered may come to their end in ten seconds, so that share alone may be above 1.
        if share && limit > 1.0 {
            return Err((field, format!("is {limit}; it is a share, from 0 to 1")));
        }
    }
    match (least, most) {
        (Some(least), Some(most)) if least > most => {
            Err(("at_least", format!("is {least}, above at_most, which is {most}")))
        }
        _ => Ok(()),
    }
}

fn measure(level: &ServiceLevel) -> Result<(), Problem> {
    match level.measure {
        Measure::Compliance { within_ms, .. } if !(within_ms.is_finite() && within_ms > 0.0) => {
            return Err(("measure", format!("has within_ms = {within_ms}; it must be above 0")));
        }
        Measure::Percentile { percent, .. } if !(percent > 0.0 && percent <= 100.0) => {
            return Err(("measure", format!("has percent = {percent}; it must be above 0 and at most 100")));
        }
        _ => {}
    }
    if !level.measure.is_latency() {
        for (field, set) in [("work", level.work.is_some()), ("priority", level.priority.is_some())] {
            if set {
                return Err((field, "can be chosen for compliance and percentile only".to_owned()));
            }
        }
    }
    if level.work.is_some() && level.priority.is_some() {
        return Err(("work", "and priority exclude each other; a kind of work has one priority".to_owned()));
    }
    match level.priority {
        Some(priority) if priority > 9 => Err(("priority", format!("is {priority}; it must be 0 to 9"))),
        _ => Ok(()),
    }
}

fn change_alone(change: &Change, levels: &[ServiceLevel]) -> Result<(), LevelError> {
    let wrong = |field, problem: String| Err(LevelError::Change { field, problem });
    if !(change.at_share >= 0.0 && change.at_share < 1.0) {
        return wrong("at_share", format!("is {}; it must be 0 to below 1", change.at_share));
    }
    if !(change.recovery_max_s.is_finite() && change.recovery_max_s > 0.0) {
        return wrong("recovery_max_s", format!("is {}; it must be above 0", change.recovery_max_s));
    }
    if !levels.iter().any(|level| level.rolls_back) {
        return wrong("strategy", "would never be undone: set rolls_back on at least one service level".to_owned());
    }
    strategy_of(change).map(|_| ())
}

/// The strategy that a change asks for; parameters that are not given have their defaults.
///
/// # Errors
/// No strategy of this name, a parameter that it does not have, or one out of its range.
pub fn strategy_of(change: &Change) -> Result<StrategyConfig, LevelError> {
    let wrong = |field, problem: String| LevelError::Change { field, problem };
    let default = StrategyConfig::named(&change.strategy)
        .map_err(|violation| wrong("strategy", format!("is unknown: {}", violation.description)))?;
    // Its own JSON form knows the parameters; serde alone would pass over unknown ones of a strategy that has none.
    let mut json = serde_json::to_value(default).map_err(|error| wrong("strategy", error.to_string()))?;
    for (name, &value) in &change.parameters {
        if name == "name" || json.get(name).is_none() {
            return Err(wrong("parameters", format!("hold `{name}`, which {} does not have", change.strategy)));
        }
        json[name] = Value::Number(
            number(value)
                .ok_or_else(|| wrong("parameters", format!("hold {name} = {value}; it must be a finite number")))?,
        );
    }
    let config: StrategyConfig =
        serde_json::from_value(json).map_err(|error| wrong("parameters", format!("do not fit: {error}")))?;
    config.validate().map_err(|violation| wrong("parameters", format!("do not fit: {violation}")))?;
    Ok(config)
}

/// Whole numbers as such, since parameters that count refuse `150.0`.
fn number(value: f64) -> Option<Number> {
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    if whole { Some(Number::from(value as i64)) } else { Number::from_f64(value) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
