//! Scaling policies over a day in no time: how often each turns, what it lets wait, what it costs.
//!
//! The coordinator's own decision logic (`evenkeel_core::capacity`: the same meter, demand, score and scaler) is asked once
//! a simulated second about a simulated fleet: agents that take a while to start, slots, one queue. Work comes from a
//! generated day ([`day`]) or a recorded trace. Beside it stands an oracle that knows the whole day ([`oracle`]).
//!
//! What is simplified: one kind of task, agents all alike, tasks never fail, and an agent's processor and memory follow its
//! slots. So this compares policies; it does not foretell bills.

mod day;
mod fleet;
mod oracle;
mod plan;
mod report;
mod run;

pub use day::{Day, DayShape, Task};
pub use fleet::FleetShape;
pub use plan::{ScalingError, ScalingPlan};
pub use report::{ScalingReport, ScalingRow};
pub use run::simulate;

#[cfg(test)]
mod tests;
