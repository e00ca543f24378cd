//! While the store has no room.
//!
//! Nothing that is decided then can be made durable, so nothing can be said. What agents report is taken in all the same,
//! so that leases, results and time limits go on as they are and no agent is taken for dead; but nothing new is assigned,
//! because the assignment would lie in the coordinator while its time ran out. The tasks wait in the queue.
//!
//! An assignment that was made just before may lie there too. The agent has not heard of it, so its time does not run:
//! it gets all of it again when the store has room.

use evenkeel_shared::TaskState;

use super::{Engine, effects::Effects};
use crate::{ix::TaskIx, model::ClusterEventKind};

impl Engine {
    /// The store has no room, or has room again. Walks the tasks and the fleet: it happens when a disk is full.
    pub(super) fn store_full(&mut self, full: bool, out: &mut Effects) {
        if full == self.paused {
            return;
        }
        self.paused = full;
        let words = if full {
            "the store has no room: nothing is accepted or assigned until it has"
        } else {
            "the store has room again"
        };
        self.announce(ClusterEventKind::Coordinator, None, words.to_owned(), out);
        if full {
            return;
        }
        let assigned = self.tasks.iter().filter(|(_, task)| task.state == TaskState::Assigned);
        let unheard: Vec<TaskIx> = assigned.map(|(ix, _)| ix).collect();
        for task in unheard {
            self.restart_attempt_time(task);
        }
        self.offer_all(out);
    }

    /// The time of an attempt that its agent may not have heard of begins again.
    pub(super) fn restart_attempt_time(&mut self, task: TaskIx) {
        let now = self.now;
        if let Some(since) = self.tasks[task].current.as_mut().and_then(|current| current.running_since.as_mut()) {
            *since = now;
        }
        self.arm(task);
    }
}
