//! The life of a task on a fleet that stays up.

use bytes::Bytes;
use evenkeel_shared::{AttemptNumber, AttemptRef, FailureClass, Outcome, TaskState};

use super::fixture::{Cluster, START, agent, ms, task};
use crate::{
    engine::{AgentMessage, Message, StoredKey},
    model::TaskEventKind,
};

#[test]
fn what_is_left_until_the_deadline_bounds_the_time_of_an_attempt() {
    let mut c = Cluster::new();
    let t = c.submit(task("work").attempt_timeout(10_000).deadline(START.plus(ms(4_000))));
    c.advance(ms(1_500));
    c.join(agent("a"));
    let given = c.messages.iter().find_map(|message| match message {
        Message::ToAgent { message: AgentMessage::Assign(assignment), .. } => Some(assignment.timeout),
        _ => None,
    });
    assert_eq!(given, Some(ms(2_500)), "of {t}");
}

#[test]
fn a_task_goes_to_the_agent_with_room_and_its_result_is_recorded() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    assert_eq!(c.agent_with(t), "a");
    c.expect(t, TaskState::Assigned);
    c.start(t);
    c.expect(t, TaskState::Running);
    c.succeed(t);
    c.expect(t, TaskState::Succeeded);
    assert_eq!(c.acknowledged(), Some(true));
    assert_eq!(c.finished[&t].output, Bytes::from_static(b"done"));
    let kinds: Vec<_> = c.task_events.iter().map(|event| event.kind).collect();
    use TaskEventKind::{Accepted, Assigned, AttemptEnded, Finished, Started};
    assert_eq!(kinds, [Accepted, Assigned, Started, AttemptEnded, Finished]);
}

#[test]
fn tasks_wait_in_order_while_the_fleet_is_full() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let [first, second, third] = [(); 3].map(|()| c.submit(task("work")));
    c.expect(second, TaskState::Queued);
    c.succeed(first);
    c.expect(second, TaskState::Assigned);
    c.expect(third, TaskState::Queued);
}

#[test]
fn an_urgent_task_overtakes_those_that_wait() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    let bulk = c.submit(task("work").priority(2));
    let urgent = c.submit(task("work").priority(9));
    c.succeed(running);
    c.expect(urgent, TaskState::Assigned);
    c.expect(bulk, TaskState::Queued);
}

#[test]
fn who_waits_for_one_agent_hears_of_one() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(1));
    c.submit(task("work"));
    let waits = c.submit(task("work"));
    let summary = c.explain(waits).summary;
    assert!(summary.contains("room on the one agent that could take it: 1 no free slot"), "{summary}");
}

#[test]
fn a_task_that_no_agent_can_take_holds_nobody_up_and_says_what_is_missing() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let strange = c.submit(task("strange").priority(9));
    let large = c.submit(task("work").slots(8).priority(9));
    let labelled = c.submit(task("work").label("gpu", "a100").priority(9));
    let plain = c.submit(task("work"));
    c.expect(plain, TaskState::Assigned);
    for (waiting, missing) in [
        (strange, "kind `strange`"),
        (large, "of 1 that takes kind `work`, 1 is too small"),
        (labelled, "1 does not satisfy"),
    ] {
        let explanation = c.explain(waiting);
        assert!(explanation.summary.contains(missing), "{}", explanation.summary);
        assert_eq!(explanation.queue_position, Some(0));
    }
    assert_eq!(c.explain(labelled).refused_by_reason["label_rule"], 1);
}

#[test]
fn a_tasks_agent_may_come_later() {
    let mut c = Cluster::new();
    let t = c.submit(task("work").label("zone", "eu"));
    assert!(c.explain(t).summary.contains("none is known"));
    c.join(agent("us").label("zone", "us"));
    c.expect(t, TaskState::Queued);
    c.join(agent("eu").label("zone", "eu"));
    assert_eq!(c.agent_with(t), "eu");
}

#[test]
fn what_is_set_aside_is_never_more_than_there_is() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(4).custom("gpu", 2));
    let tasks: Vec<_> = (0..4).map(|_| c.submit(task("work").custom("gpu", 1))).collect();
    assert_eq!(c.placements().len(), 2);
    c.succeed(tasks[0]);
    assert_eq!(c.placements().len(), 2);
    c.expect(tasks[3], TaskState::Queued);
}

#[test]
fn a_failed_attempt_is_followed_by_another_after_a_backoff() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work").attempts(2));
    c.fail(t, FailureClass::Retryable);
    c.expect(t, TaskState::RetryWait);
    c.advance(ms(101));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
    c.fail(t, FailureClass::Retryable);
    c.expect(t, TaskState::Failed);
    assert_eq!(c.finished[&t].attempts_made, 2);
}

#[test]
fn a_failure_that_would_come_again_ends_the_task() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.fail(t, FailureClass::NonRetryable);
    c.expect(t, TaskState::Failed);
    assert_eq!(c.finished[&t].failure.as_ref().unwrap().message, "no");
}

#[test]
fn a_result_sent_twice_is_recorded_once_and_answered_both_times() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (a, attempt) = c.assignment(t);
    c.succeed(t);
    c.report(&a, attempt, Outcome::Succeeded(Bytes::new()));
    assert_eq!(c.acknowledged(), Some(true));
    assert!(c.changes.is_empty());

    let failed = c.submit(task("work"));
    let (a, attempt) = c.assignment(failed);
    c.fail(failed, FailureClass::Retryable);
    c.report(&a, attempt, Outcome::Succeeded(Bytes::new()));
    assert_eq!(c.acknowledged(), Some(true), "of an attempt before the present one");
    c.expect(failed, TaskState::RetryWait);
}

#[test]
fn a_token_that_borrows_a_recorded_assignment_is_not_recorded() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(2));
    let (done, other) = (c.submit(task("work")), c.submit(task("work")));
    let (a, recorded) = c.assignment(done);
    c.succeed(done);
    c.report(&a, AttemptRef { task: other, ..recorded }, Outcome::Succeeded(Bytes::new()));
    assert_eq!(c.acknowledged(), Some(false));
    c.expect(other, TaskState::Assigned);
}

#[test]
fn a_result_of_an_attempt_that_nobody_remembers_is_looked_up() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (a, attempt) = c.assignment(t);
    c.succeed(t);
    c.restart();
    c.join(agent("a").process(2));
    c.report(&a, attempt, Outcome::Succeeded(Bytes::new()));
    assert!(c.messages.iter().any(|m| matches!(m, Message::LookUpResult { attempt: asked, .. } if *asked == attempt)));
}

#[test]
fn a_result_of_an_agent_that_does_not_hold_the_task_changes_nothing() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.join(agent("thief"));
    let (_, attempt) = c.assignment(t);
    c.report("thief", attempt, Outcome::Succeeded(Bytes::from_static(b"forged")));
    assert_eq!(c.acknowledged(), Some(false));
    c.expect(t, TaskState::Assigned);
}

#[test]
fn a_task_can_be_called_off_in_every_state() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    let queued = c.submit(task("work"));
    assert_eq!(c.cancel(queued), Ok(TaskState::Cancelled));
    c.start(running);
    let (a, attempt) = c.assignment(running);
    assert_eq!(c.cancel(running), Ok(TaskState::Cancelled));
    assert!(c.cancel(running).is_err(), "it is over");

    let next = c.submit(task("work"));
    c.expect(next, TaskState::Queued);
    c.report(&a, attempt, Outcome::Cancelled);
    assert_eq!(c.acknowledged(), Some(false), "the end of a cancelled attempt changes nothing");
    c.expect(next, TaskState::Assigned);

    c.fail(next, FailureClass::Retryable);
    assert_eq!(c.cancel(next), Ok(TaskState::Cancelled), "while it waits for its retry");
}

#[test]
fn a_cancelled_task_keeps_its_place_until_the_agent_has_stopped() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (a, attempt) = c.assignment(t);
    c.cancel(t).unwrap();
    let next = c.submit(task("work"));
    c.expect(next, TaskState::Queued);
    c.report(&a, attempt, Outcome::Succeeded(Bytes::new()));
    c.expect(t, TaskState::Cancelled);
    c.expect(next, TaskState::Assigned);
}

#[test]
fn a_task_that_waits_too_long_expires_and_is_never_dispatched() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    let impatient = c.submit(task("work").queue_timeout(100));
    let late = c.submit(task("work").deadline(START.plus(ms(200))));
    c.advance(ms(99));
    c.expect(impatient, TaskState::Queued);
    c.advance(ms(2));
    c.expect(impatient, TaskState::Expired);
    c.advance(ms(200));
    c.expect(late, TaskState::Expired);
    c.succeed(running);
    assert_eq!(c.finished[&late].attempts_made, 0);
}

#[test]
fn what_is_late_is_not_dispatched_even_if_room_and_lateness_come_together() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    let late = c.submit(task("work").deadline(START.plus(ms(200))));
    c.now = START.plus(ms(500));
    c.succeed(running);
    c.expect(late, TaskState::Expired);
}

#[test]
fn not_even_a_fraction_of_a_millisecond_late() {
    let micros = std::time::Duration::from_micros;
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    let late = c.submit(task("work").deadline(START.plus(micros(200_100))));
    c.now = START.plus(micros(200_200));
    c.succeed(running);
    c.expect(late, TaskState::Expired);
    assert_eq!(c.finished[&late].attempts_made, 0);
}

#[test]
fn a_deadline_ends_a_running_task_and_the_agent_is_told() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work").deadline(START.plus(ms(200))));
    c.start(t);
    c.advance(ms(201));
    c.expect(t, TaskState::Expired);
    assert!(!c.assigned.contains_key(&t), "the agent was told to stop");
}

#[test]
fn an_attempt_that_its_agent_does_not_end_is_ended_and_tried_again() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(2));
    let t = c.submit(task("work").attempt_timeout(1_000));
    c.start(t);
    c.advance_alive(ms(2_900));
    c.expect(t, TaskState::Running);
    let (a, stuck) = c.assignment(t);
    c.advance_alive(ms(300));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
    c.report(&a, stuck, Outcome::Succeeded(Bytes::new()));
    assert_eq!(c.acknowledged(), Some(false));
    c.succeed(t);
    c.expect(t, TaskState::Succeeded);
}

#[test]
fn the_same_key_and_content_give_the_same_task() {
    let mut c = Cluster::new();
    let first = c.try_submit(task("work").key("k", 1)).unwrap();
    let again = c.try_submit(task("work").key("k", 1)).unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.task, again.task);
    let other = c.try_submit(task("work").key("k", 2)).unwrap_err();
    assert_eq!(other.code, evenkeel_shared::Code::AlreadyExists);
    assert!(c.try_submit(task("work").tenant("another").key("k", 2)).is_ok(), "keys are each tenant's own");
}

#[test]
fn a_key_outlives_its_task_and_the_coordinator() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work").key("k", 1));
    c.succeed(t);
    assert_eq!(c.submit(task("work").key("k", 1)), t, "remembered by the engine");
    c.advance(ms(61_000));
    let stored = StoredKey::Present { task: t, fingerprint: 1 };
    assert_eq!(c.submit(task("work").key("k", 1).stored_key(stored)), t, "remembered by the store");
    let elsewhere = evenkeel_shared::TaskId::from_u128(7);
    let stored = StoredKey::Present { task: elsewhere, fingerprint: 2 };
    let answered = c.submit(task("work").key("k", 2).stored_key(stored));
    assert_eq!(answered, elsewhere, "the engine has forgotten it, and goes by the store");
    let old = StoredKey::Absent { asked_at: START };
    assert!(c.try_submit(task("work").key("new", 1).stored_key(old)).is_err(), "an answer too old to rely on");

    let live = c.submit(task("work").key("live", 1));
    c.restart();
    assert_eq!(c.submit(task("work").key("live", 1)), live);
}

#[test]
fn ephemeral_tasks_leave_no_trace_in_the_store() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work").ephemeral());
    c.start(t);
    assert!(c.changes.is_empty());
    c.succeed(t);
    assert!(c.changes.is_empty());
    c.expect(t, TaskState::Succeeded);
    c.submit(task("work").ephemeral());
    c.restart();
    assert_eq!(c.store.live_tasks(), 0);
}

#[test]
fn a_token_that_borrows_an_assignment_ends_nothing() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    c.join(agent("b"));
    let (first, second) = (c.submit(task("work")), c.submit(task("work")));
    let ((own, live), (_, other)) = (c.assignment(first), c.assignment(second));
    let borrowed = AttemptRef { assignment: live.assignment, ..other };
    c.report(&own, borrowed, Outcome::Succeeded(Bytes::new()));
    assert_eq!(c.acknowledged(), Some(false));
    assert!(c.changes.is_empty(), "{:?}", c.changes);
    let waiting = c.submit(task("work"));
    c.expect(waiting, TaskState::Queued);
    c.kill(&own);
    // What the agent had goes on when it dies.
    for task in [second, first, waiting] {
        c.succeed(task);
    }
}
