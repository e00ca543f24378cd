//! Which agent for a task, and which task for an agent.
//!
//! A task that becomes ready asks the router for an agent. If none has room it is queued, and from then on only an agent
//! on which room appears asks, for the best of the tasks that it may take: see [`Engine::offer`].

use evenkeel_shared::{AdminState, Health};

use super::{Engine, effects::Effects, limits, tables::Task};
use crate::{
    ix::{AgentIx, TaskIx},
    queue::Admitted,
    routing::{AgentState, Room, TaskFacts},
};

impl Engine {
    /// A queued task is ready: places it, or lets it wait.
    pub(super) fn dispatch(&mut self, task: TaskIx, out: &mut Effects) {
        if self.expire_if_late(task, out) {
            return;
        }
        if self.is_gated() && !self.paused && !self.may_go(task, out) {
            self.enqueue(task);
            return;
        }
        let row = &self.tasks[task];
        let (class, facts) = (row.class, facts(row));
        let urgent = self.is_urgent(facts.priority.level());
        for room in [Room::Now, Room::Urgent, Room::Ahead] {
            let may = match room {
                Room::Now => true,
                Room::Urgent => urgent,
                Room::Ahead => self.tasks[task].may_go_ahead(),
            };
            if self.paused || !may {
                continue;
            }
            if let Some(pick) = self.router.pick(class, &facts, room) {
                self.assign(task, pick, room.place(), out);
                return;
            }
        }
        self.enqueue(task);
    }

    /// Room appeared on this agent: gives it the best of the tasks that wait, for as long as there are any that fit.
    pub(super) fn offer(&mut self, agent: AgentIx, out: &mut Effects) {
        self.pass_on_turned(out);
        if self.queue.is_empty() || self.paused {
            return;
        }
        if let Some(task) = self.held.task(agent) {
            self.offer_held(agent, task, out);
            return;
        }
        for room in [Room::Now, Room::Urgent, Room::Ahead] {
            while let Some(task) = self.best_for(agent, room) {
                if self.is_gated() && (self.expire_if_late(task, out) || !self.may_go(task, out)) {
                    continue;
                }
                self.queue.take(self.now, task);
                if self.expire_if_late(task, out) {
                    continue;
                }
                let row = &self.tasks[task];
                let pick = self.router.pick_on(row.class, agent, &facts(row));
                self.assign(task, pick, room.place(), out);
            }
        }
        self.hold_if_starving(agent);
    }

    /// Places what an agent may take now only because of what happened to another one, or because a limit or budget lets it
    /// go now; so many tasks, the rest with an event that follows.
    pub(super) fn offer_relented(&mut self, out: &mut Effects) {
        let mut left = limits::PLACED_PER_EVENT_MAX;
        while (std::mem::take(&mut self.allocation.opened) | self.router.take_relented()) && !self.paused {
            while let Some(task) = self.best_placeable() {
                if left == 0 {
                    self.go_on_later();
                    return;
                }
                left -= 1;
                if self.is_gated() && (self.expire_if_late(task, out) || !self.may_go(task, out)) {
                    continue;
                }
                self.queue.take(self.now, task);
                self.dispatch(task, out);
            }
            self.offer_unheld(out);
        }
    }

    /// Whether tasks of this priority may have the slots that were taken from slow agents.
    fn is_urgent(&self, level: u8) -> bool {
        self.guarding.headroom().is_some_and(|from| level >= from)
    }

    /// The task that goes next among those that some agent has room for.
    fn best_placeable(&mut self) -> Option<TaskIx> {
        let Self { queue, router, now, allocation, .. } = self;
        queue.best_where(*now, |class| {
            if allocation.is_class_shut(class) {
                return None;
            }
            router.least_level_placed(class).map(|from_level| Admitted { from_level, ahead: false })
        })
    }

    /// The task that goes next among those that this agent may take now. One without room, as most are that ask in a busy
    /// fleet, is told so before any class is looked at.
    fn best_for(&self, agent: AgentIx, room: Room) -> Option<TaskIx> {
        if !self.router.has_slots(agent, room) {
            return None;
        }
        let urgent_from = match room {
            Room::Urgent => self.guarding.headroom()?,
            Room::Now | Room::Ahead => 0,
        };
        self.queue.best_where(self.now, |class| {
            if self.allocation.is_class_shut(class) {
                return None;
            }
            let from_level = self.router.least_level_taken(class, agent, room)?.max(urgent_from);
            Some(Admitted { from_level, ahead: room == Room::Ahead })
        })
    }

    /// Whether the agent may be given anything new, held or not.
    pub(super) fn may_be_used(&self, agent: AgentIx) -> bool {
        let row = &self.agents[agent];
        row.session.is_some()
            && row.wanted.state == AdminState::Active
            && !row.leaving
            && row.ejected_until.is_none()
            && !row.quota_shut
            && (row.health != Health::Unhealthy || self.ignores_health)
    }

    /// Tells the router how the agent stands. Costs the same at any size of the fleet.
    pub(super) fn refresh(&mut self, agent: AgentIx) {
        self.agents.mark_changed(agent);
        if !self.agents[agent].registered {
            return;
        }
        let schedulable = self.may_be_used(agent) && !self.held.is_held(agent) && !self.is_agent_shut(agent);
        let row = &self.agents[agent];
        let slots_usable = row.slots_usable(self.now);
        let free = row.free(self.now);
        let fresh = |share| 1.0 - self.settings.staleness.share(share, row.load_at, self.now) as f32;
        let state = AgentState {
            schedulable,
            degraded: row.health >= Health::Degraded,
            free: &free,
            prefetch_free_slots: row.ahead_slots_free(self.now, self.settings.prefetch_below),
            urgent_free_slots: row.urgent_slots_free(self.now),
            slots_usable,
            slots_in_use: row.reserved.slots + row.ahead_slots,
            cpu_free: fresh(row.load.cpu_share),
            memory_free: fresh(row.load.memory_share),
            slower_octaves: self.norms.octaves(&row.pace),
        };
        self.router.update(agent, &state);
    }

    /// Refreshes and offers every agent: after a change that concerns them all.
    pub(super) fn offer_all(&mut self, out: &mut Effects) {
        for agent in self.agents.indices() {
            self.refresh(agent);
            self.offer(agent, out);
        }
    }
}

/// What routing must know of a task beside its class.
pub(super) fn facts(task: &Task) -> TaskFacts {
    TaskFacts { priority: task.spec.priority, affinity: task.affinity }
}
