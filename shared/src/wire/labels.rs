//! Labels and the rules over them.
//!
//! Rules are brought into one form, because tasks with equal requirements share a queue: required rules are sorted, without
//! repeats and of weight 1 (their weight means nothing), and so are the values of an `In`. Preferred rules keep the order
//! given, which breaks ties between equal weights.

use std::collections::HashMap;

use evenkeel_proto::v1;

use super::{entry, enums, few, quantities, short, spend};
use crate::{
    error::Violation,
    ids::check_name,
    labels::{LabelOperator, LabelRule, Labels},
    limits::{LABEL_VALUE_BYTES_MAX, LABELS_MAX, PREFERRED_RULES_MAX, REQUIRED_RULES_MAX, RULE_VALUES_MAX},
    task::Requirements,
};

/// Highest weight of a preferred rule.
const WEIGHT_MAX: u32 = 100;

/// Reads an agent's labels.
///
/// # Errors
/// Too many, an illegal key, or a value that is too long.
pub fn labels(wire: HashMap<String, String>) -> Result<Labels, Violation> {
    few("labels", wire.len(), LABELS_MAX)?;
    wire.into_iter()
        .map(|(key, value)| {
            check_name("labels", &key)?;
            let value = short(&format!("labels[{key}]"), value, LABEL_VALUE_BYTES_MAX)?;
            Ok((key, value))
        })
        .collect()
}

/// Writes labels.
#[must_use]
pub fn to_labels(labels: &Labels) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Reads one rule.
///
/// # Errors
/// The field at fault: an illegal key, an unknown operator, values of the wrong number or form, a weight above 100.
pub fn label_rule(wire: v1::LabelRule) -> Result<LabelRule, Violation> {
    check_name("key", &wire.key)?;
    let operator = enums::label_operator(wire.operator)
        .ok_or_else(|| Violation::new("operator", format!("{} is not a known operator", wire.operator)))?;
    let values = rule_values(operator, wire.values)?;
    let weight = u8::try_from(wire.weight.max(1))
        .ok()
        .filter(|&weight| u32::from(weight) <= WEIGHT_MAX)
        .ok_or_else(|| Violation::new("weight", format!("{} is not a weight; use 1 to {WEIGHT_MAX}", wire.weight)))?;
    Ok(LabelRule { key: wire.key, operator, values, weight })
}

fn rule_values(operator: LabelOperator, mut values: Vec<String>) -> Result<Vec<String>, Violation> {
    use LabelOperator as Op;
    let wrong = |expected: &str| Err(Violation::new("values", format!("has {} values; {expected}", values.len())));
    match operator {
        Op::Exists | Op::Absent if !values.is_empty() => return wrong("this operator takes none"),
        Op::In | Op::NotIn if values.is_empty() || values.len() > RULE_VALUES_MAX => {
            return wrong(&format!("this operator takes 1 to {RULE_VALUES_MAX}"));
        }
        Op::Exists | Op::Absent | Op::In | Op::NotIn => {}
        _ if values.len() != 1 => return wrong("this operator takes one"),
        _ => {}
    }
    for (i, value) in values.iter().enumerate() {
        let field = entry("values", i);
        if value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(Violation::new(
                field,
                format!("is {} bytes long; at most {LABEL_VALUE_BYTES_MAX} are allowed", value.len()),
            ));
        }
        let numeric = matches!(operator, Op::Greater | Op::GreaterOrEqual | Op::Less | Op::LessOrEqual);
        if numeric && !value.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(Violation::new(field, format!("`{value}` is not a number; this operator compares numbers")));
        }
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

/// Writes one rule.
#[must_use]
pub fn to_label_rule(rule: &LabelRule) -> v1::LabelRule {
    v1::LabelRule {
        key: rule.key.clone(),
        operator: enums::to_label_operator(rule.operator).into(),
        values: rule.values.clone(),
        weight: rule.weight.into(),
    }
}

/// Reads a list of at most `max` rules; `field` is its name.
///
/// # Errors
/// Too many rules, or the first one at fault, as `field[index].…`.
pub fn label_rules(field: &str, wire: Vec<v1::LabelRule>, max: usize) -> Result<Vec<LabelRule>, Violation> {
    few(field, wire.len(), max)?;
    let read = |(i, rule)| label_rule(rule).map_err(|violation| violation.within(&entry(field, i)));
    wire.into_iter().enumerate().map(read).collect()
}

/// Reads what a task needs; `None` is one slot on any agent.
///
/// # Errors
/// The field at fault, as `resources.…`, `required[index].…` or `preferred[index].…`.
pub fn requirements(wire: Option<v1::Requirements>) -> Result<Requirements, Violation> {
    let wire = wire.unwrap_or_default();
    let resources = quantities::need(wire.resources).map_err(|violation| violation.within("resources"))?;
    let mut required = label_rules("required", wire.required, REQUIRED_RULES_MAX)?;
    for rule in &mut required {
        rule.weight = 1;
    }
    required.sort_unstable();
    required.dedup();
    let preferred = label_rules("preferred", wire.preferred, PREFERRED_RULES_MAX)?;
    let quota_keys = spend::quota_keys(&wire.quota_keys)?;
    Ok(Requirements { resources, required, preferred, quota_keys })
}

/// Writes what a task needs.
#[must_use]
pub fn to_requirements(requirements: &Requirements) -> v1::Requirements {
    v1::Requirements {
        resources: Some(quantities::to_resources(&requirements.resources)),
        required: requirements.required.iter().map(to_label_rule).collect(),
        preferred: requirements.preferred.iter().map(to_label_rule).collect(),
        quota_keys: spend::to_quota_keys(&requirements.quota_keys),
    }
}
