//! The rules that pick one agent among the eligible ones.
//!
//! A strategy is one file here, one variant of [`StrategyConfig`] and one line of [`build`]. It must pass the conformance
//! tests of the router, which run over all of them. Most need no more than a level for each agent and the search that
//! comes with the trait. Who is eligible is never a strategy's business, except for what it holds back.

mod bin_pack;
mod consistent_hash;
mod least_loaded;
mod power_of_two;
mod priority;
mod random;
mod ring;
mod round_robin;
mod weighted;

use std::fmt::Debug;

use evenkeel_shared::StrategyConfig;

use super::{
    facts::{Facts, TaskFacts},
    field::Field,
    levels::LEVELS_MAX,
    refusal::Refusal,
};
use crate::ix::AgentIx;

/// A rule that picks an agent.
pub(super) trait Strategy: Debug + Send {
    /// The agent's level for the search, below [`LEVELS_MAX`]; 0 is best. One level for all unless it says otherwise.
    fn level(&self, _facts: &Facts) -> u16 {
        0
    }

    /// How well the agent suits, whose id has this hash; higher is better. The hash is a reference because reading it is
    /// a trip to memory that few strategies need.
    fn score(&self, facts: &Facts, id_hash: &u64, task: &TaskFacts) -> f64;

    /// One agent of the field. `None` only if there is none, or none that [`Strategy::refuses`] lets pass.
    fn pick(&mut self, field: &Field<'_>, _task: &TaskFacts) -> Option<AgentIx> {
        field.best(0..LEVELS_MAX, field.cursor)
    }

    /// Whether [`Strategy::pick`] would find one, without a draw or a turn.
    fn finds(&self, field: &Field<'_>, _task: &TaskFacts) -> bool {
        field.best(0..LEVELS_MAX, field.cursor).is_some()
    }

    /// Why the agent may not take the task although it has room. What one priority is let pass, all above it are; nothing
    /// else of the task counts but its slots.
    fn refuses(&self, _facts: &Facts, _task: &TaskFacts, _need_slots: u32) -> Option<Refusal> {
        None
    }

    /// An agent appears, whose id has this hash; not schedulable yet.
    fn joined(&mut self, _agent: AgentIx, _id_hash: u64) {}

    /// An agent goes; it is not schedulable any more.
    fn left(&mut self, _agent: AgentIx, _id_hash: u64) {}

    /// An agent goes from one state to another.
    fn changed(&mut self, _before: &Facts, _after: &Facts) {}

    /// Whether, since this was last asked, an agent may have come to be refused less because of another one's state.
    fn take_relented(&mut self) -> bool {
        false
    }
}

/// The strategy of these settings. `seed` is for those that draw.
pub(super) fn build(config: &StrategyConfig, seed: u64) -> Box<dyn Strategy> {
    match *config {
        StrategyConfig::RoundRobin => Box::new(round_robin::RoundRobin),
        StrategyConfig::LeastLoaded => Box::new(least_loaded::LeastLoaded::new()),
        StrategyConfig::Weighted { task_capacity, cpu, memory } => {
            Box::new(weighted::Weighted::new(task_capacity, cpu, memory))
        }
        StrategyConfig::Priority { held_back_percent, urgent_priority } => {
            Box::new(priority::Tiers::new(held_back_percent, urgent_priority))
        }
        StrategyConfig::Random => Box::new(random::Random::new(seed)),
        StrategyConfig::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(seed)),
        StrategyConfig::ConsistentHash { load_bound_percent } => {
            Box::new(consistent_hash::ConsistentHash::new(load_bound_percent))
        }
        StrategyConfig::BinPack => Box::new(bin_pack::BinPack),
    }
}
