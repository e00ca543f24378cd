//! Capacity: how much a fleet and its coordinator carry, what bounds them, and what a larger load needs.
//!
//! A scenario is run again and again with the same fleet and different rates, each time with constant arrivals and, where
//! the coordinator is the sweep's own, with a fresh one. The **knee** is the largest rate that is *sustained*: at least 98 % of what is
//! offered is completed, at most 1 % fails, and the p99 end to end is at most three times that of the lowest rate. Rates
//! double until one is not sustained; then the gap is halved until it is small ([`Search`]). A definition by thresholds
//! was preferred to Kneedle (Satopaa and others, 2011), the point of the largest curvature: that depends on how the axes
//! are scaled and on how far the sweep went, and it names a rate of which nobody can say what holds there.
//!
//! The analysis is pure; [`sweep`] runs the steps.

mod fit;
mod plan;
mod search;
mod step;
mod sweep;

pub use self::{
    plan::{AgentsNeeded, Bound, CapacityPlan, LevelLimit, PerThousand, analyse},
    search::{Rates, Search},
    step::{LevelKept, Step},
    sweep::{Sweep, sweep},
};

/// Of what is offered this much has to be completed; the rest are the tasks in flight when a step ends.
pub const COMPLETED_SHARE_MIN: f64 = 0.98;
/// Of what is offered at most this much may fail or be refused.
pub const ERROR_SHARE_MAX: f64 = 0.01;
/// The p99 end to end may be so many times that of the lowest rate: before, waiting is hidden by the tasks' own
/// times, beyond it grows without bound.
pub const P99_FACTOR_MAX: f64 = 3.0;

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod tests;
