//! What is kept of tasks that are over, of events, and for how long.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_core::{engine::Change, model::ClusterEventKind};
use evenkeel_shared::{AssignmentId, AttemptEnd, AttemptRef, EventPosition, Failure, FailureClass, TaskState, Tenant};

use super::{
    super::{ClusterEventFilter, Page, Pruned, Retention, StoreError, StoredAttempt, StoredEnd, TaskFilter},
    Open,
    fixture::{Fixture, a_task, agent, at, decision, end, finish, requeue},
};

pub fn a_finished_task_is_kept_with_its_attempts_and_output(open: Open) {
    let mut fixture = Fixture::new(open);
    let task = fixture.accepted(a_task().payload(b"four"));
    let failure = Failure { class: FailureClass::Retryable, message: "no luck".into(), exit_code: Some(-1) };
    let first = fixture.assigned(task.id, 1, "a");
    let (ended_at, run) = (at(50), Duration::from_micros(1_234));
    fixture.commit([
        Change::EndAttempt {
            attempt: first,
            at: ended_at,
            started_at: None,
            end: AttemptEnd::Failed,
            failure: Some(failure.clone()),
            run,
            usage: None,
        },
        requeue(task.id, Some(at(60)), 0),
    ]);
    let second = fixture.assigned(task.id, 2, "b");
    let output = Bytes::from_static(b"done");
    fixture.commit([Change::Finish {
        task: task.id,
        at: at(99),
        state: TaskState::Failed,
        output: output.clone(),
        failure: Some(failure.clone()),
        crashes: 1,
    }]);

    let reader = fixture.reader();
    let stored = reader.task(task.id).unwrap().unwrap();
    assert_eq!((stored.state, stored.accepted_at, stored.finished_at), (TaskState::Failed, task.at, Some(at(99))));
    assert_eq!((stored.attempts_made, stored.crashes, stored.agent), (2, 1, Some(agent("b"))));
    assert_eq!((stored.output, stored.failure, stored.payload_bytes), (output, Some(failure.clone()), 4));
    assert_eq!((stored.order, stored.fingerprint), (task.order, task.fingerprint));
    assert_eq!(reader.payload(task.id).unwrap(), Some(task.payload.clone()));

    let attempt = |attempt: AttemptRef, to, ended| StoredAttempt {
        attempt,
        agent: agent(to),
        assigned_at: at(attempt.assignment.0),
        started_at: None,
        decision: decision(),
        ended,
    };
    let ended = StoredEnd { at: ended_at, end: AttemptEnd::Failed, failure: Some(failure), run, usage: None };
    assert_eq!(reader.attempts(task.id).unwrap(), [attempt(first, "a", Some(ended)), attempt(second, "b", None)]);
}

pub fn a_recorded_result_is_told_from_a_superseded_one(open: Open) {
    let run = Duration::from_micros(1);
    let mut fixture = Fixture::new(open);
    let mut check = |how, run, recorded| {
        let task = fixture.accepted(a_task()).id;
        let attempt = fixture.assigned(task, 1, "a");
        let reader = fixture.reader();
        assert!(!reader.result_recorded(attempt).unwrap(), "it runs");
        fixture.commit([end(attempt, how, run)]);
        assert_eq!(reader.result_recorded(attempt).unwrap(), recorded, "{how:?} after {run:?}");
        let other = AttemptRef { assignment: AssignmentId(attempt.assignment.0 + 1_000_000), ..attempt };
        assert!(!reader.result_recorded(other).unwrap(), "the whole token counts");
    };
    check(AttemptEnd::Succeeded, Duration::ZERO, true);
    check(AttemptEnd::Failed, run, true);
    check(AttemptEnd::Rejected, Duration::ZERO, true);
    check(AttemptEnd::HandedBack, Duration::ZERO, true);
    check(AttemptEnd::TimedOut, run, true);
    check(AttemptEnd::TimedOut, Duration::ZERO, false);
    check(AttemptEnd::Cancelled, Duration::ZERO, false);
    check(AttemptEnd::AgentLost, Duration::ZERO, false);
    check(AttemptEnd::Expired, Duration::ZERO, false);
}

pub fn an_attempt_ends_once_and_by_its_whole_token(open: Open) {
    let mut fixture = Fixture::new(open);
    let task = fixture.accepted(a_task()).id;
    let attempt = fixture.assigned(task, 1, "a");
    let other = AttemptRef { assignment: AssignmentId(attempt.assignment.0 + 1_000_000), ..attempt };
    let refused = |fixture: &mut Fixture, attempt| {
        let error = fixture.store().commit(&[end(attempt, AttemptEnd::Failed, Duration::ZERO)]).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    };
    refused(&mut fixture, other);
    fixture.commit([end(attempt, AttemptEnd::Succeeded, Duration::ZERO)]);
    refused(&mut fixture, attempt);
    assert_eq!(fixture.reader().attempts(task).unwrap()[0].ended.as_ref().unwrap().end, AttemptEnd::Succeeded);
}

pub fn a_task_that_is_over_stays_so(open: Open) {
    let mut fixture = Fixture::new(open);
    let task = fixture.over(a_task(), TaskState::Cancelled, at(5));
    for change in [finish(task, TaskState::Succeeded, at(6)), requeue(task, None, 0)] {
        let error = fixture.store().commit(&[change]).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    }
    assert_eq!(fixture.reader().task(task).unwrap().unwrap().state, TaskState::Cancelled);
}

pub fn redriven_tasks_are_linked(open: Open) {
    let mut fixture = Fixture::new(open);
    let failed = fixture.over(a_task(), TaskState::Failed, at(5));
    assert_eq!(fixture.reader().redriven_as(failed).unwrap(), None);
    fixture.accepted(a_task().redrives(failed));
    let newest = fixture.accepted(a_task().redrives(failed)).id;
    assert_eq!(fixture.reader().redriven_as(failed).unwrap(), Some(newest));
}

pub fn events_are_read_from_a_position_on(open: Open) {
    let mut fixture = Fixture::new(open);
    let [one, two, three] = [(); 3].map(|()| fixture.accepted(a_task()).id);
    let events: Vec<_> = (0..3).flat_map(|_| [one, two, three]).map(|task| fixture.task_event(task)).collect();
    fixture.commit(events.iter().cloned().map(Change::TaskEvent));
    let reader = fixture.reader();
    let read = |tasks: &[_], after, limit| reader.task_events(tasks, after, limit).unwrap();
    assert_eq!(read(&[], EventPosition(0), 100), events);
    assert_eq!(read(&[], events[3].position, 2), events[4..6]);
    let of_two: Vec<_> = events.iter().filter(|event| event.task != two).cloned().collect();
    assert_eq!(read(&[three, one, one], EventPosition(0), 100), of_two);
    assert_eq!(read(&[three, one], of_two[1].position, 3), of_two[2..5]);
    assert_eq!(read(&[], events[8].position, 100), []);
}

pub fn events_of_the_fleet_are_filtered(open: Open) {
    use ClusterEventKind::{AgentJoined, AgentLost, Coordinator};
    let mut fixture = Fixture::new(open);
    let events = [
        fixture.cluster_event(Coordinator, None),
        fixture.cluster_event(AgentJoined, Some("a")),
        fixture.cluster_event(AgentJoined, Some("b")),
        fixture.cluster_event(AgentLost, Some("a")),
    ];
    fixture.commit(events.clone().map(Change::ClusterEvent));
    let reader = fixture.reader();
    let read = |filter: ClusterEventFilter, after, limit| {
        let found = reader.cluster_events(&filter, after, limit).unwrap();
        found.iter().map(|event| events.iter().position(|known| known == event).unwrap()).collect::<Vec<_>>()
    };
    let start = EventPosition(0);
    let of = |agent_name: Option<&str>, kinds: &[_]| ClusterEventFilter {
        agent: agent_name.map(agent),
        kinds: kinds.to_vec(),
    };
    assert_eq!(read(of(None, &[]), start, 9), [0, 1, 2, 3]);
    assert_eq!(read(of(None, &[]), events[1].position, 1), [2]);
    assert_eq!(read(of(Some("a"), &[]), start, 9), [1, 3]);
    assert_eq!(read(of(None, &[AgentLost, Coordinator]), start, 9), [0, 3]);
    assert_eq!(read(of(Some("a"), &[AgentLost]), start, 9), [3]);
}

/// Removes what was over before the first second had passed.
fn prune(fixture: &mut Fixture, limit: usize) -> Pruned {
    fixture.store().prune(Retention::of_tasks(Duration::ZERO).at(at(1_000)), limit).unwrap()
}

pub fn pruning_removes_what_is_old_and_over_and_nothing_else(open: Open) {
    let mut fixture = Fixture::new(open);
    let live = fixture.accepted(a_task());
    let live_event = fixture.task_event(live.id);
    let old = fixture.accepted(a_task().key("k"));
    let attempt = fixture.assigned(old.id, 1, "a");
    let old_event = fixture.task_event(old.id);
    let joined = fixture.cluster_event(ClusterEventKind::AgentJoined, Some("a"));
    fixture.commit([
        end(attempt, AttemptEnd::Succeeded, Duration::ZERO),
        finish(old.id, TaskState::Succeeded, at(500)),
        Change::TaskEvent(live_event.clone()),
        Change::TaskEvent(old_event),
        Change::ClusterEvent(joined),
    ]);
    let recent = fixture.over(a_task(), TaskState::Failed, at(1_000));

    assert_eq!(prune(&mut fixture, 100), Pruned { tasks: 1, more: false });
    let reader = fixture.reader();
    let all = reader.list(&TaskFilter::default(), Page { older_than: None, size: 10 }).unwrap();
    assert_eq!(all.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [recent, live.id]);
    assert_eq!(reader.task(old.id).unwrap(), None);
    assert_eq!(reader.payload(old.id).unwrap(), None);
    assert_eq!(reader.attempts(old.id).unwrap(), []);
    assert_eq!(reader.by_key(&Tenant::default(), "k").unwrap(), None, "the key goes with its task");
    assert_eq!(reader.task_events(&[], EventPosition(0), 10).unwrap(), [live_event]);
    assert_eq!(reader.cluster_events(&ClusterEventFilter::default(), EventPosition(0), 10).unwrap(), []);
    assert_eq!(fixture.crash().tasks.len(), 1);
}

pub fn pruning_is_bounded_and_says_from_where_on_history_is_whole(open: Open) {
    let mut fixture = Fixture::new(open);
    let mut events = Vec::new();
    for n in 0..5 {
        let task = fixture.over(a_task(), TaskState::Succeeded, at(100 + n));
        let of_task = [fixture.task_event(task), fixture.task_event(task)];
        fixture.commit(of_task.clone().map(Change::TaskEvent));
        events.extend(of_task);
    }
    assert_eq!(fixture.reader().oldest_position().unwrap(), EventPosition(1));
    assert_eq!(prune(&mut fixture, 3), Pruned { tasks: 3, more: true }, "the oldest first");
    let reader = fixture.reader();
    assert_eq!(reader.oldest_position().unwrap(), EventPosition(events[5].position.0 + 1));
    assert_eq!(reader.task_events(&[], EventPosition(0), 10).unwrap(), events[6..]);
    assert_eq!(prune(&mut fixture, 3), Pruned { tasks: 2, more: false });
    assert_eq!(prune(&mut fixture, 3), Pruned::default());
}
