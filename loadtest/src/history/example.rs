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
