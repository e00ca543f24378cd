//! What work may cost and use, and what it did.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_proto::v1;

use super::{few, quantities as q};
use crate::{
    error::Violation,
    ids::{QuotaKey, check_name},
    limits::{COOLDOWN_MAX, COST_UNITS_MAX, QUOTA_KEYS_MAX},
    spend::{Cost, CostUnit, Micros, TaskBudget, Usage},
};

/// Reads amounts. A unit of which there is nothing is left out.
fn cost(field: &str, wire: BTreeMap<String, u64>) -> Result<Cost, Violation> {
    few(field, wire.len(), COST_UNITS_MAX)?;
    let amounts = wire.into_iter().filter(|(_, micros)| *micros > 0);
    amounts
        .map(|(unit, micros)| {
            let unit = CostUnit::new(&unit).map_err(|v| Violation::new(field, v.description))?;
            Ok((unit, Micros(micros)))
        })
        .collect()
}

fn to_cost(cost: &Cost) -> BTreeMap<String, u64> {
    cost.iter().map(|(unit, amount)| (unit.as_str().to_owned(), amount.0)).collect()
}

/// Reads a task's budget; none and an empty one are the same.
///
/// # Errors
/// The field at fault: too many units, an illegal name, an estimate above the most that is allowed, a time beyond a year.
pub fn task_budget(wire: Option<v1::TaskBudget>) -> Result<Option<Box<TaskBudget>>, Violation> {
    let wire = wire.unwrap_or_default();
    let budget = TaskBudget {
        estimate: cost("estimate_micros", wire.estimate_micros)?,
        max: cost("max_micros", wire.max_micros)?,
        memory_max_bytes: (wire.memory_max_bytes > 0).then_some(wire.memory_max_bytes),
        cpu_max: q::duration("cpu_max_ms", wire.cpu_max_ms)?,
        wall_max: q::duration("wall_max_ms", wire.wall_max_ms)?,
    };
    for (unit, estimate) in &budget.estimate {
        if budget.max.get(unit).is_some_and(|max| max < estimate) {
            return Err(Violation::new("estimate_micros", format!("expects more {unit} than max_micros allows")));
        }
    }
    Ok((budget != TaskBudget::default()).then(|| Box::new(budget)))
}

/// Writes a task's budget.
#[must_use]
pub fn to_task_budget(budget: &TaskBudget) -> v1::TaskBudget {
    v1::TaskBudget {
        estimate_micros: to_cost(&budget.estimate),
        max_micros: to_cost(&budget.max),
        memory_max_bytes: budget.memory_max_bytes.unwrap_or(0),
        cpu_max_ms: q::to_ms_or_zero(budget.cpu_max),
        wall_max_ms: q::to_ms_or_zero(budget.wall_max),
    }
}

/// Reads what an attempt used; none and nothing are the same.
///
/// # Errors
/// Too many units, or an illegal name.
pub fn usage(wire: Option<v1::Usage>) -> Result<Option<Box<Usage>>, Violation> {
    let wire = wire.unwrap_or_default();
    let usage = Usage {
        cpu: Duration::from_millis(wire.cpu_ms),
        memory_max_bytes: wire.memory_max_bytes,
        cost: cost("usage.cost_micros", wire.cost_micros)?,
    };
    Ok((usage != Usage::default()).then(|| Box::new(usage)))
}

/// Writes what an attempt used.
#[must_use]
pub fn to_usage(usage: &Usage) -> v1::Usage {
    v1::Usage {
        cpu_ms: q::to_ms(usage.cpu),
        memory_max_bytes: usage.memory_max_bytes,
        cost_micros: to_cost(&usage.cost),
    }
}

/// Reads the keys of upstream quotas, sorted, without repeats.
///
/// # Errors
/// Too many, or an illegal name.
pub fn quota_keys(wire: &[String]) -> Result<Vec<QuotaKey>, Violation> {
    few("quota_keys", wire.len(), QUOTA_KEYS_MAX)?;
    let mut keys = wire
        .iter()
        .map(|key| {
            check_name("quota_keys", key)?;
            QuotaKey::new(key)
        })
        .collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Reads what is said of an upstream quota that is used up: its key, and for how long.
///
/// # Errors
/// An illegal key, or a time of nothing or of more than a day.
pub fn quota_report(key: &str, retry_after_ms: u64) -> Result<(QuotaKey, Duration), Violation> {
    let key = QuotaKey::new(key).map_err(|v| Violation::new("key", v.description))?;
    let retry_after = Duration::from_millis(retry_after_ms);
    if retry_after.is_zero() || retry_after > COOLDOWN_MAX {
        let max = COOLDOWN_MAX.as_millis();
        return Err(Violation::new("retry_after_ms", format!("{retry_after_ms} ms is out of range; use 1 to {max}")));
    }
    Ok((key, retry_after))
}

/// Writes the keys of upstream quotas.
#[must_use]
pub fn to_quota_keys(keys: &[QuotaKey]) -> Vec<String> {
    keys.iter().map(|key| key.as_str().to_owned()).collect()
}
