//! Agents on levels, best first.
//!
//! A strategy gives each agent a level. A pick walks the levels that hold somebody from the best one on, and takes an
//! agent of the first level with an eligible one, so that its cost depends on the number of levels and not on the fleet.
//! A heap or an ordered tree was rejected: the best agent of a tree need not be eligible, and a walk past the ineligible
//! ones is a scan.
//!
//! Each agent stands on one of four shelves of levels: degraded agents apart from the others, and those without a free
//! slot, which can only take tasks ahead, apart from those with one. Agents with no room at all stand nowhere.

use std::ops::Range;

use super::{agent_set::AgentSet, facts::Facts};
use crate::ix::AgentIx;

/// Levels of a shelf: 16 tiers of 64. A level costs a bit in a map, and memory once somebody stood on it.
pub(crate) const LEVELS_MAX: u16 = 1_024;
const SHELVES: usize = 4;

/// Which shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shelf {
    pub degraded: bool,
    /// Without a free slot.
    pub full: bool,
}

impl Shelf {
    const fn at(self) -> u16 {
        self.degraded as u16 * 2 + self.full as u16
    }
}

/// A shelf and a level on it. Sorts by the level, on each shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u16);

impl Place {
    /// Not to be picked.
    const NOWHERE: Self = Self(u16::MAX);

    /// Where an agent belongs that has this level; a level beyond the last is the last.
    pub(super) fn of(facts: &Facts, level: u16) -> Self {
        let has_slots = facts.free_slots != 0 || facts.prefetch_free_slots != 0 || facts.urgent_free_slots != 0;
        if !facts.schedulable() || !has_slots {
            return Self::NOWHERE;
        }
        let shelf = Shelf { degraded: facts.degraded(), full: facts.free_slots == 0 };
        Self(shelf.at() * LEVELS_MAX + level.min(LEVELS_MAX - 1))
    }

    /// Its shelf, unless it is nowhere.
    pub(super) fn shelf(self) -> Option<Shelf> {
        let at = self.0 / LEVELS_MAX;
        (self != Self::NOWHERE).then_some(Shelf { degraded: at / 2 == 1, full: at % 2 == 1 })
    }

    /// Whether it is on the shelf of degraded agents, and its level, if it is a place of agents with a free slot.
    pub(super) fn with_free_slot(self) -> Option<(bool, u16)> {
        self.shelf().filter(|shelf| !shelf.full).map(|shelf| (shelf.degraded, self.level()))
    }

    /// Its level.
    pub(super) const fn level(self) -> u16 {
        self.0 % LEVELS_MAX
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::NOWHERE
    }
}

/// Levels of agents and which of them hold somebody.
#[derive(Debug, Default)]
pub(super) struct Levels {
    sets: Vec<AgentSet>,
    occupied: [u64; LEVELS_MAX as usize / 64],
    len: u32,
}

impl Levels {
    /// How many agents stand here.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The agents of a level.
    pub(super) fn on(&self, level: u16) -> &AgentSet {
        &self.sets[usize::from(level)]
    }

    /// The levels of a range that hold somebody, best first.
    pub(super) fn occupied(&self, range: Range<u16>) -> impl Iterator<Item = u16> + '_ {
        let next = move |from: u16| self.next_occupied(from).filter(|&level| level < range.end);
        std::iter::successors(next(range.start), move |&level| next(level + 1))
    }

    fn next_occupied(&self, from: u16) -> Option<u16> {
        let mut word = usize::from(from / 64);
        let mut bits = self.occupied.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        u16::try_from(word * 64 + bits.trailing_zeros() as usize).ok()
    }

    fn insert(&mut self, level: u16, agent: AgentIx) {
        let at = usize::from(level);
        if self.sets.len() <= at {
            self.sets.resize_with(at + 1, AgentSet::default);
        }
        self.len += u32::from(self.sets[at].insert(agent));
        self.occupied[at / 64] |= 1 << (at % 64);
    }

    fn remove(&mut self, level: u16, agent: AgentIx) {
        let at = usize::from(level);
        self.len -= u32::from(self.sets[at].remove(agent));
        if self.sets[at].is_empty() {
            self.occupied[at / 64] &= !(1 << (at % 64));
        }
    }
}

/// The four shelves.
#[derive(Debug, Default)]
pub(super) struct Shelves([Levels; SHELVES]);

impl Shelves {
    /// The shelf of agents with a free slot, and the shelf of those without.
    pub(super) const fn of_grade(&self, degraded: bool) -> [&Levels; 2] {
        let first = degraded as usize * 2;
        [&self.0[first], &self.0[first + 1]]
    }

    /// Moves an agent from one place to another.
    pub(super) fn shift(&mut self, agent: AgentIx, from: Place, to: Place) {
        if from == to {
            return;
        }
        if let Some(shelf) = from.shelf() {
            self.0[usize::from(shelf.at())].remove(from.level(), agent);
        }
        if let Some(shelf) = to.shelf() {
            self.0[usize::from(shelf.at())].insert(to.level(), agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::facts::Flags;

    fn facts(free_slots: u16, prefetch_free_slots: u16, degraded: bool) -> Facts {
        let flags = Flags::SCHEDULABLE.and(Flags::DEGRADED, degraded);
        Facts { flags, free_slots, prefetch_free_slots, ..Facts::default() }
    }

    #[test]
    fn occupied_levels_come_best_first_and_vanish_with_their_last_agent() {
        let mut levels = Levels::default();
        for (level, agent) in [(700, 1), (3, 2), (3, 9), (64, 4)] {
            levels.insert(level, AgentIx(agent));
        }
        levels.remove(64, AgentIx(4));
        levels.remove(3, AgentIx(2));
        assert_eq!(levels.occupied(0..LEVELS_MAX).collect::<Vec<_>>(), [3, 700]);
        assert_eq!(levels.occupied(4..700).count(), 0);
        assert_eq!(levels.on(3).iter().collect::<Vec<_>>(), [AgentIx(9)]);
        assert_eq!(levels.len(), 2);
    }

    #[test]
    fn degraded_and_full_agents_stand_apart_and_those_without_room_nowhere() {
        let mut shelves = Shelves::default();
        let all = [facts(1, 0, false), facts(0, 1, false), facts(1, 1, true), facts(0, 2, true), facts(0, 0, false)];
        for (at, facts) in all.iter().enumerate() {
            shelves.shift(AgentIx::from(at), Place::NOWHERE, Place::of(facts, 5));
        }
        let standing = |degraded| shelves.of_grade(degraded).map(|levels| levels.len());
        assert_eq!((standing(false), standing(true)), ([1, 1], [1, 1]));
        assert_eq!(Place::of(&Facts { flags: Flags::PRESENT, ..all[0] }, 5), Place::NOWHERE);
        assert_eq!(Place::of(&all[3], u16::MAX).level(), LEVELS_MAX - 1);
    }
}
