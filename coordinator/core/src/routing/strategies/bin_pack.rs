//! The fullest agent that still has room.
//!
//! Leaves whole agents free for large tasks, or for being switched off. Among equally full agents the lowest index wins
//! every time: taking turns would spread what this is to gather.

use super::{Facts, Field, LEVELS_MAX, Strategy, TaskFacts, least_loaded};
use crate::ix::AgentIx;

/// See the module.
#[derive(Debug)]
pub(super) struct BinPack;

impl Strategy for BinPack {
    fn level(&self, facts: &Facts) -> u16 {
        least_loaded::LEVELS - 1 - least_loaded::level(facts)
    }

    /// The share of its slots in use.
    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        facts.load()
    }

    fn pick(&mut self, field: &Field<'_>, _task: &TaskFacts) -> Option<AgentIx> {
        field.best(0..LEVELS_MAX, AgentIx(0))
    }
}
