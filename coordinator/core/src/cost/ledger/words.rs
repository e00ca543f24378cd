//! What is said of budgets: how far one is used, why an attempt may not begin, and which levels were crossed.

use std::sync::Arc;

use evenkeel_shared::{CostUnit, Micros, Timestamp};

use crate::cost::Budget;

/// How far a budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Below all others.
    #[default]
    Ok,
    /// From `warning_percent` of the cap on.
    Warning,
    /// From `critical_percent` on.
    Critical,
    /// Nothing is left.
    Exhausted,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Why an attempt may not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The budget that is short.
    pub budget: Arc<str>,
    /// What it counts.
    pub unit: CostUnit,
    /// What the attempt would reserve.
    pub needed: Micros,
    /// What is left.
    pub left: Micros,
    /// The whole.
    pub cap: Micros,
    /// When its window ends. `None`: never; it needs a settlement that leaves something over, or a higher cap.
    pub until: Option<Timestamp>,
    /// Submissions are refused.
    pub refuse: bool,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { budget, unit, needed, left, cap, .. } = self;
        if needed > cap {
            return write!(f, "budget `{budget}` has a cap of {cap} {unit}, and the task may cost {needed}");
        }
        write!(f, "budget `{budget}` has {left} of {cap} {unit} left")?;
        if left.0 > 0 { write!(f, ", and the task may cost {needed}") } else { Ok(()) }
    }
}

/// A budget's level is not what was last said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The budget.
    pub budget: Arc<str>,
    /// What it counts.
    pub unit: CostUnit,
    /// As last said.
    pub from: Level,
    /// As it is.
    pub to: Level,
    /// Spent and reserved.
    pub used: Micros,
    /// The whole.
    pub cap: Micros,
}

impl std::fmt::Display for Crossing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { budget, unit, from, to, used, cap } = self;
        let (from, to) = (from.name(), to.name());
        write!(f, "budget `{budget}` is {to}, was {from}: {used} of {cap} {unit} spent or reserved")
    }
}

/// A budget with its use at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetView {
    /// As declared.
    pub budget: Budget,
    /// Of its present window.
    pub window_start: Timestamp,
    /// `None`: it has no end.
    pub window_end: Option<Timestamp>,
    /// In this window.
    pub spent: Micros,
    /// By attempts that run or are about to.
    pub reserved: Micros,
    /// Spent in this window beyond what was reserved.
    pub overrun: Micros,
    /// Of spent and reserved together.
    pub level: Level,
}
