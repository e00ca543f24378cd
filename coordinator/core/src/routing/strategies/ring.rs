//! Points of agents on a ring of hashes, in their order.
//!
//! A walk begins at a random place and reads from a few to a thousand points. Hashes are even, so that they tell the place
//! almost exactly: the table has somewhat more slots than there are points, and a point stands in the slot that its hash
//! names, or in the next ones where others stand there (Amble, Knuth: "Ordered hash tables", 1974). As larger hashes name
//! later slots, the whole table is in order, and a walk reads straight on from where it begins: one trip to memory, and
//! then what memory is good at. One sorted vector was rejected because each agent that joins would move half of it, a B-tree
//! for its many small nodes, each a trip to memory in a large fleet, and a table of sorted buckets for the two trips to each.
//!
//! Points depend on the agent's id alone, never on the order of arrival.

use crate::{
    ix::AgentIx,
    routing::{AGENTS_MAX, hash::mix},
};

/// Points of an agent: when it goes, its keys spread over about as many others. More would take more memory, in a large
/// fleet more than the caches have.
const POINTS: usize = 4;
/// A point is the product of the id's hash and one of these odd numbers, modulo 2^64: even wherever the hashes are, and
/// quicker to make than by mixing.
const FACTORS: [u64; POINTS] = {
    let (mut factors, mut nth) = ([0; POINTS], 0);
    while nth < POINTS {
        factors[nth] = mix(nth as u64) | 1;
        nth += 1;
    }
    factors
};

const AGENT_MASK: u64 = AGENTS_MAX as u64 - 1;
/// So that no point is [`Point::NONE`].
const LAST_HASH: u64 = !AGENT_MASK - AGENTS_MAX as u64;
/// Slots for each two points when the table is made anew.
const SLOTS_PER_TWO: usize = 3;
/// It is made anew when more than so many of five slots are taken, where runs of neighbours begin to grow long, or fewer
/// than one of so many.
const FULL_OF_FIVE: usize = 4;
const EMPTY_OF: usize = 4;
const SLOTS_MIN: usize = 16;

/// A place on the ring: upper bits of a hash, and below them the agent whose point it is, so that no two are the same and a
/// place says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point(u64);

impl Point {
    /// A slot without a point: behind them all, and of an agent that no set has.
    const NONE: Self = Self(u64::MAX);

    /// The first place of this hash.
    pub(super) const fn at(hash: u64) -> Self {
        Self(hash & !AGENT_MASK)
    }

    fn of(hash: u64, agent: AgentIx) -> Self {
        Self((hash & !AGENT_MASK).min(LAST_HASH) | u64::from(agent.0))
    }

    /// Whose point it is.
    pub(super) const fn agent(self) -> AgentIx {
        AgentIx((self.0 & AGENT_MASK) as u32)
    }

    /// The place behind this one.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How far behind this place on the ring the next point is of this agent, whose id has this hash. No two agents are as
    /// far.
    pub(super) fn distance(self, id_hash: u64, agent: AgentIx) -> u64 {
        points(id_hash, agent).map(|point| point.0.wrapping_sub(self.0)).min().unwrap_or(u64::MAX)
    }

    /// What is so far behind this place.
    pub(super) const fn plus(self, distance: u64) -> Self {
        Self(self.0.wrapping_add(distance))
    }
}

/// The points of this agent, whose id has this hash.
fn points(id_hash: u64, agent: AgentIx) -> impl Iterator<Item = Point> {
    FACTORS.into_iter().map(move |factor| Point::of(id_hash.wrapping_mul(factor), agent))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// Slots that hashes name, and behind them those that points of the last of them were pushed on to.
    slots: Vec<Point>,
    /// Slots that hashes name.
    named: usize,
    len: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { slots: vec![Point::NONE; SLOTS_MIN], named: SLOTS_MIN, len: 0 }
    }
}

impl Ring {
    /// How many points there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Takes in the agent whose id has this hash.
    pub(super) fn insert(&mut self, id_hash: u64, agent: AgentIx) {
        for point in points(id_hash, agent) {
            self.insert_point(point);
        }
    }

    /// Forgets the agent, whose id has this hash.
    pub(super) fn remove(&mut self, id_hash: u64, agent: AgentIx) {
        for point in points(id_hash, agent) {
            self.remove_point(point);
        }
    }

    fn insert_point(&mut self, point: Point) {
        let mut at = self.find(point);
        if self.slots.get(at) == Some(&point) {
            return;
        }
        // Those behind it move on by one, up to the next free slot.
        let mut moving = point;
        while moving != Point::NONE {
            match self.slots.get_mut(at) {
                Some(slot) => moving = std::mem::replace(slot, moving),
                None => self.slots.push(std::mem::replace(&mut moving, Point::NONE)),
            }
            at += 1;
        }
        self.len += 1;
        if self.len * 5 > self.named * FULL_OF_FIVE {
            self.spread();
        }
    }

    fn remove_point(&mut self, point: Point) {
        let mut at = self.find(point);
        if self.slots.get(at) != Some(&point) {
            return;
        }
        // Those behind it that are not in the slots of their names move back by one.
        while let Some(&next) = self.slots.get(at + 1).filter(|&&next| next != Point::NONE && self.named_by(next) <= at)
        {
            self.slots[at] = next;
            at += 1;
        }
        self.slots[at] = Point::NONE;
        self.len -= 1;
        if self.len * EMPTY_OF < self.named && self.named > SLOTS_MIN {
            self.spread();
        }
    }

    /// The slot that a place names.
    fn named_by(&self, place: Point) -> usize {
        ((u128::from(place.0) * self.named as u128) >> u64::BITS) as usize
    }

    /// The first slot, from the one that the place names, that is free or has a point at or behind it.
    fn find(&self, place: Point) -> usize {
        let named = self.named_by(place);
        let before = self.slots[named..].iter().take_while(|&&point| point < place);
        named + before.count()
    }

    /// All slots once round, from the first one that has a point at or behind this place, or free ones before it, in two runs
    /// that are read one after the other. The points in them are in order; free slots name an agent that no set has.
    pub(super) fn slots_from(&self, place: Point) -> [&[Point]; 2] {
        let (behind, ahead) = self.slots.split_at(self.find(place));
        [ahead, behind]
    }

    /// Goes over to another number of slots.
    fn spread(&mut self) {
        self.named = (self.len * SLOTS_PER_TWO / 2).max(SLOTS_MIN);
        let before = std::mem::replace(&mut self.slots, Vec::with_capacity(self.named + SLOTS_MIN));
        for point in before.into_iter().filter(|&point| point != Point::NONE) {
            let named = self.named_by(point);
            self.slots.resize(self.slots.len().max(named), Point::NONE);
            self.slots.push(point);
        }
        self.slots.resize(self.slots.len().max(self.named), Point::NONE);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Walks from a few places, beside those of a set of the same points.
    fn check(ring: &Ring, points: &BTreeSet<Point>) {
        assert_eq!(ring.len(), points.len());
        let near = points.iter().nth(7).map_or(0, |point| point.0);
        for start in [0, 1 << 40, 1 << 59, 1 << 60, near, near + 1, u64::MAX / 3, u64::MAX] {
            let start = Point(start);
            let expected = points.range(start..).chain(points.range(..start));
            let walked = ring.slots_from(start).into_iter().flatten().filter(|&&point| point != Point::NONE);
            assert!(walked.eq(expected), "from {start:?} of {} points", points.len());
        }
        let named = |(at, &point): (usize, &Point)| point == Point::NONE || ring.named_by(point) <= at;
        assert!(ring.slots.iter().enumerate().all(named), "a point stands before the slot of its name");
    }

    #[test]
    fn a_walk_goes_once_round_in_order_however_the_ring_grows_and_shrinks() {
        let mut draws = fastrand::Rng::with_seed(1);
        let (mut ring, mut points) = (Ring::default(), BTreeSet::new());
        check(&ring, &points);
        for agent in (0..3_000).map(AgentIx) {
            // Some hashes are those of several agents, some differ in their last bits alone, and some are the last there are.
            let hash = match agent.0 % 10 {
                0 => 1 << 60,
                1 => (1 << 60) + draws.u64(0..9),
                2 => u64::MAX - draws.u64(0..9),
                _ => draws.u64(..),
            };
            let point = Point::of(hash, agent);
            points.insert(point);
            ring.insert_point(point);
            ring.insert_point(point);
            if agent.0.is_multiple_of(100) {
                check(&ring, &points);
            }
        }
        check(&ring, &points);
        let slots = ring.slots.len();
        for (nth, point) in points.clone().into_iter().enumerate().filter(|(_, point)| point.agent().0 % 30 > 1) {
            points.remove(&point);
            ring.remove_point(point);
            ring.remove_point(point);
            if nth.is_multiple_of(100) {
                check(&ring, &points);
            }
        }
        check(&ring, &points);
        assert!(ring.slots.len() < slots / 4, "{} slots of {slots} for {} points", ring.slots.len(), points.len());
    }

    #[test]
    fn distances_are_those_that_a_walk_goes() {
        let mut draws = fastrand::Rng::with_seed(2);
        let agents: Vec<(u64, AgentIx)> = (0..50).map(|n| (draws.u64(..), AgentIx(n))).collect();
        let mut ring = Ring::default();
        agents.iter().for_each(|&(id_hash, agent)| ring.insert(id_hash, agent));
        for _ in 0..100 {
            let mut place = Point::at(draws.u64(..));
            let slots = ring.slots_from(place).into_iter().flatten();
            for &walked in slots.filter(|&&point| point != Point::NONE) {
                let ahead = agents.iter().map(|&(id_hash, agent)| place.distance(id_hash, agent)).min();
                place = place.plus(ahead.unwrap_or(0));
                assert_eq!(place, walked);
                place = place.next();
            }
        }
    }
}
