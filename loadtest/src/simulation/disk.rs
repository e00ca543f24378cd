//! The coordinator's disk: what has been synced stays, what has not is lost with the process.

use std::time::Duration;

use evenkeel_core::{engine::Change, testing::ModelStore};
use evenkeel_shared::Timestamp;

use super::plan::Delay;

/// The disk and the store on it.
pub(super) struct Disk {
    pub store: ModelStore,
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
    }
}
