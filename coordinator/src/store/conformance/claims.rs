//! Claim, commit, release: what is recovered.

use std::time::Duration;

use evenkeel_core::{
    engine::Change,
    model::{RecoveredAdmin, RecoveredState, Recovery},
};
use evenkeel_shared::{AdminState, AttemptEnd, StrategyConfig, TaskState, Tenant};

use super::{
    super::{Retention, StoreError},
    Open,
    fixture::{Fixture, a_task, agent, at, end, finish, requeue},
};

pub fn a_new_store_is_empty_and_counts_its_incarnations(open: Open) {
    let mut fixture = Fixture::new(open);
    assert_eq!(fixture.crash(), Recovery { incarnation: 2, ..Recovery::default() });
    assert_eq!(fixture.restart().incarnation, 3);
}

pub fn each_state_is_recovered_as_it_was(open: Open) {
    let mut fixture = Fixture::new(open);
    let [queued, assigned, waiting, returned] = [(); 4].map(|()| fixture.accepted(a_task()));
    let attempt = fixture.assigned(assigned.id, 1, "a");
    for (task, not_before) in [(&waiting, Some(at(123_456))), (&returned, None)] {
        let attempt = fixture.assigned(task.id, 1, "b");
        fixture.commit([end(attempt, AttemptEnd::AgentLost, Duration::ZERO), requeue(task.id, not_before, 1)]);
    }
    fixture.over(a_task(), TaskState::Succeeded, at(5));

    let recovered = fixture.crash().tasks;
    let stood: Vec<_> = recovered.iter().map(|t| (t.id, t.attempts_made, t.crashes, t.state.clone())).collect();
    let assigned_at = at(attempt.assignment.0);
    assert_eq!(
        stood,
        [
            (queued.id, 0, 0, RecoveredState::Queued { since: queued.at }),
            (
                assigned.id,
                1,
                0,
                RecoveredState::Assigned { attempt, agent: agent("a"), at: assigned_at, reserved: Some(vec![]) }
            ),
            (waiting.id, 1, 1, RecoveredState::RetryWait { not_before: at(123_456) }),
            (returned.id, 1, 1, RecoveredState::Queued { since: at(70_000) }),
        ]
    );
    assert_eq!((&recovered[0].payload, recovered[0].fingerprint), (&queued.payload, queued.fingerprint));
    assert_eq!(fixture.restart().tasks, recovered, "a clean stop changes nothing");
}

pub fn what_was_committed_survives_a_crash_and_what_was_not_does_not(open: Open) {
    let mut fixture = Fixture::new(open);
    let kept = fixture.accepted(a_task());
    let _never_committed = fixture.new_task(a_task());
    let recovered: Vec<_> = fixture.crash().tasks.iter().map(|task| task.id).collect();
    assert_eq!(recovered, [kept.id]);
}

pub fn a_commit_that_fails_leaves_nothing_behind(open: Open) {
    let mut fixture = Fixture::new(open);
    let task = fixture.new_task(a_task());
    let (id, unknown) = (task.id, fixture.new_task(a_task()).id);
    let changes = [Change::Accept(task.into()), finish(unknown, TaskState::Succeeded, at(1))];
    let error = fixture.store().commit(&changes).unwrap_err();
    assert!(matches!(&error, StoreError::Mismatch { .. }) && error.is_fatal(), "{error}");
    assert_eq!(fixture.reader().task(id).unwrap(), None);
    assert_eq!(fixture.crash().tasks, []);
}

pub fn nothing_is_written_without_a_claim(open: Open) {
    let mut fixture = Fixture::new(open);
    fixture.store().release().unwrap();
    let task = Change::Accept(fixture.new_task(a_task()).into());
    assert!(matches!(fixture.store().commit(&[task]), Err(StoreError::NotClaimed)));
    assert!(matches!(
        fixture.store().prune(Retention::of_tasks(Duration::ZERO).at(at(0)), 1),
        Err(StoreError::NotClaimed)
    ));
    assert!(matches!(fixture.store().release(), Err(StoreError::NotClaimed)));
}

pub fn a_second_owner_is_refused_while_the_first_one_lives(open: Open) {
    let mut fixture = Fixture::new(open);
    let refused = open(fixture.dir()).err().expect("refused");
    assert!(matches!(&refused, StoreError::InUse { path } if path == fixture.dir()), "{refused}");
    fixture.crash();
}

pub fn a_key_belongs_to_one_task_of_its_tenant(open: Open) {
    let mut fixture = Fixture::new(open);
    let first = fixture.accepted(a_task().key("k"));
    let other = fixture.accepted(a_task().key("k").tenant("other"));
    (0..2).for_each(|_| drop(fixture.accepted(a_task())));
    let second = fixture.new_task(a_task().key("k"));
    assert!(fixture.store().commit(&[Change::Accept(second.into())]).is_err(), "the key is taken");

    let tenant = |name| Tenant::new(name).unwrap();
    let reader = fixture.reader();
    assert_eq!(reader.by_key(&tenant("default"), "k").unwrap(), Some((first.id, first.fingerprint)));
    assert_eq!(reader.by_key(&tenant("other"), "k").unwrap(), Some((other.id, other.fingerprint)));
    assert_eq!(reader.by_key(&tenant("default"), "").unwrap(), None, "no key is not a key");
}

pub fn what_operators_want_survives(open: Open) {
    let wanted = |name: &str, state, drain_deadline| RecoveredAdmin {
        agent: agent(name),
        state,
        drain_deadline,
        reason: "because".into(),
    };
    let all = [
        wanted("a", AdminState::Draining, Some(at(9))),
        wanted("b", AdminState::Cordoned, None),
        wanted("c", AdminState::Draining, None),
    ];
    let change = |admin: RecoveredAdmin| Change::Admin {
        agent: admin.agent,
        state: admin.state,
        drain_deadline: admin.drain_deadline,
        reason: admin.reason,
    };
    let mut fixture = Fixture::new(open);
    fixture.commit(all.clone().map(change));
    fixture.commit([change(wanted("c", AdminState::Active, None)), Change::Strategy(StrategyConfig::Random)]);
    fixture.commit([Change::Strategy(StrategyConfig::named("weighted").unwrap())]);
    let recovery = fixture.crash();
    assert_eq!(recovery.admin, all[..2]);
    assert_eq!(recovery.strategy, Some(StrategyConfig::named("weighted").unwrap()));
}

pub fn tasks_are_recovered_in_the_order_of_their_acceptance(open: Open) {
    let mut fixture = Fixture::new(open);
    // The clock stands still or even is behind: ids alone would not tell the order.
    let accepted: Vec<_> = (0..50_u64).map(|n| fixture.accepted(a_task().accepted_at(at(1_000 - n / 10))).id).collect();
    let recovered: Vec<_> = fixture.crash().tasks.iter().map(|task| task.id).collect();
    assert_eq!(recovered, accepted);
}

pub fn a_spec_comes_back_as_it_went(open: Open) {
    let mut fixture = Fixture::new(open);
    let parent = fixture.over(a_task(), TaskState::Failed, at(5));
    let task = fixture.accepted(a_task().with_everything().payload(b"").redrives(parent));
    let plain = fixture.accepted(a_task());
    let [recovered, other]: [_; 2] = fixture.crash().tasks.try_into().unwrap();
    assert_eq!((&recovered.spec, &other.spec), (&task.spec, &plain.spec));
    assert_eq!((recovered.payload.len(), recovered.redrive_of), (0, Some(parent)));
    let stored = fixture.reader().task(task.id).unwrap().unwrap();
    assert_eq!((stored.spec, stored.redrive_of), (task.spec.clone(), Some(parent)));
}
