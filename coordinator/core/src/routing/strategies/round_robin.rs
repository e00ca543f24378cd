//! Each agent in turn.
//!
//! All agents stand on one level; the turn is the cursor of the task's class.

use super::{Facts, Strategy, TaskFacts};

/// See the module.
#[derive(Debug)]
pub(super) struct RoundRobin;

impl Strategy for RoundRobin {
    /// All are alike.
    fn score(&self, _facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        0.0
    }
}
