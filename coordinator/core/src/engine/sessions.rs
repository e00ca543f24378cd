//! Sessions of agents: registration, fencing and adoption, heartbeats, health.

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_shared::{
    AgentLoad, AssignmentId, AttemptRef, Code, Error, Health, Registration, SessionEpoch, TaskState,
};

use super::{
    Engine, Sabotage, Told,
    agent::{Agent, AgentTimer},
    effects::{AgentMessage, Effects, Message},
    limits,
};
use crate::{
    admission::dynamic::SlotLimit,
    health::{lease::Lease, panic, slow_start::Ramp, thresholds::HealthTracker},
    ix::{AgentIx, TaskIx},
    model::{ClusterEventKind, TaskEventKind},
    routing::Room,
};

impl Engine {
    pub(super) fn register(&mut self, session: SessionEpoch, registration: Registration, out: &mut Effects) {
        let known = self.agents.find(&registration.spec.id);
        if let Err(error) = self.may_register(known, session, &registration) {
            out.messages.push(Message::CloseSession { session, error });
            return;
        }
        let agent = known.unwrap_or_else(|| {
            let agent = Agent::new(Arc::new(registration.spec.clone()), &self.settings, self.now);
            self.agents.insert(agent)
        });
        self.fence_older_session(agent, session, out);
        // Before the first registration nobody knows which process it was: it is given the benefit of the doubt.
        let same_process = !self.agents[agent].registered || self.agents[agent].instance == registration.instance;
        self.pardon(agent, &registration.instance);
        self.open(agent, session, &registration, out);
        // The welcome goes before anything that adoption and dispatch have to say to the agent.
        let first = out.messages.len();
        let (adopted, superseded) = self.adopt(agent, &registration.held, same_process, out);
        let lease = &self.settings.lease;
        let (heartbeat_interval, session_timeout) = (lease.heartbeat_interval(), lease.session_timeout());
        let welcome = AgentMessage::Welcome { heartbeat_interval, session_timeout, adopted, superseded };
        out.messages.insert(first, Message::ToAgent { session, message: welcome });
        self.repeat_drain(agent, out);
        self.refresh(agent);
        self.offer(agent, out);
    }

    /// Whether this process may have the name. The same process may always take its own session over; another one only when
    /// but one heartbeat more may be missed of the first. One that is late says nothing, and with the name goes all work.
    fn may_register(
        &self,
        known: Option<AgentIx>,
        session: SessionEpoch,
        registration: &Registration,
    ) -> Result<(), Error> {
        let Some(agent) = known else {
            if self.agents.len() >= limits::AGENTS_MAX {
                let message = format!("the fleet is full: {} agents are known", limits::AGENTS_MAX);
                return Err(Error::exhausted(message, limits::RETRY_AFTER));
            }
            return Ok(());
        };
        let row = &self.agents[agent];
        if session < row.last_session {
            return Err(Error::new(Code::Aborted, "a newer session of this agent has taken over"));
        }
        let same_process = row.registered && row.instance == registration.instance;
        if same_process && registration.dial < row.dial {
            // Its own process has given it up. What is late is the network.
            return Err(Error::new(Code::Aborted, "this process has dialled again since, and that session has begun"));
        }
        let alive = self.now.since(row.last_heard_at) < row.lease_settings.silence_of_all_but_one();
        if row.session.is_some() && row.instance != registration.instance && alive {
            let id = &registration.spec.id;
            let message = format!("another process is connected as agent `{id}`; give each agent its own id");
            return Err(Error::new(Code::AlreadyExists, message).about("agent", id.as_str()));
        }
        Ok(())
    }

    /// If the process lived on while it was taken for dead, its tasks did not bring it down.
    ///
    /// The store hears of it with the next change of the task; what was quarantined meanwhile stays so.
    fn pardon(&mut self, agent: AgentIx, instance: &str) {
        let row = &mut self.agents[agent];
        let lived_on = row.registered && row.instance == instance;
        for id in std::mem::take(&mut row.blamed_for) {
            if lived_on && let Some(task) = self.tasks.find(id) {
                let crashes = &mut self.tasks[task].crashes;
                *crashes = crashes.saturating_sub(1);
            }
        }
    }

    fn fence_older_session(&mut self, agent: AgentIx, session: SessionEpoch, out: &mut Effects) {
        if let Some(older) = self.agents.close_session(agent) {
            let error = Error::new(Code::Aborted, format!("session {session} of this agent has taken over"));
            out.messages.push(Message::CloseSession { session: older, error });
        }
    }

    /// The session is valid: takes down what the agent said of itself.
    fn open(&mut self, agent: AgentIx, session: SessionEpoch, registration: &Registration, out: &mut Effects) {
        for timer in [AgentTimer::Grace, AgentTimer::Forget, AgentTimer::Lease] {
            if timer != AgentTimer::Grace || !self.lacks(Sabotage::ReaperGuard) {
                self.clear_agent_timer(agent, timer);
            }
        }
        let now = self.now;
        let wanted = self.wanted.remove(&registration.spec.id);
        if self.agents[agent].health == Health::Unhealthy {
            self.unhealthy -= 1;
        }
        let row = &mut self.agents[agent];
        let (joined, given_up) = (!row.registered, std::mem::take(&mut row.was_given_up));
        let resized = row.spec.capacity != registration.spec.capacity;
        let before = std::mem::replace(&mut row.spec, Arc::new(registration.spec.clone()));
        if resized {
            row.slot_limit = SlotLimit::default();
        }
        row.registered = true;
        row.instance.clone_from(&registration.instance);
        row.dial = registration.dial;
        row.last_session = session;
        row.connected_at = now;
        row.last_heard_at = now;
        row.leaving = false;
        row.tracker = HealthTracker::new(self.settings.health);
        row.health = Health::Healthy;
        row.conditions.clear();
        if row.lease_settings != self.settings.lease {
            row.lease_settings = self.settings.lease;
            row.lease = Lease::new(&self.settings.lease, now);
        }
        row.lease.heard(now);
        if let Some(wanted) = wanted {
            row.wanted = wanted;
        }
        row.ramp = if given_up { Ramp::begin(self.settings.ramp, now) } else { Ramp::full(self.settings.ramp) };
        let (lease_end, slots) = (row.lease.expires_at(), row.spec.capacity.slots);
        let next_step = row.ramp.next_step(now, slots);
        self.agents.open_session(agent, session);
        self.join_quotas(agent, &before.quota_keys);
        if resized {
            self.agents[agent].replace_holdings(now);
        }
        self.router.insert(agent, self.agents[agent].spec.clone());
        self.limit_agent(agent);
        self.set_agent_timer(agent, AgentTimer::Lease, lease_end);
        if let Some(at) = next_step {
            self.set_agent_timer(agent, AgentTimer::Ramp, at);
        }
        let (kind, word) = if joined {
            (ClusterEventKind::AgentJoined, "joined")
        } else {
            self.panic.returned(now);
            (ClusterEventKind::AgentReturned, "is back")
        };
        let words = format!("{} {word} with {slots} slots", registration.spec.id);
        self.announce(kind, Some(agent), words, out);
    }

    /// Compares what the agent says it holds with what it should hold. What both know goes on; what only the agent knows
    /// it must drop; what only the engine knows is lost.
    fn adopt(
        &mut self,
        agent: AgentIx,
        held: &[AttemptRef],
        same_process: bool,
        out: &mut Effects,
    ) -> (Vec<AttemptRef>, Vec<AttemptRef>) {
        let (adopted, superseded): (Vec<_>, Vec<_>) = held.iter().copied().partition(|attempt| {
            let holding = self.agents[agent].holdings.get(&attempt.assignment);
            let task = holding.and_then(|holding| holding.task);
            task.is_some_and(|task| self.tasks[task].current.is_some_and(|current| current.attempt == *attempt))
        });
        let kept: BTreeSet<AssignmentId> = adopted.iter().map(|attempt| attempt.assignment).collect();
        let missing: Vec<_> = self.agents[agent]
            .holdings
            .iter()
            .filter(|(assignment, _)| !kept.contains(assignment))
            .map(|(&assignment, holding)| (assignment, holding.task, holding.room))
            .collect();
        for &(assignment, ..) in &missing {
            self.free_place(agent, assignment);
        }
        for (_, task, room) in missing {
            // The same process never got it; another process died with it, unless it had only been waiting there.
            if let Some(task) = task {
                self.lose_attempt(task, !same_process && room == Room::Now, "its agent came back without it", out);
            }
        }
        self.promote(agent);
        for attempt in &adopted {
            self.counters.adopted += 1;
            if let Some(task) = self.tasks.find(attempt.task) {
                self.go_on(task, agent, attempt.assignment);
                let id = self.agents[agent].spec.id.clone();
                self.tell(task, TaskEventKind::Adopted, Told::by(id, "still running"), out);
            }
        }
        (adopted, superseded)
    }

    /// An adopted attempt that has its place runs, whether or not its agent could say so before.
    fn go_on(&mut self, task: TaskIx, agent: AgentIx, assignment: AssignmentId) {
        let placed = self.agents[agent].holdings.get(&assignment).is_some_and(|holding| holding.room == Room::Now);
        if placed && self.tasks[task].state == TaskState::Assigned {
            self.tasks.set_state(task, TaskState::Running);
        }
        let now = self.now;
        if placed && let Some(current) = &mut self.tasks[task].current {
            current.running_since.get_or_insert(now);
            self.arm(task);
        }
    }

    pub(super) fn heartbeat(&mut self, session: SessionEpoch, load: AgentLoad, out: &mut Effects) {
        let Some(agent) = self.heard(session) else { return };
        let row = &mut self.agents[agent];
        row.tracker.observe_load(self.now, &load);
        row.load = load;
        row.load_at = self.now;
        self.norms.fade(self.now, row.holdings.is_empty(), &mut row.pace);
        self.reassess(agent, out);
        self.refresh(agent);
        self.offer(agent, out);
    }

    /// Takes over what the tracker says of the agent's health.
    pub(super) fn reassess(&mut self, agent: AgentIx, out: &mut Effects) {
        let row = &mut self.agents[agent];
        let assessment = row.tracker.assess();
        let before = std::mem::replace(&mut row.health, assessment.health);
        row.conditions = assessment.conditions;
        let health = row.health;
        if before == health {
            return;
        }
        let id = row.spec.id.clone();
        let why: Vec<String> = row.conditions.iter().map(ToString::to_string).collect();
        let words =
            if why.is_empty() { format!("{id} is {health}") } else { format!("{id} is {health}: {}", why.join("; ")) };
        self.announce(ClusterEventKind::AgentHealth, Some(agent), words, out);
        match (before == Health::Unhealthy, health == Health::Unhealthy) {
            (false, true) => self.unhealthy += 1,
            (true, false) => self.unhealthy -= 1,
            _ => {}
        }
        self.refresh(agent);
        self.watch_load_panic(out);
    }

    /// Where most of the fleet is unhealthy, health says nothing about where to go, and is ignored.
    pub(super) fn watch_load_panic(&mut self, out: &mut Effects) {
        let total = self.agents.connected();
        let ignores = panic::ignore_load_health(total.saturating_sub(self.unhealthy), total);
        if ignores == self.ignores_health {
            return;
        }
        self.ignores_health = ignores;
        let words = if ignores { "most agents are unhealthy: health is ignored" } else { "health counts again" };
        self.announce(ClusterEventKind::PanicMode, None, words.to_owned(), out);
        self.offer_all(out);
    }

    pub(super) fn session_closed(&mut self, session: SessionEpoch, reason: &str, out: &mut Effects) {
        let Some(agent) = self.agents.of_session(session) else { return };
        let row = &self.agents[agent];
        if row.leaving && row.holdings.values().all(|holding| holding.task.is_none()) {
            self.leave(agent, out);
            return;
        }
        self.detach(agent, ClusterEventKind::AgentLost, reason, out);
        let grace = self.now.plus(self.settings.reconnect_grace);
        self.set_agent_timer(agent, AgentTimer::Grace, grace);
        self.note_reap(agent);
    }
}
