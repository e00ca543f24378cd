//! The coordinator of Evenkeel: the shell around the pure core.
//!
//! One writer decides: the [coordinator actor](actors::coordinator) feeds events to the engine, the
//! [store writer](actors::store_writer) makes the changes durable, and only then the [dispatcher](release) tells anybody.
//! Everything that merely reads ([`directory`], [`snapshot`], [`hub`], the store's readers) stands beside that line and
//! never waits for it. [`wiring`] puts the program together.

pub mod actors;
pub mod actuators;
mod beginnings;
pub mod clock;
pub mod config;
pub mod connections;
pub mod directory;
mod ending;
pub mod failpoint;
pub mod fingerprint;
pub mod gateway;
pub mod grpc;
pub mod hashing;
pub mod health;
mod heartbeats;
pub mod hindsight;
pub mod http;
pub mod hub;
pub mod intake;
pub mod lifecycle;
mod listen;
pub mod metrics;
pub mod paced;
pub mod pending;
pub mod profile;
pub mod reads;
pub mod release;
pub mod security;
pub mod services;
pub mod sessions;
pub mod snapshot;
pub mod start;
pub mod stop;
pub mod store;
pub mod telemetry;
mod thread_time;
pub mod waiters;
pub mod watch;
pub mod wiring;

pub use config::{ConfigError, CoordinatorConfig};
pub use wiring::{Coordinator, RunningCoordinator, StartError, end_process_on_panic};
