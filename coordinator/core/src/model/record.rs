//! What is kept of resources: what operators declared, what budgets have spent, and the history of use, cost, scaling and
//! advice.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{CostUnit, Micros, Timestamp};

/// Something to keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A declaration was made, changed or taken back. The newest of its kind and name is in force; older ones are history.
    Declared(Declaration),
    /// What a budget has spent in a window; replaces what was recorded for that window.
    Spent(BudgetSpent),
    /// A measurement over a stretch of time.
    Usage(UsageSample),
    /// What was spent in a stretch of time, added to what is recorded for it.
    Cost(CostEntry),
    /// A decision about the size of the fleet; replaces the one of its number.
    Scaling(ScalingRecord),
    /// Something that limits, breakers, quotas or budgets did.
    Allocation(AllocationRecord),
}

/// What can be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeclarationKind {
    /// [`crate::admission::Limit`].
    Limit,
    /// [`crate::admission::DynamicLimitSettings`]; its name is empty.
    DynamicLimits,
    /// [`crate::cost::Budget`].
    Budget,
    /// [`crate::cost::Prices`]; its name is empty.
    Prices,
    /// A scaling policy; its name is empty.
    ScalingPolicy,
    /// A scaling override; its name is empty.
    ScalingOverride,
    /// Thresholds of metrics; its name is empty.
    Thresholds,
    /// A recommendation with its state; its name is its id.
    Recommendation,
    /// The settings of the coordinator that differ from their defaults; its name is empty.
    Config,
    /// [`crate::sizing::Size`]; its name is its kind.
    Size,
}

impl DeclarationKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Limit,
        Self::DynamicLimits,
        Self::Budget,
        Self::Prices,
        Self::ScalingPolicy,
        Self::ScalingOverride,
        Self::Thresholds,
        Self::Recommendation,
        Self::Config,
        Self::Size,
    ];

    /// Its name, as stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::DynamicLimits => "dynamic_limits",
            Self::Budget => "budget",
            Self::Prices => "prices",
            Self::ScalingPolicy => "scaling_policy",
            Self::ScalingOverride => "scaling_override",
            Self::Thresholds => "thresholds",
            Self::Recommendation => "recommendation",
            Self::Config => "config",
            Self::Size => "size",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether versions of a name count on after it was taken back. Recommendations are made anew each time.
    #[must_use]
    pub const fn counts_on(self) -> bool {
        !matches!(self, Self::Recommendation)
    }
}

/// Something that was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// What.
    pub kind: DeclarationKind,
    /// Which one of them.
    pub name: String,
    /// Counts up with each change of this kind and name, from 1.
    pub version: u64,
    /// As JSON of the domain type. `None`: it is taken back.
    pub body: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Why, in the words of who did it.
    pub reason: String,
}

impl Declaration {
    /// Whether a restart must know it: it is in force, or its versions count on although it was taken back.
    #[must_use]
    pub const fn is_recovered(&self) -> bool {
        self.body.is_some() || self.kind.counts_on()
    }
}

/// What a budget has spent in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSpent {
    /// The budget's name.
    pub budget: String,
    /// When the window began.
    pub window_start: Timestamp,
    /// What is spent. What is reserved is kept with the attempts that hold it.
    pub spent: Micros,
    /// Of that, beyond what was reserved.
    pub overrun: Micros,
}

/// What an attempt has reserved of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetShare {
    /// The budget's name.
    pub budget: Arc<str>,
    /// In its unit. Zero: it covers the attempt, and nothing was expected of it.
    pub amount: Micros,
}

/// A measurement over a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageSample {
    /// When the stretch began.
    pub at: Timestamp,
    /// How long it is: fine samples are thinned out to coarse ones after a day.
    pub length: Duration,
    /// Of what: `fleet`, `tenant:NAME`, `kind:NAME`, `agent:ID`, `pool:NAME`.
    pub subject: String,
    /// Which measurement.
    pub metric: String,
    /// Mean over the stretch.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Most.
    pub max: f64,
}

/// What was spent in a stretch of time by a tenant, kind or agent.
#[derive(Clone, Debug, PartialEq)]
pub struct CostEntry {
    /// When the stretch began.
    pub at: Timestamp,
    /// How long it is.
    pub length: Duration,
    /// By whom: `tenant:NAME`, `kind:NAME`, `agent:ID`, `task:ID`, `fleet`.
    pub subject: String,
    /// What was spent.
    pub unit: CostUnit,
    /// Of the fleet's resources.
    pub resources: Micros,
    /// As executors reported.
    pub reported: Micros,
    /// Paid for while nothing ran; of agents and of the fleet only.
    pub idle: Micros,
    /// Tasks that ended.
    pub tasks: u64,
    /// Attempts that ended.
    pub attempts: u64,
}

impl CostEntry {
    /// So much reported in a unit, and nothing else.
    #[must_use]
    pub const fn reported(at: Timestamp, length: Duration, subject: String, unit: CostUnit, reported: Micros) -> Self {
        let (resources, idle) = (Micros::ZERO, Micros::ZERO);
        Self { at, length, subject, unit, resources, reported, idle, tasks: 0, attempts: 0 }
    }
}

/// A decision about the size of the fleet, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRecord {
    /// Its number; unique and growing.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Agents before.
    pub agents_before: u32,
    /// Agents wanted.
    pub agents_after: u32,
    /// All else, as JSON of the domain type.
    pub body: String,
}

/// Something that limits, breakers, quotas or budgets did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationRecord {
    /// Its number; unique and growing.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// A word: `throttled`, `opened`, `refused`, `cooldown`, `breaker`, `budget`, `failover`.
    pub what: &'static str,
    /// What it is about: `limit:NAME`, `budget:NAME`, `quota:KEY`, `kind:NAME`, `agent:ID`.
    pub subject: String,
    /// In words.
    pub message: String,
}
