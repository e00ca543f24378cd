//! Breakers of kinds and of agents: what opens them, and what goes on meanwhile.

use evenkeel_shared::{AgentId, Kind};

use super::*;
use crate::admission::{BreakerOrder, breaker::BreakerSettings};

/// Five agents with room, and breakers without chance.
fn five(breakers: BreakerSettings) -> Cluster {
    let settings = Settings { breakers: BreakerSettings { jitter: 0.0, ..breakers }, ..Settings::default() };
    let mut cluster = Cluster::with(settings);
    for id in ["a", "b", "c", "d", "e"] {
        cluster.join(agent(id).slots(20).kinds(&["other", "work"]));
    }
    cluster
}

#[test]
fn a_kind_that_fails_everywhere_waits_is_tried_and_goes_on() {
    let mut cluster = five(BreakerSettings::default());
    let id = BreakerId::Kind(Kind::new("work").unwrap());
    let tasks: Vec<_> = (0..40).map(|_| cluster.submit(task("work").attempts(3))).collect();
    for &task in &tasks[..20] {
        cluster.fail(task, FailureClass::Retryable);
    }
    let Some(BreakerState::Open { until }) = cluster.breaker(&id) else { panic!("it is not open") };
    assert_eq!(until, cluster.now.plus(ms(5_000)));
    cluster.advance_alive(ms(2_000));
    cluster.expect(tasks[0], TaskState::Queued);
    let why = "the circuit breaker of kind `work`, which is open, for another 3.0s";
    assert_eq!(cluster.waits_for(tasks[0]), why);
    assert_eq!(cluster.explain(tasks[0]).refused_by_reason.get("breaker"), Some(&5), "all five would take it");
    let other = cluster.submit(task("other"));
    cluster.expect(other, TaskState::Assigned);
    // What runs still ends, and says nothing any more.
    tasks[20..].iter().for_each(|&task| cluster.succeed(task));
    assert!(matches!(cluster.breaker(&id), Some(BreakerState::Open { .. })));
    cluster.advance_alive(ms(3_000));
    let trials = cluster.placements();
    assert_eq!(trials.len(), 5 + 1, "five trials, and the other kind");
    let trials: Vec<_> = trials.into_keys().filter(|&task| task != other).collect();
    assert!(cluster.waits_for(*tasks[..20].iter().find(|task| !trials.contains(task)).unwrap()).contains("half-open"));
    trials[..3].iter().for_each(|&task| cluster.succeed(task));
    assert_eq!(cluster.breaker(&id), Some(BreakerState::Closed));
    assert_eq!(cluster.placements().len(), 20 - 3 + 1, "all that waited goes at once");
    assert_eq!(cluster.events_of(ClusterEventKind::Breaker), 3);
}

#[test]
fn trials_that_fail_are_the_end_of_it_for_longer() {
    let mut cluster = five(BreakerSettings::default());
    let id = BreakerId::Kind(Kind::new("work").unwrap());
    let tasks: Vec<_> = (0..20).map(|_| cluster.submit(task("work").attempts(9))).collect();
    tasks.iter().for_each(|&task| cluster.fail(task, FailureClass::Retryable));
    cluster.advance_alive(ms(5_000));
    cluster.fail_all(FailureClass::Retryable);
    let Some(BreakerState::Open { until }) = cluster.breaker(&id) else { panic!("it is not open") };
    assert_eq!(until.since(cluster.now), ms(10_000));
    assert!(
        tasks
            .iter()
            .all(|&task| cluster.state(task) == TaskState::Queued || cluster.state(task) == TaskState::RetryWait)
    );
}

#[test]
fn one_broken_agent_is_ejected_and_its_kinds_breaker_stays_closed() {
    let mut cluster = five(BreakerSettings::default());
    let tasks: Vec<_> = (0..60).map(|_| cluster.submit(task("work").attempts(20))).collect();
    for _ in 0..50 {
        let placed = cluster.placements();
        for (task, agent) in placed {
            if agent == "a" {
                cluster.fail(task, FailureClass::Retryable);
            }
        }
        cluster.advance_alive(ms(100));
    }
    assert_eq!(cluster.breaker(&BreakerId::Kind(Kind::new("work").unwrap())), Some(BreakerState::Closed));
    let shown = cluster.breaker(&BreakerId::Agent(AgentId::new("a").unwrap()));
    assert!(shown.is_some_and(|state| state != BreakerState::Closed), "{shown:?}");
    assert!(cluster.events_of(ClusterEventKind::AgentEjected) > 0);
    drop(tasks);
}

#[test]
fn an_ejected_agent_comes_back_in_steps() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.join(agent("b").slots(1));
    let id = BreakerId::Agent(AgentId::new("a").unwrap());
    cluster.control(ControlCommand::SetBreaker(id.clone(), BreakerOrder::Open(ms(60_000)))).unwrap();
    let tasks: Vec<_> = (0..11).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    cluster.advance_alive(ms(60_000));
    assert_eq!((cluster.breaker(&id), cluster.placements().len()), (Some(BreakerState::HalfOpen), 2));
    cluster.advance_alive(ms(10_000));
    assert_eq!((cluster.breaker(&id), cluster.placements().len()), (Some(BreakerState::Closed), tasks.len()));
}

#[test]
fn an_operator_closes_the_breaker_of_an_agent_at_once() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    let id = BreakerId::Agent(AgentId::new("a").unwrap());
    cluster.control(ControlCommand::SetBreaker(id.clone(), BreakerOrder::Open(ms(60_000)))).unwrap();
    let task = cluster.submit(task("work"));
    cluster.expect(task, TaskState::Queued);
    cluster.control(ControlCommand::SetBreaker(id, BreakerOrder::Close)).unwrap();
    cluster.expect(task, TaskState::Assigned);
    let unknown = BreakerId::Agent(AgentId::new("nobody").unwrap());
    let error = cluster.control(ControlCommand::SetBreaker(unknown, BreakerOrder::Close)).unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[test]
fn breakers_that_are_not_closed_are_counted_as_they_are_shown() {
    let mut cluster = five(BreakerSettings::default());
    let check = |cluster: &Cluster, wanted: usize| {
        let shown = cluster.engine.breaker_views(cluster.now);
        assert_eq!(shown.iter().filter(|view| view.state.is_turned()).count(), wanted, "{shown:?}");
        assert_eq!(cluster.engine.breakers_not_closed(cluster.now), wanted);
    };
    check(&cluster, 0);
    let open = BreakerOrder::Open(ms(60_000));
    for id in ["a", "b"] {
        cluster.control(ControlCommand::SetBreaker(BreakerId::Agent(AgentId::new(id).unwrap()), open)).unwrap();
    }
    cluster.control(ControlCommand::SetBreaker(BreakerId::Kind(Kind::new("other").unwrap()), open)).unwrap();
    check(&cluster, 3);
    cluster
        .control(ControlCommand::SetBreaker(BreakerId::Agent(AgentId::new("a").unwrap()), BreakerOrder::Close))
        .unwrap();
    check(&cluster, 2);
    cluster.advance_alive(ms(60_000));
    check(&cluster, 2);
    cluster.advance_alive(ms(60_000));
    let shown = cluster.engine.breaker_views(cluster.now);
    assert_eq!(shown.iter().filter(|view| matches!(view.id, BreakerId::Agent(_))).count(), 2, "they are remembered");
    check(&cluster, 1);
}

#[test]
fn one_that_was_opened_by_hand_lets_all_go_once_its_trials_succeed() {
    let mut cluster = five(BreakerSettings::default());
    let id = BreakerId::Kind(Kind::new("work").unwrap());
    cluster.control(ControlCommand::SetBreaker(id.clone(), BreakerOrder::Open(ms(1_000)))).unwrap();
    let tasks: Vec<_> = (0..20).map(|_| cluster.submit(task("work"))).collect();
    cluster.advance_alive(ms(1_000));
    let trials = cluster.placements();
    assert_eq!(trials.len(), 5);
    trials.into_keys().take(3).for_each(|task| cluster.succeed(task));
    assert_eq!(cluster.breaker(&id), Some(BreakerState::Closed));
    assert_eq!(cluster.placements().len(), tasks.len() - 3, "all that waited goes at once");
    assert_eq!(cluster.events_of(ClusterEventKind::Breaker), 3, "open, half-open, closed");
}
