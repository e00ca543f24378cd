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

use std::{fmt, time::Duration};

use evenkeel_shared::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    demand::{Demand, Foreseen, Load},
    effect::Effect,
    foresight::Foresight,
    history::{Changes, Extreme, Window},
    policy::{Override, Policy, Rules, ScalingMetric},
    score::{Score, projected},
};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// More agents.
    Up,
    /// Fewer.
    Down,
}

impl Action {
    /// What leads from one size to another.
    #[must_use]
    pub fn between(before: u32, after: u32) -> Self {
        match after.cmp(&before) {
            std::cmp::Ordering::Greater => Self::Up,
            std::cmp::Ordering::Less => Self::Down,
            std::cmp::Ordering::Equal => Self::None,
        }
    }
}

/// Why nothing is decided at all at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The coordinator has just started; its agents are still coming back.
    Recovering,
    /// Much of the fleet is gone; who is missing will most likely be back.
    Panic,
    /// An earlier change is still being carried out.
    InFlight,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovering => "the coordinator has just started, and its agents are still coming back",
            Self::Panic => "much of the fleet has vanished at once, and may come back",
            Self::InFlight => "the last change is still being carried out",
        })
    }
}

/// Why a number of agents is wanted, or not (yet).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// So many slots are asked for: the work needs so many agents at the utilisation aimed at.
    Demand {
        /// Slots asked for.
        slots: f64,
        /// Agents that makes, at the target.
        agents: u32,
        /// The target.
        target_percent: u32,
    },
    /// The same of what is foreseen.
    Forecast {
        /// Slots that will be asked for.
        slots: f64,
        /// Agents that makes, at the target.
        agents: u32,
    },
    /// The score is above its threshold.
    ScoreHigh {
        /// The score.
        percent: f64,
        /// The threshold.
        threshold_percent: u32,
        /// What adds most to it.
        foremost: Option<ScalingMetric>,
    },
    /// The score is below its threshold.
    ScoreLow {
        /// The score.
        percent: f64,
        /// The threshold.
        threshold_percent: u32,
    },
    /// Fewer would do by demand, but the score is not below its threshold.
    ScoreNotLow {
        /// The score.
        percent: f64,
        /// The threshold.
        threshold_percent: u32,
    },
    /// So many stay, because with fewer the score would pass the threshold of scale-up.
    ScoreAfterwards {
        /// So many.
        agents: u32,
    },
    /// The policy's least or most.
    Bound {
        /// Which.
        agents: u32,
        /// The most; else the least.
        most: bool,
    },
    /// A milder number was proposed within the window.
    Stabilising {
        /// What was proposed now.
        proposed: u32,
        /// The mildest of the window.
        mildest: u32,
        /// The window.
        window_ms: u64,
    },
    /// The step of the period is used up, or smaller than what is wanted.
    Step {
        /// What was wanted.
        wanted: u32,
        /// What the step allows.
        allowed: u32,
        /// The period.
        period_ms: u64,
    },
    /// The last change is too recent.
    Cooldown {
        /// It ends then.
        until: Timestamp,
    },
    /// An operator has fixed the number.
    Override {
        /// Until then.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// Nothing is decided.
    Held {
        /// Why.
        hold: Hold,
    },
    /// What there is fits, within the tolerance.
    Fits,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demand { slots, agents, target_percent } => {
                write!(f, "{slots:.1} slots are asked for: {agents} agents at {target_percent} % utilisation")
            }
            Self::Forecast { slots, agents } => {
                write!(f, "{slots:.1} slots are expected: {agents} agents by the time that new ones work")
            }
            Self::ScoreHigh { percent, threshold_percent, foremost } => {
                write!(f, "the score of {percent:.0} % is above {threshold_percent} %")?;
                match foremost {
                    Some(metric) => write!(f, ", most of it by {}", metric.name()),
                    None => Ok(()),
                }
            }
            Self::ScoreLow { percent, threshold_percent } => {
                write!(f, "the score of {percent:.0} % is below {threshold_percent} %")
            }
            Self::ScoreNotLow { percent, threshold_percent } => {
                write!(f, "fewer would do, but the score of {percent:.0} % is not below {threshold_percent} %")
            }
            Self::ScoreAfterwards { agents } => {
                write!(f, "{agents} stay: with fewer the score would call for more at once")
            }
            Self::Bound { agents, most: true } => write!(f, "the policy allows {agents} at most"),
            Self::Bound { agents, most: false } => write!(f, "the policy keeps {agents} at least"),
            Self::Stabilising { proposed, mildest, window_ms } => {
                let window_s = *window_ms as f64 / 1_000.0;
                write!(f, "{proposed} are proposed now, but {mildest} were within the last {window_s:.0} s")
            }
            Self::Step { wanted, allowed, period_ms } => {
                let period_s = *period_ms as f64 / 1_000.0;
                write!(f, "{wanted} are wanted; the step of {period_s:.0} s allows {allowed}")
            }
            Self::Cooldown { .. } => f.write_str("the last change is too recent"),
            Self::Override { why, .. } => write!(f, "an operator has fixed the number: {why}"),
            Self::Held { hold } => write!(f, "{hold}"),
            Self::Fits => f.write_str("what there is fits the work"),
        }
    }
}

/// What is wanted now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What there is, with what is coming.
    pub agents: u32,
    /// What is wanted.
    pub wanted: u32,
    /// What leads from the one to the other.
    pub action: Action,
    /// Why so many.
    pub reasons: Vec<Reason>,
    /// Why not (yet) more or fewer, if something stands in the way.
    pub waiting_for: Option<Reason>,
    /// How strained the fleet is.
    pub score: Score,
    /// What the work asks for.
    pub demand: Demand,
}

/// What demand and score propose, before window, step and cooldown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposal {
    /// So many agents.
    pub agents: u32,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Why no fewer, if demand would allow it.
    pub waiting_for: Option<Reason>,
}

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

    /// Goes on with what the policy had done before a restart.
    pub fn recover_effect(&mut self, effect: Effect) {
        self.effect = effect;
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

/// What demand and score propose. Grows with the load, never shrinks with it.
#[must_use]
pub fn propose(policy: &Policy, load: &Load, demand: &Demand, score: &Score) -> Proposal {
    let agents = load.agents_coming();
    let needed = demand.agents_at_target(policy);
    let by_demand = whole(needed);
    let mut proposal = Proposal { agents, ..Proposal::default() };
    let over = needed > f64::from(agents) * (1.0 + policy.tolerance());
    let strained = score.percent > f64::from(policy.scale_up_percent);
    if over || strained {
        let by_score = if strained {
            whole(f64::from(load.agents) * score.percent / f64::from(policy.scale_up_percent.max(1)))
        } else {
            0
        };
        if over && by_demand > agents {
            proposal.agents = by_demand;
            proposal.reasons.push(demand_reason(policy, demand, by_demand));
        }
        if by_score > agents {
            proposal.agents = proposal.agents.max(by_score);
            proposal.reasons.push(Reason::ScoreHigh {
                percent: score.percent,
                threshold_percent: policy.scale_up_percent,
                foremost: score.foremost().map(|metric| metric.metric),
            });
        }
    } else if needed < f64::from(agents) * (1.0 - policy.tolerance()) && by_demand < agents {
        fewer(policy, load, demand, score, by_demand, &mut proposal);
    }
    let bounded = policy.bounded(proposal.agents);
    if bounded != proposal.agents {
        proposal.reasons.push(Reason::Bound { agents: bounded, most: bounded < proposal.agents });
        proposal.agents = bounded;
    }
    if proposal.agents == agents && proposal.reasons.is_empty() {
        proposal.reasons.push(Reason::Fits);
    }
    proposal
}

/// What a fleet that is larger than its demand may shrink to.
fn fewer(policy: &Policy, load: &Load, demand: &Demand, score: &Score, by_demand: u32, proposal: &mut Proposal) {
    let (percent, threshold_percent) = (score.percent, policy.scale_down_percent);
    if percent >= f64::from(threshold_percent) {
        proposal.waiting_for = Some(Reason::ScoreNotLow { percent, threshold_percent });
        return;
    }
    // Afterwards the score must not call for more: with the tolerance as a margin. Where nothing is asked for, what is left
    // of the score (memory that idle agents hold) is no reason to keep one.
    let most = f64::from(policy.scale_up_percent) * (1.0 - policy.tolerance());
    let by_score = if by_demand > 0 { whole(projected(percent, load, 1) / most.max(1.0)) } else { 0 };
    let agents = by_demand.max(by_score).min(proposal.agents);
    proposal.reasons.push(Reason::ScoreLow { percent, threshold_percent });
    proposal.reasons.push(demand_reason(policy, demand, by_demand));
    if by_score > by_demand {
        proposal.reasons.push(Reason::ScoreAfterwards { agents });
    }
    proposal.agents = agents;
}

fn demand_reason(policy: &Policy, demand: &Demand, agents: u32) -> Reason {
    if policy.predictive && demand.foreseen_slots > demand.slots {
        return Reason::Forecast { slots: demand.foreseen_slots, agents };
    }
    Reason::Demand { slots: demand.slots, agents, target_percent: policy.utilisation_target_percent }
}

/// Rounded up to whole agents; a hair above a whole number is that number.
fn whole(agents: f64) -> u32 {
    const HAIR: f64 = 1e-9;
    // A cast of what is too large or not a number saturates.
    (agents - HAIR).ceil().max(0.0) as u32
}
