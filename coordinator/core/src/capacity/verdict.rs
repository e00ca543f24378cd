//! What is decided, and why: in types, so that a record of it can be read and a policy be tested against it.

use std::fmt;

use evenkeel_shared::Timestamp;
use serde::{Deserialize, Serialize};

use super::{demand::Demand, policy::ScalingMetric, score::Score};

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
