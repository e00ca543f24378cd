//! What work costs, and how much of it may be spent: prices, accounting, and budgets as a resource that is scheduled.

mod account;
pub mod book;
mod expensive;
pub mod ledger;
mod means;
pub mod window;

use evenkeel_shared::{CostUnit, Kind, LabelRule, Micros, Tenant, Violation};
use serde::{Deserialize, Serialize};

/// Budgets that there may be: what an operator can still read, and what a look at all of them costs (some 100 us).
pub const BUDGETS_MAX: usize = 1_000;
/// Rules of prices for agents: each is asked for each attempt that ends.
pub const AGENT_PRICES_MAX: usize = 64;

/// Over which time a budget counts. Windows are those of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetWindow {
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// The calendar month.
    Month,
    /// All time.
    #[default]
    Total,
}

/// What happens to tasks that a budget does not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetAction {
    /// They wait.
    #[default]
    Hold,
    /// Their submission is refused; those that were accepted before wait.
    Refuse,
}

/// A budget, as an operator declares it. It covers the tasks that match it; a task goes only if every budget that covers it
/// allows it, so budgets nest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// Only tasks of this tenant.
    pub tenant: Option<Tenant>,
    /// Only tasks of this kind.
    pub kind: Option<Kind>,
    /// What is counted.
    pub unit: CostUnit,
    /// Spent and reserved together never pass it.
    pub cap: Micros,
    /// Over which time.
    pub window: BudgetWindow,
    /// What then.
    pub action: BudgetAction,
    /// Per cent of the cap. 1 to 100, and no more than `critical_percent`.
    pub warning_percent: u8,
    /// Per cent of the cap. 1 to 100.
    pub critical_percent: u8,
    /// What a task reserves that says no estimate of this unit. `None`: the mean of its kind so far.
    pub default_estimate: Option<Micros>,
}

impl Budget {
    /// Checks what its type does not.
    ///
    /// # Errors
    /// The field at fault.
    pub fn validate(&self) -> Result<(), Violation> {
        if self.name.is_empty() {
            return Err(Violation::new("name", "must not be empty"));
        }
        let percents = [("warning_percent", self.warning_percent), ("critical_percent", self.critical_percent)];
        for (field, percent) in percents {
            if !(1..=100).contains(&percent) {
                return Err(Violation::new(field, format!("{percent} is out of range; use 1 to 100")));
            }
        }
        if self.warning_percent > self.critical_percent {
            let critical = self.critical_percent;
            return Err(Violation::new("warning_percent", format!("is above critical_percent, which is {critical}")));
        }
        if let Some(estimate) = self.default_estimate.filter(|&estimate| estimate > self.cap) {
            let words = format!("{estimate} is above the cap of {}: no task would ever go", self.cap);
            return Err(Violation::new("default_estimate", words));
        }
        Ok(())
    }
}

/// What resources cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// In which unit.
    pub unit: CostUnit,
    /// For each hour of each connected agent of which no rule holds.
    pub agent_hour: Micros,
    /// The same for agents whose labels satisfy a rule; the first that does counts.
    pub agent_prices: Vec<(LabelRule, Micros)>,
    /// For an hour of a core that a task used.
    pub core_hour: Micros,
    /// For an hour of a gigabyte (2^30 bytes) of memory.
    pub memory_gb_hour: Micros,
    /// For an hour of a gigabyte of storage.
    pub storage_gb_hour: Micros,
    /// For a megabyte (10^6 bytes) over the network.
    pub network_mb: Micros,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            unit: CostUnit::usd(),
            agent_hour: Micros::ZERO,
            agent_prices: Vec::new(),
            core_hour: Micros::ZERO,
            memory_gb_hour: Micros::ZERO,
            storage_gb_hour: Micros::ZERO,
            network_mb: Micros::ZERO,
        }
    }
}
