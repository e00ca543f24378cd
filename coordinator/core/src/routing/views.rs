//! Where the best agents of a class may be found.
//!
//! A view is what a selector and a need have in common: the agents that match and have room now. With that set at hand a
//! class whose agents are all busy costs nothing, and one with a few free agents no search.
//!
//! In a busy fleet the best levels hold the agents that nobody asks for, and a search for others would pass them in vain
//! every time. So each view has a frontier: of the levels before it, all agents of the view are known by name, and they are
//! few. An update of an agent adds it there if it comes to such a level, and takes it away if it leaves one; where they
//! become too many, the frontier moves back. A search that finds nobody there moves the frontier forwards past what it
//! finds empty, and where the first agent it finds is a long way off, it names all that the level has. So a level with a
//! few agents of the view among a large fleet is passed over once, and not for each of them. As with fits, an update pays
//! a few comparisons for each view.

use std::ops::Range;

use slab::Slab;

use super::{agent_set::AgentSet, facts::Room, fits::Fits, levels::Place, members::Members, selectors::Selectors};
use crate::ix::AgentIx;

/// Agents named by a frontier. Enough that arrivals and departures seldom empty or overflow it, few enough to look at each.
const KNOWN_MAX: usize = 8;

/// The best agents of a view, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    /// The first level whose agents are not all known.
    level: u16,
    /// All agents on the levels before, in no order.
    known: Vec<(u16, AgentIx)>,
}

impl Frontier {
    /// The first level whose agents are not all known.
    pub(super) const fn level(&self) -> u16 {
        self.level
    }

    /// The known agent on the best of these levels, the first from `from` on.
    pub(super) fn best(&self, levels: &Range<u16>, from: AgentIx) -> Option<AgentIx> {
        let among = self.known.iter().filter(|(level, _)| levels.contains(level));
        among.min_by_key(|&&(level, agent)| (level, agent.0.wrapping_sub(from.0))).map(|&(_, agent)| agent)
    }

    /// The levels from the frontier to this one turned out to be empty.
    pub(super) fn advance(&mut self, level: u16) {
        self.level = level;
    }

    /// Takes in the agents of the level at the frontier, unless they are too many.
    pub(super) fn learn(&mut self, level: u16, agents: impl Iterator<Item = AgentIx>) {
        let before = self.known.len();
        let room = KNOWN_MAX - before;
        self.known.extend(agents.take(room + 1).map(|agent| (level, agent)));
        if self.known.len() > KNOWN_MAX {
            self.known.truncate(before);
        } else {
            self.level = level + 1;
        }
    }

    /// An agent of the view comes to a level before the frontier.
    fn join(&mut self, level: u16, agent: AgentIx) {
        self.known.push((level, agent));
        if self.known.len() > KNOWN_MAX {
            self.level = self.known.iter().map(|&(level, _)| level).max().unwrap_or(0);
            self.known.retain(|&(level, _)| level < self.level);
        }
    }

    /// An agent of the view leaves a level before the frontier.
    fn leave(&mut self, agent: AgentIx) {
        if let Some(at) = self.known.iter().position(|&(_, known)| known == agent) {
            self.known.swap_remove(at);
        }
    }
}

/// What a selector and a need have in common.
#[derive(Debug)]
pub(super) struct View {
    pub selector: usize,
    fit: usize,
    /// Agents that match and have room now.
    pub agents: AgentSet,
    /// Among the agents that are not degraded, and among those that are.
    pub frontiers: [Frontier; 2],
    /// The same agents in one piece, if a search asked for them so and they are few.
    pub members: Option<Members>,
}

impl View {
    /// An agent may have come into what both have in common, or gone from it. Its hash, a trip to memory in a large fleet, is
    /// looked up among all only if it is needed.
    fn set(&mut self, agent: AgentIx, id_hashes: &[u64], has: bool) {
        if !self.agents.set(agent, has) {
            return;
        }
        if let Some(members) = &mut self.members {
            if has {
                members.insert(id_hashes[agent.at()], agent);
            } else {
                members.remove(agent);
            }
        }
        self.members.take_if(|members| members.too_many());
    }
}

/// The views of all classes.
#[derive(Debug, Default)]
pub(super) struct Views(Slab<View>);

impl Views {
    pub(super) fn insert(&mut self, selector: usize, fit: usize, selectors: &Selectors, fits: &Fits) -> usize {
        let with_room = fits.get(fit).agents(Room::Now);
        let agents = selectors.agents(selector).iter().filter(|&agent| with_room.contains(agent)).collect();
        self.0.insert(View { selector, fit, agents, frontiers: Default::default(), members: None })
    }

    pub(super) fn remove(&mut self, at: usize) -> View {
        self.0.remove(at)
    }

    pub(super) fn get(&self, at: usize) -> &View {
        &self.0[at]
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut View {
        &mut self.0[at]
    }

    /// Follows an agent, whose id's hash is among these, from one place to another, after the fits have followed it.
    pub(super) fn follow(
        &mut self,
        (agent, id_hashes): (AgentIx, &[u64]),
        from: Place,
        to: Place,
        selectors: &Selectors,
        fits: &Fits,
    ) {
        let moves = from != to;
        let (leaves, joins) = (from.with_free_slot(), to.with_free_slot());
        // In a large fleet each set is another line of memory, so only those are asked that the agent can be in.
        let matched = fits.changed().then(|| selectors.matched_by(agent));
        if matched.is_none() && !moves {
            return;
        }
        for (_, view) in &mut self.0 {
            if let Some((degraded, level)) = leaves {
                let frontier = &mut view.frontiers[usize::from(degraded)];
                if level < frontier.level && view.agents.contains(agent) {
                    frontier.leave(agent);
                }
            }
            if let Some(matched) = &matched
                && let Some(fits) = fits.get(view.fit).changed
                && matched.has(view.selector)
            {
                view.set(agent, id_hashes, fits);
            }
            if let Some((degraded, level)) = joins {
                let frontier = &mut view.frontiers[usize::from(degraded)];
                if level < frontier.level && view.agents.contains(agent) {
                    frontier.join(level, agent);
                }
            }
        }
    }

    /// Forgets what is known, because the levels mean something else now and other searches follow.
    pub(super) fn reset(&mut self) {
        for (_, view) in &mut self.0 {
            view.frontiers = Default::default();
            view.members = None;
        }
    }
}
