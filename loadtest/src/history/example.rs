//! Histories for tests: a task at a time, in a few words.

use std::time::Duration;

use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Delivery, TaskId, TaskState, Timestamp,
};

use super::{
    Acknowledgement, Execution, History, RecordedAttempt, RecordedTask, Sighting, Submission, SubmissionOutcome,
};

/// The task of this number.
pub(super) fn id(number: u64) -> TaskId {
    TaskId::from_u128(u128::from(number))
}

/// The agent of this number.
pub(super) fn agent(number: u32) -> AgentId {
    AgentId::new(&format!("a-{number}")).unwrap()
}

/// A time: so many milliseconds after all began.
pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_000_000 + millis)
}

/// The token of an attempt.
pub(super) fn token(task: u64, attempt: u32) -> AttemptRef {
    AttemptRef {
        task: id(task),
        attempt: AttemptNumber(attempt),
        assignment: AssignmentId(1_000 * task + u64::from(attempt)),
    }
}

pub(super) fn submission(key: &str, outcome: SubmissionOutcome) -> Submission {
    Submission { key: key.to_owned(), content: 7, delivery: Delivery::Durable, asked_at: at(0), outcome }
}

pub(super) fn acknowledged(task: u64) -> SubmissionOutcome {
    SubmissionOutcome::Acknowledged { task: id(task), duplicate: false }
}

/// A recorded task that waits for its first attempt.
pub(super) fn queued(task: u64, key: &str) -> RecordedTask {
    RecordedTask {
        id: id(task),
        key: key.to_owned(),
        delivery: Delivery::Durable,
        redrive_of: None,
        state: TaskState::Queued,
        output: None,
        attempts_made: 0,
        attempts_max: 3,
        deadline: None,
        finished_at: None,
        pruned_at: None,
        ends_recorded: 0,
        attempts: Vec::new(),
    }
}

impl RecordedTask {
    /// With one more attempt: on this agent, from then on; and until when and how, unless it is live.
    pub(super) fn attempt(mut self, on: u32, from: u64, ended: Option<(u64, AttemptEnd)>) -> Self {
        self.attempts_made += 1;
        self.attempts.push(RecordedAttempt {
            attempt: AttemptRef {
                task: self.id,
                attempt: AttemptNumber(self.attempts_made),
                assignment: AssignmentId(1_000 * self.id.as_u128() as u64 + u64::from(self.attempts_made)),
            },
            agent: agent(on),
            assigned_at: at(from),
            ended: ended.map(|(until, end)| (at(until), end)),
            run: Duration::ZERO,
        });
        self.state = TaskState::Assigned;
        self
    }

    /// And over.
    pub(super) fn over(mut self, state: TaskState, when: u64) -> Self {
        self.state = state;
        self.output = (state == TaskState::Succeeded).then_some(99);
        self.finished_at = Some(at(when));
        self.ends_recorded = 1;
        self
    }
}

impl History {
    pub(super) fn submitted(&mut self, key: &str, outcome: SubmissionOutcome) -> &mut Self {
        self.submissions.push(submission(key, outcome));
        self
    }

    pub(super) fn seen(&mut self, task: u64, state: TaskState) -> &mut Self {
        let output = (state == TaskState::Succeeded).then_some(99);
        self.sightings.push(Sighting { task: id(task), state, output, at: at(500) });
        self
    }

    pub(super) fn ran(&mut self, on: u32, task: u64, attempt: u32) -> &mut Self {
        let attempt = token(task, attempt);
        self.executions.push(Execution { agent: agent(on), attempt, begun_at: at(11), ended_at: None });
        self
    }

    pub(super) fn answered(&mut self, on: u32, task: u64, attempt: u32, success: bool, recorded: bool) -> &mut Self {
        let attempt = token(task, attempt);
        self.acknowledgements.push(Acknowledgement { agent: agent(on), attempt, success, recorded });
        self
    }

    pub(super) fn record(&mut self, task: RecordedTask) -> &mut Self {
        self.recorded.push(task);
        self
    }

    /// The recorded task of this number.
    pub(super) fn task(&mut self, number: u64) -> &mut RecordedTask {
        self.recorded.iter_mut().find(|task| task.id == id(number)).unwrap()
    }
}

/// A task that went well: submitted under the key `1`, run once by agent 1, recorded, and seen to be over.
pub(super) fn plain() -> History {
    let mut history = History::default();
    history
        .submitted("1", acknowledged(1))
        .ran(1, 1, 1)
        .answered(1, 1, 1, true, true)
        .seen(1, TaskState::Succeeded)
        .record(queued(1, "1").attempt(1, 10, Some((20, AttemptEnd::Succeeded))).over(TaskState::Succeeded, 20));
    history
}

/// A task whose first agent failed, whose second was lost and finished all the same, and whose third succeeded.
pub(super) fn retried() -> History {
    let mut history = History::default();
    let task = queued(2, "2")
        .attempt(1, 10, Some((20, AttemptEnd::Failed)))
        // In milliseconds, an attempt may begin when the one before ends.
        .attempt(2, 20, Some((30, AttemptEnd::AgentLost)))
        .attempt(3, 30, Some((40, AttemptEnd::Succeeded)))
        .over(TaskState::Succeeded, 40);
    history
        .submitted("2", acknowledged(2))
        .ran(1, 2, 1)
        .answered(1, 2, 1, false, true)
        .ran(2, 2, 2)
        .answered(2, 2, 2, true, false)
        .ran(3, 2, 3)
        // The first answer was lost on the way; the result was sent again.
        .answered(3, 2, 3, true, true)
        .answered(3, 2, 3, true, true)
        .seen(2, TaskState::Running)
        .seen(2, TaskState::Succeeded)
        .record(task);
    history
}

/// Ends of other kinds, and all that a submission can come to.
pub(super) fn odd_ones() -> History {
    use SubmissionOutcome::{Refused, Unknown};
    let mut history = History::default();
    let cancelled = queued(3, "3").attempt(1, 10, Some((15, AttemptEnd::Cancelled))).over(TaskState::Cancelled, 15);
    let mut expired = queued(4, "4").over(TaskState::Expired, 50);
    expired.deadline = Some(at(50));
    let mut redriven = queued(5, "").attempt(1, 60, Some((70, AttemptEnd::Succeeded))).over(TaskState::Succeeded, 70);
    redriven.redrive_of = Some(id(4));
    let unanswered = queued(6, "").over(TaskState::Cancelled, 20);
    let mut ephemeral = queued(7, "7").over(TaskState::Succeeded, 30);
    (ephemeral.delivery, ephemeral.attempts_made) = (Delivery::Ephemeral, 1);
    history
        .submitted("3", acknowledged(3))
        .ran(1, 3, 1)
        .answered(1, 3, 1, true, false)
        .seen(3, TaskState::Cancelled)
        .record(cancelled)
        // Not answered, asked again, and told that it was there.
        .submitted("4", Unknown)
        .submitted("4", SubmissionOutcome::Acknowledged { task: id(4), duplicate: true })
        .record(expired)
        .record(redriven)
        // Of two that were not answered one was accepted.
        .submitted("", Unknown)
        .submitted("", Unknown)
        .record(unanswered)
        .submitted("", Refused)
        .submitted("refused", Refused)
        .submitted("unknown", Unknown)
        .record(ephemeral)
        .ran(1, 7, 1)
        .answered(1, 7, 1, true, true);
    history.submissions.push(Submission { delivery: Delivery::Ephemeral, ..submission("7", acknowledged(7)) });
    history
}

pub(super) fn all_kinds() -> History {
    let mut all = plain();
    all.merge(retried());
    all.merge(odd_ones());
    all
}
