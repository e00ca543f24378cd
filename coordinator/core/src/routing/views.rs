//! Where the best agents of a class may be found.
//!
//! In a busy fleet the best levels hold the agents that nobody asks for, and a search for others would pass them in vain
//! every time. So for a selector and a need, a frontier is remembered: on the levels before it there is no agent for
//! them. A search moves it forwards past what it found empty; an update that gives such an agent room before it moves it
//! back there. A class whose agents are all busy thus costs nothing until one of them has room again. As with fits, an
//! update pays a comparison for each view.

use slab::Slab;

use super::{
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

/// A selector and a need, and the frontier among the agents that are not degraded and among those that are.
#[derive(Debug)]
pub(super) struct View {
    pub selector: usize,
    pub fit: usize,
    pub frontiers: [Frontier; 2],
}

/// The views of all classes.
#[derive(Debug, Default)]
pub(super) struct Views(Slab<View>);

impl Views {
    pub(super) fn insert(&mut self, selector: usize, fit: usize) -> usize {
        self.0.insert(View { selector, fit, frontiers: Default::default() })
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

    /// Moves the frontiers back that an agent has come before.
    pub(super) fn follow(&mut self, agent: AgentIx, place: Place, selectors: &Selectors, fits: &Fits) {
        let Some(Shelf { degraded, full: false }) = place.shelf() else { return };
        for (_, view) in &mut self.0 {
            let frontier = &mut view.frontiers[usize::from(degraded)];
            if place.level() < frontier.level
                && selectors.agents(view.selector).contains(agent)
                && fits.get(view.fit).agents(Room::Now).contains(agent)
            {
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
