//! Slots that follow latency.

use evenkeel_shared::{AgentLoad, Failure, Outcome};

use super::*;
use crate::admission::{DynamicAlgorithm, DynamicLimitSettings, breaker::BreakerSettings};

fn dynamic(algorithm: DynamicAlgorithm) -> DynamicLimitSettings {
    DynamicLimitSettings { enabled: true, algorithm, ..DynamicLimitSettings::default() }
}

/// An agent that says it has 32 slots and bears 8: with more, its attempts take longer, in proportion, and those that take
/// longer than their timeout fail. Tasks come in at 100 a second, which is more than it can do, for so long; then it has
/// time to finish. Answers how many failed and how many succeeded of the second half of those that came in.
fn overload(settings: Option<DynamicLimitSettings>, seconds: u64) -> (usize, usize) {
    // Without breakers, which would hold the kind back as well.
    let breakers = BreakerSettings { enabled: false, ..BreakerSettings::default() };
    let mut cluster = Cluster::with(Settings { breakers, ..Settings::default() });
    if let Some(settings) = settings {
        cluster.control(ControlCommand::SetDynamicLimits(settings)).unwrap();
    }
    cluster.join(agent("a").slots(32));
    let mut running: Vec<(u64, TaskId, u64)> = Vec::new();
    let mut submitted = Vec::new();
    let mut machine = |cluster: &mut Cluster, tick: u64| {
        // In steps of 10 ms: what has ended, then what began.
        let over: Vec<_> = running.iter().copied().filter(|&(end, ..)| end <= tick).collect();
        running.retain(|&(end, ..)| end > tick);
        for (_, task, took_ms) in over {
            match took_ms {
                0..300 => cluster.succeed_in(task, ms(took_ms)),
                _ => cluster.fail(task, FailureClass::Timeout),
            }
        }
        let live = |task: &TaskId| !cluster.finished.contains_key(task);
        let known = |task: &TaskId| running.iter().any(|(_, known, _)| known == task);
        let new: Vec<_> = cluster.assigned.keys().copied().filter(|task| live(task) && !known(task)).collect();
        for task in new {
            let at_a_time = running.len() as u64 + 1;
            let took_ms = (100 * at_a_time / 8).max(100);
            running.push((tick + took_ms.min(300) / 10, task, took_ms));
        }
    };
    // A calm start, in which it shows what is normal.
    for tick in 0..500 {
        if tick % 4 == 0 {
            submitted.push(cluster.submit(task("work").attempts(1)));
        }
        machine(&mut cluster, tick);
        cluster.advance(ms(10));
    }
    let calm = submitted.len();
    for tick in 500..500 + seconds * 100 + 1_500 {
        if tick < 500 + seconds * 100 {
            submitted.push(cluster.submit(task("work").attempts(1)));
        }
        machine(&mut cluster, tick);
        cluster.advance(ms(10));
        if tick % 100 == 0 {
            cluster.heartbeat("a", AgentLoad::default());
        }
    }
    let (first, later) = submitted[calm..].split_at(submitted[calm..].len() / 2);
    assert!(first.iter().all(|task| cluster.finished.contains_key(task)), "nothing is left over");
    let states: Vec<_> = later.iter().map(|&task| cluster.state(task)).collect();
    let count = |wanted| states.iter().filter(|&&state| state == wanted).count();
    assert_eq!(count(TaskState::Failed) + count(TaskState::Succeeded), states.len(), "nothing is left over");
    (count(TaskState::Failed), count(TaskState::Succeeded))
}

#[test]
fn overload_looks_like_failure_without_limits_that_follow_latency_and_like_a_queue_with_them() {
    let (failed, succeeded) = overload(None, 4);
    assert!(failed > succeeded, "without: {failed} failed, {succeeded} succeeded");
    for algorithm in [DynamicAlgorithm::Gradient, DynamicAlgorithm::Aimd] {
        let (failed, succeeded) = overload(Some(dynamic(algorithm)), 4);
        assert!(failed * 20 < succeeded, "{algorithm:?}: {failed} failed, {succeeded} succeeded");
    }
}

/// An agent of eight slots to which latency has left one.
fn slowed() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Aimd))).unwrap();
    cluster.join(agent("a").slots(8));
    for _ in 0..100 {
        let task = cluster.submit(task("work").attempts(1));
        cluster.fail(task, FailureClass::Timeout);
        cluster.advance_alive(ms(10_000));
    }
    assert_eq!(cluster.engine.dynamic_limit_views()[0].limit, 1);
    cluster
}

#[test]
fn a_slow_agent_gets_fewer_tasks_at_a_time_and_urgent_ones_still_have_its_slots() {
    let mut cluster = slowed();
    let usual: Vec<_> = (0..5).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    let urgent: Vec<_> = (0..5).map(|_| cluster.submit(task("work").priority(8))).collect();
    assert_eq!(cluster.placements().len(), 1 + 5);
    assert!(urgent.iter().all(|task| cluster.placements().contains_key(task)));
    // One that waits is offered the place that an urgent one leaves only if it is urgent itself.
    let more: Vec<_> = (0..4).map(|_| cluster.submit(task("work").priority(9))).collect();
    assert_eq!(cluster.placements().len(), 8, "no more than its slots");
    cluster.succeed(urgent[0]);
    assert_eq!(cluster.placements().keys().filter(|task| more.contains(task)).count(), 3);
    let left: Vec<_> = cluster.placements().into_keys().collect();
    left.into_iter().for_each(|task| cluster.succeed(task));
    assert_eq!(cluster.placements().len(), 1, "the last urgent one, or one of the others");
    drop(usual);
}

#[test]
fn what_needs_more_slots_than_a_slow_agent_has_left_goes_alone() {
    let mut cluster = slowed();
    let small = cluster.submit(task("work"));
    let large = cluster.submit(task("work").slots(4));
    cluster.expect(large, TaskState::Queued);
    cluster.succeed(small);
    cluster.expect(large, TaskState::Assigned);
}

#[test]
fn limits_that_follow_latency_are_switched_off_live_and_survive_a_restart() {
    let mut cluster = slowed();
    let tasks: Vec<_> = (0..5).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    cluster.control(ControlCommand::SetDynamicLimits(DynamicLimitSettings::default())).unwrap();
    assert_eq!(cluster.placements().len(), tasks.len());
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Gradient))).unwrap();
    cluster.restart();
    assert_eq!(cluster.engine.dynamic_limit_settings(), dynamic(DynamicAlgorithm::Gradient));
    let wrong = DynamicLimitSettings { tolerance: 0.5, ..dynamic(DynamicAlgorithm::Aimd) };
    let error = cluster.control(ControlCommand::SetDynamicLimits(wrong)).unwrap_err();
    assert_eq!(error.violations[0].field, "tolerance");
}

#[test]
fn nothing_is_taken_ahead_by_an_agent_that_has_become_slow() {
    let mut cluster = Cluster::new();
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Aimd))).unwrap();
    cluster.join(agent("a").slots(8).prefetch(Some(1)));
    for _ in 0..100 {
        let task = cluster.submit(task("work").attempts(1));
        let (agent, attempt) = cluster.assignment(task);
        cluster.report(&agent, attempt, Outcome::Failed(Failure::new(FailureClass::Timeout, "no")));
        cluster.advance_alive(ms(10_000));
    }
    for _ in 0..5 {
        cluster.submit(task("work"));
    }
    assert_eq!(cluster.placements().len(), 1);
}
