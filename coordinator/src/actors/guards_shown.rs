//! How many limits, budgets, quotas and breakers are at work: a short look at the engine, once a second, for the metrics.

use evenkeel_core::{
    cost::ledger::Level,
    engine::{Engine, Gated},
};
use evenkeel_shared::Timestamp;

/// What is at work at a time. Numbers alone, so that no name that anybody chooses makes a time series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardsShown {
    /// Limits declared.
    pub limits: u64,
    /// Of them, those that let nothing through somewhere.
    pub limits_closed: u64,
    /// Times that they closed.
    pub limits_throttled: u64,
    /// Budgets declared.
    pub budgets: u64,
    /// Of them, at their warning, at their critical level, and used up.
    pub budgets_by_level: [u64; 3],
    /// Upstream quotas that are used up.
    pub quotas: u64,
    /// Breakers that are open, or let trials through only.
    pub breakers_open: u64,
}

impl GuardsShown {
    /// Counts. `gated` is of the same moment.
    #[must_use]
    pub fn of(engine: &Engine, gated: &Gated, now: Timestamp) -> Self {
        let mut guards = Self {
            quotas: engine.quotas_used_up() as u64,
            breakers_open: engine.breakers_not_closed(now) as u64,
            ..Self::default()
        };
        for (view, _) in &gated.limits {
            guards.limits += 1;
            guards.limits_closed += u64::from(view.closed);
            guards.limits_throttled += view.throttled;
        }
        for (view, _) in &gated.budgets {
            guards.budgets += 1;
            match view.level {
                Level::Ok => {}
                Level::Warning => guards.budgets_by_level[0] += 1,
                Level::Critical => guards.budgets_by_level[1] += 1,
                Level::Exhausted => guards.budgets_by_level[2] += 1,
            }
        }
        guards
    }
}
