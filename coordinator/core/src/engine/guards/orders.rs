//! What operators say of quotas, breakers, and slots that follow latency.

use std::time::Duration;

use evenkeel_shared::{Code, Error, QuotaKey};

use super::super::{
    Engine,
    agent::AgentTimer,
    control::{because, json},
    effects::Effects,
    limits,
};
use crate::{
    admission::{BreakerId, BreakerOrder, DynamicLimitSettings, dynamic::SlotLimit},
    health::slow_start::Ramp,
    ix::AgentIx,
    model::{ClusterEventKind, DeclarationKind},
};

impl Engine {
    /// An operator says that a quota is used up.
    pub(in crate::engine) fn report_quota(
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
    pub(in crate::engine) fn clear_quota(&mut self, key: &QuotaKey, out: &mut Effects) -> Result<(), Error> {
        let mut turns = Vec::new();
        if !self.guarding.guards.clear_quota(key, &mut turns) {
            return Err(Error::not_found("quota", key.as_str()));
        }
        self.follow_turns(turns, out);
        Ok(())
    }

    /// An operator opens or closes a breaker.
    pub(in crate::engine) fn set_breaker(
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
        let id = self.agents[agent].spec.id.clone();
        let words = match order {
            BreakerOrder::Open(time) => {
                let until = self.now.plus(time);
                self.outliers.order(self.now, agent, Some(until));
                self.note_ejected(agent, until);
                self.refresh(agent);
                format!("the circuit breaker of agent `{id}` is open for {time:.0?}, by hand")
            }
            BreakerOrder::Close => {
                self.outliers.order(self.now, agent, None);
                self.clear_agent_timer(agent, AgentTimer::Ejection);
                self.agents[agent].ejected_until = None;
                self.agents[agent].ejection_changed_at = self.now;
                self.agents[agent].ramp = Ramp::full(self.settings.ramp);
                self.refresh(agent);
                format!("the circuit breaker of agent `{id}` is closed, by hand")
            }
        };
        let words = because(words, reason);
        self.note("breaker", "agent", id.as_str(), words.clone(), out);
        self.announce(ClusterEventKind::Breaker, Some(agent), words, out);
        self.offer(agent, out);
    }

    /// Slots of agents follow latency from now on, or no longer.
    pub(in crate::engine) fn set_dynamic_limits(
        &mut self,
        settings: DynamicLimitSettings,
        reason: String,
        out: &mut Effects,
    ) -> Result<(), Error> {
        self.require_guards()?;
        settings.validate()?;
        let body = json("dynamic_limits", &settings)?;
        self.declare(DeclarationKind::DynamicLimits, "", Some(body), reason, out);
        if !settings.enabled {
            self.guarding.dynamic.reset();
        }
        self.guarding.settings = settings;
        let words = if settings.enabled {
            format!("slots follow latency: {}, tolerance {}", settings.algorithm.name(), settings.tolerance)
        } else {
            "slots do not follow latency".to_owned()
        };
        self.announce(ClusterEventKind::Limit, None, words, out);
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
}
