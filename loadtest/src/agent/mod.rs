//! Simulated agents: each has a session of its own, keeps its slots and waits instead of working.

mod fleet;
mod held;
mod session;

pub(crate) use fleet::{Fleet, FleetPlan, Times, channel};
pub(crate) use session::Away;
