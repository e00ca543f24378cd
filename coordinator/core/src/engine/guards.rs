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

use evenkeel_shared::{AssignmentId, Failure, FailureClass, Outcome, QuotaKey, SessionEpoch, Timestamp};

use super::{Engine, Settings, agent::AgentTimer, effects::Effects};
use crate::{
    admission::{
        DynamicLimitSettings,
        breaker::Attempt,
        dynamic::{DynamicLimits, Ran},
        guards::{Closed, Drawn, Guards},
        quota::Reported,
    },
    health::slow_start::Ramp,
    ix::{AgentIx, ClassIx, TaskIx},
    model::{Declaration, DeclarationKind},
    timer::TimerKey,
};

mod checked;
mod orders;
mod shown;
mod turns;

pub use shown::{DynamicLimitView, QuotaView};

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
    /// Agents that were ejected at some time: the breakers of all others are closed and have nothing to tell.
    ejected: BTreeSet<AgentIx>,
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
            ejected: BTreeSet::new(),
            timer: None,
        }
    }

    /// Other settings of breakers.
    pub const fn configure(&mut self, breakers: crate::admission::breaker::BreakerSettings) {
        self.guards.configure(breakers);
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

    /// An agent gets nothing until then: its breaker is open.
    pub(super) fn note_ejected(&mut self, agent: AgentIx, until: Timestamp) {
        let row = &mut self.agents[agent];
        row.ejected_until = Some(until);
        row.ejection_changed_at = self.now;
        row.times_ejected = row.times_ejected.saturating_add(1);
        self.guarding.ejected.insert(agent);
        self.set_agent_timer(agent, AgentTimer::Ejection, until);
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
        let Self { guarding: Guarding { members, unseen, ejected, .. }, agents, .. } = self;
        for key in &agents[agent].spec.quota_keys {
            if let Some(those) = members.get_mut(key) {
                those.remove(&agent);
                if those.is_empty() {
                    members.remove(key);
                }
            }
        }
        unseen.remove(&agent);
        ejected.remove(&agent);
    }
}
