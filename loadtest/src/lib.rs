//! The load harness of Evenkeel: a fleet of simulated agents and one client, over real gRPC, measured and judged.
//!
//! A run takes four steps: a coordinator (given, or a process of its own), a fleet whose agents only wait instead of
//! working, a client that submits tasks and follows each one to its end, and a verdict. The agents and the client keep
//! separate books: the [`Report`] is made of both, so a task that is lost, recorded twice or answered with another task's
//! result shows, whoever is at fault.
//!
//! That is a closed loop, [`run`], which keeps so many tasks in flight. A scenario, [`drive::run`], is an open one: tasks are
//! due when they are due, agents come and go, and things break in time; its record is judged by service levels as well.
//!
//! Agents are written against the protocol and not with `evenkeel-agent`: a thousand of them have to fit into one process
//! beside the coordinator that is measured, and a harness that shares the agent's code would share its defects. The
//! tasks require a label that only the run's own agents carry, so a run on a fleet in use mixes with nothing.

mod agent;
pub mod bench;
pub mod capacity;
mod child;
mod client;
pub mod compare;
pub mod drive;
mod error;
pub mod faults;
mod files;
pub mod history;
pub mod html;
mod ledger;
pub mod levels;
mod oracle;
mod plan;
mod progress;
pub mod queueing;
pub mod record;
pub mod recorder;
mod report;
mod runner;
pub mod scaling;
pub mod scenario;
pub mod simulation;
mod target;
mod task_time;
pub mod trace;

pub use error::LoadtestError;
pub use plan::{RunPlan, Target};
pub use progress::{Bar, Progress, Pulse, Silent, Stage};
pub use report::{Latency, Report, Spread, Verdict};
pub use runner::run;
pub use task_time::TaskTime;
