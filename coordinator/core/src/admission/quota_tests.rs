use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn key(name: &str) -> QuotaKey {
    QuotaKey::new(name).unwrap()
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_longer_word_counts_and_time_opens_it() {
    let mut quotas = Quotas::default();
    let a = agent("a");
    assert_eq!(quotas.report(START, &key("k"), seconds(10), "429", Some(&a)), Reported::Shut);
    assert_eq!(quotas.report(START, &key("k"), seconds(5), "", None), Reported::Known);
    assert_eq!(quotas.get(&key("k")).unwrap().reason, "429");
    assert_eq!(quotas.report(START, &key("k"), seconds(20), "", None), Reported::Longer);
    assert_eq!(quotas.next_due(), Some(START.plus(seconds(20))));
    assert!(quotas.due(START.plus(seconds(19))).is_empty());
    assert_eq!(quotas.due(START.plus(seconds(20))), [key("k")]);
    assert!(quotas.is_empty());
}

#[test]
fn a_failure_without_a_report_shuts_the_keys_for_longer_each_time() {
    let mut quotas = Quotas::default();
    let (keys, mut now, mut times) = ([key("k")], START, Vec::new());
    for _ in 0..8 {
        assert_eq!(quotas.failed(now, keys.iter(), &agent("a"), 0.0), keys);
        assert!(quotas.failed(now, keys.iter(), &agent("b"), 0.0).is_empty(), "it is known by now");
        let until = quotas.get(&keys[0]).unwrap().until;
        times.push(until.since(now).as_secs());
        now = until;
        quotas.due(now);
    }
    assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
    quotas.failed(now.plus(seconds(600)), keys.iter(), &agent("a"), 0.0);
    assert_eq!(quotas.next_due(), Some(now.plus(seconds(601))), "after ten times the last it begins anew");
}

#[test]
fn a_failure_after_a_report_of_one_of_its_keys_shuts_no_other() {
    let mut quotas = Quotas::default();
    quotas.report(START, &key("a"), seconds(10), "", Some(&agent("a")));
    assert!(quotas.failed(START, [key("a"), key("b")].iter(), &agent("a"), 0.0).is_empty());
    assert!(quotas.get(&key("b")).is_none());
}

#[test]
fn an_operator_opens_it_at_once() {
    let mut quotas = Quotas::default();
    quotas.report(START, &key("k"), seconds(10), "", None);
    assert!(quotas.clear(&key("k")) && !quotas.clear(&key("k")));
}

#[test]
fn an_agent_fills_only_its_part_and_the_first_to_end_makes_room() {
    let mut quotas = Quotas::default();
    let reported: Vec<_> = (0..=COOLDOWNS_BY_AGENT_MAX)
        .map(|at| quotas.report(START, &key(&format!("a{at}")), seconds(10), "", Some(&agent("a"))))
        .collect();
    assert_eq!(reported.iter().filter(|reported| **reported == Reported::Shut).count(), COOLDOWNS_BY_AGENT_MAX);
    assert_eq!(reported.last(), Some(&Reported::TooMany));
    for at in 0..COOLDOWNS_MAX {
        quotas.report(START, &key(&format!("b{at}")), seconds(100), "", None);
    }
    assert_eq!(quotas.iter().count(), COOLDOWNS_MAX);
    assert!(quotas.get(&key("a0")).is_none() && quotas.get(&key("b0")).is_some());
}

#[test]
fn nobody_shuts_a_key_for_more_than_a_day() {
    let mut quotas = Quotas::default();
    quotas.report(START, &key("k"), Duration::MAX, "", None);
    assert_eq!(quotas.next_due(), Some(START.plus(COOLDOWN_MAX)));
}
