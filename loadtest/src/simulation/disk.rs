//! The coordinator's disk: what has been synced stays, what has not is lost with the process.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::{
    engine::Change,
    testing::{ModelStore, StoredTask},
};
use evenkeel_shared::{TaskId, Timestamp};

use super::plan::Delay;

/// The disk and the store on it.
pub(super) struct Disk {
    pub store: ModelStore,
    /// Of tasks that were driven again: as which. An index, so that not all tasks are looked through.
    redriven_as: BTreeMap<TaskId, TaskId>,
    /// What was removed, and when.
    pub pruned: BTreeMap<TaskId, (StoredTask, Timestamp)>,
    commit_time: Delay,
    slow_until: Timestamp,
    full_until: Timestamp,
    /// The next sync fails.
    pub sync_fails: bool,
}

/// How many times slower a slow disk is.
const SLOWER: u32 = 100;

impl Disk {
    pub fn new(commit_time: Delay) -> Self {
        Self {
            store: ModelStore::default(),
            redriven_as: BTreeMap::new(),
            pruned: BTreeMap::new(),
            commit_time,
            slow_until: Timestamp::ZERO,
            full_until: Timestamp::ZERO,
            sync_fails: false,
        }
    }

    pub fn slow_down(&mut self, until: Timestamp) {
        self.slow_until = self.slow_until.max(until);
    }

    pub fn fill(&mut self, until: Timestamp) {
        self.full_until = self.full_until.max(until);
    }

    pub fn is_full(&self, now: Timestamp) -> bool {
        now < self.full_until
    }

    /// All is well with it from now on.
    pub fn mend(&mut self, now: Timestamp) {
        (self.slow_until, self.full_until, self.sync_fails) = (now, now, false);
    }

    /// How long a commit takes.
    pub fn commit_time(&self, now: Timestamp, draws: &mut fastrand::Rng) -> Duration {
        let time = self.commit_time.draw(draws);
        if now < self.slow_until { time * SLOWER } else { time }
    }

    /// How long a look takes.
    pub fn read_time(&self, now: Timestamp, draws: &mut fastrand::Rng) -> Duration {
        self.commit_time(now, draws) / 4
    }

    /// The changes are on the disk.
    pub fn commit(&mut self, changes: &[Change]) {
        self.store.apply(changes);
        for change in changes {
            if let Change::Accept(task) = change
                && let Some(of) = task.redrive_of
            {
                self.redriven_as.insert(of, task.id);
            }
        }
    }

    /// The task that drives this one again.
    pub fn redriven_as(&self, of: TaskId) -> Option<TaskId> {
        self.redriven_as.get(&of).copied()
    }

    /// Removes tasks that have been over for longer than `kept` at this time of the engine, at most so many; answers which.
    pub fn prune(&mut self, now: Timestamp, kept: Duration, limit: usize) -> Vec<TaskId> {
        let mut removed = Vec::new();
        for row in self.store.prune(now.minus(kept), limit) {
            let id = row.task.id;
            if let Some(of) = row.task.redrive_of.filter(|of| self.redriven_as.get(of) == Some(&id)) {
                self.redriven_as.remove(&of);
            }
            removed.push(id);
            self.pruned.insert(id, (row, now));
        }
        removed
    }
}
