//! Guards that shut or open: when that is due, what is said of it, and how it reaches the classes and agents concerned.

use evenkeel_shared::QuotaKey;

use super::{
    super::{Engine, Timer, effects::Effects, limits},
    Guarding,
};
use crate::{
    admission::{BreakerId, breaker::BreakerState, guards::Turn},
    model::ClusterEventKind,
};

impl Engine {
    /// The time of some guard has come.
    pub(in crate::engine) fn guards_due(&mut self, out: &mut Effects) {
        self.guarding.timer = None;
        let (mut turns, next) = (Vec::new(), self.numbers.next_assignment());
        self.guarding.guards.due(self.now, next, &mut turns);
        self.follow_turns(turns, out);
        self.look_at_agents();
        self.arm_guards();
    }

    /// What follows from a guard that shut or opened: it is said, and takes effect.
    pub(super) fn follow_turns(&mut self, turns: Vec<Turn>, out: &mut Effects) {
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
        let (sort, name) = match id {
            BreakerId::Agent(agent) => ("agent", agent.as_str()),
            BreakerId::Kind(kind) => ("kind", kind.as_str()),
            BreakerId::Quota(key) => ("quota", key.as_str()),
        };
        self.note("breaker", sort, name, words.clone(), out);
        self.announce(ClusterEventKind::Breaker, None, words, out);
    }

    fn say_shut(&mut self, key: &QuotaKey, out: &mut Effects) {
        let Some(cooldown) = self.guarding.guards.cooldown(key) else { return };
        let by = cooldown.reported_by.as_ref().map_or_else(|| "by hand".to_owned(), |by| format!("says {by}"));
        let why = if cooldown.reason.is_empty() { String::new() } else { format!(": {}", cooldown.reason) };
        let agent = cooldown.reported_by.as_ref().and_then(|by| self.agents.find(by));
        let words =
            format!("the upstream quota `{key}` is used up for {:.1?}, {by}{why}", cooldown.until.since(self.now));
        self.note("cooldown", "quota", key.as_str(), words.clone(), out);
        self.announce(ClusterEventKind::Quota, agent, words, out);
    }

    fn say_opened(&mut self, key: &QuotaKey, out: &mut Effects) {
        let words = format!("the upstream quota `{key}` is open again");
        self.note("opened", "quota", key.as_str(), words.clone(), out);
        self.announce(ClusterEventKind::Quota, None, words, out);
    }

    /// Looks at some of the agents whose keys have shut or opened. Those that may be used again are offered at the end of
    /// the event.
    pub(in crate::engine) fn look_at_agents(&mut self) {
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
    pub(in crate::engine) fn arm_guards(&mut self) {
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
}
