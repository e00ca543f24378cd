//! What is kept of the traced tasks that are not over, and the spans that come of it.
//!
//! ```text
//! accept                      the call that brought the task
//! └ task                      from its acceptance to its end
//!   ├ commit                  until it was on disk
//!   ├ queue                   until an agent had room
//!   ├ attempt                 from the assignment to its end; links to the attempt before
//!   │ ├ decide                which agent, and why
//!   │ ├ commit
//!   │ ├ dispatch              until the agent said that it began
//!   │ └ execute, report       the agent's own
//!   ├ backoff, queue, attempt once more, where the first was not the last
//!   └ commit                  of its end
//! ```

use std::collections::HashMap;

use evenkeel_core::{
    engine::{AcceptedTask, Assignment, FinishedTask},
    model::{RecoveredState, RecoveredTask, TaskEvent, TaskEventKind},
};
use evenkeel_shared::{
    AgentId, AttemptNumber, Delivery, TaskId, TaskSpec, TaskState, Timestamp, TraceContext,
    otlp::{Kind, Span},
    trace::SpanId,
};

use super::Commit;

/// Traced tasks that are followed at a time: some 30 MiB. Of further ones only the calls and the agents tell.
const FOLLOWED_MAX: usize = 65_536;

/// The traced tasks that are not over.
#[derive(Debug, Default)]
pub(super) struct Followed {
    tasks: HashMap<TaskId, Task>,
}

/// Where a traced task is.
#[derive(Debug)]
struct Task {
    /// The task's own span.
    place: TraceContext,
    /// It waits for its next attempt since then.
    requeued_at: Option<Timestamp>,
    attempt: Option<Attempt>,
    /// The attempt before.
    earlier: Option<AttemptNumber>,
}

/// A live attempt.
#[derive(Debug)]
struct Attempt {
    number: AttemptNumber,
    agent: Option<AgentId>,
    assigned_at: Timestamp,
    /// The task had been waiting for it since then, after the attempt before.
    requeued_at: Option<Timestamp>,
    /// When the agent was told, and when it began.
    said_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
}

type Spans = Vec<Span>;

impl Task {
    /// Of this spec, which is traced.
    fn new(id: TaskId, spec: &TaskSpec) -> Option<Self> {
        let place = spec.trace.as_ref()?.at(SpanId::of_task(id));
        Some(Self { place, requeued_at: None, attempt: None, earlier: None })
    }

    fn attempt_place(&self, task: TaskId, number: AttemptNumber) -> TraceContext {
        self.place.at(SpanId::of_attempt(task, number))
    }
}

impl Followed {
    pub fn recovered(&mut self, recovered: &RecoveredTask) {
        let Some(mut task) = Task::new(recovered.id, &recovered.spec) else { return };
        task.earlier = recovered.attempts_made.checked_sub(1).filter(|last| *last > 0).map(AttemptNumber);
        match &recovered.state {
            RecoveredState::Assigned { attempt, agent, at, .. } => {
                task.attempt = Some(Attempt {
                    number: attempt.attempt,
                    agent: Some(agent.clone()),
                    assigned_at: *at,
                    requeued_at: None,
                    said_at: None,
                    started_at: None,
                });
            }
            RecoveredState::Queued { .. } | RecoveredState::RetryWait { .. } => {
                task.earlier = Some(AttemptNumber(recovered.attempts_made)).filter(|last| last.0 > 0);
            }
        }
        self.follow(recovered.id, task);
    }

    fn follow(&mut self, id: TaskId, task: Task) {
        if self.tasks.len() < FOLLOWED_MAX {
            self.tasks.insert(id, task);
        }
    }

    pub fn accepted(&mut self, accepted: &AcceptedTask, now: Timestamp, commit: Option<&Commit>) -> Spans {
        let Some(task) = Task::new(accepted.id, &accepted.spec) else { return Spans::new() };
        let span = committed(&accepted.spec, &task.place, accepted.at, now, commit);
        self.follow(accepted.id, task);
        span.into_iter().collect()
    }

    pub fn happened(&mut self, event: &TaskEvent) -> Spans {
        let id = event.task;
        let Some(task) = self.tasks.get_mut(&id) else { return Spans::new() };
        let mut spans = Spans::new();
        match event.kind {
            TaskEventKind::Assigned => {
                task.attempt = Some(Attempt {
                    number: event.attempt,
                    agent: event.agent.clone(),
                    assigned_at: event.at,
                    requeued_at: task.requeued_at.take(),
                    said_at: None,
                    started_at: None,
                });
            }
            TaskEventKind::Started => {
                let place = task.attempt_place(id, event.attempt);
                let attempt = task.attempt.as_mut().filter(|attempt| attempt.number == event.attempt);
                if let Some(attempt) = attempt.filter(|attempt| attempt.started_at.is_none()) {
                    attempt.started_at = Some(event.at);
                    spans.extend(dispatched(attempt, &place, event.at, None));
                }
            }
            TaskEventKind::AttemptEnded => {
                if let Some(attempt) = task.attempt.take() {
                    spans.extend(attempt_ended(id, task, &attempt, event));
                    task.earlier = Some(attempt.number);
                }
            }
            TaskEventKind::Requeued => task.requeued_at = Some(event.at),
            TaskEventKind::Accepted | TaskEventKind::Progress | TaskEventKind::Finished | TaskEventKind::Adopted => {}
        }
        spans
    }

    pub fn assigned(&mut self, assignment: &Assignment, now: Timestamp, commit: Option<&Commit>) -> Spans {
        let (id, number, placed) = (assignment.attempt.task, assignment.attempt.attempt, &assignment.placed);
        let Some(task) = self.tasks.get_mut(&id) else { return Spans::new() };
        let place = task.attempt_place(id, number);
        // It may be over already: both can be said in one go.
        let mut attempt = task.attempt.as_mut().filter(|attempt| attempt.number == number);
        if let Some(attempt) = &mut attempt {
            attempt.said_at = Some(now);
        }
        let waited_from = placed.at.minus(placed.queued);
        let requeued_at = attempt.as_ref().and_then(|attempt| attempt.requeued_at);
        let backoff = requeued_at.filter(|since| *since < waited_from);
        let backoff = backoff.map(|since| Span::below(&task.place, "backoff", since, waited_from));
        let queue = Span::below(&task.place, "queue", waited_from, placed.at).with("evenkeel.attempt", number.0);
        let decide = Span::below(&place, "decide", placed.at, placed.at)
            .with("evenkeel.strategy", placed.strategy)
            .with("evenkeel.agent.score", placed.score)
            .with("evenkeel.agents.with_room", placed.agents_with_room)
            .with("evenkeel.prefetched", placed.prefetched)
            .with_some("evenkeel.agent.id", attempt.as_ref().and_then(|attempt| name(attempt.agent.as_ref())));
        let commit = committed(&assignment.spec, &place, placed.at, now, commit);
        backoff.into_iter().chain([queue, decide]).chain(commit).collect()
    }

    pub fn finished(&mut self, finished: &FinishedTask, now: Timestamp, commit: Option<&Commit>) -> Spans {
        let Some(task) = self.tasks.remove(&finished.id) else { return Spans::new() };
        let spec = &finished.spec;
        let parent = spec.trace.as_ref().map_or(task.place.span, |trace| trace.span);
        let went_well = finished.state == TaskState::Succeeded;
        let error =
            finished.failure.as_ref().map_or_else(|| finished.state.name().to_owned(), |why| why.message.clone());
        let span = Span::new(task.place.clone(), "task", finished.accepted_at, finished.finished_at)
            .child_of(parent)
            .kind(Kind::Consumer)
            .with("evenkeel.task.id", finished.id.to_string())
            .with("evenkeel.task.kind", spec.kind.as_str().to_owned())
            .with("evenkeel.task.tenant", spec.tenant.as_str().to_owned())
            .with("evenkeel.task.priority", u32::from(spec.priority.level()))
            .with("evenkeel.task.state", finished.state.name())
            .with("evenkeel.task.attempts", finished.attempts_made)
            .with("evenkeel.task.crashes", finished.crashes)
            .with_some("evenkeel.agent.id", name(finished.agent.as_ref()))
            .with_some("error.type", finished.failure.as_ref().map(|failure| failure.class.name()))
            .failed((!went_well).then_some(error));
        let commit = committed(spec, &task.place, finished.finished_at, now, commit);
        commit.into_iter().chain([span]).collect()
    }
}

fn name(agent: Option<&AgentId>) -> Option<String> {
    agent.map(|agent| agent.as_str().to_owned())
}

/// How long it took until what was decided was on disk. Of a task that is kept in memory alone there is no such thing.
fn committed(
    spec: &TaskSpec,
    below: &TraceContext,
    from: Timestamp,
    now: Timestamp,
    commit: Option<&Commit>,
) -> Option<Span> {
    if spec.delivery == Delivery::Ephemeral {
        return None;
    }
    let span = Span::below(below, "commit", from, now);
    Some(match commit {
        Some(commit) => {
            let batch = commit.linked(span.context());
            span.link(batch.trace, batch.span, "transaction")
        }
        None => span,
    })
}

/// From telling the agent to its beginning, or to the end of an attempt that never began.
fn dispatched(attempt: &Attempt, place: &TraceContext, until: Timestamp, error: Option<String>) -> Option<Span> {
    let said_at = attempt.said_at.unwrap_or(attempt.assigned_at);
    let span = Span::below(place, "dispatch", said_at, until).kind(Kind::Producer);
    Some(span.with_some("evenkeel.agent.id", name(attempt.agent.as_ref())).failed(error))
}

fn attempt_ended(id: TaskId, task: &Task, attempt: &Attempt, event: &TaskEvent) -> Spans {
    let place = task.attempt_place(id, attempt.number);
    // The words begin with how it ended: "failed: exit code 1".
    let (end, why) = event.message.split_once(": ").unwrap_or((&event.message, &event.message));
    let went_well = end == evenkeel_shared::AttemptEnd::Succeeded.name();
    let error = (!went_well).then(|| why.to_owned());
    let mut spans = Spans::new();
    if attempt.started_at.is_none() && attempt.said_at.is_some() {
        spans.extend(dispatched(attempt, &place, event.at, error.clone()));
    }
    let mut span = Span::new(place, "attempt", attempt.assigned_at, event.at)
        .child_of(task.place.span)
        .with("evenkeel.attempt", attempt.number.0)
        .with("evenkeel.attempt.end", end.to_owned())
        .with_some("evenkeel.agent.id", name(attempt.agent.as_ref()))
        .with_some("error.type", (!went_well).then(|| end.to_owned()))
        .failed(error);
    if let Some(earlier) = task.earlier {
        span = span.link(task.place.trace, SpanId::of_attempt(id, earlier), "attempt_before");
    }
    spans.push(span);
    spans
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
