//! A task's life, told event by event, and the spans that come of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::engine::Placed;
use evenkeel_shared::{AssignmentId, AttemptRef, EventPosition, Failure, FailureClass, Kind as TaskKind};

use super::*;

const TASK: TaskId = TaskId::from_u128(7);

struct Life {
    followed: Followed,
    spec: Arc<TaskSpec>,
    spans: Vec<Span>,
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_unix_millis(ms)
}

impl Life {
    fn new(delivery: Delivery) -> Self {
        let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "");
        let kind = TaskKind::new("echo").unwrap();
        let spec = Arc::new(TaskSpec { trace: trace.map(Box::new), delivery, ..TaskSpec::of_kind(kind) });
        Self { followed: Followed::default(), spec, spans: Vec::new() }
    }

    fn task(&self, at: u64) -> AcceptedTask {
        AcceptedTask {
            id: TASK,
            spec: Arc::clone(&self.spec),
            payload: Bytes::new(),
            fingerprint: 0,
            order: 1,
            at: ms(at),
            redrive_of: None,
        }
    }

    fn accepted(&mut self, at: u64) {
        self.spans.extend(self.followed.accepted(&self.task(at), ms(at + 1), None));
    }

    fn happens(&mut self, at: u64, kind: TaskEventKind, attempt: u32, message: &str) {
        let event = TaskEvent {
            position: EventPosition(at),
            at: ms(at),
            task: TASK,
            kind,
            state: TaskState::Running,
            attempt: AttemptNumber(attempt),
            agent: Some(AgentId::new(&format!("agent-{attempt}")).unwrap()),
            progress: 0.0,
            message: message.to_owned(),
        };
        self.spans.extend(self.followed.happened(&event));
    }

    /// Is assigned after so long in the queue.
    fn assigned(&mut self, at: u64, attempt: u32, queued_ms: u64) {
        self.happens(at, TaskEventKind::Assigned, attempt, "");
        let placed = Placed {
            at: ms(at),
            strategy: "least_loaded",
            score: 0.5,
            agents_with_room: 3,
            prefetched: false,
            queued: Duration::from_millis(queued_ms),
        };
        let attempt = AttemptRef { task: TASK, attempt: AttemptNumber(attempt), assignment: AssignmentId(1) };
        let assignment = Assignment {
            attempt,
            spec: Arc::clone(&self.spec),
            payload: Bytes::new(),
            timeout: Duration::from_secs(1),
            placed,
        };
        self.spans.extend(self.followed.assigned(&assignment, ms(at + 1), None));
    }

    fn finished(&mut self, at: u64, failure: Option<Failure>) {
        let task = FinishedTask {
            id: TASK,
            spec: Arc::clone(&self.spec),
            fingerprint: 0,
            state: if failure.is_some() { TaskState::Failed } else { TaskState::Succeeded },
            output: Bytes::new(),
            failure,
            attempts_made: 1,
            crashes: 0,
            agent: None,
            accepted_at: ms(0),
            finished_at: ms(at),
        };
        self.spans.extend(self.followed.finished(&task, ms(at + 1), None));
        assert!(self.followed.tasks.is_empty(), "what is over is not held");
    }

    /// These are the spans: name, parent's name, from and to in milliseconds, in the order in which they began.
    #[track_caller]
    fn tells(&self, expected: &[(&str, &str, u64, u64)]) {
        let name_of =
            |id: SpanId| self.spans.iter().find(|span| span.context().span == id).map_or("accept", |span| span.name());
        let shown = self.spans.iter().map(|span| {
            let after: Vec<_> = span.links().map(name_of).collect();
            let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(", ")) };
            let (from, to) = span.times();
            let parent = span.parent().map_or("", name_of);
            (format!("{}{after}", span.name()), parent, from.unix_millis(), to.unix_millis())
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(name, _, from, to)| (*from, std::cmp::Reverse(*to), name.clone()));
        let shown: Vec<_> = shown.iter().map(|(name, parent, from, to)| (name.as_str(), *parent, *from, *to)).collect();
        assert_eq!(shown, expected);
    }
}

#[test]
fn a_task_is_told_from_its_acceptance_to_its_end() {
    let mut life = Life::new(Delivery::Durable);
    life.accepted(0);
    life.assigned(10, 1, 10);
    life.happens(15, TaskEventKind::Started, 1, "");
    life.happens(40, TaskEventKind::AttemptEnded, 1, "succeeded");
    life.finished(40, None);
    life.tells(&[
        ("task", "accept", 0, 40),
        ("queue", "task", 0, 10),
        ("commit", "task", 0, 1),
        ("attempt", "task", 10, 40),
        ("commit", "attempt", 10, 11),
        ("decide", "attempt", 10, 10),
        ("dispatch", "attempt", 11, 15),
        ("commit", "task", 40, 41),
    ]);
}

#[test]
fn what_is_kept_in_memory_alone_waits_for_no_commit() {
    let mut life = Life::new(Delivery::Ephemeral);
    life.accepted(0);
    life.finished(40, Some(Failure::new(FailureClass::NonRetryable, "no")));
    assert_eq!(life.spans.len(), 1);
}

#[test]
fn another_attempt_links_to_the_one_before_and_waits_in_between() {
    let mut life = Life::new(Delivery::Ephemeral);
    life.accepted(0);
    life.assigned(0, 1, 0);
    // It never began.
    life.happens(20, TaskEventKind::AttemptEnded, 1, "agent_lost: the connection broke");
    life.happens(20, TaskEventKind::Requeued, 1, "next attempt in 10ms");
    life.assigned(35, 2, 5);
    life.happens(36, TaskEventKind::Started, 2, "");
    life.happens(50, TaskEventKind::AttemptEnded, 2, "succeeded");
    life.finished(50, None);
    life.tells(&[
        ("task", "accept", 0, 50),
        ("attempt", "task", 0, 20),
        ("decide", "attempt", 0, 0),
        ("queue", "task", 0, 0),
        ("dispatch", "attempt", 1, 20),
        ("backoff", "task", 20, 30),
        ("queue", "task", 30, 35),
        ("attempt after attempt", "task", 35, 50),
        ("decide", "attempt", 35, 35),
        ("dispatch", "attempt", 36, 36),
    ]);
}

#[test]
fn an_attempt_that_was_found_at_the_start_goes_on_where_it_was() {
    let mut life = Life::new(Delivery::Durable);
    let attempt = AttemptRef { task: TASK, attempt: AttemptNumber(2), assignment: AssignmentId(1) };
    let state =
        RecoveredState::Assigned { attempt, agent: AgentId::new("a").unwrap(), at: ms(5), reserved: Some(vec![]) };
    life.followed.recovered(&RecoveredTask { attempts_made: 2, state, ..RecoveredTask::from(&life.task(0)) });
    life.happens(40, TaskEventKind::AttemptEnded, 2, "failed: exit code 1");
    let expected = life.spec.trace.as_ref().unwrap().at(SpanId::of_attempt(TASK, AttemptNumber(2)));
    let ended = life.spans.pop().unwrap();
    assert_eq!(ended.context(), &expected, "the id that its agent was told before the restart");
    assert!(format!("{ended:?}").contains("attempt_before"), "{ended:?}");
}
