//! Deterministic simulation: the real engine and the real agents in a world that one seed makes.
//!
//! A seed draws a cluster, its load and its faults: processes that die or hang, networks that delay, break and part, a
//! disk that is slow, full or loses what was not synced, clocks that are set, clients that lose patience. While faults go
//! on nothing that was promised may be broken; then they stop, and within a stated time every accepted task has to be over
//! and every agent well. The [judge of histories](crate::history) says what was broken; a few rules that only a simulation
//! can check are beside it. The same seed gives the same run, to the byte, so a failing one can be read and repaired.
//!
//! What is real: the engine; the machine of the agent, with its outbox and scheduler; the frames between them, encoded,
//! decoded and translated by the functions of the service; the reading of submissions. What is simulated: time, the
//! network, processes, the store (a model of it, which complains of what a store must never be asked for), and the order
//! of the shell between them. turmoil was not used: it simulates a network below tokio, while the coordinator's actors
//! have threads and its store has files, neither of which would follow the seed; with the decisions in two pure machines
//! a queue of events is all that it takes, and it runs days in seconds.

mod agents;
mod clients;
mod coordinator;
mod disk;
mod faults;
mod heal;
mod judge;
mod network;
mod plan;
mod redrives;
mod report;
mod requests;
mod retention;
mod runner;
mod sessions;
mod trace;
mod troubles;
mod work;
mod world;

pub use self::{
    faults::Fault,
    plan::Profile,
    report::{Failing, SeedReport, SimulationReport},
    runner::{SimulationPlan, current_seed, simulate, trace_of},
    world::Breach,
};

#[cfg(test)]
mod tests;
