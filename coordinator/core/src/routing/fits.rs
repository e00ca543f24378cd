//! Which agents have room for which amount of resources.
//!
//! Each distinct need of the tasks at hand has the set of agents that it fits into now, and of those that could take it
//! ahead. The sets are kept by each update of an agent, which passes over the needs (a few comparisons each) and touches
//! a set only where its answer changes. So a decision looks at no agent's resources, and the number of agents with room
//! is always known. Updates cost more with more distinct needs; their number is bounded by that of the classes.

use std::collections::BTreeMap;

use evenkeel_shared::Resources;
use slab::Slab;

use super::{
    agent_set::AgentSet,
    facts::{Facts, Room},
    roster::{Custom, Roster, Statics},
};
use crate::ix::AgentIx;

/// A need and the agents with room for it.
#[derive(Debug)]
pub(super) struct Fit {
    pub need: Resources,
    now: AgentSet,
    ahead: AgentSet,
    urgent: AgentSet,
    /// Whether the agent of the last update has room now, if that changed with it.
    pub changed: Option<bool>,
    refs: u32,
}

impl Fit {
    /// The agents with this kind of room.
    pub(super) const fn agents(&self, room: Room) -> &AgentSet {
        match room {
            Room::Now => &self.now,
            Room::Ahead => &self.ahead,
            Room::Urgent => &self.urgent,
        }
    }

    /// Whether everything but the named resources fits.
    const fn fits_plain(&self, facts: &Facts) -> bool {
        facts.schedulable()
            && self.need.slots <= facts.free_slots as u32
            && self.need.cpu_millis <= facts.free_cpu_millis as u64
            && self.need.memory_bytes <= facts.free_memory_bytes
    }

    /// Whether its slots may be taken ahead.
    const fn fits_ahead(&self, facts: &Facts) -> bool {
        facts.schedulable() && self.need.slots <= facts.prefetch_free_slots as u32
    }

    /// Whether everything but the named resources fits, for an urgent task. Of agents that make no difference: never.
    const fn fits_urgent(&self, facts: &Facts) -> bool {
        facts.schedulable()
            && self.need.slots <= facts.urgent_free_slots as u32
            && self.need.cpu_millis <= facts.free_cpu_millis as u64
            && self.need.memory_bytes <= facts.free_memory_bytes
    }

    fn fits_custom(&self, free: &Custom) -> bool {
        self.need.custom.iter().all(|(name, &amount)| amount <= free.get(name).copied().unwrap_or(0))
    }
}

/// All needs.
#[derive(Debug, Default)]
pub(super) struct Fits {
    table: Slab<Fit>,
    by_need: BTreeMap<Resources, usize>,
    /// Whether the last update changed for any of them whether its agent has room now.
    changed: bool,
}

impl Fits {
    pub(super) fn get(&self, at: usize) -> &Fit {
        &self.table[at]
    }

    /// Whether the last update changed for any need whether its agent has room now.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    /// The need's place in the table; made if it is new.
    pub(super) fn acquire(&mut self, need: &Resources, roster: &Roster) -> usize {
        if let Some(&at) = self.by_need.get(need) {
            self.table[at].refs += 1;
            return at;
        }
        let mut fit = Fit {
            need: need.clone(),
            now: AgentSet::default(),
            ahead: AgentSet::default(),
            urgent: AgentSet::default(),
            changed: None,
            refs: 1,
        };
        for (agent, facts, statics) in roster.iter() {
            if fit.fits_plain(facts) && fit.fits_custom(&statics.free_custom) {
                fit.now.insert(agent);
            }
            if fit.fits_ahead(facts) && statics.spec.capacity.fits(need) {
                fit.ahead.insert(agent);
            }
            if fit.fits_urgent(facts) && fit.fits_custom(&statics.free_custom) {
                fit.urgent.insert(agent);
            }
        }
        let at = self.table.insert(fit);
        self.by_need.insert(need.clone(), at);
        at
    }

    /// Gives a need back; forgotten once nobody holds it.
    pub(super) fn release(&mut self, at: usize) {
        self.table[at].refs -= 1;
        if self.table[at].refs == 0 {
            let fit = self.table.remove(at);
            self.by_need.remove(&fit.need);
        }
    }

    /// Follows an agent from one state to the next.
    pub(super) fn follow(&mut self, agent: AgentIx, old: &Facts, new: &Facts, roster: &Roster) {
        let statics = || roster.statics(agent);
        // Nearly always neither has any.
        let urgent = old.urgent_free_slots != 0 || new.urgent_free_slots != 0;
        self.changed = false;
        for (_, fit) in &mut self.table {
            let (plain, custom) = (fit.fits_plain(new), !fit.need.custom.is_empty());
            let fits = plain && (!custom || statics().is_some_and(|it| fit.fits_custom(&it.free_custom)));
            let changed = (custom || fit.fits_plain(old) != plain) && fit.now.set(agent, fits);
            fit.changed = changed.then_some(fits);
            self.changed |= changed;
            if fit.fits_ahead(old) != fit.fits_ahead(new) {
                let fits = fit.fits_ahead(new) && statics().is_some_and(|it| it.spec.capacity.fits(&fit.need));
                fit.ahead.set(agent, fits);
            }
            if urgent {
                let custom = |it: &Statics| fit.need.custom.is_empty() || fit.fits_custom(&it.free_custom);
                let fits = fit.fits_urgent(new) && statics().is_some_and(custom);
                fit.urgent.set(agent, fits);
            }
        }
    }
}
