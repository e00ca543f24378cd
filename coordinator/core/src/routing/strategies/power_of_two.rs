//! Of two agents drawn at random, the one that is likely to finish sooner: see `least_loaded`.
//!
//! Nearly as even as the least loaded of all, without sending everybody to the same agent when what is known of the load
//! is old. (Mitzenmacher: "The power of two choices in randomized load balancing", 2001.)

use super::{Facts, Field, Strategy, TaskFacts, least_loaded};
use crate::ix::AgentIx;

/// Draws for a second agent that is not the first; where that many fail there is hardly another.
const SECOND_DRAWS_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct PowerOfTwo {
    rng: fastrand::Rng,
}

impl PowerOfTwo {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }
}

impl Strategy for PowerOfTwo {
    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        least_loaded::score(facts)
    }

    fn pick(&mut self, field: &Field<'_>, _task: &TaskFacts) -> Option<AgentIx> {
        let first = field.draw(&mut self.rng)?;
        let mut draws = (0..SECOND_DRAWS_MAX).filter_map(|_| field.draw(&mut self.rng));
        let second = draws.find(|&second| second != first).unwrap_or(first);
        let needed = |agent| least_loaded::needed(field.facts(agent));
        Some(if needed(second) < needed(first) { second } else { first })
    }
}
