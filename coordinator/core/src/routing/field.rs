//! The agents that a strategy may choose among.

use std::{
    cell::{RefCell, RefMut},
    ops::Range,
};

use super::{
    agent_set::{AgentSet, common_from, first_common},
    facts::{Facts, Room},
    levels::{LEVELS_MAX, Levels, Place},
    members::Members,
    views::Frontier,
};
use crate::ix::AgentIx;

/// Up to so many agents of a view, each is looked at: walking levels for a few agents of a large fleet costs more.
const FEW_AGENTS: u32 = 48;
/// Levels walked in vain before it is checked that there is anybody at all.
const MISSES_BEFORE_CHECK: usize = 2;
/// Draws of a random agent before the search goes on from a random place.
const DRAWS_MAX: usize = 16;
/// A search that passes over so many agents says that the level has hardly any left for this view. Smaller fleets are
/// searched again and again in no time.
const GAP_MAX: u32 = 1_024;
/// A search from a random place favours agents behind a gap; going on for up to so many evens the gaps out.
const STEPS_MAX: u32 = 8;

/// The agents of one grade, degraded or not, that match a class and have room for it.
pub(crate) struct Field<'a> {
    pub(super) facts: &'a [Facts],
    pub(super) id_hashes: &'a [u64],
    pub(super) places: &'a [Place],
    pub(super) shelves: [&'a Levels; 2],
    /// Agents that match.
    pub(super) selector: &'a AgentSet,
    /// Agents with room. To have room now, both are the agents of the view, so that a search reads one set less.
    pub(super) with_room: &'a AgentSet,
    pub(super) room: Room,
    pub(super) degraded: bool,
    /// Of use for [`Room::Now`] alone.
    pub(super) frontier: RefCell<&'a mut Frontier>,
    /// Of the view, likewise.
    pub(super) members: RefCell<&'a mut Option<Members>>,
    /// Slots that the task asks for.
    pub need_slots: u32,
    /// Where to begin, so that equal agents take turns.
    pub cursor: AgentIx,
}

impl<'a> Field<'a> {
    /// An agent's facts.
    pub(crate) fn facts(&self, agent: AgentIx) -> &'a Facts {
        &self.facts[agent.at()]
    }

    /// The hash of an agent's id.
    pub(crate) fn id_hash(&self, agent: AgentIx) -> u64 {
        self.id_hashes[agent.at()]
    }

    /// Whether the agent may be chosen.
    pub(crate) fn has(&self, agent: AgentIx) -> bool {
        self.level_of(agent).is_some()
    }

    /// The agent's level, if it may be chosen.
    pub(crate) fn level_of(&self, agent: AgentIx) -> Option<u16> {
        if !self.with_room.contains(agent) || !self.selector.contains(agent) {
            return None;
        }
        let place = self.places[agent.at()];
        place.shelf().filter(|shelf| shelf.degraded == self.degraded).map(|_| place.level())
    }

    /// All agents that may be chosen, if they are but a few.
    fn few(&self) -> Option<impl Iterator<Item = AgentIx> + '_> {
        self.all(FEW_AGENTS)
    }

    /// All agents that may be chosen, if no more than `max` have to be looked at.
    pub(crate) fn all(&self, max: u32) -> Option<impl Iterator<Item = AgentIx> + '_> {
        (self.selector.len() <= max).then(|| self.selector.iter().filter(|&agent| self.has(agent)))
    }

    /// The agents of the view in one piece, of either grade, if they are no more than `max`. Once asked for they are kept up,
    /// until they are twice as many.
    pub(crate) fn members(&self, max: u32) -> Option<RefMut<'_, Members>> {
        if self.room != Room::Now || self.selector.len() > max {
            return None;
        }
        let all = || self.selector.iter().map(|agent| (self.id_hash(agent), agent));
        Some(RefMut::map(self.members.borrow_mut(), |members| {
            members.get_or_insert_with(|| Members::new(all(), 2 * max))
        }))
    }

    /// An agent on the best of these levels, the first from `from` on. Agents with a free slot come first.
    pub(crate) fn best(&self, levels: Range<u16>, from: AgentIx) -> Option<AgentIx> {
        if let Some(few) = self.few() {
            let place = |agent: AgentIx| self.places[agent.at()];
            return few
                .filter(|&agent| levels.contains(&place(agent).level()))
                .min_by_key(|&agent| (place(agent), agent.0.wrapping_sub(from.0)));
        }
        match self.room {
            Room::Now => self.best_now(levels, from),
            Room::Ahead | Room::Urgent => {
                self.shelves.iter().find_map(|shelf| self.walk(shelf, levels.clone(), from)).map(|(_, at)| at)
            }
        }
    }

    /// The best before the frontier, or else behind it, which moves the frontier.
    fn best_now(&self, levels: Range<u16>, from: AgentIx) -> Option<AgentIx> {
        let mut frontier = self.frontier.borrow_mut();
        if let Some(known) = frontier.best(&levels, from) {
            return Some(known);
        }
        let start = frontier.level().max(levels.start);
        let found = if start < levels.end { self.walk(self.shelves[0], start..levels.end, from) } else { None };
        if levels.contains(&frontier.level()) {
            frontier.advance(found.map_or(levels.end, |(level, _)| level));
            if let Some((level, agent)) = found.filter(|(_, agent)| agent.0.wrapping_sub(from.0) > GAP_MAX) {
                frontier.learn(level, common_from([self.shelves[0].on(level), self.with_room], agent));
            }
        }
        found.map(|(_, agent)| agent)
    }

    /// The best of these levels of a shelf that has an agent of the field, and its first agent from `from` on.
    fn walk(&self, shelf: &Levels, levels: Range<u16>, from: AgentIx) -> Option<(u16, AgentIx)> {
        let mut misses = 0;
        for level in shelf.occupied(levels) {
            let found = first_common([shelf.on(level), self.selector, self.with_room], from);
            if let Some(agent) = found {
                return Some((level, agent));
            }
            misses += 1;
            if misses == MISSES_BEFORE_CHECK && first_common([self.selector, self.with_room], from).is_none() {
                return None;
            }
        }
        None
    }

    /// An agent drawn evenly from those that may be chosen.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> Option<AgentIx> {
        if let Some(few) = self.few() {
            return reservoir(few, rng);
        }
        let fewer = if self.selector.len() < self.with_room.len() { self.selector } else { self.with_room };
        for _ in 0..DRAWS_MAX {
            if let Some(agent) = fewer.draw(rng).filter(|&agent| self.has(agent)) {
                return Some(agent);
            }
        }
        let from = fewer.draw(rng)?;
        let mut agent = self.best(0..LEVELS_MAX, from)?;
        for _ in 0..rng.u32(0..STEPS_MAX) {
            agent = self.best(0..LEVELS_MAX, AgentIx(agent.0 + 1))?;
        }
        Some(agent)
    }
}

/// One of them, each as likely as another.
fn reservoir(agents: impl Iterator<Item = AgentIx>, rng: &mut fastrand::Rng) -> Option<AgentIx> {
    let mut chosen = None;
    for (seen, agent) in (1u32..).zip(agents) {
        if rng.u32(0..seen) == 0 {
            chosen = Some(agent);
        }
    }
    chosen
}
