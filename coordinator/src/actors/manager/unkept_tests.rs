use std::time::Duration;

use evenkeel_core::model::{Declaration, ScalingRecord, UsageSample};

use super::*;

fn declared(kind: DeclarationKind, name: &str, version: u64) -> Record {
    let (body, at) = (Some("{}".to_owned()), Timestamp::ZERO);
    Record::Declared(Declaration { kind, name: name.into(), version, body, at, reason: String::new() })
}

fn size(version: u64) -> Record {
    declared(DeclarationKind::ScalingOverride, "", version)
}

fn advice(number: u64) -> Record {
    declared(DeclarationKind::Recommendation, &number.to_string(), 1)
}

fn decision(id: u64) -> Record {
    Record::Scaling(ScalingRecord { id, at: Timestamp::ZERO, agents_before: 1, agents_after: 2, body: String::new() })
}

fn measured(second: u64) -> Record {
    Record::Usage(UsageSample {
        at: Timestamp::ZERO.plus(Duration::from_secs(second)),
        length: Duration::from_secs(1),
        subject: "fleet".into(),
        metric: "utilization".into(),
        mean: 0.5,
        min: 0.5,
        max: 0.5,
    })
}

/// Of these records those stay, where so many may.
fn check(max: usize, waits: impl IntoIterator<Item = Record>, stays: impl IntoIterator<Item = Record>) {
    let mut records: VecDeque<Record> = waits.into_iter().collect();
    let before = records.len();
    let gone = let_go(&mut records, max);
    assert_eq!(records, stays.into_iter().collect::<VecDeque<_>>());
    assert_eq!(gone, before - records.len());
}

#[test]
fn nothing_goes_while_there_is_room() {
    check(3, [measured(1), size(1), size(2)], [measured(1), size(1), size(2)]);
}

#[test]
fn the_oldest_measurements_go_first() {
    check(3, [measured(1), size(1), measured(2), size(2), measured(3)], [size(1), size(2), measured(3)]);
}

#[test]
fn then_what_a_later_one_replaces_goes() {
    let policy = declared(DeclarationKind::ScalingPolicy, "", 7);
    check(
        3,
        [size(1), measured(1), policy.clone(), decision(1), size(2), decision(1), size(3)],
        [policy, decision(1), size(3)],
    );
}

#[test]
fn then_the_oldest_decisions_and_advice_go() {
    check(2, [decision(1), advice(1), size(1), advice(2), decision(2)], [size(1), decision(2)]);
}

#[test]
fn what_was_declared_last_is_never_let_go() {
    let policy = declared(DeclarationKind::ScalingPolicy, "", 1);
    check(0, [size(1), policy.clone(), advice(1), size(2), decision(1), measured(1)], [policy, size(2)]);
}

#[test]
fn a_script_that_declares_on_and_on_leaves_no_more_than_may_wait() {
    let (mut records, max, last) = (VecDeque::new(), 100, 1_000);
    for version in 1..=last {
        records.push_back(size(version));
        let_go(&mut records, max);
        assert!(records.len() <= max);
    }
    assert_eq!(records.back(), Some(&size(last)));
}
