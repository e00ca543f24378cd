//! Whether, why not, and how well a given agent suits a task.
//!
//! Whether a task may go there is read from the same bitmaps that a search uses. Only to name the rule or resource that
//! stands in the way, the agent itself is looked at.

use evenkeel_shared::{Resources, units::ResourceName};

use super::{
    Router,
    agent_set::{AgentSet, common_from},
    classes::Class,
    facts::{Facts, Pick, Room, TaskFacts, least_level},
    refusal::Refusal,
    roster::Statics,
    selectors::takes,
};
use crate::ix::{AgentIx, ClassIx};

impl Router {
    /// Whether the agent could take such tasks when idle.
    ///
    /// # Errors
    /// The first thing in the way: kind, required label rule or capacity. [`Refusal::NotSchedulable`] for an agent or
    /// class that is not there.
    pub fn matches(&self, class: ClassIx, agent: AgentIx) -> Result<(), Refusal> {
        let (class, statics, _) = self.parties(class, agent)?;
        self.match_statics(class, statics)
    }

    /// Whether one of these agents could take such tasks when idle. Costs words of bitmaps, whoever they are.
    #[must_use]
    pub fn any_matches(&self, class: ClassIx, agents: &AgentSet) -> bool {
        self.classes.get(class).is_some_and(|class| {
            let need = &self.index.fits.get(class.fit).need;
            common_from([self.matching(class), agents], AgentIx(0))
                .any(|agent| self.roster.statics(agent).is_some_and(|statics| statics.spec.capacity.fits(need)))
        })
    }

    /// Whether the agent may take such a task now: [`Router::admits`] without a reason, and much cheaper where it may not.
    #[must_use]
    pub fn may_take(&self, class: ClassIx, agent: AgentIx, task: &TaskFacts, room: Room) -> bool {
        self.with_room(class, agent, room)
            .is_some_and(|(facts, need_slots)| self.strategy.refuses(facts, task, need_slots).is_none())
    }

    /// The lowest priority, by its number, of which the agent may take tasks of this class now. `None`: not even the most
    /// urgent.
    #[must_use]
    pub fn least_level_taken(&self, class: ClassIx, agent: AgentIx, room: Room) -> Option<u8> {
        let (facts, need_slots) = self.with_room(class, agent, room)?;
        least_level(|priority| {
            let task = TaskFacts { priority, affinity: None };
            self.strategy.refuses(facts, &task, need_slots).is_none()
        })
    }

    /// The agent's facts and the slots that tasks of this class ask for, if it matches them and has this room for one.
    fn with_room(&self, class: ClassIx, agent: AgentIx, room: Room) -> Option<(&Facts, u32)> {
        let (class, facts) = self.classes.get(class).zip(self.roster.facts().get(agent.at()))?;
        let fit = self.index.fits.get(class.fit);
        let may = fit.agents(room).contains(agent) && self.matching(class).contains(agent);
        may.then_some((facts, fit.need.slots))
    }

    /// The agents that take the class's kind and satisfy its required rules.
    fn matching(&self, class: &Class) -> &AgentSet {
        self.index.selectors.agents(self.index.views.get(class.required_only()).selector)
    }

    /// Whether the agent has a slot to give at all. If not, no class has to be asked about.
    #[must_use]
    pub fn has_slots(&self, agent: AgentIx, room: Room) -> bool {
        self.roster.get(agent).is_some_and(|facts| match room {
            Room::Now => facts.free_slots > 0,
            Room::Ahead => facts.prefetch_free_slots > 0,
            Room::Urgent => facts.urgent_free_slots > 0,
        })
    }

    /// Whether tasks of this class set aside more than one slot.
    #[must_use]
    pub fn needs_more_than_a_slot(&self, class: ClassIx) -> bool {
        self.classes.get(class).is_some_and(|class| self.index.fits.get(class.fit).need != Resources::slots(1))
    }

    /// Whether the agent may take such a task now. The same agents for which this is `Ok` are those that
    /// [`Router::pick`] chooses among.
    ///
    /// # Errors
    /// What [`Router::matches`] says, and then the first of: not schedulable, no room, held back by the strategy.
    pub fn admits(&self, class: ClassIx, agent: AgentIx, task: &TaskFacts, room: Room) -> Result<(), Refusal> {
        if self.may_take(class, agent, task, room) {
            return Ok(());
        }
        let (class, statics, facts) = self.parties(class, agent)?;
        self.match_statics(class, statics)?;
        if !facts.schedulable() {
            return Err(Refusal::NotSchedulable);
        }
        let need = &self.index.fits.get(class.fit).need;
        match room {
            Room::Now => self.room_now(class, statics, facts)?,
            Room::Ahead if need.slots > u32::from(facts.prefetch_free_slots) => {
                return Err(Refusal::NoPrefetchRoom { asked: need.slots, free: facts.prefetch_free_slots.into() });
            }
            Room::Ahead => {}
            Room::Urgent if need.slots > u32::from(facts.urgent_free_slots) => {
                return Err(Refusal::NoFreeSlot { asked: need.slots, free: facts.urgent_free_slots.into() });
            }
            Room::Urgent => self.room_now(class, statics, facts)?,
        }
        self.strategy.refuses(facts, task, need.slots).map_or(Ok(()), Err)
    }

    /// How well the agent suits the task by the strategy's measure; higher is better. 0 for an agent that is not there.
    #[must_use]
    pub fn score(&self, agent: AgentIx, task: &TaskFacts) -> f64 {
        self.roster
            .get(agent)
            .map_or(0.0, |facts| self.strategy.score(facts, &self.roster.id_hashes()[agent.at()], task))
    }

    /// What [`Router::pick`] would have said had it picked this agent, which must match the class.
    #[must_use]
    pub fn pick_on(&self, class: ClassIx, agent: AgentIx, task: &TaskFacts) -> Pick {
        let score = self.score(agent, task);
        let Some(class) = self.classes.get(class) else {
            return Pick { agent, score, agents_with_room: 0, preferences_given_up: 0 };
        };
        let matching = |at: usize| self.index.selectors.agents(self.index.views.get(at).selector).contains(agent);
        let given_up = class.views.iter().take_while(|&&at| !matching(at)).count();
        Pick {
            agent,
            score,
            agents_with_room: self.index.fits.get(class.fit).agents(Room::Now).len(),
            preferences_given_up: u8::try_from(given_up.min(class.preferred)).unwrap_or(u8::MAX),
        }
    }

    fn parties(&self, class: ClassIx, agent: AgentIx) -> Result<(&Class, &Statics, &Facts), Refusal> {
        let statics = self.roster.statics(agent).ok_or(Refusal::NotSchedulable)?;
        let class = self.classes.get(class).ok_or(Refusal::NotSchedulable)?;
        Ok((class, statics, &self.roster.facts()[agent.at()]))
    }

    fn match_statics(&self, class: &Class, statics: &Statics) -> Result<(), Refusal> {
        let spec = &statics.spec;
        if !takes(spec, &class.kind) {
            return Err(Refusal::KindNotTaken { kind: class.kind.clone() });
        }
        if let Some(rule) = class.required.iter().find(|rule| !rule.matches(&spec.labels)) {
            return Err(Refusal::LabelRule { rule: rule.clone() });
        }
        match spec.capacity.shortfall(&self.index.fits.get(class.fit).need) {
            Some((resource, asked, has)) => Err(Refusal::CapacityTooSmall { resource, asked, has }),
            None => Ok(()),
        }
    }

    fn room_now(&self, class: &Class, statics: &Statics, facts: &Facts) -> Result<(), Refusal> {
        let need = &self.index.fits.get(class.fit).need;
        if need.slots > u32::from(facts.free_slots) {
            return Err(Refusal::NoFreeSlot { asked: need.slots, free: facts.free_slots.into() });
        }
        let plain = [
            (ResourceName::Cpu, need.cpu_millis, facts.free_cpu_millis.into()),
            (ResourceName::Memory, need.memory_bytes, facts.free_memory_bytes),
        ];
        let custom = need.custom.iter().map(|(name, &asked)| {
            (ResourceName::Custom(name.clone()), asked, statics.free_custom.get(name).copied().unwrap_or(0))
        });
        match plain.into_iter().chain(custom).find(|(_, asked, free)| asked > free) {
            Some((resource, asked, free)) => Err(Refusal::ResourceInUse { resource, asked, free }),
            None => Ok(()),
        }
    }
}
