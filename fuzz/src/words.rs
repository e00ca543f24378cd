//! What people write on the command line: label rules and amounts.
//!
//! The code is that of the command line itself, whose crate has no library.

use evenkeel_shared::wire::labels::{label_rule, to_label_rule};

#[allow(dead_code, missing_docs, reason = "the whole file is taken in")]
#[path = "../../cli/src/quantity.rs"]
mod quantity;
#[allow(dead_code, missing_docs, reason = "the whole file is taken in")]
#[path = "../../cli/src/selector.rs"]
mod selector;

/// Reads the bytes as each of them.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(rule) = selector::parse(text) {
        assert!(!rule.key.is_empty());
        let _ = selector::weighted_by_order(&[rule.clone(), rule.clone()]);
        let _ = rule.to_string();
        // The coordinator may refuse more (a value may be too long), but reads the rule as it was meant.
        if let Ok(read) = label_rule(to_label_rule(&rule)) {
            assert_eq!((&read.key, read.operator, read.weight), (&rule.key, rule.operator, rule.weight));
            assert!(read.values.iter().all(|value| rule.values.contains(value)));
        }
    }
    if let Ok(duration) = quantity::duration(text) {
        let _ = quantity::millis(duration);
    }
    if let Ok(deadline) = quantity::deadline(text) {
        let _ = quantity::unix_ms(deadline);
    }
    if let Ok(millis) = quantity::cpu_millis(text) {
        let _ = quantity::bytes(&millis.to_string());
    }
    let _ = quantity::bytes(text);
    let _ = quantity::pair(text);
    let _ = quantity::amount(text);
}
