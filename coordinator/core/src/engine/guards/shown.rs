//! Quotas, breakers, and slots that follow latency, as shown to people: nothing here is asked on the way of a task.

use evenkeel_shared::{AgentId, QuotaKey, Timestamp};

use super::super::Engine;
use crate::{
    admission::{BreakerId, DynamicLimitSettings, breaker::BreakerState, guards::BreakerView, quota::Cooldown},
    ix::{AgentIx, ClassIx},
};

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

    /// How many quotas are used up.
    #[must_use]
    pub fn quotas_used_up(&self) -> usize {
        self.guarding.guards.cooldowns().count()
    }

    /// How many breakers are open or half-open, agents' included. Walks those that were ejected at some time.
    #[must_use]
    pub fn breakers_not_closed(&self, now: Timestamp) -> usize {
        let now = self.now.max(now);
        let agents = self.guarding.ejected.iter().filter(|&&agent| self.agent_breaker(now, agent).0.is_turned());
        agents.count() + self.guarding.guards.turned()
    }

    /// How the breaker of an agent that was ejected at some time stands, and why.
    fn agent_breaker(&self, now: Timestamp, agent: AgentIx) -> (BreakerState, &'static str) {
        let row = &self.agents[agent];
        let half_open = row.ramp.next_step(now, row.spec.capacity.slots).is_some();
        match row.ejected_until {
            Some(until) => (BreakerState::Open { until }, "it fails far more than others"),
            None if half_open => (BreakerState::HalfOpen, "it gets its slots back in steps"),
            None => (BreakerState::Closed, ""),
        }
    }

    /// The breakers of which something is known, agents' included. Walks the agents that were ejected at some time.
    #[must_use]
    pub fn breaker_views(&self, now: Timestamp) -> Vec<BreakerView> {
        let now = self.now.max(now);
        let agents = self.guarding.ejected.iter().map(|&ix| {
            let row = &self.agents[ix];
            let (state, reason) = self.agent_breaker(now, ix);
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
