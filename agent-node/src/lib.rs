//! The agent of Evenkeel, and the SDK to write one.
//!
//! An agent registers with a coordinator, is given tasks of the kinds it takes, runs as many at a time as it has slots, and
//! reports what came of them:
//!
//! ```no_run
//! # use evenkeel_agent::{Agent, AgentError};
//! # async fn agent() -> Result<(), AgentError> {
//! let agent = Agent::builder("http://127.0.0.1:7400")
//!     .id("shouter-1")
//!     .slots(4)
//!     .kind_fn("shout", |task| async move { Ok(task.payload.to_ascii_uppercase().into()) });
//! agent.run(std::future::pending()).await
//! # }
//! ```
//!
//! Work with state of its own implements [`Executor`]; [`AgentConfig`] describes an agent of the built-in [`executors`].
//!
//! Inside, one task (`node`) owns all state. What it decides is in the `machine`, which is pure, with the `scheduler` that
//! says what runs when and the `outbox` that keeps results until they are acknowledged; around it are the `session` with
//! the coordinator and one task per running attempt. There are no locks between them.

mod agent;
mod attempt;
mod config;
mod error;
mod latency;
mod link;
#[doc(hidden)] // For simulations; no part of what the SDK promises.
pub mod machine;
mod meter;
mod node;
mod outbox;
mod scheduler;
mod session;
mod task;
mod traces;

pub mod executors;
pub mod sampler;

pub use agent::{Agent, AgentBuilder};
pub use config::{AgentConfig, ExecutorConfig};
pub use error::{AgentError, BuildError};
pub use meter::{Exceeded, QuotaReport};
pub use task::{ExecutionError, Executor, TaskContext};
pub use traces::TelemetryConfig;
