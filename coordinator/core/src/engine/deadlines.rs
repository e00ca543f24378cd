//! The limits in time of a task: its queue timeout, the timeout of an attempt, its deadline, and its wait for a retry.
//!
//! Whichever applies first in the task's state has the task's one timer; it is set anew when the state changes, so that no limit
//! is looked for among all tasks.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_shared::{AttemptEnd, Failure, FailureClass, TaskSpec, TaskState};

use super::{Engine, Timer, effects::Effects, limits};
use crate::{ix::TaskIx, retry::Setback};

impl Engine {
    /// Longest time of an attempt at the task, once it has its place.
    pub(super) fn attempt_timeout(&self, spec: &TaskSpec) -> Duration {
        spec.attempt_timeout.unwrap_or(self.settings.attempt_timeout)
    }

    /// Arms the timer for the earliest limit that applies to the task in its state.
    pub(super) fn arm(&mut self, task: TaskIx) {
        let row = &self.tasks[task];
        let limit = match row.state {
            TaskState::Queued => row.spec.queue_timeout.map(|timeout| row.since.plus(timeout)),
            TaskState::RetryWait => Some(row.not_before),
            _ => row
                .current
                .and_then(|current| current.running_since)
                .map(|since| since.plus(self.attempt_timeout(&row.spec)).plus(limits::ATTEMPT_TIMEOUT_MARGIN)),
        };
        let deadline = row.spec.deadline.filter(|_| self.heeds_deadline(row.state));
        let due = [limit, deadline].into_iter().flatten().min();
        if let Some(key) = self.tasks[task].timer.take() {
            self.timers.cancel(key);
        }
        if let Some(at) = due {
            self.tasks[task].timer = Some(self.timers.insert(at, Timer::Task(task)));
        }
    }

    /// A limit of a task has passed, or its wait is over.
    pub(super) fn task_timer(&mut self, task: TaskIx, out: &mut Effects) {
        if self.expire_if_late(task, out) {
            return;
        }
        match self.tasks[task].state {
            TaskState::RetryWait if self.tasks[task].not_before <= self.now => {
                self.tasks.set_state(task, TaskState::Queued);
                self.tasks[task].since = self.now;
                self.dispatch(task, out);
            }
            TaskState::Assigned if self.paused => self.restart_attempt_time(task),
            TaskState::Assigned | TaskState::Running if self.attempt_is_late(task) => self.time_out(task, out),
            _ => self.arm(task),
        }
    }

    fn attempt_is_late(&self, task: TaskIx) -> bool {
        let row = &self.tasks[task];
        let timeout = self.attempt_timeout(&row.spec) + limits::ATTEMPT_TIMEOUT_MARGIN;
        let since = row.current.and_then(|current| current.running_since);
        since.is_some_and(|since| self.now.since(since) >= timeout)
    }

    fn time_out(&mut self, task: TaskIx, out: &mut Effects) {
        let words = "the attempt took longer than its timeout, and its agent did not end it";
        self.guards_timed_out(task, out);
        self.call_off(task, AttemptEnd::TimedOut, words, out);
        let failure = Failure::new(FailureClass::Timeout, words);
        self.follow_up(task, Setback::Failed(FailureClass::Timeout), failure, out);
    }

    /// Ends the task if its deadline or its queue timeout has passed.
    pub(super) fn expire_if_late(&mut self, task: TaskIx, out: &mut Effects) -> bool {
        let row = &self.tasks[task];
        let waited = row.spec.queue_timeout.filter(|_| row.state == TaskState::Queued);
        let words = if self.heeds_deadline(row.state) && row.spec.deadline.is_some_and(|deadline| deadline <= self.now)
        {
            "its deadline passed"
        } else if waited.is_some_and(|timeout| self.now.since(row.since) >= timeout) {
            "no agent had room for it within its queue timeout"
        } else {
            return false;
        };
        self.call_off(task, AttemptEnd::Expired, words, out);
        let failure = Failure::new(FailureClass::NonRetryable, words);
        self.finish(task, TaskState::Expired, Bytes::new(), Some(failure), out);
        true
    }
}
