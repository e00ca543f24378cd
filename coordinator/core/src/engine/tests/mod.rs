//! Scenarios of the engine, as prose, and random histories against a model.

mod admission;
mod failover;
mod fixture;
mod fleet;
mod full_store;
mod life;
mod pace;
mod random;
