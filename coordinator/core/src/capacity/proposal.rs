//! What demand and score propose, each moment by itself: a pure function of what is seen. What of it is done, and when, is
//! for the [`Scaler`](super::scaler::Scaler), which remembers.

use super::{
    demand::{Demand, Load},
    policy::Policy,
    score::{Score, projected},
    verdict::Reason,
};

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
