//! While the store has no room.

use evenkeel_shared::TaskState;

use super::{
    super::Event,
    fixture::{Cluster, agent, ms, task},
};

#[test]
fn nothing_is_assigned_while_the_store_is_full_and_everything_after_it() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let running = cluster.submit(task("work"));
    cluster.start(running);
    cluster.handle(Event::StoreFull(true));
    let waiting = cluster.submit(task("work"));
    cluster.succeed(running);
    assert_eq!(cluster.acknowledged(), Some(true), "results are taken in");
    cluster.join(agent("b"));
    cluster.expect(waiting, TaskState::Queued);
    cluster.handle(Event::StoreFull(false));
    cluster.expect(waiting, TaskState::Assigned);
}

#[test]
fn a_retry_that_comes_due_waits_too() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let failing = cluster.submit(task("work"));
    cluster.handle(Event::StoreFull(true));
    cluster.fail(failing, evenkeel_shared::FailureClass::Retryable);
    cluster.advance_alive(ms(10_000));
    cluster.expect(failing, TaskState::Queued);
    cluster.handle(Event::StoreFull(false));
    cluster.expect(failing, TaskState::Assigned);
}

#[test]
fn an_assignment_that_was_not_sent_does_not_time_out() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let held = cluster.submit(task("work").attempt_timeout(5_000).attempts(1));
    cluster.advance_alive(ms(6_000));
    cluster.handle(Event::StoreFull(true));
    cluster.advance_alive(ms(60_000));
    cluster.handle(Event::StoreFull(false));
    cluster.advance_alive(ms(6_500));
    cluster.expect(held, TaskState::Assigned);
    cluster.advance_alive(ms(1_000));
    cluster.expect(held, TaskState::Failed);
}

#[test]
fn an_attempt_that_runs_is_held_to_its_timeout() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let running = cluster.submit(task("work").attempt_timeout(5_000).attempts(1));
    cluster.start(running);
    cluster.handle(Event::StoreFull(true));
    cluster.advance_alive(ms(7_500));
    cluster.expect(running, TaskState::Failed);
}

#[test]
fn agents_that_are_heard_stay_and_those_that_are_not_are_given_up() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    cluster.handle(Event::StoreFull(true));
    cluster.advance_alive(ms(600_000));
    assert_eq!(cluster.engine.status(cluster.now).counters.leases_expired, 0);
    cluster.advance(ms(10_000));
    assert_eq!(cluster.engine.status(cluster.now).counters.leases_expired, 1);
}
