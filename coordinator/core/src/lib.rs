//! The pure core of Evenkeel: events in, effects out.
//!
//! [`engine::Engine`] holds the fleet, the queue and every live task. It is handed one event at a time together with the
//! time, and says what to make durable and whom to tell what. It reads no clock, draws no ambient randomness, does no I/O
//! and never waits: the same events, times and seed give the same effects, to the byte. What carries the effects out is
//! `evenkeel-coordinator`.

pub mod admission;
pub mod advice;
pub mod capacity;
pub mod cost;
pub mod engine;
pub mod health;
pub mod insight;
pub mod ix;
pub mod manager;
pub mod model;
pub mod queue;
pub mod replay;
pub mod retry;
pub mod routing;
pub mod sizing;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timer;
