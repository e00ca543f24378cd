use super::*;
use crate::ix::AgentIx;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn key(name: &str) -> QuotaKey {
    QuotaKey::new(name).unwrap()
}

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

fn guards() -> Guards {
    Guards::new(BreakerSettings { jitter: 0.0, ..BreakerSettings::default() }, 1)
}

/// So many attempts of a kind that draw on a key end, on agents in turn. Answers what turned.
fn end(guards: &mut Guards, attempts: u64, kind: &Kind, keys: &[QuotaKey], ok: bool) -> Vec<Turn> {
    let mut turns = Vec::new();
    for number in 1..=attempts {
        let drawn = Drawn { kind, keys, agent_keys: &[] };
        let attempt = Attempt { number: AssignmentId(number), agent: AgentIx(number as u32 % 4), ok };
        guards.ended(START, &drawn, attempt, (10, AssignmentId(attempts + 1)), &mut turns);
    }
    turns
}

#[test]
fn nothing_is_kept_of_what_does_not_fail() {
    let mut guards = guards();
    assert!(end(&mut guards, 1_000, &kind("a"), &[key("k")], true).is_empty());
    assert_eq!((guards.breakers().count(), guards.all_open(), guards.next_due()), (0, true, None));
}

#[test]
fn a_kind_that_fails_is_shut_and_no_other() {
    let mut guards = guards();
    let turns = end(&mut guards, 20, &kind("a"), &[], false);
    assert!(matches!(&turns[..], [Turn::Breaker { state: BreakerState::Open { .. }, .. }]), "{turns:?}");
    let closed = guards.class_closed(START, &kind("a"), &[]).unwrap();
    assert_eq!(closed.by.to_string(), "the circuit breaker of kind `a`, which is open");
    assert_eq!(closed.until, START.plus(Duration::from_secs(5)));
    assert_eq!(guards.class_closed(START, &kind("b"), &[]), None);
}

#[test]
fn a_key_that_fails_shuts_its_tasks_and_its_agents_until_it_is_tried() {
    let mut guards = guards();
    // Kinds that differ, so that it is the key that is at fault.
    for number in 0..7 {
        end(&mut guards, 3, &kind(&format!("kind{number}")), &[key("k")], false);
    }
    assert!(guards.class_closed(START, &kind("new"), &[key("k")]).is_some());
    assert_eq!(guards.class_closed(START, &kind("kind1"), &[]), None);
    assert!(guards.agent_closed(&[key("k")]).is_some() && guards.agent_closed(&[key("other")]).is_none());
    let mut turns = Vec::new();
    let now = guards.next_due().unwrap();
    guards.due(now, AssignmentId(100), &mut turns);
    assert!(matches!(&turns[..], [Turn::Breaker { state: BreakerState::HalfOpen, .. }]), "{turns:?}");
    assert!(guards.agent_closed(&[key("k")]).is_none());
    let shut: Vec<bool> = (0..5).map(|_| guards.begun(now, &kind("new"), &[key("k")])).collect();
    assert_eq!(shut, [false, false, false, false, true]);
    assert!(guards.class_closed(now, &kind("new"), &[key("k")]).is_some(), "its trials are under way");
    guards.due(guards.next_due().unwrap(), AssignmentId(100), &mut turns);
    assert_eq!(turns.last(), Some(&Turn::MoreTrials));
}

#[test]
fn a_quota_that_is_used_up_shuts_what_names_it() {
    let (mut guards, mut turns) = (guards(), Vec::new());
    let agent = AgentId::new("a").unwrap();
    guards.report_quota(START, &key("k"), Duration::from_secs(9), "429", Some(&agent), &mut turns);
    let closed = guards.class_closed(START, &kind("a"), &[key("j"), key("k")]).unwrap();
    assert_eq!(closed.by.to_string(), "the upstream quota `k`, which is used up (429)");
    assert!(guards.agent_closed(&[key("k")]).is_some());
    assert_eq!(guards.class_closed(START, &kind("a"), &[key("j")]), None);
    guards.due(START.plus(Duration::from_secs(9)), AssignmentId(1), &mut turns);
    assert_eq!(turns, [Turn::Shut(key("k")), Turn::Opened(key("k"))]);
    assert!(guards.all_open());
}

#[test]
fn a_failure_for_a_quota_of_which_nobody_knows_the_key_has_nothing_to_wait_for() {
    let (mut guards, mut turns) = (guards(), Vec::new());
    let (kind, agent, keys) = (kind("a"), AgentId::new("a").unwrap(), [key("k")]);
    let nameless = Drawn { kind: &kind, keys: &[], agent_keys: &[] };
    assert!(!guards.quota_failed(START, &nameless, &agent, &mut turns));
    let of_agent = Drawn { kind: &kind, keys: &[], agent_keys: &keys };
    assert!(guards.quota_failed(START, &of_agent, &agent, &mut turns));
    assert_eq!(turns, [Turn::Shut(key("k"))]);
}

#[test]
fn breakers_that_are_switched_off_open_by_hand_alone() {
    let mut guards = Guards::new(BreakerSettings { enabled: false, ..BreakerSettings::default() }, 1);
    assert!(end(&mut guards, 100, &kind("a"), &[], false).is_empty());
    let (mut turns, id) = (Vec::new(), BreakerId::Kind(kind("a")));
    let order = BreakerOrder::Open(Duration::from_secs(1));
    assert!(guards.order(START, &id, order, "", AssignmentId(1), &mut turns));
    assert!(guards.class_closed(START, &kind("a"), &[]).is_some());
    guards.order(START, &id, BreakerOrder::Close, "", AssignmentId(1), &mut turns);
    assert!(guards.all_open() && turns.len() == 2);
}

#[test]
fn as_many_as_may_be_are_known_and_the_well_ones_make_room() {
    let mut guards = guards();
    for number in 0..=BREAKERS_MAX {
        end(&mut guards, 1, &kind(&format!("kind{number}")), &[], false);
    }
    assert_eq!(guards.breakers().count(), BREAKERS_MAX);
    let later = START.plus(Duration::from_secs(60));
    let of_new = kind("new");
    let drawn = Drawn { kind: &of_new, keys: &[], agent_keys: &[] };
    let attempt = Attempt { number: AssignmentId(1), agent: AgentIx(1), ok: false };
    guards.ended(later, &drawn, attempt, (10, AssignmentId(2)), &mut Vec::new());
    assert_eq!(guards.breakers().count(), 1, "those that failed a minute ago are forgotten");
}
