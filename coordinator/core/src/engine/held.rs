//! Agents that are held for a task which needs more room than ever comes free at once.
//!
//! Such a task would wait for ever behind smaller ones, each of which takes the room as it appears. After
//! [`super::Settings::hold_after`] the agent that is just asking is held for it: it gets nothing else until the task fits. One agent
//! for one task, and of the fleet no more than one in [`limits::HELD_AGENTS_SHARE`]: what is held does no work meanwhile.

use std::collections::BTreeMap;

use super::{Engine, dispatch::facts, effects::Effects, limits};
use crate::{
    ix::{AgentIx, TaskIx},
    routing::Room,
};

/// Who is held for what. Found by either, because each assignment asks for its task, and each offer for its agent.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_agent: BTreeMap<AgentIx, TaskIx>,
    by_task: BTreeMap<TaskIx, AgentIx>,
}

impl Held {
    pub fn len(&self) -> usize {
        self.by_agent.len()
    }

    pub fn is_held(&self, agent: AgentIx) -> bool {
        self.by_agent.contains_key(&agent)
    }

    /// The task that the agent is held for.
    pub fn task(&self, agent: AgentIx) -> Option<TaskIx> {
        self.by_agent.get(&agent).copied()
    }

    /// Whether an agent is held for the task.
    pub fn waits(&self, task: TaskIx) -> bool {
        self.by_task.contains_key(&task)
    }

    /// All of them, and whether each is found by its task too. Walks them: for [`super::invariants`].
    pub fn iter(&self) -> impl Iterator<Item = (AgentIx, TaskIx, bool)> {
        let same = self.by_agent.len() == self.by_task.len();
        self.by_agent.iter().map(move |(&agent, &task)| (agent, task, same && self.by_task.get(&task) == Some(&agent)))
    }

    fn insert(&mut self, agent: AgentIx, task: TaskIx) {
        self.by_agent.insert(agent, task);
        self.by_task.insert(task, agent);
    }

    /// The agent is for others too: it does not get what it was held for, or is gone.
    pub fn remove(&mut self, agent: AgentIx) {
        if let Some(task) = self.by_agent.remove(&agent) {
            self.by_task.remove(&task);
        }
    }

    fn remove_task(&mut self, task: TaskIx) -> Option<AgentIx> {
        let agent = self.by_task.remove(&task)?;
        self.by_agent.remove(&agent);
        Some(agent)
    }
}

impl Engine {
    /// Offers what an agent is held for.
    pub(super) fn offer_held(&mut self, agent: AgentIx, task: TaskIx, out: &mut Effects) {
        let row = &self.tasks[task];
        let free = self.agents[agent].free(self.now);
        if !self.may_be_used(agent) || !free.fits(&row.spec.requirements.resources) || self.is_agent_shut(agent) {
            return;
        }
        let waits = self.is_gated() && (self.expire_if_late(task, out) || !self.may_go(task, out));
        self.release_hold(task);
        if waits {
            // For something else than room, or for nothing any more: the agent is for others meanwhile.
            return;
        }
        let row = &self.tasks[task];
        let pick = self.router.pick_on(row.class, agent, &facts(row));
        self.queue.take(self.now, task);
        self.assign(task, pick, Room::Now, out);
    }

    /// Holds the agent for the task that has waited longest for more room than it has free, if one has waited too long.
    pub(super) fn hold_if_starving(&mut self, agent: AgentIx) {
        let held_max = (self.agents.connected() / limits::HELD_AGENTS_SHARE).max(1);
        if self.queue.is_empty() || self.held.len() >= held_max || !self.may_be_used(agent) || self.is_agent_shut(agent)
        {
            return;
        }
        let starving = self
            .queue
            .classes()
            // What a slot is enough for waits for a slot.
            .filter(|&class| self.router.needs_more_than_a_slot(class))
            .filter(|&class| !self.allocation.is_class_shut(class))
            .filter_map(|class| self.queue.class_oldest_open(class).map(|(task, since)| (since, task, class)))
            .filter(|&(since, task, _)| self.now.since(since) >= self.settings.hold_after && !self.held.waits(task))
            .filter(|&(_, _, class)| self.router.matches(class, agent).is_ok())
            .filter(|&(_, task, _)| {
                self.tasks[task].spec.requirements.resources.slots > 1 || self.needs_more(task, agent)
            })
            .min();
        if let Some((_, task, _)) = starving {
            self.held.insert(agent, task);
            self.refresh(agent);
        }
    }

    /// Whether the task waits for something other than a slot.
    fn needs_more(&self, task: TaskIx, agent: AgentIx) -> bool {
        let mut free = self.agents[agent].free(self.now);
        free.slots = u32::MAX;
        !free.fits(&self.tasks[task].spec.requirements.resources)
    }

    /// The task no longer waits: whoever is held for it is free again.
    pub(super) fn release_hold(&mut self, task: TaskIx) {
        let Some(agent) = self.held.remove_task(task) else { return };
        self.refresh(agent);
        self.unheld.push(agent);
    }

    /// Offers the agents that are no longer held.
    pub(super) fn offer_unheld(&mut self, out: &mut Effects) {
        while let Some(agent) = self.unheld.pop() {
            self.offer(agent, out);
        }
    }
}
