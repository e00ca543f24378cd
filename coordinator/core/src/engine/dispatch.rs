//! Which agent for a task, and which task for an agent.
//!
//! A task that becomes ready asks the router for an agent. If none has room it is queued, and from then on only an agent
//! on which room appears asks, for the best of the tasks that it may take: see [`Engine::offer`].
//!
//! A task that needs more room than ever comes free at once would wait for ever behind smaller ones. After
//! [`super::Settings::hold_after`] the agent that is just asking is held for it: it gets nothing else until the task fits.

use std::time::Duration;

use evenkeel_shared::{AdminState, AssignmentId, AttemptNumber, AttemptRef, Decision, Delivery, Health, TaskState};

use super::{
    Engine, Timer, Told,
    agent::AgentTimer,
    effects::{AgentMessage, Assignment, Change, Effects, Placed},
    holdings::Holding,
    limits,
    tables::{Current, Task},
};
use crate::{
    ix::{AgentIx, TaskIx},
    model::TaskEventKind,
    queue::Admitted,
    routing::{AgentState, Pick, Room, TaskFacts},
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
        if let Some(&task) = self.held.get(&agent) {
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

    /// Offers what an agent is held for.
    fn offer_held(&mut self, agent: AgentIx, task: TaskIx, out: &mut Effects) {
        let row = &self.tasks[task];
        let free = self.agents[agent].free(self.now);
        if !self.may_be_used(agent) || !free.fits(&row.spec.requirements.resources) || self.is_agent_shut(agent) {
            return;
        }
        if self.is_gated() && (self.expire_if_late(task, out) || !self.may_go(task, out)) {
            // It waits for something else than room: the agent is for others meanwhile.
            self.release_hold(task);
            return;
        }
        self.release_hold(task);
        let row = &self.tasks[task];
        let pick = self.router.pick_on(row.class, agent, &facts(row));
        self.queue.take(self.now, task);
        self.assign(task, pick, Room::Now, out);
    }

    /// Holds the agent for the task that has waited longest for more room than it has free, if one has waited too long.
    fn hold_if_starving(&mut self, agent: AgentIx) {
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
            .filter(|&(since, task, _)| {
                self.now.since(since) >= self.settings.hold_after && !self.held.values().any(|&held| held == task)
            })
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
        let Some(agent) = self.held.iter().find(|(_, held)| **held == task).map(|(&agent, _)| agent) else { return };
        self.held.remove(&agent);
        self.refresh(agent);
        self.unheld.push(agent);
    }

    /// Offers the agents that are no longer held.
    pub(super) fn offer_unheld(&mut self, out: &mut Effects) {
        while let Some(agent) = self.unheld.pop() {
            self.offer(agent, out);
        }
    }

    /// Gives the task to the agent: a new attempt.
    fn assign(&mut self, task: TaskIx, pick: Pick, room: Room, out: &mut Effects) {
        let agent = pick.agent;
        let assignment = self.numbers.assignment();
        if !self.held.is_empty() {
            self.release_hold(task);
        }
        self.tasks.set_state(task, TaskState::Assigned);
        let row = &mut self.tasks[task];
        row.attempts_made += 1;
        let attempt = AttemptRef { task: row.id, attempt: AttemptNumber(row.attempts_made), assignment };
        row.current =
            Some(Current { attempt, agent, started_at: None, running_since: (room == Room::Now).then_some(self.now) });
        let queued = self.now.since(row.since);
        let decision = Decision {
            strategy: self.router.strategy().name().to_owned(),
            score: pick.score,
            agents_with_room: pick.agents_with_room,
            prefetched: room == Room::Ahead,
            preferences_given_up: pick.preferences_given_up,
            queued,
        };
        let spec = row.spec.clone();
        // By this clock alone: that of the agent may be wrong.
        let left = spec.deadline.map_or(Duration::MAX, |deadline| deadline.since(self.now));
        let timeout = spec.attempt_timeout.unwrap_or(self.settings.attempt_timeout).min(left);
        let placed = Placed {
            at: self.now,
            strategy: self.router.strategy().name(),
            score: pick.score,
            agents_with_room: pick.agents_with_room,
            prefetched: room == Room::Ahead,
            queued,
        };
        let assignment_message =
            Assignment { attempt, spec: spec.clone(), payload: row.payload.clone(), timeout, placed };
        let words = match room {
            Room::Now | Room::Urgent => {
                format!("by {}, of {} agents with room", decision.strategy, pick.agents_with_room)
            }
            Room::Ahead => format!("by {}, ahead of a slot", decision.strategy),
        };
        let id = self.agents[agent].spec.id.clone();
        self.tasks[task].last_agent = Some(id.clone());
        if spec.delivery == Delivery::Durable {
            out.changes.push(Change::Assign { attempt, agent: id.clone(), at: self.now, decision });
        }
        self.counters.assignments += 1;
        self.count_grant(task, agent, Some(queued));
        self.counters.prefetched += u64::from(room == Room::Ahead);
        let measured = self.agents[agent].run_mean(&spec.kind).is_some();
        let lane = if self.allocation.active { self.take_permits(task, agent) } else { None };
        self.hold_place(agent, assignment, Holding { task: Some(task), spec, room, measured, lane });
        if self.allocation.active {
            self.pass_on_turned(out);
        }
        self.guards_begun(task);
        self.arm(task);
        self.tell(task, TaskEventKind::Assigned, Told::by(id, words), out);
        self.send(agent, AgentMessage::Assign(Box::new(assignment_message)), out);
    }

    pub(super) fn hold_place(&mut self, agent: AgentIx, assignment: AssignmentId, holding: Holding) {
        let row = &mut self.agents[agent];
        match holding.room {
            Room::Now | Room::Urgent => row.reserved.add(&holding.spec.requirements.resources),
            Room::Ahead => {
                row.ahead_slots += holding.spec.requirements.resources.slots;
                row.ahead_tasks += 1;
            }
        }
        row.unmeasured += u32::from(!holding.measured);
        row.holdings.insert(assignment, holding);
        self.refresh(agent);
    }

    /// An assignment has really ended on the agent: its place is free, and the oldest that waits there takes it.
    ///
    /// The caller offers the agent afterwards.
    pub(super) fn free_place(&mut self, agent: AgentIx, assignment: AssignmentId) -> Option<Holding> {
        let row = &mut self.agents[agent];
        let holding = row.holdings.remove(&assignment)?;
        row.unmeasured -= u32::from(!holding.measured);
        match holding.room {
            Room::Now | Room::Urgent => row.reserved.subtract(&holding.spec.requirements.resources),
            Room::Ahead => {
                row.ahead_slots -= holding.spec.requirements.resources.slots;
                row.ahead_tasks -= 1;
            }
        }
        if self.allocation.active {
            self.allocation.limits.give_back(self.now, holding.lane, agent);
        }
        self.promote(agent);
        self.refresh(agent);
        Some(holding)
    }

    /// What waits at the agent takes the places that are free, oldest first; so does the agent itself.
    pub(super) fn promote(&mut self, agent: AgentIx) {
        // An agent that is away gets nothing more to answer for.
        while self.agents[agent].ahead_tasks > 0 && self.agents[agent].session.is_some() {
            let free = self.agents[agent].free(self.now);
            let row = &mut self.agents[agent];
            let next =
                row.holdings.values_mut().find(|h| h.room == Room::Ahead && free.fits(&h.spec.requirements.resources));
            let Some(holding) = next else { return };
            holding.room = Room::Now;
            let (spec, task) = (holding.spec.clone(), holding.task);
            row.ahead_tasks -= 1;
            row.ahead_slots -= spec.requirements.resources.slots;
            row.reserved.add(&spec.requirements.resources);
            if let Some(task) = task
                && let Some(current) = &mut self.tasks[task].current
            {
                current.running_since = Some(self.now);
                self.arm(task);
            }
        }
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
        let schedulable = self.may_be_used(agent) && !self.held.contains_key(&agent) && !self.is_agent_shut(agent);
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

    /// Arms the timer for the earliest limit that applies to the task in its state.
    pub(super) fn arm(&mut self, task: TaskIx) {
        let row = &self.tasks[task];
        let limit = match row.state {
            TaskState::Queued => row.spec.queue_timeout.map(|timeout| row.since.plus(timeout)),
            TaskState::RetryWait => Some(row.not_before),
            _ => row.current.and_then(|current| current.running_since).map(|since| {
                let timeout = row.spec.attempt_timeout.unwrap_or(self.settings.attempt_timeout);
                since.plus(timeout).plus(limits::ATTEMPT_TIMEOUT_MARGIN)
            }),
        };
        let deadline = row.spec.deadline.filter(|_| self.heeds_deadline(row.state));
        let due = [limit, deadline].into_iter().flatten().min();
        if let Some(key) = self.tasks[task].timer.take() {
            self.timers.cancel(key);
        }
        if let Some(at) = due {
            self.tasks[task].timer = Some(self.timers.insert(at, Timer::Task(task)));
        }
    }

    /// The slow start of an agent goes on.
    pub(super) fn ramp_on(&mut self, agent: AgentIx, out: &mut Effects) {
        let row = &self.agents[agent];
        if let Some(at) = row.ramp.next_step(self.now, row.spec.capacity.slots) {
            self.set_agent_timer(agent, AgentTimer::Ramp, at);
        }
        self.promote(agent);
        self.refresh(agent);
        self.offer(agent, out);
    }
}

/// What routing must know of a task beside its class.
pub(super) fn facts(task: &Task) -> TaskFacts {
    TaskFacts { priority: task.spec.priority, affinity: task.affinity }
}
