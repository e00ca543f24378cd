//! A model of the store: applies changes, refuses what must never be asked of a store, and recovers.

use std::collections::BTreeMap;

use evenkeel_shared::{AgentId, AttemptRef, StrategyConfig, TaskId, TaskState};

use super::super::Change;
use crate::model::{RecoveredAdmin, RecoveredState, RecoveredTask, Recovery};

#[derive(Default)]
pub struct ModelStore {
    incarnation: u64,
    live: BTreeMap<TaskId, RecoveredTask>,
    over: BTreeMap<TaskId, TaskState>,
    /// The attempt that has not ended, of each task.
    open: BTreeMap<TaskId, AttemptRef>,
    admin: BTreeMap<AgentId, RecoveredAdmin>,
    strategy: Option<StrategyConfig>,
}

impl ModelStore {
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.apply_one(change);
        }
    }

    fn live(&mut self, task: TaskId) -> &mut RecoveredTask {
        assert!(!self.over.contains_key(&task), "{task} is over and changed");
        self.live.get_mut(&task).unwrap_or_else(|| panic!("{task} was never accepted"))
    }

    fn apply_one(&mut self, change: &Change) {
        match change {
            Change::Accept(task) => {
                let recovered = RecoveredTask {
                    id: task.id,
                    spec: task.spec.clone(),
                    payload: task.payload.clone(),
                    fingerprint: task.fingerprint,
                    order: task.order,
                    accepted_at: task.at,
                    attempts_made: 0,
                    crashes: 0,
                    state: RecoveredState::Queued { since: task.at },
                    redrive_of: task.redrive_of,
                };
                assert!(self.live.insert(task.id, recovered).is_none(), "{} was accepted twice", task.id);
            }
            Change::Assign { attempt, agent, at, .. } => {
                let task = self.live(attempt.task);
                assert_eq!(attempt.attempt.0, task.attempts_made + 1, "an attempt was skipped or repeated");
                assert!(attempt.attempt.0 <= task.spec.retry.attempts_max, "an attempt too many");
                task.attempts_made += 1;
                task.state = RecoveredState::Assigned { attempt: *attempt, agent: agent.clone(), at: *at };
                let open = self.open.insert(attempt.task, *attempt);
                assert!(open.is_none(), "{} has two live attempts", attempt.task);
            }
            Change::EndAttempt { attempt, .. } => {
                assert_eq!(self.open.remove(&attempt.task), Some(*attempt), "not the live attempt");
            }
            Change::Requeue { task, at, not_before, crashes } => {
                assert!(!self.open.contains_key(task), "{task} waits and has a live attempt");
                let row = self.live(*task);
                row.crashes = *crashes;
                row.state = match not_before {
                    Some(not_before) => RecoveredState::RetryWait { not_before: *not_before },
                    None => RecoveredState::Queued { since: *at },
                };
            }
            Change::Finish { task, state, .. } => {
                assert!(state.is_terminal());
                assert!(!self.open.contains_key(task), "{task} is over and has a live attempt");
                self.live(*task);
                self.live.remove(task);
                self.over.insert(*task, *state);
            }
            Change::Admin { agent, state, drain_deadline, reason } => {
                let admin = RecoveredAdmin {
                    agent: agent.clone(),
                    state: *state,
                    drain_deadline: *drain_deadline,
                    reason: reason.clone(),
                };
                self.admin.insert(agent.clone(), admin);
            }
            Change::Strategy(strategy) => self.strategy = Some(strategy.clone()),
            Change::TaskEvent(_) | Change::ClusterEvent(_) => {}
        }
    }

    pub fn state(&self, task: TaskId) -> Option<TaskState> {
        self.over.get(&task).copied()
    }

    pub fn live_tasks(&self) -> usize {
        self.live.len()
    }

    pub fn recover(&mut self) -> Recovery {
        self.incarnation += 1;
        let mut tasks: Vec<_> = self.live.values().cloned().collect();
        tasks.sort_by_key(|task| task.order);
        Recovery {
            incarnation: self.incarnation,
            tasks,
            admin: self.admin.values().cloned().collect(),
            strategy: self.strategy.clone(),
        }
    }
}
