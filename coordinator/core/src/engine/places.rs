//! Places of attempts on agents: taken with the assignment, given back with the agent's word.
//!
//! An attempt has its place at once, or waits at the agent for one (taken ahead). A place is free when the agent says so or is gone,
//! never because the task is over; what waits there then takes it, oldest first, here as on the agent itself.

use std::time::Duration;

use evenkeel_shared::{AssignmentId, AttemptNumber, AttemptRef, Decision, Delivery, TaskSpec, TaskState};

use super::{
    Engine, Told,
    agent::AgentTimer,
    effects::{AgentMessage, Assignment, Change, Effects, Placed},
    holdings::Holding,
    tables::Current,
};
use crate::{
    ix::{AgentIx, TaskIx},
    model::TaskEventKind,
    routing::{Pick, Room},
};

impl Engine {
    /// Gives the task to the agent: a new attempt.
    pub(super) fn assign(&mut self, task: TaskIx, pick: Pick, room: Room, out: &mut Effects) {
        let agent = pick.agent;
        self.release_hold(task);
        let attempt = self.begin_attempt(task, agent, room);
        let row = &self.tasks[task];
        let (spec, payload) = (row.spec.clone(), row.payload.clone());
        let placed = Placed {
            at: self.now,
            strategy: self.router.strategy().name(),
            score: pick.score,
            agents_with_room: pick.agents_with_room,
            prefetched: room == Room::Ahead,
            queued: self.now.since(row.since),
        };
        let id = self.agents[agent].spec.id.clone();
        let lane = if self.allocation.active { self.take_permits(task, agent) } else { None };
        if spec.delivery == Delivery::Durable {
            let decision = decision(&placed, pick.preferences_given_up);
            let reserved = self.reserved_by(task);
            out.changes.push(Change::Assign { attempt, agent: id.clone(), at: self.now, decision, reserved });
        }
        self.counters.assignments += 1;
        self.counters.prefetched += u64::from(placed.prefetched);
        self.count_grant(task, agent, Some(placed.queued));
        let measured = self.agents[agent].run_mean(&spec.kind).is_some();
        let timeout = self.time_left(&spec);
        self.hold_place(
            agent,
            attempt.assignment,
            Holding { task: Some(task), spec: spec.clone(), room, measured, lane },
        );
        if self.allocation.active {
            self.pass_on_turned(out);
        }
        self.guards_begun(task);
        self.arm(task);
        self.tell(task, TaskEventKind::Assigned, Told::by(id, in_words(&placed)), out);
        let assignment = Assignment { attempt, spec, payload, timeout, placed };
        self.send(agent, AgentMessage::Assign(Box::new(assignment)), out);
    }

    /// The task has a live attempt on the agent, of which nothing else is known yet.
    fn begin_attempt(&mut self, task: TaskIx, agent: AgentIx, room: Room) -> AttemptRef {
        self.tasks.set_state(task, TaskState::Assigned);
        let assignment = self.numbers.assignment();
        let running_since = (room == Room::Now).then_some(self.now);
        let row = &mut self.tasks[task];
        row.attempts_made += 1;
        let attempt = AttemptRef { task: row.id, attempt: AttemptNumber(row.attempts_made), assignment };
        row.current = Some(Current { attempt, agent, started_at: None, running_since });
        row.last_agent = Some(self.agents[agent].spec.id.clone());
        attempt
    }

    /// How long an attempt that begins now may run: as long as attempts may, and no longer than to the task's deadline. By this
    /// clock alone: that of the agent may be wrong.
    fn time_left(&self, spec: &TaskSpec) -> Duration {
        let left = spec.deadline.map_or(Duration::MAX, |deadline| deadline.since(self.now));
        self.attempt_timeout(spec).min(left)
    }

    /// The assignment sets aside what it needs, or waits at the agent until that is free.
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

/// What is stored of a decision.
fn decision(placed: &Placed, preferences_given_up: u8) -> Decision {
    let Placed { score, agents_with_room, prefetched, queued, .. } = *placed;
    let strategy = placed.strategy.to_owned();
    Decision { strategy, score, agents_with_room, prefetched, preferences_given_up, queued }
}

fn in_words(placed: &Placed) -> String {
    let Placed { strategy, agents_with_room, .. } = placed;
    if placed.prefetched {
        format!("by {strategy}, ahead of a slot")
    } else {
        let agents = if *agents_with_room == 1 { "agent" } else { "agents" };
        format!("by {strategy}, of {agents_with_room} {agents} with room")
    }
}
