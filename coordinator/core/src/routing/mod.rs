//! Routing: filter, score, pick, at a cost that does not grow with the fleet.
//!
//! The engine owns the truth about agents and tells the router every change of it. The router keeps three indices, so
//! that a decision is a search for the first agent that is in three bitmaps at once, and never a scan:
//!
//! - [`selectors`]: who matches a kind and label rules, kept as agents come, go and change what they are;
//! - [`fits`]: who has room for an amount of resources, now and ahead, kept by each update;
//! - [`levels`]: who is how good by the strategy's measure, kept by each update.
//!
//! [`views`] and [`classes`] tie the first two together for tasks that ask for the same. [`strategies`] choose within the
//! [`field`] that is left. Degraded agents come after all the others whatever the strategy; then preferences, as many as
//! can be had; then the strategy's own order.
//!
//! Filtering a list of agents for each task was rejected for its cost, and sampling a few agents as the only way for what
//! it misses: a task must never wait while an eligible agent has room.

mod agent_set;
mod classes;
mod explain;
mod facts;
mod field;
mod fits;
mod hash;
mod levels;
mod members;
mod refusal;
mod roster;
mod selectors;
mod strategies;
mod views;

use std::{cell::RefCell, sync::Arc};

use evenkeel_shared::{AgentSpec, Kind, QuotaKey, Requirements, StrategyConfig};

pub use self::{
    agent_set::{AGENTS_MAX, AgentSet},
    classes::{CLASSES_MAX, ClassLimit},
    facts::{AgentState, Pick, Room, TaskFacts},
    hash::affinity,
    refusal::Refusal,
};
use self::{
    classes::{Classes, Index},
    facts::Facts,
    field::Field,
    levels::{Place, Shelves},
    roster::Roster,
    strategies::Strategy,
    views::{Frontier, View},
};
use crate::ix::{AgentIx, ClassIx};

/// Picks agents for tasks.
#[derive(Debug)]
pub struct Router {
    roster: Roster,
    index: Index,
    classes: Classes,
    shelves: Shelves,
    strategy: Box<dyn Strategy>,
    config: StrategyConfig,
    seed: u64,
}

impl Router {
    /// A router without agents. The settings must be valid; `seed` is for the strategies that draw at random.
    #[must_use]
    pub fn new(config: &StrategyConfig, seed: u64) -> Self {
        Self {
            roster: Roster::default(),
            index: Index::default(),
            classes: Classes::default(),
            shelves: Shelves::default(),
            strategy: strategies::build(config, seed),
            config: config.clone(),
            seed,
        }
    }

    /// Goes over to another strategy, or other settings of it, which must be valid. Passes over the whole fleet once.
    pub fn set_strategy(&mut self, config: &StrategyConfig) {
        self.config = config.clone();
        self.strategy = strategies::build(config, self.seed);
        self.shelves = Shelves::default();
        self.index.views.reset();
        let agents: Vec<AgentIx> = self.roster.iter().map(|(agent, ..)| agent).collect();
        for agent in agents {
            let Some(facts) = self.roster.get(agent) else { continue };
            self.strategy.joined(agent, self.roster.id_hashes()[agent.at()]);
            self.strategy.changed(&Facts::default(), facts);
            let place = Place::of(facts, self.strategy.level(facts));
            self.shelves.shift(agent, Place::default(), place);
            self.roster.set_place(agent, place);
        }
    }

    /// The strategy and its settings.
    #[must_use]
    pub const fn strategy(&self) -> &StrategyConfig {
        &self.config
    }

    /// Takes an agent up, or its changed spec. It gets no task before its next [`Router::update`]. An index of
    /// [`AGENTS_MAX`] or above never gets one.
    pub fn insert(&mut self, agent: AgentIx, spec: Arc<AgentSpec>) {
        if agent.at() >= AGENTS_MAX {
            return;
        }
        self.remove(agent);
        self.index.selectors.insert(agent, &spec);
        self.roster.insert(agent, spec);
        self.strategy.joined(agent, self.roster.id_hashes()[agent.at()]);
    }

    /// Forgets an agent.
    pub fn remove(&mut self, agent: AgentIx) {
        let Some(&facts) = self.roster.get(agent) else { return };
        let (gone, place) = (Facts::default(), self.roster.place(agent));
        self.index.fits.follow(agent, &facts, &gone, &self.roster);
        let id_hashes = self.roster.id_hashes();
        let Index { selectors, fits, views } = &mut self.index;
        views.follow((agent, id_hashes), place, Place::default(), selectors, fits);
        self.shelves.shift(agent, place, Place::default());
        self.strategy.changed(&facts, &gone);
        self.strategy.left(agent, id_hashes[agent.at()]);
        let Some(spec) = self.roster.remove(agent) else { return };
        self.index.selectors.remove(agent, &spec);
    }

    /// Follows an agent's moving parts. To be called whenever one of them changes, so at each assignment and completion.
    pub fn update(&mut self, agent: AgentIx, state: &AgentState<'_>) {
        let Some(&old) = self.roster.get(agent) else { return };
        let new = old.with(state);
        let (from, to) = (self.roster.place(agent), Place::of(&new, self.strategy.level(&new)));
        if old.has_custom() || new.has_custom() {
            self.roster.set_custom(agent, &state.free.custom);
        }
        self.index.fits.follow(agent, &old, &new, &self.roster);
        self.shelves.shift(agent, from, to);
        let Index { selectors, fits, views } = &mut self.index;
        views.follow((agent, self.roster.id_hashes()), from, to, selectors, fits);
        self.strategy.changed(&old, &new);
        self.roster.set_place(agent, to);
        if let Some(facts) = self.roster.get_mut(agent) {
            *facts = new;
        }
    }

    /// The class of tasks of this kind with these requirements, which ask for at least one slot. It stays valid until
    /// [`Router::release_class`] was called as often as this.
    ///
    /// # Errors
    /// [`ClassLimit`] if [`CLASSES_MAX`] classes are in use.
    pub fn class(&mut self, kind: &Kind, requirements: &Requirements) -> Result<ClassIx, ClassLimit> {
        if let Some(class) = self.classes.reuse(kind, requirements) {
            return Ok(class);
        }
        self.classes.create(kind, requirements, &mut self.index, &self.roster)
    }

    /// Gives back a class that [`Router::class`] handed out.
    pub fn release_class(&mut self, class: ClassIx) {
        self.classes.release(class);
    }

    /// The kind of a class, and the upstream quotas that its tasks draw on.
    #[must_use]
    pub fn asks_for(&self, class: ClassIx) -> Option<(&Kind, &[QuotaKey])> {
        self.classes.get(class).map(|class| (&class.kind, class.quota_keys()))
    }

    /// The agent for a task. `None` if no eligible agent has room.
    pub fn pick(&mut self, class: ClassIx, task: &TaskFacts, room: Room) -> Option<Pick> {
        let (agent, preferences_given_up) = self.search(class, room, |strategy, field| strategy.pick(field, task))?;
        let entry = self.classes.get_mut(class)?;
        entry.cursor = AgentIx(agent.0 + 1);
        Some(Pick {
            agent,
            score: self.strategy.score(self.roster.get(agent)?, &self.roster.id_hashes()[agent.at()], task),
            agents_with_room: self.index.fits.get(entry.fit).agents(room).len(),
            preferences_given_up,
        })
    }

    /// The lowest priority, by its number, of which a task of this class would be given an agent with room now. `None`: not
    /// even the most urgent would. A question: no draw is made and no turn passes.
    pub fn least_level_placed(&mut self, class: ClassIx) -> Option<u8> {
        facts::least_level(|priority| {
            let task = TaskFacts { priority, affinity: None };
            self.search(class, Room::Now, |strategy, field| strategy.finds(field, &task).then_some(())).is_some()
        })
    }

    /// Whether, since this was last asked, an agent may have come to be refused less because of another one's state.
    pub fn take_relented(&mut self) -> bool {
        self.strategy.take_relented()
    }

    /// What is chosen in the first field in which anything is, and the number of preferences given up for it.
    fn search<T>(
        &mut self,
        class: ClassIx,
        room: Room,
        mut choose: impl FnMut(&mut dyn Strategy, &Field<'_>) -> Option<T>,
    ) -> Option<(T, u8)> {
        let class = self.classes.get(class)?;
        let Index { selectors, fits, views } = &mut self.index;
        let fit = fits.get(class.fit);
        if fit.agents(room).is_empty() {
            return None;
        }
        for degraded in [false, true] {
            let shelves = self.shelves.of_grade(degraded);
            if shelves.iter().all(|levels| levels.len() == 0) {
                continue;
            }
            for (given_up, &at) in (0u8..).zip(&class.views) {
                let View { selector, agents, frontiers, members, .. } = views.get_mut(at);
                let mut none = Frontier::default();
                let (selector, with_room, frontier) = match room {
                    Room::Now => (&*agents, &*agents, &mut frontiers[usize::from(degraded)]),
                    Room::Ahead | Room::Urgent => (selectors.agents(*selector), fit.agents(room), &mut none),
                };
                if selector.is_empty() {
                    continue;
                }
                let field = Field {
                    facts: self.roster.facts(),
                    id_hashes: self.roster.id_hashes(),
                    places: self.roster.places(),
                    shelves,
                    selector,
                    with_room,
                    room,
                    degraded,
                    frontier: RefCell::new(frontier),
                    members: RefCell::new(members),
                    need_slots: fit.need.slots,
                    cursor: class.cursor,
                };
                if let Some(chosen) = choose(&mut *self.strategy, &field) {
                    return Some((chosen, given_up));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
