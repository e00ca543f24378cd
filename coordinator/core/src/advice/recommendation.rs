//! What is found, and what it becomes: plain data, as it is stored and shown.

use evenkeel_shared::{AgentId, Kind, StrategyConfig, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{admission::Limit, capacity::policy::Policy, sizing::SizedResource};

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceKind {
    /// Tasks request more or less than they use.
    RightSize,
    /// Work comes in a rhythm.
    Schedule,
    /// Something is paid for and not used.
    Cost,
    /// Work could be done sooner.
    Performance,
}

impl AdviceKind {
    /// Its name, as stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RightSize => "right_size",
            Self::Schedule => "schedule",
            Self::Cost => "cost",
            Self::Performance => "performance",
        }
    }
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceState {
    /// Nothing yet.
    Open,
    /// It was done.
    Applied,
    /// It is not wanted.
    Dismissed,
}

impl AdviceState {
    /// Its name, as stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Applied => "applied",
            Self::Dismissed => "dismissed",
        }
    }
}

/// What applying it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: somebody else must do this.
    Tell(String),
    /// This scaling policy is put in force, where there is none.
    PolicyPut(Box<Policy>),
    /// The scaling policy in force gets other bounds.
    PolicyBounds {
        /// Agents at least, if that changes.
        agents_min: Option<u32>,
        /// Agents at most, if that changes.
        agents_max: Option<u32>,
    },
    /// The scaling policy in force counts forecast demand as well.
    PolicyPredictive,
    /// Another strategy.
    Strategy(StrategyConfig),
    /// A limit gets another concurrency.
    LimitConcurrency {
        /// Which limit.
        name: String,
        /// Attempts at a time.
        concurrency_max: u32,
    },
    /// These agents are drained.
    Drain(Vec<AgentId>),
    /// Tasks of a kind reserve so much of a resource, whatever they ask for.
    Size {
        /// Which kind.
        kind: Kind,
        /// Of what.
        resource: SizedResource,
        /// In the unit of the resource.
        amount: u64,
    },
}

impl Action {
    /// Whether the coordinator can do it.
    #[must_use]
    pub const fn is_applicable(&self) -> bool {
        !matches!(self, Self::Tell(_))
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Tell(what) => what.clone(),
            Self::PolicyPut(policy) => {
                let Policy { name, agents_min, agents_max, predictive, .. } = &**policy;
                let ahead = if *predictive { ", counting forecast demand" } else { "" };
                format!("put the scaling policy {name} in force, for {agents_min} to {agents_max} agents{ahead}")
            }
            Self::PolicyBounds { agents_min, agents_max } => {
                let bounds = [("agents_min", agents_min), ("agents_max", agents_max)];
                let bounds = bounds.iter().filter_map(|(name, value)| value.map(|value| format!("{name} to {value}")));
                format!("set the scaling policy's {}", bounds.collect::<Vec<_>>().join(" and "))
            }
            Self::PolicyPredictive => "let the scaling policy count forecast demand (`predictive`)".to_owned(),
            Self::Strategy(strategy) => format!("set the strategy to {}", strategy.name()),
            Self::LimitConcurrency { name, concurrency_max } => {
                format!("set concurrency_max of the limit {name} to {concurrency_max}")
            }
            Self::Drain(agents) => {
                let names: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
                format!("drain {}; undone by resuming them, unless they have gone", names.join(", "))
            }
            Self::Size { kind, resource, amount } => {
                let amount = resource.in_words(*amount);
                format!(
                    "let tasks of kind {kind} reserve {amount}, from the next one accepted on, whatever they request"
                )
            }
        }
    }
}

/// What was in force before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// This policy.
    Policy(Box<Policy>),
    /// None had been put: that of the settings, if there is one.
    NoPolicy,
    /// This strategy.
    Strategy(StrategyConfig),
    /// This limit.
    Limit(Box<Limit>),
    /// These agents had work.
    Resume(Vec<AgentId>),
    /// The kind's size said this of the resource. `None`: nothing.
    Size(Option<u64>),
}

/// Something that could be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The same whenever the same is found.
    pub id: String,
    /// What it is about.
    pub kind: AdviceKind,
    /// In one sentence.
    pub title: String,
    /// What was seen: numbers, over which time.
    pub evidence: Vec<String>,
    /// What will be better.
    pub expected_effect: String,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// What to do.
    pub action: Action,
}

/// Something that could be changed, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The same whenever the same is found.
    pub id: String,
    /// What it is about.
    pub kind: AdviceKind,
    /// In one sentence.
    pub title: String,
    /// What was seen: numbers, over which time.
    pub evidence: Vec<String>,
    /// What will be better.
    pub expected_effect: String,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// What has become of it.
    pub state: AdviceState,
    /// What to do.
    pub action: Action,
    /// Of an applied one: what was in force before.
    pub undo: Option<Undo>,
    /// When it was made.
    pub made_unix_ms: u64,
    /// When its state changed last.
    pub changed_unix_ms: u64,
}

impl Recommendation {
    /// An open one.
    pub(super) fn of(finding: Finding, now: Timestamp) -> Self {
        let Finding { id, kind, title, evidence, expected_effect, confidence, action } = finding;
        let at = now.unix_millis();
        let state = AdviceState::Open;
        let (made_unix_ms, changed_unix_ms) = (at, at);
        let undo = None;
        Self {
            id,
            kind,
            title,
            evidence,
            expected_effect,
            confidence,
            state,
            action,
            undo,
            made_unix_ms,
            changed_unix_ms,
        }
    }
}
