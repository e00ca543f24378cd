//! Scenarios of the engine, as prose, and random histories against a model.

mod admission;
mod failover;
mod fixture;
mod fleet;
mod life;
mod random;
mod store;
