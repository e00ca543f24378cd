//! Bounds: what is refused, and that it leaves no trace.

use evenkeel_shared::{Code, Tenant, Timestamp};

use super::fixture::{Cluster, START, agent, ms, task};
use crate::engine::Settings;

#[test]
fn a_full_queue_refuses_with_a_hint_and_changes_nothing() {
    let mut c = Cluster::with(Settings { tasks_max: 2, ..Settings::default() });
    c.join(agent("a"));
    let first = c.submit(task("work"));
    c.submit(task("work"));
    let refusal = c.try_submit(task("work")).unwrap_err();
    assert_eq!(refusal.code, Code::ResourceExhausted);
    assert!(refusal.retry_after.is_some());
    assert!(c.changes.is_empty());
    c.succeed(first);
    assert!(c.try_submit(task("work")).is_ok());
}

#[test]
fn payloads_are_bounded_too() {
    let mut c = Cluster::with(Settings { payload_bytes_max: 1_000, ..Settings::default() });
    c.submit(task("work").payload(800));
    assert_eq!(c.try_submit(task("work").payload(160)).unwrap_err().code, Code::ResourceExhausted);
    assert!(c.try_submit(task("work").payload(150)).is_ok(), "one twentieth is kept for urgent tasks");
    assert!(c.try_submit(task("work").payload(60).priority(9)).is_err());
    assert!(c.try_submit(task("work").payload(50).priority(9)).is_ok());
}

#[test]
fn in_a_full_queue_there_is_room_for_urgent_tasks() {
    let mut c = Cluster::with(Settings { tasks_max: 100, ..Settings::default() });
    let accepted = (0..100).filter(|_| c.try_submit(task("work").priority(7)).is_ok()).count();
    assert_eq!(accepted, 95);
    let refusal = c.try_submit(task("work").priority(7)).unwrap_err();
    assert!(refusal.message.contains("urgent"), "{refusal:?}");
    let urgent = (0..10).filter(|_| c.try_submit(task("work").priority(8)).is_ok()).count();
    assert_eq!(urgent, 5, "and for no more than there is");
}

#[test]
fn requirements_of_tasks_that_are_over_take_no_place() {
    let mut c = Cluster::new();
    for n in 0..crate::routing::CLASSES_MAX + 1 {
        let t = c.submit(task("work").label("shape", &n.to_string()));
        c.cancel(t).unwrap();
    }
}

#[test]
fn a_deadline_in_the_past_is_refused() {
    let mut c = Cluster::new();
    let refusal = c.try_submit(task("work").deadline(Timestamp::from_unix_millis(1))).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert_eq!(refusal.violations[0].field, "deadline_unix_ms");
    assert!(c.changes.is_empty());
}

#[test]
fn tenants_share_by_their_weights() {
    let weights = [(Tenant::new("gold").unwrap(), 3)].into();
    let mut c = Cluster::with(Settings { tenant_weights: weights, ..Settings::default() });
    c.join(agent("a"));
    let mut running = c.submit(task("work").tenant("first"));
    for tenant in ["gold", "plain"] {
        for _ in 0..40 {
            c.submit(task("work").tenant(tenant));
        }
    }
    let mut gold = 0;
    for _ in 0..40 {
        c.succeed(running);
        running = *c.placements().first_key_value().unwrap().0;
        gold += usize::from(c.accepted[&running].spec.tenant.as_str() == "gold");
    }
    assert!((29..=31).contains(&gold), "{gold} of 40 for three quarters");
}

#[test]
fn nothing_starves_under_a_stream_of_urgent_tasks() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let mut running = c.submit(task("work").priority(9));
    let bulk = c.submit(task("work").priority(0));
    let mut turns = 0;
    while c.finished.len() < 5_000 && running != bulk {
        c.submit(task("work").priority(9));
        c.advance_alive(ms(1_000));
        c.succeed(running);
        running = *c.placements().first_key_value().unwrap().0;
        turns += 1;
    }
    assert_eq!(running, bulk, "it still waits after {turns} others");
    assert!(c.now.since(START).as_secs() <= 9 * 30 + 60, "it came after {:?}", c.now.since(START));
}

#[test]
fn a_task_that_needs_much_is_not_starved_by_many_that_need_little() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(4));
    let mut small: Vec<_> = (0..4).map(|_| c.submit(task("work").priority(9))).collect();
    let large = c.submit(task("work").slots(4).priority(9));
    for _ in 0..200 {
        small.push(c.submit(task("work").priority(9)));
        c.advance_alive(ms(200));
        // One small task ends at a time, so that never more than one slot is free at once.
        if let Some(task) = c.placements().keys().find(|task| **task != large).copied() {
            c.succeed(task);
        }
        if c.placements().contains_key(&large) {
            return;
        }
    }
    panic!("{:?}", c.explain(large));
}
