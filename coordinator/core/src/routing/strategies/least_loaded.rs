//! The agent that is likely to finish the task soonest: a small share of its slots in use, and not slower than others.
//!
//! The share is what the coordinator itself assigned, so it is exact at every decision. Shares are told apart to 1/128:
//! equal agents of up to 128 slots never differ by more than one task. Within a level agents take turns.
//!
//! An agent is taken to need (1 + its share in use) times as long as it does when idle, and by so much more or less than
//! others as was measured (see [`crate::health::pace`]); the levels are that product's logarithm. So an idle agent that takes
//! twice as long as another is as good as that one when it is full. Agents that are not known to differ are told
//! apart by their shares alone. To look at shares first and at the pace among equals only was rejected: it sends tasks to idle
//! slow agents while half a fast one is free.

use super::{Facts, Strategy, TaskFacts};
use crate::routing::{facts::SLOWER_STEPS, levels::LEVELS_MAX};

pub(super) const LEVELS_PER_LOAD: f64 = 128.0;
/// Levels by the load alone, up to a load of 2: as many tasks ahead as there are slots.
pub(super) const LEVELS: u16 = 256;
/// The level of an idle ordinary agent: the fastest that are told apart are so many steps before it.
const ORDINARY: i16 = 350;

/// See the module.
#[derive(Debug)]
pub(super) struct LeastLoaded {
    /// Steps that a load is worth, by its level.
    steps: [i16; LEVELS as usize],
}

impl LeastLoaded {
    pub(super) fn new() -> Self {
        let steps = |level: usize| (1.0 + level as f64 / LEVELS_PER_LOAD).log2() * f64::from(SLOWER_STEPS);
        Self { steps: std::array::from_fn(|level| steps(level).round() as i16) }
    }
}

impl Strategy for LeastLoaded {
    fn level(&self, facts: &Facts) -> u16 {
        let steps = ORDINARY + self.steps[usize::from(level(facts))] + facts.slower;
        steps.clamp(0, LEVELS_MAX as i16 - 1) as u16
    }

    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        score(facts)
    }
}

/// The level of an agent by its load alone.
pub(super) fn level(facts: &Facts) -> u16 {
    ((facts.load() * LEVELS_PER_LOAD) as u16).min(LEVELS - 1)
}

/// The share of its slots that is free, for an agent of ordinary pace; below 0 where tasks are taken ahead. For others two
/// less the time that they are taken to need.
pub(super) fn score(facts: &Facts) -> f64 {
    2.0 - needed(facts)
}

/// How long it is taken to need, where an idle ordinary agent needs 1.
pub(super) fn needed(facts: &Facts) -> f64 {
    let pace = if facts.slower == 0 { 1.0 } else { (f64::from(facts.slower) / f64::from(SLOWER_STEPS)).exp2() };
    (1.0 + facts.load()) * pace
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::limits::SLOTS_MAX;

    use super::*;
    use crate::health::pace::COUNTED_MAX;

    fn facts(slots_in_use: u16, slots_usable: u16, slower: i16) -> Facts {
        Facts { slots_in_use, slots_usable, slower, ..Facts::default() }
    }

    #[test]
    fn every_load_of_up_to_128_slots_has_a_level_of_its_own() {
        let rule = LeastLoaded::new();
        for slots in [1, 4, 100, 128] {
            let levels: Vec<u16> = (0..=slots).map(|in_use| rule.level(&facts(in_use, slots, 0))).collect();
            assert!(levels.is_sorted_by(|a, b| a < b), "{slots} slots: {levels:?}");
        }
    }

    #[test]
    fn every_pace_and_load_has_its_place_among_the_levels() {
        let rule = LeastLoaded::new();
        let most = (COUNTED_MAX * f64::from(SLOWER_STEPS)) as i16;
        let slots = SLOTS_MAX as u16;
        let ends = [
            facts(0, slots, -most),
            facts(0, slots, 1 - most),
            facts(2 * slots, slots, most - 1),
            facts(2 * slots, slots, most),
        ];
        let levels = ends.map(|facts| rule.level(&facts));
        assert!(levels[0] < levels[1] && levels[2] < levels[3] && levels[3] < LEVELS_MAX - 1, "{levels:?}");
    }

    #[test]
    fn an_idle_agent_that_takes_twice_as_long_is_as_good_as_a_full_one() {
        let rule = LeastLoaded::new();
        let octave = SLOWER_STEPS as i16;
        assert_eq!(rule.level(&facts(0, 4, octave)), rule.level(&facts(4, 4, 0)));
        assert_eq!(score(&facts(0, 4, octave)), score(&facts(4, 4, 0)));
        assert_eq!(score(&facts(1, 4, 0)), 0.75);
    }
}
