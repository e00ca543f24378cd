//! What the router remembers of each agent.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::AgentSpec;

use super::{
    facts::{Facts, Flags},
    hash::hash_text,
    levels::Place,
};
use crate::ix::AgentIx;

/// Amounts of named resources.
pub(super) type Custom = BTreeMap<String, u64>;

/// What seldom changes, or is seldom needed.
#[derive(Debug)]
pub(super) struct Statics {
    pub spec: Arc<AgentSpec>,
    pub free_custom: Custom,
}

/// All agents: what decisions read in dense tables, the rest in another. A search reads the places of agents that it then
/// passes over; at two bytes an agent those of a large fleet stay in the cache, which the facts do not.
#[derive(Debug, Default)]
pub(super) struct Roster {
    facts: Vec<Facts>,
    places: Vec<Place>,
    /// Hashes of their ids. Apart from the facts, because few decisions read them.
    id_hashes: Vec<u64>,
    statics: Vec<Option<Statics>>,
}

impl Roster {
    /// The facts of all, by index.
    pub(super) fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// The hashes of the ids of all, by index; without meaning for those that are not there.
    pub(super) fn id_hashes(&self) -> &[u64] {
        &self.id_hashes
    }

    /// Where all stand in the levels, by index.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where an agent stands in the levels.
    pub(super) fn place(&self, agent: AgentIx) -> Place {
        self.places.get(agent.at()).copied().unwrap_or_default()
    }

    /// Notes where an agent that is there stands now.
    pub(super) fn set_place(&mut self, agent: AgentIx, place: Place) {
        if let Some(at) = self.places.get_mut(agent.at()) {
            *at = place;
        }
    }

    /// An agent's statics, if it is there.
    pub(super) fn statics(&self, agent: AgentIx) -> Option<&Statics> {
        self.statics.get(agent.at())?.as_ref()
    }

    /// An agent's facts, if it is there.
    pub(super) fn get(&self, agent: AgentIx) -> Option<&Facts> {
        self.facts.get(agent.at()).filter(|facts| facts.present())
    }

    /// An agent's facts, to change them, if it is there.
    pub(super) fn get_mut(&mut self, agent: AgentIx) -> Option<&mut Facts> {
        self.facts.get_mut(agent.at()).filter(|facts| facts.present())
    }

    /// Remembers the named resources that an agent has free.
    pub(super) fn set_custom(&mut self, agent: AgentIx, free: &Custom) {
        if let Some(Some(statics)) = self.statics.get_mut(agent.at()) {
            statics.free_custom.clone_from(free);
        }
    }

    /// Takes an agent up in a state in which it is not schedulable.
    pub(super) fn insert(&mut self, agent: AgentIx, spec: Arc<AgentSpec>) {
        if self.facts.len() <= agent.at() {
            self.facts.resize_with(agent.at() + 1, Facts::default);
            self.places.resize_with(agent.at() + 1, Place::default);
            self.id_hashes.resize(agent.at() + 1, 0);
            self.statics.resize_with(agent.at() + 1, || None);
        }
        self.id_hashes[agent.at()] = hash_text(spec.id.as_str());
        let (weight, tier) = (spec.weight, spec.tier);
        self.facts[agent.at()] = Facts { flags: Flags::PRESENT, weight, tier, ..Facts::default() };
        self.statics[agent.at()] = Some(Statics { spec, free_custom: Custom::new() });
    }

    /// Forgets an agent; its spec, if it was there.
    pub(super) fn remove(&mut self, agent: AgentIx) -> Option<Arc<AgentSpec>> {
        let statics = self.statics.get_mut(agent.at())?.take()?;
        self.facts[agent.at()] = Facts::default();
        self.places[agent.at()] = Place::default();
        Some(statics.spec)
    }

    /// All agents that are there.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentIx, &Facts, &Statics)> {
        let both = self.facts.iter().zip(&self.statics).enumerate();
        both.filter_map(|(at, (facts, statics))| Some((AgentIx::from(at), facts, statics.as_ref()?)))
    }
}
