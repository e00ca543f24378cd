//! The agent that the task's affinity key hashes to, unless it is much busier than the others.
//!
//! Each agent has a few points on a ring of hashes; a key belongs to the next point after its own hash whose agent may
//! take the task, so that an agent that comes or goes moves only the keys next to its points (Karger et al. 1997). An
//! agent is passed over while its load is above a bound, in per cent of the fleet's mean (Mirrokni, Thorup,
//! Zadimoghaddam: "Consistent hashing with bounded loads", 2018). The bound also evens out what few points leave uneven.
//! Where all are above it, as when only the agents of one kind are busy, the key stays with its own.
//!
//! Where hardly any of a class's agents have room, the walk along the ring passes over hundreds of points in vain. There
//! the points of those agents are made from their ids' hashes and compared, which finds the same agent.
//!
//! Rendezvous hashing was rejected because it looks at every agent, and for small sets alone because keys would move as a
//! set becomes small. Points depend on the agent's id alone, never on the order of arrival. Tasks without a key go to the
//! least loaded agent.

use super::{
    Facts, Field, LEVELS_MAX, Strategy, TaskFacts, least_loaded,
    ring::{Point, Ring},
};
use crate::{
    ix::AgentIx,
    routing::{hash::mix, members::Members},
};

/// Slots of the ring looked at for one task. A class with few free agents in a large fleet may need more.
const WALK_MAX: usize = 4_096;
/// The rarer a class's free agents, the longer is the walk along the ring, and the cheaper it is to compare the points of
/// each of them. An agent's points cost about as much as one that is walked past, hence this part of the root of all points.
const FEW_SHARE: usize = 4;
/// Nearest points that are tried before each agent is looked at: the agent may be of the other grade, or above the bound.
const NEAREST_TRIED: usize = 4;
/// After a walk in vain each is looked at, up to so many. Where there are more, all are of the other grade.
const AFTER_WALK_MAX: u32 = 1_024;
/// Agents with room that are passed over for their load before the first of them gets the task after all.
const PASSED_OVER_MAX: usize = 64;

/// What the levels of agents tell of the bound without a look at their facts, of which each is a trip to memory.
struct Bound {
    /// On all levels before this one agents are within the bound.
    within: u16,
    /// On this level and all behind it they are above it.
    above: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ConsistentHash {
    load_bound_percent: u64,
    ring: Ring,
    /// Usable slots of the schedulable agents.
    slots: u64,
    /// Slots in use of the schedulable agents.
    in_use: u64,
}

impl ConsistentHash {
    pub(super) fn new(load_bound_percent: u16) -> Self {
        Self { load_bound_percent: load_bound_percent.into(), ring: Ring::default(), slots: 0, in_use: 0 }
    }

    /// Whether the agent stays within the bound with the task; the bound is rounded up to whole tasks of this size.
    fn within_bound(&self, facts: &Facts, need_slots: u32) -> bool {
        let need = u64::from(need_slots).max(1);
        let share = self.load_bound_percent * (self.in_use + need) * u64::from(facts.slots_usable);
        let bound = share.div_ceil(100 * self.slots.max(1)).next_multiple_of(need);
        u64::from(facts.slots_in_use) + need <= bound
    }

    /// What [`ConsistentHash::walk`] finds, by looking at each agent of the field if no more than `max` match.
    fn nearest(&self, key: Point, field: &Field<'_>, max: u32) -> Option<AgentIx> {
        field.all(max)?.min_by_key(|&agent| {
            let facts = field.facts(agent);
            (!self.within_bound(facts, field.need_slots), key.distance(field.id_hash(agent), agent))
        })
    }

    /// What [`ConsistentHash::walk`] finds, by comparing the points of these members, of which the field may have all or
    /// none. `None` also if the nearest few will not do.
    fn nearest_of(&self, key: Point, members: &Members, field: &Field<'_>) -> Option<AgentIx> {
        let (mut place, bound) = (key, self.bound(field.need_slots));
        for _ in 0..NEAREST_TRIED {
            // An agent is told by the place of its point.
            let ahead = members.iter().map(|(id_hash, agent)| place.distance(id_hash, agent)).min()?;
            place = place.plus(ahead);
            let agent = place.agent();
            if field.level_of(agent).is_some_and(|level| self.keeps(&bound, level, agent, field)) {
                return Some(agent);
            }
            place = place.next();
        }
        None
    }

    /// What agents' levels say about the bound.
    fn bound(&self, need_slots: u32) -> Bound {
        let (level, slots) = (least_loaded::LEVELS_PER_LOAD as u64, 100 * self.slots.max(1));
        let in_use = level * self.load_bound_percent * (self.in_use + u64::from(need_slots).max(1));
        // For a slot, to stay within the bound is to have a smaller share in use, and a level is a share rounded down. Of full
        // agents, and those without a slot, no level says that much.
        let within = if need_slots <= 1 { (in_use / slots).min(level) } else { 0 };
        let at_most = |level| u16::try_from(level).unwrap_or(u16::MAX);
        Bound { within: at_most(within), above: at_most(in_use.div_ceil(slots)) }
    }

    /// Whether the agent, which stands on this level, stays within the bound with the task.
    fn keeps(&self, bound: &Bound, level: u16, agent: AgentIx, field: &Field<'_>) -> bool {
        level < bound.within || level < bound.above && self.within_bound(field.facts(agent), field.need_slots)
    }

    /// The first agent of the field on the ring that is within the bound, or else the first.
    fn walk(&self, key: Point, field: &Field<'_>) -> Option<AgentIx> {
        let (mut first, mut eligible) = (None, 0);
        let bound = self.bound(field.need_slots);
        let slots = self.ring.slots_from(key).into_iter().flatten().take(WALK_MAX);
        for (agent, level) in slots.map(|point| point.agent()).filter_map(|agent| Some((agent, field.level_of(agent)?)))
        {
            if self.keeps(&bound, level, agent, field) {
                return Some(agent);
            }
            first.get_or_insert(agent);
            eligible += 1;
            if eligible >= PASSED_OVER_MAX {
                break;
            }
        }
        first
    }
}

impl Strategy for ConsistentHash {
    fn level(&self, facts: &Facts) -> u16 {
        least_loaded::level(facts)
    }

    /// With a key, how near the agent's next point is: 1 at the key, 0 all the way round. Without, the free share.
    fn score(&self, facts: &Facts, id_hash: &u64, task: &TaskFacts) -> f64 {
        let ahead = |key| Point::at(mix(key)).distance(*id_hash, AgentIx(0));
        task.affinity.map_or(1.0 - facts.load(), |key| 1.0 - ahead(key) as f64 / u64::MAX as f64)
    }

    fn pick(&mut self, field: &Field<'_>, task: &TaskFacts) -> Option<AgentIx> {
        let least_loaded = || field.best(0..LEVELS_MAX, field.cursor);
        let Some(key) = task.affinity.map(|key| Point::at(mix(key))) else { return least_loaded() };
        let few_max = u32::try_from(self.ring.len().isqrt() / FEW_SHARE).unwrap_or(AFTER_WALK_MAX);
        if let Some(members) = field.members(few_max) {
            let nearest = self.nearest_of(key, &members, field);
            return nearest.or_else(|| self.nearest(key, field, few_max));
        }
        if field.all(few_max).is_some() {
            return self.nearest(key, field, few_max);
        }
        let walked = self.walk(key, field);
        walked.or_else(|| self.nearest(key, field, AFTER_WALK_MAX)).or_else(least_loaded)
    }

    fn joined(&mut self, agent: AgentIx, id_hash: u64) {
        self.ring.insert(id_hash, agent);
    }

    fn left(&mut self, agent: AgentIx, id_hash: u64) {
        self.ring.remove(id_hash, agent);
    }

    fn changed(&mut self, before: &Facts, after: &Facts) {
        if before.schedulable() {
            self.slots -= u64::from(before.slots_usable);
            self.in_use -= u64::from(before.slots_in_use);
        }
        if after.schedulable() {
            self.slots += u64::from(after.slots_usable);
            self.in_use += u64::from(after.slots_in_use);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_never_says_of_the_bound_what_the_facts_deny() {
        let (mut within, mut above) = (0, 0);
        let fleets =
            [(800, 560, 125, 1), (800, 561, 100, 3), (7, 6, 110, 2), (0, 0, 125, 1), (9, 9, 300, 1), (3, 1, 101, 1)];
        for (slots, in_use, percent, need) in fleets {
            let strategy = ConsistentHash { slots, in_use, ..ConsistentHash::new(percent) };
            let bound = strategy.bound(need);
            for (slots_usable, slots_in_use) in
                (0..140).flat_map(|usable| (0..=2 * usable).map(move |used| (usable, used)))
            {
                let facts = Facts { slots_usable, slots_in_use, ..Facts::default() };
                let (level, truly) = (strategy.level(&facts), strategy.within_bound(&facts, need));
                let said = (level < bound.within).then_some(true).or((level >= bound.above).then_some(false));
                assert!(said.is_none_or(|said| said == truly), "{facts:?} of {strategy:?}");
                match said {
                    Some(true) => within += 1,
                    Some(false) => above += 1,
                    None => {}
                }
            }
        }
        assert!(within > 30_000 && above > 50_000, "{within}, {above}");
    }
}
