//! What the engine says of tasks, checked as it says it: the promises P2, P3, P5 and P6 as far as they show in its effects.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::engine::{Change, Effects, Message};
use evenkeel_shared::{AttemptRef, Delivery, TaskId, TaskSpec, TaskState};

/// What is known of a task.
#[derive(Debug)]
struct Entry {
    spec: Arc<TaskSpec>,
    attempts: u32,
    /// The attempt that has not ended.
    open: Option<AttemptRef>,
    /// The state that was made durable.
    over: Option<TaskState>,
    /// The state that was told to those who wait.
    told: Option<TaskState>,
}

/// All tasks that were accepted.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<TaskId, Entry>);

impl Ledger {
    /// Takes down the effects of one event.
    ///
    /// # Panics
    /// If one of them breaks a promise.
    pub fn record(&mut self, effects: &Effects) {
        for message in &effects.messages {
            if let Message::Accepted(task) = message {
                let entry = Entry { spec: task.spec.clone(), attempts: 0, open: None, over: None, told: None };
                assert!(self.0.insert(task.id, entry).is_none(), "{} was accepted twice", task.id);
            }
        }
        for change in &effects.changes {
            self.change(change);
        }
        for message in &effects.messages {
            if let Message::Finished(task) = message {
                let entry = self.0.get_mut(&task.id).expect("what ends was accepted");
                assert!(entry.told.replace(task.state).is_none(), "{} ended twice", task.id);
                if entry.spec.delivery == Delivery::Durable {
                    assert_eq!(entry.over, Some(task.state), "what is told of {} is what is stored", task.id);
                }
            }
        }
    }

    /// A task that a change is about: accepted, and not over.
    fn live(&mut self, task: TaskId) -> &mut Entry {
        let entry = self.0.get_mut(&task).unwrap_or_else(|| panic!("{task} was never accepted"));
        assert_eq!(entry.over, None, "{task} is over and changes");
        entry
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Accept(task) => assert!(self.0.contains_key(&task.id), "{} is stored and not told", task.id),
            Change::Assign { attempt, .. } => {
                let entry = self.live(attempt.task);
                entry.attempts += 1;
                assert_eq!(attempt.attempt.0, entry.attempts, "an attempt was skipped or repeated");
                assert!(entry.attempts <= entry.spec.retry.attempts_max, "{} has an attempt too many", attempt.task);
                assert_eq!(entry.open.replace(*attempt), None, "{} has two live attempts", attempt.task);
            }
            Change::EndAttempt { attempt, .. } => {
                assert_eq!(self.live(attempt.task).open.take(), Some(*attempt), "not the live attempt");
            }
            Change::Requeue { task, .. } => {
                assert_eq!(self.live(*task).open, None, "{task} waits and has a live attempt");
            }
            Change::Finish { task, state, .. } => {
                assert!(state.is_terminal(), "{task} is over and {state}");
                let entry = self.live(*task);
                assert_eq!(entry.open, None, "{task} is over and has a live attempt");
                entry.over = Some(*state);
            }
            Change::TaskEvent(_)
            | Change::ClusterEvent(_)
            | Change::Admin { .. }
            | Change::Strategy(_)
            | Change::Record(_) => {}
        }
    }

    /// Tasks of which nobody was told that they are over.
    pub fn unfinished(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.0.iter().filter(|(_, entry)| entry.told.is_none()).map(|(id, _)| *id)
    }

    /// How many tasks were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.0.len()
    }
}
