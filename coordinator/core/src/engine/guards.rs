//! Upstream quotas, circuit breakers, and slots that follow latency: how they act on tasks and agents.
//!
//! What is shut for a class of tasks (their kind, the quotas they name) is asked where limits of kinds are, see `gates`: a
//! class that is shut has no turn, and its tasks wait in the queue, in their order. What is shut for an agent (the quotas
//! it registered with) makes the agent one that gets nothing.
//!
//! - **A quota that is used up costs as few attempts as can be.** An attempt that found it out has been made and counts, for
//!   the bound on attempts is absolute (P6): a task that is sent into the same wall without end is as bad as any other that
//!   fails without end. But it counts for nobody else: the attempts that would have followed it are not made, and the task
//!   itself waits for the quota and not for a backoff. It says nothing of its agent's health either. Where neither the task
//!   nor its agent names a key there is nothing to wait for, and it is tried again as after any failure.
//! - **An agent's breaker is its ejection**: see [`crate::admission::breaker`]. An agent that is let in again begins with a
//!   few slots (its ramp), which is its half-open.
//! - **Slots that were taken from a slow agent** are still there for urgent tasks; who those are is asked here and passed to the
//!   router as [`Room::Urgent`](crate::routing::Room). An agent that runs nothing has all its slots, so what needs more of them
//!   than the limit goes alone, and does not wait for ever. An agent with fewer slots than it has gets nothing ahead: the
//!   agent itself, which knows nothing of the limit, would begin it.
//!
//! Agents that share a key may be the whole fleet: so many of them are looked at with each event, the rest with the next,
//! which follows at once. With the setting `guards` off nothing of this has any effect, and routing is as without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel_shared::{
    AgentId, AssignmentId, Code, Error, Failure, FailureClass, Outcome, QuotaKey, SessionEpoch, Timestamp,
};

use super::{Engine, Settings, Timer, agent::AgentTimer, effects::Effects, limits};
use crate::{
    admission::{
        BreakerId, BreakerOrder, DynamicLimitSettings,
        breaker::{Attempt, BreakerState},
        dynamic::{DynamicLimits, Ran, SlotLimit},
        guards::{BreakerView, Closed, Drawn, Guards, Turn},
        quota::{Cooldown, Reported},
    },
    health::slow_start::Ramp,
    ix::{AgentIx, ClassIx, TaskIx},
    model::{ClusterEventKind, Declaration, DeclarationKind},
    timer::TimerKey,
};

/// What guards need in the engine.
#[derive(Debug)]
pub(super) struct Guarding {
    enabled: bool,
    guards: Guards,
    dynamic: DynamicLimits,
    settings: DynamicLimitSettings,
    /// Who registered with a key.
    members: BTreeMap<QuotaKey, BTreeSet<AgentIx>>,
    /// Agents to look at, because a key of theirs has shut or opened.
    unseen: BTreeSet<AgentIx>,
    timer: Option<(Timestamp, TimerKey)>,
}

impl Guarding {
    pub fn new(settings: &Settings, seed: u64) -> Self {
        Self {
            enabled: settings.guards,
            guards: Guards::new(settings.breakers, seed),
            dynamic: DynamicLimits::default(),
            settings: DynamicLimitSettings::default(),
            members: BTreeMap::new(),
            unseen: BTreeSet::new(),
            timer: None,
        }
    }

    /// What was declared before the restart. What cannot be read is as if it had not been.
    pub fn recover(&mut self, declarations: &[Declaration]) {
        let declared = declarations.iter().find(|declared| declared.kind == DeclarationKind::DynamicLimits);
        let read = |body: &String| serde_json::from_str::<DynamicLimitSettings>(body).ok();
        let settings = declared.and_then(|declared| declared.body.as_ref()).and_then(read);
        if let Some(settings) = settings.filter(|settings| settings.validate().is_ok()) {
            self.settings = settings;
        }
    }

    /// The priority from which tasks may have the slots that were taken from slow agents. `None`: none were.
    pub const fn headroom(&self) -> Option<u8> {
        if self.enabled && self.settings.enabled { Some(self.settings.headroom_priority) } else { None }
    }
}

/// A quota that is used up, as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaView {
    /// Which.
    pub key: QuotaKey,
    /// Until when, why, and who said so.
    pub cooldown: Cooldown,
    /// Tasks that wait and name it.
    pub waiting: u64,
    /// Agents that registered with it.
    pub agents: Vec<AgentId>,
}

/// What latency has made of an agent's slots, as shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicLimitView {
    /// The agent.
    pub agent: AgentId,
    /// Slots that it has.
    pub slots: u32,
    /// Of these, open to tasks that are not urgent.
    pub limit: u32,
    /// How many times their best its attempts take.
    pub latency_ratio: f64,
}

impl Engine {
    /// Whether anything is shut for some class.
    pub(super) fn guards_are_up(&self) -> bool {
        self.guarding.enabled && !self.guarding.guards.all_open()
    }

    /// Whether tasks of this class do not go now.
    pub(super) fn guards_shut(&self, class: ClassIx) -> bool {
        self.guards_are_up() && self.class_closed(class).is_some()
    }

    /// Why tasks of this class do not go now.
    pub(super) fn class_closed(&self, class: ClassIx) -> Option<Closed> {
        if !self.guards_are_up() {
            return None;
        }
        let (kind, keys) = self.router.asks_for(class)?;
        self.guarding.guards.class_closed(self.now, kind, keys)
    }

    /// Why an agent gets nothing for a quota it draws on.
    pub(super) fn agent_closed(&self, agent: AgentIx) -> Option<Closed> {
        if !self.guards_are_up() {
            return None;
        }
        self.guarding.guards.agent_closed(&self.agents[agent].spec.quota_keys)
    }

    /// An attempt at the task begins.
    pub(super) fn guards_begun(&mut self, task: TaskIx) {
        if !self.guards_are_up() {
            return;
        }
        let spec = &self.tasks[task].spec;
        if self.guarding.guards.begun(self.now, &spec.kind, &spec.requirements.quota_keys) {
            self.recheck_classes(None);
            self.arm_guards();
        }
    }

    /// An agent said how an attempt ended. To be called while its place is still taken. Answers whether the task waits for a
    /// quota.
    pub(super) fn guards_ended(
        &mut self,
        agent: AgentIx,
        task: TaskIx,
        number: AssignmentId,
        outcome: &Outcome,
        run: Duration,
        out: &mut Effects,
    ) -> bool {
        if !self.guarding.enabled {
            return false;
        }
        let (verdict, ran) = match outcome {
            Outcome::Succeeded(_) => (Some(true), Some(Ran::For(run))),
            Outcome::Failed(Failure { class, .. }) => match class {
                FailureClass::QuotaExhausted => return self.quota_failed(agent, task, out),
                FailureClass::Retryable => (Some(false), None),
                FailureClass::Timeout => (Some(false), Some(Ran::Overload)),
                FailureClass::Rejected => (None, Some(Ran::Overload)),
                FailureClass::NonRetryable | FailureClass::AgentLost | FailureClass::BudgetExceeded => (None, None),
            },
            Outcome::Cancelled | Outcome::HandedBack(_) => (None, None),
        };
        if let Some(ran) = ran {
            self.follow_latency(agent, task, ran);
        }
        if let Some(ok) = verdict {
            self.judge_dependencies(task, Attempt { number, agent, ok }, out);
        }
        false
    }

    /// An attempt took longer than it may, and its agent did not end it.
    pub(super) fn guards_timed_out(&mut self, task: TaskIx, out: &mut Effects) {
        let Some(current) = self.tasks[task].current.filter(|_| self.guarding.enabled) else { return };
        self.follow_latency(current.agent, task, Ran::Overload);
        let attempt = Attempt { number: current.attempt.assignment, agent: current.agent, ok: false };
        self.judge_dependencies(task, attempt, out);
    }

    fn judge_dependencies(&mut self, task: TaskIx, attempt: Attempt, out: &mut Effects) {
        let mut turns = Vec::new();
        let fleet = (self.agents.connected(), self.numbers.next_assignment());
        let Self { guarding, tasks, agents, now, .. } = self;
        let spec = &tasks[task].spec;
        let drawn = Drawn {
            kind: &spec.kind,
            keys: &spec.requirements.quota_keys,
            agent_keys: &agents[attempt.agent].spec.quota_keys,
        };
        guarding.guards.ended(*now, &drawn, attempt, fleet, &mut turns);
        self.follow_turns(turns, out);
    }

    fn quota_failed(&mut self, agent: AgentIx, task: TaskIx, out: &mut Effects) -> bool {
        let mut turns = Vec::new();
        let Self { guarding, tasks, agents, now, .. } = self;
        let (spec, of) = (&tasks[task].spec, &agents[agent].spec);
        let drawn = Drawn { kind: &spec.kind, keys: &spec.requirements.quota_keys, agent_keys: &of.quota_keys };
        let waits = guarding.guards.quota_failed(*now, &drawn, &of.id, &mut turns);
        self.follow_turns(turns, out);
        waits
    }

    /// An agent says that a quota is used up.
    pub(super) fn quota_exhausted(
        &mut self,
        session: SessionEpoch,
        key: &QuotaKey,
        retry_after: Duration,
        reason: &str,
        out: &mut Effects,
    ) {
        let Some(agent) = self.heard(session).filter(|_| self.guarding.enabled) else { return };
        let mut turns = Vec::new();
        let id = self.agents[agent].spec.id.clone();
        let Self { guarding, now, .. } = self;
        let reported = guarding.guards.report_quota(*now, key, retry_after, reason, Some(&id), &mut turns);
        if reported == Reported::TooMany {
            self.counters.refused_messages += 1;
        }
        self.follow_turns(turns, out);
    }

    /// An operator says that a quota is used up.
    pub(super) fn report_quota(
        &mut self,
        key: &QuotaKey,
        retry_after: Duration,
        reason: &str,
        out: &mut Effects,
    ) -> Result<(), Error> {
        self.require_guards()?;
        let mut turns = Vec::new();
        let now = self.now;
        self.guarding.guards.report_quota(now, key, retry_after, reason, None, &mut turns);
        self.follow_turns(turns, out);
        Ok(())
    }

    /// An operator says that it no longer is.
    pub(super) fn clear_quota(&mut self, key: &QuotaKey, out: &mut Effects) -> Result<(), Error> {
        let mut turns = Vec::new();
        if !self.guarding.guards.clear_quota(key, &mut turns) {
            return Err(Error::not_found("quota", key.as_str()));
        }
        self.follow_turns(turns, out);
        Ok(())
    }

    /// An operator opens or closes a breaker.
    pub(super) fn set_breaker(
        &mut self,
        id: &BreakerId,
        order: BreakerOrder,
        reason: &str,
        out: &mut Effects,
    ) -> Result<(), Error> {
        self.require_guards()?;
        if let BreakerId::Agent(id) = id {
            let agent = self.agents.find(id).ok_or_else(|| Error::not_found("agent", id.as_str()))?;
            self.order_ejection(agent, order, reason, out);
            return Ok(());
        }
        let (mut turns, next) = (Vec::new(), self.numbers.next_assignment());
        if !self.guarding.guards.order(self.now, id, order, reason, next, &mut turns) {
            return Err(Error::exhausted("there is no room for one more breaker", limits::RETRY_AFTER));
        }
        self.follow_turns(turns, out);
        Ok(())
    }

    fn require_guards(&self) -> Result<(), Error> {
        if self.guarding.enabled {
            return Ok(());
        }
        let words =
            "quotas, breakers and slots that follow latency are switched off in the configuration (engine.guards)";
        Err(Error::new(Code::FailedPrecondition, words))
    }

    /// The breaker of an agent is its ejection.
    fn order_ejection(&mut self, agent: AgentIx, order: BreakerOrder, reason: &str, out: &mut Effects) {
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let id = self.agents[agent].spec.id.clone();
        self.agents[agent].ejection_changed_at = self.now;
        let words = match order {
            BreakerOrder::Open(time) => {
                let until = self.now.plus(time);
                self.outliers.order(self.now, agent, Some(until));
                self.agents[agent].ejected_until = Some(until);
                self.agents[agent].times_ejected = self.agents[agent].times_ejected.saturating_add(1);
                self.set_agent_timer(agent, AgentTimer::Ejection, until);
                self.refresh(agent);
                format!("the circuit breaker of agent `{id}` is open for {time:.0?}, by hand{why}")
            }
            BreakerOrder::Close => {
                self.outliers.order(self.now, agent, None);
                self.clear_agent_timer(agent, AgentTimer::Ejection);
                self.agents[agent].ejected_until = None;
                self.agents[agent].ramp = Ramp::full(self.settings.ramp);
                self.refresh(agent);
                format!("the circuit breaker of agent `{id}` is closed, by hand{why}")
            }
        };
        self.note("breaker", &format!("agent:{id}"), words.clone(), out);
        self.announce(ClusterEventKind::Breaker, Some(agent), words, out);
        self.offer(agent, out);
    }

    /// An agent whose ejection is over starts with a few slots: its breaker is half-open.
    pub(super) fn try_ejected(&mut self, agent: AgentIx) {
        let ramp = Ramp::begin(self.settings.ramp, self.now);
        let row = &mut self.agents[agent];
        row.ejected_until = None;
        row.ejection_changed_at = self.now;
        row.ramp = ramp;
        if let Some(at) = ramp.next_step(self.now, row.spec.capacity.slots) {
            self.set_agent_timer(agent, AgentTimer::Ramp, at);
        }
    }

    /// Slots of agents follow latency from now on, or no longer.
    pub(super) fn set_dynamic_limits(
        &mut self,
        settings: DynamicLimitSettings,
        reason: String,
        out: &mut Effects,
    ) -> Result<(), Error> {
        self.require_guards()?;
        settings.validate()?;
        let body = serde_json::to_string(&settings)
            .map_err(|error| Error::new(Code::Internal, format!("the settings cannot be written: {error}")))?;
        self.declare(DeclarationKind::DynamicLimits, "", Some(body), reason, out);
        if !settings.enabled {
            self.guarding.dynamic.reset();
        }
        self.guarding.settings = settings;
        let words = match settings.enabled {
            true => format!("slots follow latency: {:?}, tolerance {}", settings.algorithm, settings.tolerance),
            false => "slots do not follow latency".to_owned(),
        };
        self.announce(ClusterEventKind::Limit, None, words.to_lowercase(), out);
        for agent in self.agents.indices() {
            let row = &mut self.agents[agent];
            if !settings.enabled {
                row.slot_limit = SlotLimit::default();
            }
            row.limit_slots(&settings);
            self.promote(agent);
            self.refresh(agent);
            self.offer(agent, out);
        }
        Ok(())
    }

    /// The slots of an agent follow how long its attempts take.
    fn follow_latency(&mut self, agent: AgentIx, task: TaskIx, ran: Ran) {
        let Self { guarding: Guarding { dynamic, settings, .. }, agents, tasks, .. } = self;
        if !settings.enabled {
            return;
        }
        let row = &mut agents[agent];
        let slots = (row.reserved.slots, row.spec.capacity.slots);
        if dynamic.observe(settings, &tasks[task].spec.kind, ran, slots, &mut row.slot_limit) {
            row.limit_slots(settings);
            // The caller frees the place and refreshes the agent.
        }
    }

    /// What an agent registered with: the keys by which it may be shut.
    pub(super) fn join_quotas(&mut self, agent: AgentIx, before: &[QuotaKey]) {
        for key in before {
            if let Some(members) = self.guarding.members.get_mut(key) {
                members.remove(&agent);
                if members.is_empty() {
                    self.guarding.members.remove(key);
                }
            }
        }
        for key in self.agents[agent].spec.quota_keys.iter() {
            self.guarding.members.entry(key.clone()).or_default().insert(agent);
        }
        self.agents[agent].quota_shut = self.agent_closed(agent).is_some();
        let settings = self.guarding.settings;
        self.agents[agent].limit_slots(&settings);
    }

    /// The agent is gone for good.
    pub(super) fn leave_quotas(&mut self, agent: AgentIx) {
        let Self { guarding: Guarding { members, unseen, .. }, agents, .. } = self;
        for key in &agents[agent].spec.quota_keys {
            if let Some(those) = members.get_mut(key) {
                those.remove(&agent);
                if those.is_empty() {
                    members.remove(key);
                }
            }
        }
        unseen.remove(&agent);
    }

    /// The time of some guard has come.
    pub(super) fn guards_due(&mut self, out: &mut Effects) {
        self.guarding.timer = None;
        let (mut turns, next) = (Vec::new(), self.numbers.next_assignment());
        self.guarding.guards.due(self.now, next, &mut turns);
        self.follow_turns(turns, out);
        self.look_at_agents();
        self.arm_guards();
    }

    /// What follows from a guard that shut or opened: it is said, and takes effect.
    fn follow_turns(&mut self, turns: Vec<Turn>, out: &mut Effects) {
        if turns.is_empty() {
            return;
        }
        for turn in &turns {
            match turn {
                Turn::Breaker { id, state, reason } => self.say_breaker(id, *state, reason, out),
                Turn::MoreTrials => {}
                Turn::Shut(key) => self.say_shut(key, out),
                Turn::Opened(key) => self.say_opened(key, out),
            }
            let key = match turn {
                Turn::Breaker { id: BreakerId::Quota(key), .. } | Turn::Shut(key) | Turn::Opened(key) => key,
                Turn::Breaker { .. } | Turn::MoreTrials => continue,
            };
            let Guarding { members, unseen, .. } = &mut self.guarding;
            unseen.extend(members.get(key).into_iter().flatten());
        }
        self.recheck_classes(None);
        self.look_at_agents();
        self.arm_guards();
    }

    fn say_breaker(&mut self, id: &BreakerId, state: BreakerState, reason: &str, out: &mut Effects) {
        let for_how_long = match state {
            BreakerState::Open { until } => format!(" for {:.1?}", until.since(self.now)),
            BreakerState::Closed | BreakerState::HalfOpen => String::new(),
        };
        let words = format!("the circuit breaker of {id} is {state}{for_how_long}: {reason}");
        let subject = match id {
            BreakerId::Agent(agent) => format!("agent:{agent}"),
            BreakerId::Kind(kind) => format!("kind:{kind}"),
            BreakerId::Quota(key) => format!("quota:{key}"),
        };
        self.note("breaker", &subject, words.clone(), out);
        self.announce(ClusterEventKind::Breaker, None, words, out);
    }

    fn say_shut(&mut self, key: &QuotaKey, out: &mut Effects) {
        let Some(cooldown) = self.guarding.guards.cooldown(key) else { return };
        let by = cooldown.reported_by.as_ref().map_or_else(|| "by hand".to_owned(), |by| format!("says {by}"));
        let why = if cooldown.reason.is_empty() { String::new() } else { format!(": {}", cooldown.reason) };
        let agent = cooldown.reported_by.as_ref().and_then(|by| self.agents.find(by));
        let words =
            format!("the upstream quota `{key}` is used up for {:.1?}, {by}{why}", cooldown.until.since(self.now));
        self.note("cooldown", &format!("quota:{key}"), words.clone(), out);
        self.announce(ClusterEventKind::Quota, agent, words, out);
    }

    fn say_opened(&mut self, key: &QuotaKey, out: &mut Effects) {
        let words = format!("the upstream quota `{key}` is open again");
        self.note("opened", &format!("quota:{key}"), words.clone(), out);
        self.announce(ClusterEventKind::Quota, None, words, out);
    }

    /// Looks at some of the agents whose keys have shut or opened. Those that may be used again are offered at the end of
    /// the event.
    pub(super) fn look_at_agents(&mut self) {
        for _ in 0..limits::KEYED_AGENTS_MAX {
            let Some(agent) = self.guarding.unseen.pop_first() else { return };
            let shut = self.agent_closed(agent).is_some();
            if std::mem::replace(&mut self.agents[agent].quota_shut, shut) != shut {
                self.refresh(agent);
                if !shut {
                    self.unheld.push(agent);
                }
            }
        }
    }

    /// Sees to it that the engine is called when a guard is due, or at once if agents are left to look at.
    pub(super) fn arm_guards(&mut self) {
        let now = (!self.guarding.unseen.is_empty()).then_some(self.now);
        let Some(at) = now.or_else(|| self.guarding.guards.next_due()) else { return };
        if self.guarding.timer.is_some_and(|(set, _)| set <= at) {
            return;
        }
        if let Some((_, key)) = self.guarding.timer.take() {
            self.timers.cancel(key);
        }
        self.guarding.timer = Some((at, self.timers.insert(at, Timer::Guards)));
    }

    /// The quotas that are used up, by key. Counts the tasks that wait: for people, not for decisions.
    #[must_use]
    pub fn quota_views(&self) -> Vec<QuotaView> {
        let names =
            |class: ClassIx, key: &QuotaKey| self.router.asks_for(class).is_some_and(|(_, keys)| keys.contains(key));
        let waiting = |key: &QuotaKey| {
            let classes = self.queue.classes().filter(|&class| names(class, key));
            classes.map(|class| self.queue.class_len(class) as u64).sum()
        };
        let members = |key: &QuotaKey| self.guarding.members.get(key).into_iter().flatten();
        let view = |(key, cooldown): (&QuotaKey, &Cooldown)| QuotaView {
            key: key.clone(),
            cooldown: cooldown.clone(),
            waiting: waiting(key),
            agents: members(key).map(|&agent| self.agents[agent].spec.id.clone()).collect(),
        };
        self.guarding.guards.cooldowns().map(view).collect()
    }

    /// The breakers of which something is known, agents' included. Walks the fleet: for people, not for decisions.
    #[must_use]
    pub fn breaker_views(&self, now: Timestamp) -> Vec<BreakerView> {
        let now = self.now.max(now);
        let ejected = self.agents.iter().filter(|(_, row)| row.times_ejected > 0);
        let agents = ejected.map(|(ix, row)| {
            let half_open = row.ramp.next_step(now, row.spec.capacity.slots).is_some();
            let (state, reason) = match row.ejected_until {
                Some(until) => (BreakerState::Open { until }, "it fails far more than others"),
                None if half_open => (BreakerState::HalfOpen, "it gets its slots back in steps"),
                None => (BreakerState::Closed, ""),
            };
            let (failures, attempts) = self.outliers.counts(now, ix);
            BreakerView {
                id: BreakerId::Agent(row.spec.id.clone()),
                state,
                since: row.ejection_changed_at,
                failures,
                attempts,
                times_opened: row.times_ejected,
                reason: reason.to_owned(),
            }
        });
        let mut views: Vec<BreakerView> = agents.chain(self.guarding.guards.breakers()).collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }

    /// How slots follow latency.
    #[must_use]
    pub const fn dynamic_limit_settings(&self) -> DynamicLimitSettings {
        self.guarding.settings
    }

    /// What latency has made of the slots of the connected agents, by id. Walks the fleet: for people, not for decisions.
    #[must_use]
    pub fn dynamic_limit_views(&self) -> Vec<DynamicLimitView> {
        if self.guarding.headroom().is_none() {
            return Vec::new();
        }
        let connected = self.agents.iter().filter(|(_, row)| row.session.is_some());
        let mut views: Vec<DynamicLimitView> = connected
            .map(|(_, row)| DynamicLimitView {
                agent: row.spec.id.clone(),
                slots: row.spec.capacity.slots,
                limit: row.slot_limit.slots(&self.guarding.settings, row.spec.capacity.slots),
                latency_ratio: row.slot_limit.latency_ratio(),
            })
            .collect();
        views.sort_by(|a, b| a.agent.cmp(&b.agent));
        views
    }
}
