//! The end of an attempt and of a task, whoever brought it about: a result, time, a client, an agent that is gone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{AttemptEnd, Error, Failure, FailureClass, TaskId, TaskState};

use super::{
    Engine, Told,
    attempts::Ran,
    effects::{AgentMessage, Change, Effects, FinishedTask, Message, Reply},
    event::RequestId,
    limits,
    tables::Current,
};
use crate::{
    ix::TaskIx,
    model::{ClusterEventKind, TaskEventKind},
    retry::{self, History, Setback, Verdict},
};

impl Engine {
    /// Ends the live attempt. Its place on the agent stays taken until the agent is known to have ended it too.
    pub(super) fn end_attempt(
        &mut self,
        task: TaskIx,
        end: AttemptEnd,
        failure: Option<Failure>,
        ran: Ran,
        out: &mut Effects,
    ) -> Option<Current> {
        let current = self.tasks[task].current.take()?;
        self.count_release(task, current.agent, end, ran.run);
        let said = ran.usage.is_some();
        let usage = ran.usage.or_else(|| self.tasks[task].used.clone());
        self.account_attempt(task, &current, ran.run, usage.as_deref());
        self.settle_spending(task, end, usage.as_deref().filter(|_| said), out);
        if let Some(holding) = self.agents[current.agent].holdings.get_mut(&current.attempt.assignment) {
            holding.task = None;
        }
        if self.tasks[task].is_durable() {
            let Current { attempt, started_at, .. } = current;
            out.changes.push(Change::EndAttempt {
                attempt,
                at: self.now,
                started_at,
                end,
                failure: failure.clone(),
                run: ran.run,
                usage,
            });
        }
        let words =
            failure.map_or_else(|| end.name().to_owned(), |failure| format!("{}: {}", end.name(), failure.message));
        let agent = self.agents[current.agent].spec.id.clone();
        self.tell(task, TaskEventKind::AttemptEnded, Told::by(agent, words), out);
        Some(current)
    }

    /// What becomes of a task whose attempt ended without success: another attempt, or its end.
    pub(super) fn follow_up(&mut self, task: TaskIx, setback: Setback, failure: Failure, out: &mut Effects) {
        let draw = self.jitter_draws.f64();
        let row = &self.tasks[task];
        let history = History { attempts: row.attempts_made, crashes: row.crashes };
        match retry::verdict(&row.spec.retry, history, self.settings.quarantine_after, setback, draw) {
            Verdict::Retry { after } => self.requeue(task, after, out),
            Verdict::Fail => self.finish(task, TaskState::Failed, Bytes::new(), Some(failure), out),
            Verdict::Quarantine => {
                let (id, crashes) = (row.id, row.crashes);
                let words = format!("task {id} crashed {crashes} agents; look at it, then redrive it");
                self.announce_task(ClusterEventKind::Quarantine, None, Some(id), words, out);
                self.finish(task, TaskState::Quarantined, Bytes::new(), Some(failure), out);
            }
        }
    }

    /// The task waits for another attempt, now or after a while.
    pub(super) fn requeue(&mut self, task: TaskIx, after: Duration, out: &mut Effects) {
        self.counters.retries += 1;
        let waits = !after.is_zero();
        let state = if waits { TaskState::RetryWait } else { TaskState::Queued };
        self.tasks.set_state(task, state);
        let row = &mut self.tasks[task];
        row.since = self.now;
        row.not_before = self.now.plus(after);
        if row.is_durable() {
            let not_before = waits.then_some(row.not_before);
            out.changes.push(Change::Requeue { task: row.id, at: self.now, not_before, crashes: row.crashes });
        }
        let words = if waits { format!("next attempt in {after:.1?}") } else { String::new() };
        self.tell(task, TaskEventKind::Requeued, Told::words(words), out);
        if waits {
            self.arm(task);
        } else {
            self.dispatch(task, out);
        }
    }

    /// The task is over. Nothing follows from it any more.
    pub(super) fn finish(
        &mut self,
        task: TaskIx,
        state: TaskState,
        output: Bytes,
        failure: Option<Failure>,
        out: &mut Effects,
    ) {
        if self.queue.remove(task) && self.allocation.active {
            let spec = self.tasks[task].spec.clone();
            self.leave_short(&spec.tenant, &spec.kind);
        }
        self.release_hold(task);
        if let Some(key) = self.tasks[task].timer.take() {
            self.timers.cancel(key);
        }
        self.account_end(task, output.len());
        self.tasks.set_state(task, state);
        let words = failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        let row = &self.tasks[task];
        let agent = row.last_agent.clone();
        if row.is_durable() {
            out.changes.push(Change::Finish {
                task: row.id,
                at: self.now,
                state,
                output: output.clone(),
                failure: failure.clone(),
                crashes: row.crashes,
            });
        }
        self.tell(task, TaskEventKind::Finished, Told { agent: agent.clone(), progress: 0.0, message: words }, out);
        let row = self.tasks.remove(task);
        self.router.release_class(row.class);
        self.leave_rows(row.rows);
        let fingerprint = self.keys.finish(&row.spec, self.now.plus(limits::KEY_MEMORY));
        self.count_end(state);
        out.messages.push(Message::Finished(Arc::new(FinishedTask {
            id: row.id,
            spec: row.spec,
            fingerprint,
            state,
            output,
            failure,
            attempts_made: row.attempts_made,
            crashes: row.crashes,
            agent,
            accepted_at: row.accepted_at,
            finished_at: self.now,
        })));
    }

    fn count_end(&mut self, state: TaskState) {
        let counter = match state {
            TaskState::Succeeded => &mut self.counters.succeeded,
            TaskState::Cancelled => &mut self.counters.cancelled,
            TaskState::Expired => &mut self.counters.expired,
            TaskState::Quarantined => &mut self.counters.quarantined,
            _ => &mut self.counters.failed,
        };
        *counter += 1;
    }

    /// A client calls a task off, in whatever state it is.
    pub(super) fn cancel(&mut self, request: RequestId, task: TaskId, reason: &str, out: &mut Effects) {
        let answer = match self.tasks.find(task) {
            None => Err(Error::not_found("task", task.to_string())),
            Some(ix) => {
                let words = if reason.is_empty() { "called off" } else { reason };
                self.call_off(ix, AttemptEnd::Cancelled, words, out);
                let failure = Failure::new(FailureClass::NonRetryable, words);
                self.finish(ix, TaskState::Cancelled, Bytes::new(), Some(failure), out);
                Ok(TaskState::Cancelled)
            }
        };
        out.messages.push(Message::Reply { request, reply: Reply::Cancelled(answer) });
    }

    /// Ends the live attempt, if there is one, and tells the agent to stop it.
    pub(super) fn call_off(&mut self, task: TaskIx, end: AttemptEnd, reason: &str, out: &mut Effects) {
        let failure = Failure::new(FailureClass::NonRetryable, reason);
        if let Some(current) = self.end_attempt(task, end, Some(failure), Ran::default(), out) {
            let message = AgentMessage::Cancel { attempt: current.attempt, reason: reason.to_owned() };
            self.send(current.agent, message, out);
        }
    }
}
