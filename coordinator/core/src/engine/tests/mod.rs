//! Scenarios of the engine, as prose, and random histories against a model.

mod admission;
mod budgets;
mod builders;
mod configure;
mod costs;
mod failover;
mod fixture;
mod fleet;
mod full_store;
mod guards;
mod life;
mod limits;
mod pace;
mod random;
mod random_budgets;
mod random_guards;
mod restarts;
mod sessions;
mod sizes;
