//! Speed, measured side by side: Evenkeel and a bare router of the same make, in one run, on one machine.
//!
//! A figure alone says as much of the machine and of what else ran on it as of the program. So every measure has a yardstick
//! ([`yardstick`]) that is measured in the same rounds, one after the other, and what is judged is their ratio. Client,
//! server and agents are processes of their own, all of them this program; client and agents are the same for both sides
//! ([`wire`]), and only what the server costs differs.
//!
//! A measure is a [`Contender`]. A round starts the processes of each of them anew, in turn, so that what changes on the
//! machine meanwhile meets all. Rejected: one long run per contender, which measured the weather; and a coordinator inside
//! this process, which would share its threads and its allocator with the client.

pub mod agents;
pub mod client;
mod contender;
mod disk;
mod error;
mod goals;
mod host;
mod nats;
mod process;
mod report;
mod round;
mod runner;
mod sample;
#[cfg(test)]
mod tests;
mod wire;
mod yardstick;

pub use self::{
    contender::{CONTENDERS, Contender, Measure},
    error::BenchError,
    goals::{Goal, Outcome},
    host::{ClientPlan, Load, Protocol, run_agents, run_client, run_server},
    report::{BenchReport, Row},
    runner::{BenchPlan, Heard, run},
};
