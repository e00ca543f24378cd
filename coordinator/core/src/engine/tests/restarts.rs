//! The coordinator goes and comes back.

use evenkeel_shared::{AttemptNumber, TaskState};

use super::{
    fixture::{Cluster, agent, ms, task},
    sessions::welcome,
};
use crate::model::ClusterEventKind;

#[test]
fn after_a_restart_running_attempts_are_adopted_and_not_run_again() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(2));
    let [running, unsent] = [(); 2].map(|()| c.submit(task("work")));
    let queued = c.submit(task("work"));
    c.start(running);
    let (_, attempt) = c.assignment(running);
    c.restart();
    assert_eq!(c.events_of(ClusterEventKind::Coordinator), 2, "both starts are in the history");
    c.expect(queued, TaskState::Queued);
    c.advance(ms(500));
    c.join(agent("a").slots(2).holding(&[attempt]));
    assert_eq!(welcome(&c), (1, 0));
    c.expect(running, TaskState::Running);
    assert_eq!(c.assignment(running).1, attempt);
    assert_eq!(c.assignment(unsent).1.attempt, AttemptNumber(2), "the agent never got it");
    for t in [running, unsent, queued] {
        c.succeed(t);
        c.expect(t, TaskState::Succeeded);
    }
}

#[test]
fn an_adopted_attempt_keeps_its_timeout() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work").attempt_timeout(1_000));
    let (_, attempt) = c.assignment(t);
    c.restart();
    c.join(agent("a").holding(&[attempt]));
    c.join(agent("b"));
    c.advance_alive(ms(3_500));
    assert_eq!(c.agent_with(t), "b");
}

#[test]
fn after_a_restart_the_work_of_agents_that_stay_away_moves_on() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.restart();
    c.join(agent("b"));
    c.advance_alive(ms(14_000));
    c.expect(t, TaskState::Assigned);
    assert_eq!(c.agent_with(t), "a");
    c.advance_alive(ms(2_000));
    assert_eq!(c.agent_with(t), "b");
}

#[test]
fn retries_survive_a_restart() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.fail(t, evenkeel_shared::FailureClass::Retryable);
    c.restart();
    c.join(agent("b"));
    c.advance(ms(200));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
}

#[test]
fn a_clock_that_was_set_back_over_a_restart_delays_no_retry() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.fail(t, evenkeel_shared::FailureClass::Retryable);
    c.now = c.now.minus(ms(3_600_000));
    c.restart();
    c.join(agent("b"));
    c.advance(ms(1_001));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
}
