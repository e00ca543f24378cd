//! The vocabulary of Evenkeel.
//!
//! Ids, units, time, labels, tasks, agents, strategies and errors, as every other crate speaks of them. The types here
//! are valid by construction: a [`Kind`] is a legal kind, a [`Priority`] is 0 to 9. What comes from outside is turned
//! into them once, at the edge, by the `wire` feature's conversions, which is also the only place where generated types
//! and domain types meet.
//!
//! Without features the crate pulls in neither a runtime nor a transport, so that the pure core can depend on it.

pub mod agent;
pub mod backoff;
pub mod error;
pub mod ids;
pub mod labels;
pub mod limits;
pub mod shown;
pub mod spend;
pub mod strategy;
pub mod task;
pub mod time;
pub mod trace;
pub mod units;

#[cfg(feature = "dial")]
pub mod dial;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "wire")]
pub mod wire;

pub use agent::{AdminState, AgentLoad, AgentSpec, Health, KindLatency, Registration};
pub use error::{Code, Error, Violation, Violations};
pub use ids::{
    AgentId, AssignmentId, AttemptNumber, AttemptRef, EventPosition, Kind, QuotaKey, SessionEpoch, TaskId, Tenant,
};
pub use labels::{LabelOperator, LabelRule, Labels};
pub use spend::{Cost, CostUnit, Micros, TaskBudget, Usage};
pub use strategy::StrategyConfig;
pub use task::{
    Asked, AttemptEnd, Decision, Delivery, Failure, FailureClass, Outcome, Priority, Requirements, RetryPolicy,
    TaskSpec, TaskState,
};
pub use time::Timestamp;
pub use trace::TraceContext;
pub use units::Resources;
