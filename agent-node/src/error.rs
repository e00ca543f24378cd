//! Why an agent cannot be built, and why it stops.

use evenkeel_shared::{AgentId, Kind, Violation};
use thiserror::Error;

use crate::executors::ExecutorConfigError;

/// A setting that no agent can be built with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// The coordinator's address, or what is shown to it.
    #[error("the coordinator cannot be dialled: {0}")]
    Coordinator(String),
    /// A name, number or label that the protocol does not allow.
    #[error(transparent)]
    Setting(#[from] Violation),
    /// The host's name makes no agent id.
    #[error("the agent has no id and the host's name makes none: {0}; set an id")]
    NoId(Violation),
    /// Two executors for one kind.
    #[error("the kind `{0}` has two executors; give each kind one")]
    KindTwice(Kind),
    /// Nowhere to send spans.
    #[error("no spans can be sent: {0}")]
    Telemetry(String),
    /// An executor's configuration.
    #[error("kind `{kind}`: {error}")]
    Executor {
        /// Its kind.
        kind: Kind,
        /// What is wrong.
        error: ExecutorConfigError,
    },
}

/// Why an agent stopped before it was told to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AgentError {
    /// It was never built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The coordinator will not have it, and will not change its mind.
    #[error("the coordinator refused agent `{agent}`: {message} ({code})")]
    Refused {
        /// The agent.
        agent: AgentId,
        /// The gRPC code.
        code: tonic::Code,
        /// The coordinator's words.
        message: String,
    },
    /// Another session of the same agent has taken over; this process must not go on.
    #[error("agent `{agent}` was taken over by a newer session: {message}; see that only one process uses this id")]
    Fenced {
        /// The agent.
        agent: AgentId,
        /// The coordinator's words.
        message: String,
    },
}
