//! The actors: who owns what, each on a thread of its own.
//!
//! The coordinator actor owns the engine, the store writer owns the store, the publisher owns what is shown. They share
//! nothing and speak by messages, in one direction: coordinator to store writer to publisher and dispatcher. As there is no
//! way back but permits, there is no cycle to lock up. The manager's actor stands beside them and asks the coordinator as
//! clients do; nobody of the others asks it.

pub mod coordinator;
pub mod guards_shown;
pub mod manager;
pub mod publisher;
pub mod store_writer;
pub mod system;
