//! How policies are marked.

use std::time::Duration;

use super::*;
use crate::capacity::{Action, Effect};

/// An hour under `load`, with these changes.
fn hour(load: &Load, changes: &[(u64, Action)]) -> Effect {
    let policy = policy("web-balanced");
    let mut effect = Effect::default();
    for s in 0..=3_600 {
        effect.observe(at(s), &policy, load);
        changes.iter().filter(|change| change.0 == s).for_each(|change| effect.changed(at(s), change.1));
    }
    effect
}

fn percent(effect: &Effect) -> f64 {
    effect.percent().expect("an hour is enough")
}

#[test]
fn what_fits_and_is_calm_has_full_marks() {
    let effect = hour(&load(10, 30.0), &[(0, Action::Up)]);
    assert_eq!(percent(&effect), 100.0);
    assert_eq!(Effect::default().percent(), None);
}

#[test]
fn misses_spare_agents_and_reversals_each_take_their_part() {
    let late = Load { oldest_wait: Duration::from_secs(31), ..load(10, 30.0) };
    assert_eq!(percent(&hour(&late, &[])), 50.0);
    // Half of the agents are to spare.
    let idle = hour(&load(10, 15.0), &[]);
    assert_eq!((idle.spare_share(), percent(&idle)), (0.5, 85.0));
    let turns = [(0, Action::Up), (600, Action::Down), (900, Action::Up), (3_000, Action::Down)];
    let effect = hour(&load(10, 30.0), &turns);
    assert_eq!((effect.reversals, percent(&effect)), (2, 90.0), "the last one is far from the one before");
}

#[test]
fn a_gap_in_what_was_seen_counts_little() {
    let policy = policy("web-balanced");
    let mut effect = Effect::default();
    effect.observe(at(0), &policy, &load(10, 30.0));
    effect.observe(at(9_000), &policy, &load(10, 30.0));
    assert_eq!(effect.seen_s, 10.0);
}

#[test]
fn it_is_kept_with_decisions() {
    let effect = hour(&load(10, 15.0), &[(7, Action::Up)]);
    let read: Effect = serde_json::from_str(&serde_json::to_string(&effect).unwrap()).unwrap();
    assert_eq!((read.percent(), read.changes), (effect.percent(), effect.changes));
}
