//! The agent with the best weighted sum of free task capacity, processor and memory.
//!
//! Free slots are exact, processor and memory are measured and come late, so the settings give slots the largest part.
//! The agent's own weight scales the sum: of two equally free agents the one of weight 200 takes work until it is half as
//! free as the one of weight 100.

use super::{Facts, Strategy, TaskFacts};

/// Twice as many as for a load alone: half of them are for agents above the ordinary weight.
const LEVELS: f64 = 256.0;
/// The score of an idle agent of the highest weight.
const SCORE_MAX: f64 = 10.0;
const ORDINARY_WEIGHT: f64 = 100.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Weighted {
    task_capacity: f64,
    cpu: f64,
    memory: f64,
}

impl Weighted {
    /// The weights, brought to a sum of 1; they must not all be 0, which the settings' check sees to.
    pub(super) fn new(task_capacity: f64, cpu: f64, memory: f64) -> Self {
        let sum = task_capacity + cpu + memory;
        Self { task_capacity: task_capacity / sum, cpu: cpu / sum, memory: memory / sum }
    }

    fn sum(&self, facts: &Facts) -> f64 {
        let free_slots = (1.0 - facts.load()).max(0.0);
        let free = self.task_capacity * free_slots + self.cpu * facts.cpu_free() + self.memory * facts.memory_free();
        free * f64::from(facts.weight) / ORDINARY_WEIGHT
    }
}

/// Maps a score to 0..1, finest at the bottom, so that the levels serve ordinary weights as well as the highest.
fn squash(score: f64) -> f64 {
    score / (1.0 + score) * ((1.0 + SCORE_MAX) / SCORE_MAX)
}

impl Strategy for Weighted {
    fn level(&self, facts: &Facts) -> u16 {
        ((1.0 - squash(self.sum(facts))) * (LEVELS - 1.0)) as u16
    }

    /// The weighted sum; 1 for an idle agent of ordinary weight.
    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        self.sum(facts)
    }
}
