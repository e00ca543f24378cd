//! The decision: how many agents are wanted now.
//!
//! In the order of the Kubernetes autoscaler's `behavior` (whose steps are cited by name): a proposal from demand and score,
//! bounds, *stabilisation* (the mildest proposal of the window counts), *rate* (what came and went in the period is taken
//! off the step), and a cooldown in front. What differs from it, and why:
//!
//! - It turns each second instead of each fifteen: a fleet of agents is smaller and its spikes are steeper.
//! - A scale-down needs the score below its threshold as well, and goes only so far that the score that is expected afterwards
//!   stays below the threshold of scale-up: so a change cannot cause the next one, which is what oscillation is.
//! - The window begins with the present size: a manager that has just started knows nothing, and does not shrink the fleet
//!   before it has seen a whole window.
//! - A number beyond the bounds, and an override, are put right at once, without window, step or cooldown: somebody has
//!   said so. A fleet that may be empty and has work gets its first agent at once too.

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::{
    demand::{Demand, Foreseen, Load},
    effect::Effect,
    foresight::Foresight,
    history::{Changes, Extreme, Window},
    policy::{Override, Policy, Rules},
    proposal::propose,
    record::{Decision, ScalingOutcome},
    score::Score,
    verdict::{Action, Hold, Reason, Verdict},
};

/// Decides. It has a memory (window, steps, cooldown, effect), and no clock.
#[derive(Clone, Debug)]
pub struct Scaler {
    policy: Policy,
    override_: Option<Override>,
    least: Window,
    greatest: Window,
    changes: Changes,
    effect: Effect,
    foresight: Foresight,
    begun: bool,
}

impl Scaler {
    /// A scaler with no memory.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            override_: None,
            least: Window::new(Extreme::Least),
            greatest: Window::new(Extreme::Greatest),
            changes: Changes::EMPTY,
            effect: Effect::NONE,
            foresight: Foresight::default(),
            begun: false,
        }
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts another policy in force. Changes made so far count for its steps; its effect starts anew, with its window.
    pub fn set_policy(&mut self, policy: Policy) {
        let changes = std::mem::take(&mut self.changes);
        let foresight = std::mem::take(&mut self.foresight);
        let override_ = self.override_.take();
        *self = Self { changes, foresight, override_, ..Self::new(policy) };
    }

    /// Fixes the number of agents, or no longer.
    pub fn set_override(&mut self, override_: Option<Override>) {
        self.override_ = override_;
    }

    /// The override in force.
    #[must_use]
    pub fn override_at(&self, now: Timestamp) -> Option<&Override> {
        self.override_.as_ref().filter(|fixed| fixed.holds(now))
    }

    /// How the policy has done.
    #[must_use]
    pub const fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Goes on after a restart, from the last decision before it. What a policy had done until then counts on if it is still in
    /// force.
    pub fn recover(&mut self, last: &Decision) {
        if (last.policy.as_str(), last.policy_version) == (self.policy.name.as_str(), self.policy.version) {
            self.effect = last.effect.clone();
        }
        if last.outcome != ScalingOutcome::Advised {
            self.changed(last.at, last.agents_before, last.agents_after);
        }
    }

    /// Notes that a change was passed on: steps and cooldowns are reckoned from it.
    pub fn changed(&mut self, now: Timestamp, before: u32, after: u32) {
        self.changes.add(now, before, after);
        self.effect.changed(now, Action::between(before, after));
    }

    /// What will be asked for when an agent that is started now works, where the policy looks ahead.
    fn foresee(&mut self, now: Timestamp, slots: f64) -> Option<Foreseen> {
        self.foresight.observe(now, slots);
        if !self.policy.predictive {
            return None;
        }
        let ahead = Duration::from_millis(self.policy.start_up_ms.saturating_add(self.policy.up.stabilisation_ms));
        self.foresight.look(now, slots, ahead)
    }

    /// What is wanted now. One call a second; `hold` while nothing is to be decided. Demand to come is what `load` says of it;
    /// else it is foreseen from demand that was.
    pub fn decide(&mut self, now: Timestamp, load: &Load, hold: Option<Hold>) -> Verdict {
        let mut demand = Demand::of(&self.policy, load);
        let foreseen = self.foresee(now, demand.slots);
        if let (Some(foreseen), None) = (foreseen, load.foreseen) {
            demand = Demand::of(&self.policy, &Load { foreseen: Some(foreseen), ..load.clone() });
        }
        let score = Score::of(&self.policy, load, &demand);
        let agents = load.agents_coming();
        self.effect.observe(now, &self.policy, load);
        if !self.begun {
            self.begun = true;
            self.stabilise(now, agents);
        }
        self.changes.forget(now, self.policy.up.period_ms.max(self.policy.down.period_ms));
        let verdict = |wanted, reasons, waiting_for| Verdict {
            agents,
            wanted,
            action: Action::between(agents, wanted),
            reasons,
            waiting_for,
            score: score.clone(),
            demand,
        };
        if let Some(hold) = hold {
            return verdict(agents, Vec::new(), Some(Reason::Held { hold }));
        }
        let proposal = propose(&self.policy, load, &demand, &score);
        let (floor, ceiling) = self.stabilise(now, proposal.agents);
        if let Some(fixed) = self.override_at(now) {
            let reason = Reason::Override { until: fixed.until, why: fixed.reason.clone() };
            return verdict(fixed.agents, vec![reason], None);
        }
        let bounded = self.policy.bounded(agents);
        if bounded != agents || (agents == 0 && proposal.agents > 0) {
            // Beyond the bounds, or nobody at all: put right at once.
            let wanted = if bounded == agents { 1 } else { bounded };
            return verdict(wanted, bound_reason(&self.policy, wanted, proposal.reasons), None);
        }
        let (wanted, waiting_for) = self.restrain(now, agents, proposal.agents, floor, ceiling);
        verdict(wanted, proposal.reasons, waiting_for.or(proposal.waiting_for))
    }

    /// Takes the proposal into both windows; answers the least of the one for growth and the greatest of the one for
    /// shrinking (`stabilizeRecommendationWithBehaviors`).
    fn stabilise(&mut self, now: Timestamp, proposed: u32) -> (u32, u32) {
        let floor = self.least.propose(now, proposed, self.policy.up.stabilisation_ms);
        let ceiling = self.greatest.propose(now, proposed, self.policy.down.stabilisation_ms);
        (floor, ceiling)
    }

    /// What window, cooldown and step leave of a proposal, and which of them stands in the way.
    fn restrain(&self, now: Timestamp, agents: u32, proposed: u32, floor: u32, ceiling: u32) -> (u32, Option<Reason>) {
        let action = Action::between(agents, proposed);
        let (rules, mildest, last) = match action {
            Action::None => return (agents, None),
            Action::Up => (&self.policy.up, floor.max(agents), self.changes.last_up()),
            Action::Down => (&self.policy.down, ceiling.min(agents), self.changes.last()),
        };
        let stabilising = (mildest != proposed).then_some(Reason::Stabilising {
            proposed,
            mildest,
            window_ms: rules.stabilisation_ms,
        });
        if mildest == agents {
            return (agents, stabilising);
        }
        let until = last.map(|last| last.plus(Duration::from_millis(rules.cooldown_ms)));
        if let Some(until) = until.filter(|until| now < *until) {
            return (agents, Some(Reason::Cooldown { until }));
        }
        let allowed = self.step(now, agents, action, rules);
        let wanted = if action == Action::Up { mildest.min(allowed) } else { mildest.max(allowed) };
        let step = (wanted != mildest).then_some(Reason::Step {
            wanted: mildest,
            allowed: wanted,
            period_ms: rules.period_ms,
        });
        (wanted, step.or(stabilising))
    }

    /// How far the step of the period reaches: from the size at the period's begin (`calculateScaleUpLimitWithScalingRules`
    /// and its counterpart), never back beyond what there is.
    fn step(&self, now: Timestamp, agents: u32, action: Action, rules: &Rules) -> u32 {
        let (came, went) = self.changes.within(now, rules.period_ms);
        let begin = agents.saturating_sub(came).saturating_add(went);
        let by_percent = rules.step_percent_max.map(|percent| {
            let step = u64::from(begin) * u64::from(percent);
            u32::try_from(step.div_ceil(100)).unwrap_or(u32::MAX).max(1)
        });
        let step = match (rules.step_agents_max, by_percent) {
            (Some(agents), Some(percent)) => agents.min(percent),
            (Some(step), None) | (None, Some(step)) => step,
            (None, None) => return if action == Action::Up { u32::MAX } else { 0 },
        };
        match action {
            Action::Up => begin.saturating_add(step).max(agents),
            _ => begin.saturating_sub(step).min(agents),
        }
    }
}

fn bound_reason(policy: &Policy, wanted: u32, mut reasons: Vec<Reason>) -> Vec<Reason> {
    let reason = Reason::Bound { agents: wanted, most: wanted == policy.agents_max };
    if (wanted == policy.agents_min || wanted == policy.agents_max) && !reasons.contains(&reason) {
        reasons.push(reason);
    }
    reasons
}
