//! A model of the store, for tests and simulations of the engine.
//!
//! It keeps what a store keeps, as plainly as can be, and writes down as a complaint whatever a store must never be asked
//! for: a second end of a task, an attempt while another one is live. It then does as it was told, like a store that
//! trusts the engine, so that a judge of what was stored sees the consequences.

#[cfg(test)]
pub mod fleet;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{AgentId, AttemptEnd, AttemptRef, StrategyConfig, TaskId, TaskState, Tenant, Timestamp};

use crate::{
    engine::Change,
    model::{
        BudgetShare, BudgetSpent, CostEntry, Declaration, DeclarationKind, Record, RecoveredAdmin, RecoveredState,
        RecoveredTask, Recovery,
    },
};

/// A task, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    /// What a restart would be told of it, if it is not over.
    pub task: RecoveredTask,
    /// How it ended, if it has.
    pub end: Option<StoredEnd>,
    /// How often its end was recorded.
    pub ends_recorded: u32,
    /// Its attempts, the first one first.
    pub attempts: Vec<StoredAttempt>,
}

/// The end of a task, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEnd {
    /// A terminal state.
    pub state: TaskState,
    /// When.
    pub at: Timestamp,
    /// Its output.
    pub output: Bytes,
}

/// An attempt, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAttempt {
    /// The token.
    pub attempt: AttemptRef,
    /// Who got it.
    pub agent: AgentId,
    /// When.
    pub assigned_at: Timestamp,
    /// When and how it ended, and how long it ran.
    pub ended: Option<(Timestamp, AttemptEnd, Duration)>,
}

impl StoredTask {
    /// Its state; a task that runs is stored as assigned.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match (&self.end, &self.task.state) {
            (Some(end), _) => end.state,
            (None, RecoveredState::Queued { .. }) => TaskState::Queued,
            (None, RecoveredState::RetryWait { .. }) => TaskState::RetryWait,
            (None, RecoveredState::Assigned { .. }) => TaskState::Assigned,
        }
    }
}

/// The model. See the module.
#[derive(Debug, Default)]
pub struct ModelStore {
    incarnation: u64,
    costs: Vec<CostEntry>,
    tasks: BTreeMap<TaskId, StoredTask>,
    keys: BTreeMap<(Tenant, String), TaskId>,
    /// Tasks that are not over, by the order of their acceptance.
    live: BTreeMap<u64, TaskId>,
    admin: BTreeMap<AgentId, RecoveredAdmin>,
    strategy: Option<StrategyConfig>,
    declared: BTreeMap<(DeclarationKind, String), Declaration>,
    /// What budgets have spent, by budget and beginning of the window.
    spent: BTreeMap<(String, Timestamp), BudgetSpent>,
    complaints: Vec<String>,
}

impl ModelStore {
    /// Makes the changes, in their order.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            if let Err(complaint) = self.apply_one(change) {
                self.complaints.push(complaint);
            }
        }
    }

    /// Costs, in the order in which they came.
    #[must_use]
    pub fn costs(&self) -> &[CostEntry] {
        &self.costs
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Declared(it) => drop(self.declared.insert((it.kind, it.name.clone()), it.clone())),
            Record::Spent(it) => drop(self.spent.insert((it.budget.clone(), it.window_start), it.clone())),
            // History, which no restart asks for.
            Record::Cost(it) => self.costs.push(it.clone()),
            Record::Usage(_) | Record::Scaling(_) | Record::Allocation(_) => {}
        }
    }

    /// What must never have been asked for, since this was last called.
    pub fn take_complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    fn apply_one(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Accept(task) => self.accept(task),
            Change::Assign { attempt, agent, at, reserved, .. } => self.assign(*attempt, agent, *at, reserved),
            Change::EndAttempt { attempt, at, end, run, .. } => self.end_attempt(*attempt, *at, *end, *run),
            Change::Requeue { task, at, not_before, crashes } => {
                let row = self.row(*task)?;
                row.task.crashes = *crashes;
                row.task.state = match not_before {
                    Some(not_before) => RecoveredState::RetryWait { not_before: *not_before },
                    None => RecoveredState::Queued { since: *at },
                };
                row.must_have_no_open_attempt("waits")
            }
            Change::Finish { task, at, state, output, crashes, .. } => {
                let row = self.row(*task)?;
                let first = row.end.is_none();
                row.task.crashes = *crashes;
                row.end = Some(StoredEnd { state: *state, at: *at, output: output.clone() });
                row.ends_recorded += 1;
                let (order, checked) = (row.task.order, row.must_have_no_open_attempt("is over"));
                self.live.remove(&order);
                if !first {
                    return Err(format!("{task} ended twice"));
                }
                if !state.is_terminal() {
                    return Err(format!("{task} ended as {state}"));
                }
                checked
            }
            Change::Admin { agent, state, drain_deadline, reason } => {
                let admin = RecoveredAdmin {
                    agent: agent.clone(),
                    state: *state,
                    drain_deadline: *drain_deadline,
                    reason: reason.clone(),
                };
                self.admin.insert(agent.clone(), admin);
                Ok(())
            }
            Change::Strategy(strategy) => {
                self.strategy = Some(strategy.clone());
                Ok(())
            }
            Change::Record(record) => {
                self.record(record);
                Ok(())
            }
            Change::TaskEvent(_) | Change::ClusterEvent(_) => Ok(()),
        }
    }

    fn row(&mut self, task: TaskId) -> Result<&mut StoredTask, String> {
        self.tasks.get_mut(&task).ok_or_else(|| format!("{task} was never accepted"))
    }

    fn accept(&mut self, task: &crate::engine::AcceptedTask) -> Result<(), String> {
        let row = StoredTask { task: task.into(), end: None, ends_recorded: 0, attempts: Vec::new() };
        let again = self.tasks.insert(task.id, row).is_some();
        self.live.insert(task.order, task.id);
        let key = (task.spec.tenant.clone(), task.spec.idempotency_key.clone());
        let other = if key.1.is_empty() { None } else { self.keys.insert(key, task.id) };
        match other {
            _ if again => Err(format!("{} was accepted twice", task.id)),
            Some(other) => Err(format!("{} has the idempotency key of {other}", task.id)),
            None => Ok(()),
        }
    }

    fn assign(
        &mut self,
        attempt: AttemptRef,
        agent: &AgentId,
        at: Timestamp,
        reserved: &[BudgetShare],
    ) -> Result<(), String> {
        let row = self.row(attempt.task)?;
        let checked = row.may_assign(attempt);
        row.task.attempts_made = attempt.attempt.0;
        let reserved = Some(reserved.to_vec());
        row.task.state = RecoveredState::Assigned { attempt, agent: agent.clone(), at, reserved };
        row.attempts.push(StoredAttempt { attempt, agent: agent.clone(), assigned_at: at, ended: None });
        checked
    }

    fn end_attempt(
        &mut self,
        attempt: AttemptRef,
        at: Timestamp,
        end: AttemptEnd,
        run: Duration,
    ) -> Result<(), String> {
        let row = self.row(attempt.task)?;
        let found = row.attempts.iter_mut().rev().find(|stored| stored.attempt == attempt);
        let stored = found.ok_or_else(|| format!("{} has no attempt {}", attempt.task, attempt.attempt))?;
        match stored.ended.replace((at, end, run)) {
            None => Ok(()),
            Some(_) => Err(format!("attempt {} of {} ended twice", attempt.attempt, attempt.task)),
        }
    }

    /// Removes tasks that were over before this time, at most so many, the oldest ids first. Answers what it removed.
    pub fn prune(&mut self, before: Timestamp, limit: usize) -> Vec<StoredTask> {
        let past = |row: &StoredTask| row.end.as_ref().is_some_and(|end| end.at < before);
        let ids: Vec<TaskId> = self.tasks.values().filter(|row| past(row)).map(|row| row.task.id).take(limit).collect();
        let removed: Vec<StoredTask> = ids.iter().filter_map(|id| self.tasks.remove(id)).collect();
        for row in &removed {
            let key = (row.task.spec.tenant.clone(), row.task.spec.idempotency_key.clone());
            if self.keys.get(&key) == Some(&row.task.id) {
                self.keys.remove(&key);
            }
        }
        removed
    }

    /// The state of a task that is over.
    #[must_use]
    pub fn state(&self, task: TaskId) -> Option<TaskState> {
        self.tasks.get(&task)?.end.as_ref().map(|end| end.state)
    }

    /// Tasks that are not over.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.live.len()
    }

    /// A task.
    #[must_use]
    pub fn task(&self, task: TaskId) -> Option<&StoredTask> {
        self.tasks.get(&task)
    }

    /// All tasks.
    pub fn tasks(&self) -> impl Iterator<Item = &StoredTask> {
        self.tasks.values()
    }

    /// The task under this key, and the fingerprint of what it asked for.
    #[must_use]
    pub fn by_key(&self, tenant: &Tenant, key: &str) -> Option<(TaskId, u128)> {
        let task = self.keys.get(&(tenant.clone(), key.to_owned()))?;
        Some((*task, self.tasks.get(task)?.task.fingerprint))
    }

    /// Whether this attempt ended by its agent's own word.
    #[must_use]
    pub fn result_recorded(&self, attempt: AttemptRef) -> bool {
        use AttemptEnd::{AgentLost, Cancelled, Expired, Failed, HandedBack, Rejected, Succeeded, TimedOut};
        let stored =
            self.tasks.get(&attempt.task).and_then(|row| row.attempts.iter().find(|stored| stored.attempt == attempt));
        stored.and_then(|stored| stored.ended).is_some_and(|(_, end, run)| match end {
            Succeeded | Failed | Rejected | HandedBack => true,
            // The coordinator can decide these too; only the agent knows how long the attempt ran.
            TimedOut | Cancelled => !run.is_zero(),
            AgentLost | Expired => false,
        })
    }

    /// Begins a new incarnation: what an engine must know to go on.
    pub fn recover(&mut self) -> Recovery {
        self.incarnation += 1;
        Recovery {
            incarnation: self.incarnation,
            tasks: self.live.values().filter_map(|id| self.tasks.get(id)).map(|row| row.task.clone()).collect(),
            admin: self.admin.values().cloned().collect(),
            strategy: self.strategy.clone(),
            declarations: self.declared.values().filter(|declared| declared.is_recovered()).cloned().collect(),
            spent: self.spent.values().cloned().collect(),
            scaling: None,
        }
    }
}

impl StoredTask {
    fn open_attempt(&self) -> Option<&StoredAttempt> {
        self.attempts.iter().find(|stored| stored.ended.is_none())
    }

    fn must_have_no_open_attempt(&self, what: &str) -> Result<(), String> {
        match self.open_attempt() {
            None => Ok(()),
            Some(open) => Err(format!("{} {what} and its attempt {} is live", self.task.id, open.attempt.attempt)),
        }
    }

    fn may_assign(&self, attempt: AttemptRef) -> Result<(), String> {
        let id = self.task.id;
        if self.end.is_some() {
            return Err(format!("{id} is over and was assigned"));
        }
        if attempt.attempt.0 != self.task.attempts_made + 1 {
            return Err(format!("{id} got attempt {} after {}", attempt.attempt, self.task.attempts_made));
        }
        if attempt.attempt.0 > self.task.spec.retry.attempts_max {
            return Err(format!("{id} got attempt {}, which is too many", attempt.attempt));
        }
        self.must_have_no_open_attempt("got another attempt")
    }
}
