//! What is past its time is removed, as by the real round of retention: between two transactions, a part at a time, and not
//! on a full disk. What was removed is kept for the judge, with the time.
//!
//! Retention here is minutes, where real settings begin at a day: so that it happens at all while clients still repeat
//! submissions, agents bring results back, and somebody wants a task driven again. It is longer than the engine remembers
//! the keys of what is over, as real ones are by far.

use std::time::Duration;

use super::{
    trace::About,
    world::{What, World},
};

/// Tasks removed at a time.
const PRUNE_TASKS_MAX: usize = 50;
/// The writer is in a transaction: it is the turn of the next after so long.
const WRITER_TURN: Duration = Duration::from_millis(1);

impl World {
    /// Sees to the next round, where there is retention.
    pub(super) fn schedule_pruning(&mut self) {
        if let Some(retention) = self.plan.retention {
            self.later(retention / 8, What::Prune);
        }
    }

    pub(super) fn prune(&mut self) {
        let Some(retention) = self.plan.retention else { return };
        let Some(core) = self.coordinator.core.as_ref() else { return self.schedule_pruning() };
        if core.writer_is_busy() {
            return self.later(WRITER_TURN, What::Prune);
        }
        if self.store_is_full() || self.disk.is_full(self.now) {
            return self.schedule_pruning();
        }
        let now = self.engine_time();
        let kept = if self.plan.sabotage.prunes_early { Duration::ZERO } else { retention };
        let removed = self.disk.prune(now, kept, PRUNE_TASKS_MAX);
        for &task in &removed {
            self.note(About::Task(task), || format!("coordinator: {task} is past its time, and removed"));
        }
        if removed.len() == PRUNE_TASKS_MAX {
            self.later(WRITER_TURN, What::Prune);
        } else {
            self.schedule_pruning();
        }
    }
}
