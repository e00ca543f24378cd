//! The grammar of label rules on the command line.
//!
//! | written | holds for an agent |
//! |---|---|
//! | `gpu=a100` | whose label `gpu` is `a100` |
//! | `gpu!=a100` | whose label differs, or that has none |
//! | `zone in (eu,us)` | whose label is one of these |
//! | `zone notin (eu,us)` | whose label is none of these, or that has none |
//! | `gpu` | that has the label |
//! | `!gpu` | that does not |
//! | `ram>8`, `ram>=8`, `ram<8`, `ram<=8` | whose label is such a number |
//!
//! It follows Kubernetes' label selectors, plus the comparisons of numbers. Several rules are given by several flags, not
//! by commas, so that a value may hold a comma.

use evenkeel_shared::{LabelOperator, LabelRule};
use thiserror::Error;

/// What is wrong with a rule.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SelectorError {
    /// There is nothing to compare.
    #[error("a rule needs the name of a label; write it as gpu=a100, zone in (eu,us), ram>=8, gpu or !gpu")]
    NoKey,
    /// The name has a character that names do not have.
    #[error("`{0}` is not the name of a label (letters, digits and . _ : / -)")]
    BadKey(String),
    /// `in` and `notin` without a list.
    #[error("`in` and `notin` need a list of values in parentheses, such as zone in (eu,us)")]
    NoList,
    /// A comparison of numbers with something else.
    #[error("`{0}` is not a number, and this comparison is of numbers")]
    NotANumber(String),
}

/// Reads one rule.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<LabelRule, SelectorError> {
    use LabelOperator as Op;
    /// Longer signs come before those they begin with.
    const SIGNS: [(&str, Op); 7] = [
        ("!=", Op::NotEquals),
        (">=", Op::GreaterOrEqual),
        ("<=", Op::LessOrEqual),
        ("==", Op::Equals),
        ("=", Op::Equals),
        (">", Op::Greater),
        ("<", Op::Less),
    ];
    let text = text.trim();
    if let Some(rule) = membership(text)? {
        return Ok(rule);
    }
    let first = SIGNS.iter().filter_map(|&(sign, operator)| Some((text.find(sign)?, sign, operator)));
    // The leftmost sign splits the rule: signs in the value belong to the value. Of several at one place the longest.
    if let Some((at, sign, operator)) = first.min_by_key(|&(at, sign, _)| (at, std::cmp::Reverse(sign.len()))) {
        let value = text[at + sign.len()..].trim();
        let numeric = matches!(operator, Op::Greater | Op::GreaterOrEqual | Op::Less | Op::LessOrEqual);
        if numeric && !value.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(SelectorError::NotANumber(value.to_owned()));
        }
        return rule(&text[..at], operator, vec![value.to_owned()]);
    }
    match text.strip_prefix('!') {
        Some(key) => rule(key, Op::Absent, Vec::new()),
        None => rule(text, Op::Exists, Vec::new()),
    }
}

/// Reads `key in (a,b)` and `key notin (a,b)`; `None` if it is neither.
fn membership(text: &str) -> Result<Option<LabelRule>, SelectorError> {
    let Some((key, rest)) = text.split_once(char::is_whitespace) else { return Ok(None) };
    if key.contains(['=', '!', '<', '>']) {
        return Ok(None);
    }
    let rest = rest.trim_start();
    let word_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let operator = match &rest[..word_end] {
        "in" => LabelOperator::In,
        "notin" => LabelOperator::NotIn,
        _ => return Ok(None),
    };
    let list = rest[word_end..].trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
    let list = list.filter(|list| !list.trim().is_empty()).ok_or(SelectorError::NoList)?;
    rule(key, operator, list.split(',').map(|value| value.trim().to_owned()).collect()).map(Some)
}

fn rule(key: &str, operator: LabelOperator, values: Vec<String>) -> Result<LabelRule, SelectorError> {
    let key = key.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-');
    if key.is_empty() {
        return Err(SelectorError::NoKey);
    }
    if !key.chars().all(legal) {
        return Err(SelectorError::BadKey(key.to_owned()));
    }
    Ok(LabelRule { key: key.to_owned(), operator, values, weight: 1 })
}

/// Gives preferred rules the weights that their order says: the first is given up last.
#[must_use]
pub fn weighted_by_order(rules: &[LabelRule]) -> Vec<LabelRule> {
    const WEIGHT_MAX: usize = 100;
    let weight = |i: usize| u8::try_from((rules.len() - i).min(WEIGHT_MAX)).unwrap_or(1);
    rules.iter().enumerate().map(|(i, rule)| LabelRule { weight: weight(i), ..rule.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use LabelOperator as Op;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, key: &str, operator: Op, values: &[&str]) {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        assert_eq!(parse(text), Ok(LabelRule { key: key.into(), operator, values, weight: 1 }), "{text:?}");
    }

    #[test]
    fn every_form_reads_as_the_table_says() {
        check("gpu=a100", "gpu", Op::Equals, &["a100"]);
        check("gpu == a100", "gpu", Op::Equals, &["a100"]);
        check("gpu!=a100", "gpu", Op::NotEquals, &["a100"]);
        check("zone in (eu, us)", "zone", Op::In, &["eu", "us"]);
        check("zone  notin(eu)", "zone", Op::NotIn, &["eu"]);
        check("gpu", "gpu", Op::Exists, &[]);
        check(" ! gpu ", "gpu", Op::Absent, &[]);
        check("ram>8", "ram", Op::Greater, &["8"]);
        check("ram >= 8.5", "ram", Op::GreaterOrEqual, &["8.5"]);
        check("ram<8", "ram", Op::Less, &["8"]);
        check("ram<=8", "ram", Op::LessOrEqual, &["8"]);
    }

    #[test]
    fn signs_in_a_value_belong_to_the_value() {
        check("args=a>=b", "args", Op::Equals, &["a>=b"]);
        check("note=zone in (eu)", "note", Op::Equals, &["zone in (eu)"]);
        check("empty=", "empty", Op::Equals, &[""]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, expected| assert_eq!(parse(text), Err(expected), "{text:?}");
        check("", SelectorError::NoKey);
        check("=a", SelectorError::NoKey);
        check("!", SelectorError::NoKey);
        check("two words", SelectorError::BadKey("two words".into()));
        check("zone in eu", SelectorError::NoList);
        check("zone in ()", SelectorError::NoList);
        check("ram>many", SelectorError::NotANumber("many".into()));
        check("ram<NaN", SelectorError::NotANumber("NaN".into()));
    }

    #[test]
    fn preferred_rules_are_given_up_from_the_last() {
        let rules = [parse("a").unwrap(), parse("b").unwrap(), parse("c").unwrap()];
        let weights: Vec<u8> = weighted_by_order(&rules).iter().map(|rule| rule.weight).collect();
        assert_eq!(weights, [3, 2, 1]);
    }

    proptest! {
        #[test]
        fn any_text_reads_as_a_rule_or_an_error(text in ".{0,40}") {
            if let Ok(rule) = parse(&text) {
                prop_assert!(!rule.key.is_empty());
            }
        }
    }
}
