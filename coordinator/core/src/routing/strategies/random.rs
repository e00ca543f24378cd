//! Any agent with room, each as likely as another.
//!
//! The yardstick for the others, and hard to mislead: it uses no measurement at all.

use super::{Facts, Field, Strategy, TaskFacts};
use crate::ix::AgentIx;

/// See the module.
#[derive(Debug)]
pub(super) struct Random {
    rng: fastrand::Rng,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }
}

impl Strategy for Random {
    /// All are alike.
    fn score(&self, _facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        0.0
    }

    fn pick(&mut self, field: &Field<'_>, _task: &TaskFacts) -> Option<AgentIx> {
        field.draw(&mut self.rng)
    }
}
