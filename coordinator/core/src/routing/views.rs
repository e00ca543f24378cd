//! Where the best agents of a class may be found.
//!
//! A view is what a selector and a need have in common: the agents that match and have room now. With that set at hand a
//! class whose agents are all busy costs nothing, and one with a few free agents no search.
//!
//! In a busy fleet the best levels hold the agents that nobody asks for, and a search for others would pass them in vain
//! every time. So each view remembers a frontier: on the levels before it there is no agent of the view. A search moves it
//! forwards past what it found empty; an update of an agent of the view moves it back to that agent's level. As with
//! fits, an update pays a few comparisons for each view.

use slab::Slab;

use super::{
    agent_set::AgentSet,
    facts::Room,
    fits::Fits,
    levels::{Place, Shelf},
    selectors::Selectors,
};
use crate::ix::AgentIx;

/// Up to where levels are known to have no agent with room now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frontier {
    /// The first level that may have one.
    pub level: u16,
    /// An agent that was seen to come to that level, to begin with.
    pub lead: Option<AgentIx>,
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
}

/// The views of all classes.
#[derive(Debug, Default)]
pub(super) struct Views(Slab<View>);

impl Views {
    pub(super) fn insert(&mut self, selector: usize, fit: usize, selectors: &Selectors, fits: &Fits) -> usize {
        let with_room = fits.get(fit).agents(Room::Now);
        let agents = selectors.agents(selector).iter().filter(|&agent| with_room.contains(agent)).collect();
        self.0.insert(View { selector, fit, agents, frontiers: Default::default() })
    }

    pub(super) fn remove(&mut self, at: usize) -> View {
        self.0.remove(at)
    }

    pub(super) fn get(&self, at: usize) -> &View {
        &self.0[at]
    }

    /// Remembers where a search ended.
    pub(super) fn set_frontier(&mut self, at: usize, degraded: bool, frontier: Frontier) {
        self.0[at].frontiers[usize::from(degraded)] = frontier;
    }

    /// Follows an agent to its new place, after the fits have followed it.
    pub(super) fn follow(&mut self, agent: AgentIx, place: Place, selectors: &Selectors, fits: &Fits) {
        let shelf = place.shelf().filter(|shelf| !shelf.full);
        for (_, view) in &mut self.0 {
            let fit = fits.get(view.fit);
            if fit.changed {
                let matches = selectors.agents(view.selector).contains(agent);
                view.agents.set(agent, matches && fit.agents(Room::Now).contains(agent));
            }
            let Some(Shelf { degraded, .. }) = shelf else { continue };
            let frontier = &mut view.frontiers[usize::from(degraded)];
            if place.level() < frontier.level && view.agents.contains(agent) {
                *frontier = Frontier { level: place.level(), lead: Some(agent) };
            }
        }
    }

    /// Forgets what is known, because the levels mean something else now.
    pub(super) fn reset(&mut self) {
        for (_, view) in &mut self.0 {
            view.frontiers = Default::default();
        }
    }
}
