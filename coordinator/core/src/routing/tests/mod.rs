//! A fleet with a naive model beside it, and the tests that use it.

mod classes;
mod conformance;
mod strategies;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_shared::{AgentId, AgentSpec, Kind, LabelRule, Labels, Priority, Requirements, Resources, StrategyConfig};

use super::{AGENTS_MAX, AgentState, CLASSES_MAX, ClassLimit, Pick, Refusal, Room, Router, TaskFacts, affinity};
use crate::ix::{AgentIx, ClassIx};

pub(super) fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

/// An agent called `id` with this many slots that takes tasks of kind `a`.
pub(super) fn agent(id: &str, slots: u32) -> AgentSpec {
    AgentSpec { kinds: vec![kind("a")], ..AgentSpec::of(AgentId::new(id).unwrap(), Resources::slots(slots)) }
}

pub(super) fn labelled(mut spec: AgentSpec, key: &str, value: &str) -> AgentSpec {
    spec.labels.insert(key.to_owned(), value.to_owned());
    spec
}

/// A task that prefers agents whose label `key` is `value`.
pub(super) fn prefers(key: &str, value: &str, weight: u8) -> LabelRule {
    LabelRule { weight, ..LabelRule::equals(key, value) }
}

pub(super) fn of_priority(level: u8) -> TaskFacts {
    TaskFacts { priority: Priority::new(level).unwrap(), affinity: None }
}

pub(super) fn strategy(name: &str) -> StrategyConfig {
    StrategyConfig::named(name).unwrap()
}

/// An agent as the model sees it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub spec: AgentSpec,
    pub schedulable: bool,
    pub degraded: bool,
    pub cpu_free: f32,
    pub slower_octaves: f64,
    /// What it works on.
    now: Resources,
    /// Slots taken ahead.
    ahead_slots: u32,
    /// Slots kept for urgent tasks.
    pub withheld: u32,
}

impl Member {
    pub(super) fn slots_in_use(&self) -> u32 {
        self.now.slots + self.ahead_slots
    }

    fn free(&self) -> Resources {
        let mut free = self.spec.capacity.clone();
        free.slots -= self.withheld;
        free.subtract(&self.now);
        free
    }

    /// What is free for an urgent task.
    fn whole(&self) -> Resources {
        let mut free = self.spec.capacity.clone();
        free.subtract(&self.now);
        free
    }

    fn urgent_free_slots(&self) -> u32 {
        if self.withheld > 0 { self.whole().slots } else { 0 }
    }

    /// One task ahead per slot.
    fn prefetch_free_slots(&self) -> u32 {
        self.spec.capacity.slots - self.ahead_slots
    }

    fn matches(&self, kind: &Kind, needs: &Requirements) -> bool {
        self.spec.kinds.contains(kind)
            && needs.required.iter().all(|rule| rule.matches(&self.spec.labels))
            && self.spec.capacity.fits(&needs.resources)
    }

    fn has_room(&self, needs: &Requirements, room: Room) -> bool {
        let fits = match room {
            Room::Now => self.free().fits(&needs.resources),
            Room::Ahead => needs.resources.slots <= self.prefetch_free_slots(),
            Room::Urgent => self.whole().fits(&needs.resources) && needs.resources.slots <= self.urgent_free_slots(),
        };
        self.schedulable && self.spec.capacity.fits(&needs.resources) && fits
    }
}

/// A router and the model of its fleet.
pub(super) struct Fleet {
    pub router: Router,
    pub members: BTreeMap<AgentIx, Member>,
    /// What runs where, in order of assignment.
    pub running: Vec<(AgentIx, Resources, Room)>,
}

impl Fleet {
    pub(super) fn new(config: &StrategyConfig) -> Self {
        Self { router: Router::new(config, 7), members: BTreeMap::new(), running: Vec::new() }
    }

    /// A fleet of these agents, all ready.
    pub(super) fn of(name: &str, specs: impl IntoIterator<Item = AgentSpec>) -> Self {
        let mut fleet = Self::new(&strategy(name));
        for (at, spec) in specs.into_iter().enumerate() {
            fleet.join(AgentIx::from(at), spec);
        }
        fleet
    }

    pub(super) fn join(&mut self, agent: AgentIx, spec: AgentSpec) {
        self.running.retain(|(at, ..)| *at != agent);
        self.router.insert(agent, Arc::new(spec.clone()));
        let idle = Member {
            spec,
            schedulable: true,
            degraded: false,
            cpu_free: 1.0,
            slower_octaves: 0.0,
            now: Resources::default(),
            ahead_slots: 0,
            withheld: 0,
        };
        self.members.insert(agent, idle);
        self.tell(agent);
    }

    pub(super) fn leave(&mut self, agent: AgentIx) {
        self.running.retain(|(at, ..)| *at != agent);
        self.router.remove(agent);
        self.members.remove(&agent);
    }

    pub(super) fn change(&mut self, agent: AgentIx, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(&agent) {
            change(member);
        }
        self.tell(agent);
    }

    fn tell(&mut self, agent: AgentIx) {
        let Some(member) = self.members.get(&agent) else { return };
        let state = AgentState {
            schedulable: member.schedulable,
            degraded: member.degraded,
            free: &member.free(),
            prefetch_free_slots: member.prefetch_free_slots(),
            urgent_free_slots: member.urgent_free_slots(),
            slots_usable: member.spec.capacity.slots,
            slots_in_use: member.slots_in_use(),
            cpu_free: member.cpu_free,
            memory_free: 1.0,
            slower_octaves: member.slower_octaves,
        };
        self.router.update(agent, &state);
    }

    pub(super) fn class(&mut self, kind_name: &str, needs: &Requirements) -> ClassIx {
        self.router.class(&kind(kind_name), needs).unwrap()
    }

    /// Picks an agent and gives it the task.
    pub(super) fn assign(
        &mut self,
        class: ClassIx,
        needs: &Requirements,
        task: &TaskFacts,
        room: Room,
    ) -> Option<Pick> {
        let pick = self.router.pick(class, task, room)?;
        let resources = &needs.resources;
        self.change(pick.agent, |member| match room {
            Room::Now | Room::Urgent => member.now.add(resources),
            Room::Ahead => member.ahead_slots += resources.slots,
        });
        self.running.push((pick.agent, resources.clone(), room));
        Some(pick)
    }

    /// Ends the nth task that runs.
    pub(super) fn complete(&mut self, nth: usize) {
        let (agent, resources, room) = self.running.swap_remove(nth);
        self.change(agent, |member| match room {
            Room::Now | Room::Urgent => member.now.subtract(&resources),
            Room::Ahead => member.ahead_slots -= resources.slots,
        });
    }

    /// Gives out so many ordinary tasks of kind `a`; who got them, in order.
    pub(super) fn assign_many(&mut self, count: usize, task: impl Fn(usize) -> TaskFacts) -> Vec<AgentIx> {
        let needs = Requirements::default();
        let class = self.class("a", &needs);
        (0..count).filter_map(|nth| self.assign(class, &needs, &task(nth), Room::Now)).map(|pick| pick.agent).collect()
    }

    /// Slots in use of each agent.
    pub(super) fn loads(&self) -> Vec<u32> {
        self.members.values().map(Member::slots_in_use).collect()
    }

    /// Everybody who may take the task, found the slow way.
    pub(super) fn eligible(
        &self,
        kind: &Kind,
        needs: &Requirements,
        task: &TaskFacts,
        room: Room,
    ) -> BTreeSet<AgentIx> {
        let may = |member: &Member| {
            member.matches(kind, needs) && member.has_room(needs, room) && self.tier_open(member.spec.tier, needs, task)
        };
        self.members.iter().filter(|(_, member)| may(member)).map(|(&agent, _)| agent).collect()
    }

    pub(super) fn with_room(&self, needs: &Requirements, room: Room) -> usize {
        self.members.values().filter(|member| member.has_room(needs, room)).count()
    }

    /// Whether the priority strategy, if it is in force, lets the task have a slot of the tier.
    fn tier_open(&self, tier: u8, needs: &Requirements, task: &TaskFacts) -> bool {
        let StrategyConfig::Priority { held_back_percent, urgent_priority } = *self.router.strategy() else {
            return true;
        };
        let in_tier = || self.members.values().filter(|member| member.spec.tier == tier && member.schedulable);
        let slots: u32 = in_tier().map(|member| member.spec.capacity.slots).sum();
        let in_use: u32 = in_tier().map(Member::slots_in_use).sum();
        let held_back = slots * u32::from(held_back_percent) / 100;
        held_back == 0
            || task.priority.level() >= urgent_priority
            || in_use + needs.resources.slots + held_back <= slots
    }
}
