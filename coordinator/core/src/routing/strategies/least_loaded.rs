//! The agent with the smallest share of its slots in use.
//!
//! The share is what the coordinator itself assigned, so it is exact at every decision. Shares are told apart to 1/128:
//! equal agents of up to 128 slots never differ by more than one task. Within a level agents take turns.

use super::{Facts, Strategy, TaskFacts};

pub(super) const LEVELS_PER_LOAD: f64 = 128.0;
/// Up to a load of 2: as many tasks ahead as there are slots.
pub(super) const LEVELS: u16 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn level(&self, facts: &Facts) -> u16 {
        level(facts)
    }

    /// The share of its slots that is free; below 0 where tasks are taken ahead.
    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        1.0 - facts.load()
    }
}

/// The level of an agent by its load.
pub(super) fn level(facts: &Facts) -> u16 {
    ((facts.load() * LEVELS_PER_LOAD) as u16).min(LEVELS - 1)
}
