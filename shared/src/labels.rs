//! Labels of agents, and rules over them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an agent says of itself, for tasks to choose by.
pub type Labels = BTreeMap<String, String>;

/// How a rule compares. The numeric comparators hold only where both sides are finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelOperator {
    /// The label is there and equals the value.
    Equals,
    /// The label is not there, or differs.
    NotEquals,
    /// The label is there and is one of the values.
    In,
    /// The label is not there, or is none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    Absent,
    /// The label is a number above the value.
    Greater,
    /// The label is a number not below the value.
    GreaterOrEqual,
    /// The label is a number below the value.
    Less,
    /// The label is a number not above the value.
    LessOrEqual,
}

/// One condition on an agent's labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelRule {
    /// Which label.
    pub key: String,
    /// How it is compared.
    pub operator: LabelOperator,
    /// With what: one value, several for `In` and `NotIn`, none for `Exists` and `Absent`.
    #[serde(default)]
    pub values: Vec<String>,
    /// Of a preferred rule: the heavier one is given up last. 1 to 100.
    #[serde(default = "one")]
    pub weight: u8,
}

const fn one() -> u8 {
    1
}

impl LabelRule {
    /// A rule that the label equals the value.
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), operator: LabelOperator::Equals, values: vec![value.into()], weight: 1 }
    }

    /// Whether the rule holds for a label's value, or for its absence.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        use LabelOperator as Op;
        let among = |value: &str| self.values.iter().any(|v| v == value);
        let number = |compare: fn(f64, f64) -> bool| {
            let bound = self.values.first().and_then(|v| finite(v));
            value.and_then(finite).zip(bound).is_some_and(|(v, b)| compare(v, b))
        };
        match self.operator {
            Op::Equals | Op::In => value.is_some_and(among),
            Op::NotEquals | Op::NotIn => !value.is_some_and(among),
            Op::Exists => value.is_some(),
            Op::Absent => value.is_none(),
            Op::Greater => number(|v, b| v > b),
            Op::GreaterOrEqual => number(|v, b| v >= b),
            Op::Less => number(|v, b| v < b),
            Op::LessOrEqual => number(|v, b| v <= b),
        }
    }

    /// Whether the rule holds for an agent with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds(labels.get(&self.key).map(String::as_str))
    }
}

impl std::fmt::Display for LabelRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use LabelOperator as Op;
        let first = self.values.first().map_or("", String::as_str);
        let key = &self.key;
        match self.operator {
            Op::Equals => write!(f, "{key}={first}"),
            Op::NotEquals => write!(f, "{key}!={first}"),
            Op::In => write!(f, "{key} in ({})", self.values.join(",")),
            Op::NotIn => write!(f, "{key} not in ({})", self.values.join(",")),
            Op::Exists => write!(f, "{key}"),
            Op::Absent => write!(f, "!{key}"),
            Op::Greater => write!(f, "{key}>{first}"),
            Op::GreaterOrEqual => write!(f, "{key}>={first}"),
            Op::Less => write!(f, "{key}<{first}"),
            Op::LessOrEqual => write!(f, "{key}<={first}"),
        }
    }
}

/// A number, unless it is infinite or not one.
fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operator: LabelOperator, values: &[&str], value: Option<&str>, expected: bool) {
        let values = values.iter().map(|&v| v.to_owned()).collect();
        let rule = LabelRule { key: "k".into(), operator, values, weight: 1 };
        assert_eq!(rule.holds(value), expected, "{rule} for {value:?}");
    }

    #[test]
    fn every_operator_compares_as_it_says() {
        use LabelOperator as Op;
        check(Op::Equals, &["a"], Some("a"), true);
        check(Op::Equals, &["a"], None, false);
        check(Op::NotEquals, &["a"], Some("b"), true);
        check(Op::NotEquals, &["a"], None, true);
        check(Op::In, &["a", "b"], Some("b"), true);
        check(Op::NotIn, &["a", "b"], Some("b"), false);
        check(Op::NotIn, &["a", "b"], None, true);
        check(Op::Exists, &[], Some(""), true);
        check(Op::Absent, &[], None, true);
        check(Op::Greater, &["8"], Some("16"), true);
        check(Op::Greater, &["8"], Some("8"), false);
        check(Op::GreaterOrEqual, &["8"], Some("8.0"), true);
        check(Op::Less, &["8"], Some("7.5"), true);
        check(Op::LessOrEqual, &["8"], Some("9"), false);
    }

    #[test]
    fn numbers_that_are_none_match_nothing() {
        use LabelOperator as Op;
        check(Op::Greater, &["8"], Some("NaN"), false);
        check(Op::Less, &["inf"], Some("1"), false);
        check(Op::Less, &["8"], Some("many"), false);
        check(Op::Less, &["8"], None, false);
    }
}
