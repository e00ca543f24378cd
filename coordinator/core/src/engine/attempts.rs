//! What agents say of their attempts: begun, under way, over.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AttemptEnd, AttemptRef, Failure, FailureClass, Outcome, SessionEpoch, TaskState, Usage,
};

use super::{
    Engine, Sabotage, Told,
    effects::{AgentMessage, Effects, Message},
    tables::Current,
};
use crate::{
    health::outlier::Ended,
    ix::{AgentIx, TaskIx},
    model::TaskEventKind,
    retry::Setback,
};

/// The agent would not run it now.
const REJECTED: Setback = Setback::Failed(FailureClass::Rejected);

/// How long an attempt ran and what it used, as its agent said. An attempt that ended without its word: nothing.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub run: Duration,
    pub usage: Option<Box<Usage>>,
}

impl Engine {
    pub(super) fn started(&mut self, session: SessionEpoch, attempt: AttemptRef, out: &mut Effects) {
        let Some((_, task)) = self.live_attempt(session, attempt) else { return };
        if self.tasks[task].state != TaskState::Assigned {
            return;
        }
        self.tasks.set_state(task, TaskState::Running);
        let now = self.now;
        if let Some(current) = &mut self.tasks[task].current {
            current.started_at = Some(now);
            current.running_since.get_or_insert(now);
        }
        self.arm(task);
        let agent = self.agent_of(task);
        self.tell(task, TaskEventKind::Started, Told { agent, ..Told::default() }, out);
    }

    pub(super) fn progress(
        &mut self,
        session: SessionEpoch,
        attempt: AttemptRef,
        fraction: f64,
        note: String,
        usage: Option<Box<Usage>>,
        out: &mut Effects,
    ) {
        let Some((_, task)) = self.live_attempt(session, attempt) else { return };
        let agent = self.agent_of(task);
        self.tell(task, TaskEventKind::Progress, Told { agent, progress: fraction, message: note }, out);
        if let Some(usage) = usage {
            let over = self.over_budget(task, &usage);
            self.tasks[task].used = Some(usage);
            if let Some(words) = over {
                self.call_off(task, AttemptEnd::Cancelled, &words, out);
                let failure = Failure::new(FailureClass::BudgetExceeded, words);
                self.finish(task, TaskState::Failed, Bytes::new(), Some(failure), out);
            }
        }
    }

    /// In words, what an attempt has cost beyond what its task may.
    fn over_budget(&self, task: TaskIx, usage: &Usage) -> Option<String> {
        let max = &self.tasks[task].spec.budget.as_ref()?.max;
        let over = usage.cost.iter().find(|(unit, cost)| max.get(unit).is_some_and(|max| *cost > max))?;
        let (unit, cost) = over;
        Some(format!("it has cost {cost} {unit} so far, of at most {}", max[unit]))
    }

    /// An agent says that an attempt is over.
    pub(super) fn result(
        &mut self,
        session: SessionEpoch,
        attempt: AttemptRef,
        outcome: Outcome,
        run: Duration,
        usage: Option<Box<Usage>>,
        out: &mut Effects,
    ) {
        let Some(agent) = self.heard(session) else { return };
        let any_attempt = self.lacks(Sabotage::AttemptCondition);
        let current = self.tasks.find(attempt.task).filter(|&task| {
            let is_it = |current: Current| current.attempt == attempt && current.agent == agent;
            self.tasks[task].current.is_some_and(|current| any_attempt || is_it(current))
        });
        if let Some(task) = current {
            let run = if run.is_zero() { self.seen_run(task, &outcome) } else { run };
            self.record(task, agent, attempt, outcome, Ran { run, usage }, out);
        } else {
            self.answer_late_result(session, agent, attempt, out);
        }
        self.offer(agent, out);
    }

    /// How long an attempt ran whose agent does not measure: as long as it had its place. What is taken to run for no time
    /// would be given ahead of a free slot, and there it would wait for the one before.
    fn seen_run(&self, task: TaskIx, outcome: &Outcome) -> Duration {
        let ran = matches!(outcome, Outcome::Succeeded(_) | Outcome::Failed(_));
        let current = self.tasks[task].current.filter(|_| ran);
        current.map(|current| current.seen_run(self.now)).unwrap_or_default()
    }

    /// A result of an attempt that is not live: sent twice, or superseded.
    fn answer_late_result(&mut self, session: SessionEpoch, agent: AgentIx, attempt: AttemptRef, out: &mut Effects) {
        // A place that a live attempt has is freed by that attempt's own result alone, and not by a token that borrows its
        // assignment for another task.
        let holding = self.agents[agent].holdings.get(&attempt.assignment);
        let ended = holding.is_some_and(|holding| holding.task.is_none());
        let freed = ended && self.free_place(agent, attempt.assignment).is_some();
        let superseded = freed || self.tasks.find(attempt.task).is_some();
        if self.recorded.contains(attempt) {
            self.counters.repeated_results += 1;
            self.send(agent, AgentMessage::Ack { attempt, recorded: true }, out);
        } else if superseded {
            self.counters.stale_results += 1;
            self.send(agent, AgentMessage::Ack { attempt, recorded: false }, out);
        } else {
            out.messages.push(Message::LookUpResult { session, attempt });
        }
    }

    /// The result of the live attempt: it is recorded, and acknowledged once that is durable.
    fn record(
        &mut self,
        task: TaskIx,
        agent: AgentIx,
        attempt: AttemptRef,
        outcome: Outcome,
        ran: Ran,
        out: &mut Effects,
    ) {
        self.recorded.insert(attempt);
        self.judge(agent, task, &outcome, ran.run, out);
        let waits_for_quota = self.guards_ended(agent, task, attempt.assignment, &outcome, ran.run, out);
        self.free_place(agent, attempt.assignment);
        match outcome {
            Outcome::Succeeded(output) => {
                self.end_attempt(task, AttemptEnd::Succeeded, None, ran, out);
                self.finish(task, TaskState::Succeeded, output, None, out);
            }
            Outcome::Failed(failure) => {
                let end = match failure.class {
                    FailureClass::Timeout => AttemptEnd::TimedOut,
                    FailureClass::Rejected => AttemptEnd::Rejected,
                    _ => AttemptEnd::Failed,
                };
                self.end_attempt(task, end, Some(failure.clone()), ran, out);
                let setback = match failure.class {
                    // With no quota to wait for, it is one failure like others.
                    FailureClass::QuotaExhausted if !waits_for_quota => FailureClass::Retryable,
                    class => class,
                };
                self.follow_up(task, Setback::Failed(setback), failure, out);
            }
            Outcome::Cancelled => {
                let failure = Failure::new(FailureClass::Retryable, "the agent called the attempt off");
                self.end_attempt(task, AttemptEnd::Cancelled, Some(failure.clone()), ran, out);
                self.follow_up(task, Setback::Failed(FailureClass::Retryable), failure, out);
            }
            Outcome::HandedBack(reason) => {
                let failure = Failure::new(FailureClass::Retryable, reason);
                self.end_attempt(task, AttemptEnd::HandedBack, Some(failure.clone()), ran, out);
                // An agent that is not about to go disagrees about its room: both need a moment.
                let setback = if self.may_be_used(agent) { REJECTED } else { Setback::HandedBack };
                self.follow_up(task, setback, failure, out);
            }
        }
        self.send(agent, AgentMessage::Ack { attempt, recorded: true }, out);
    }

    /// What an outcome says about the agent: its statistics, its health, whether it should rest.
    fn judge(&mut self, agent: AgentIx, task: TaskIx, outcome: &Outcome, run: Duration, out: &mut Effects) {
        let kind = self.tasks[task].spec.kind.clone();
        let fleet = self.agents.connected();
        let row = &mut self.agents[agent];
        let run_normal = row.run_mean(&kind);
        let ok = match outcome {
            Outcome::Succeeded(_) => {
                row.succeeded += 1;
                row.observe_run(&kind, run);
                self.norms.observe(self.now, &kind, run, &mut row.pace);
                true
            }
            Outcome::Failed(failure) => {
                row.failed += 1;
                // The task's own fault, or that of a quota that others share: it says nothing of the agent.
                let class = failure.class;
                if matches!(
                    class,
                    FailureClass::NonRetryable | FailureClass::BudgetExceeded | FailureClass::QuotaExhausted
                ) {
                    return;
                }
                false
            }
            Outcome::Cancelled | Outcome::HandedBack(_) => return,
        };
        row.tracker.observe_outcome(self.now, ok);
        self.reassess(agent, out);
        let ended = Ended { ok, run, run_normal };
        if let Some(ejection) = self.outliers.record(self.now, agent, ended, fleet) {
            self.eject(agent, ejection.until, out);
        }
    }

    /// The agent of a session, if that is the agent's valid one. Counts what comes from others.
    pub(super) fn heard(&mut self, session: SessionEpoch) -> Option<AgentIx> {
        let Some(agent) = self.agents.of_session(session) else {
            self.counters.refused_messages += 1;
            return None;
        };
        let row = &mut self.agents[agent];
        row.last_heard_at = self.now;
        row.lease.heard(self.now);
        Some(agent)
    }

    /// The live attempt that a message is about, if the agent of the session has it.
    fn live_attempt(&mut self, session: SessionEpoch, attempt: AttemptRef) -> Option<(AgentIx, TaskIx)> {
        let agent = self.heard(session)?;
        let task = self.tasks.find(attempt.task).filter(|&task| {
            self.tasks[task].current.is_some_and(|current| current.attempt == attempt && current.agent == agent)
        });
        if task.is_none() {
            self.counters.refused_messages += 1;
        }
        task.map(|task| (agent, task))
    }

    fn agent_of(&self, task: TaskIx) -> Option<AgentId> {
        self.tasks[task].current.map(|current| self.agents[current.agent].spec.id.clone())
    }
}
