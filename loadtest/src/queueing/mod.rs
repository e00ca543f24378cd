//! The queueing simulator: the real engine in simulated time, beside the best that any balancer could do.
//!
//! How good is a strategy? A benchmark on real machines measures the machine as well. Here a million tasks go through
//! the engine that runs in production ([`evenkeel_core::replay::fleet`]), which is told a simulated time, and the same tasks at the same times
//! through one central queue that knows everything ([`central`]). What the engine adds to the response times of the central
//! queue is what its balancing costs. Both get the same arrivals and demands ([`work`]), so the ratio of the two is known far
//! better than either. [`shadow`] does the same to a recorded history: what would have come of it under another strategy.
//!
//! Simulated are queues, slots, speeds and the age of heartbeats. Not simulated are networks, disks, failures and the
//! coordinator's own time; [`crate::simulation`] is about failures, and real runs are about the rest. A simulator with a model of
//! the engine instead of the engine was rejected: it would be judged in its place.

mod central;
mod draws;
mod figures;
mod law;
mod plan;
mod report;
mod run;
pub mod shadow;
mod work;

pub use evenkeel_core::replay::ReplayError;
pub use law::ServiceLaw;
pub use plan::{AGENTS_MAX, QueueingError, QueueingPlan};
pub use report::{Contender, HostTime, QueueingReport};
pub use run::simulate;

#[cfg(test)]
mod tests;
