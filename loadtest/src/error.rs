//! What can stop a run before it has a verdict.

use std::{io, path::PathBuf, time::Duration};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadtestError {
    /// The plan cannot be carried out as it is.
    #[error("{what}")]
    Plan {
        /// Which number is wrong, and what would be right.
        what: String,
    },
    /// The process may not open a connection for each agent.
    #[error(
        "{needed} open files are needed and {allowed} are allowed; raise the hard limit (`ulimit -Hn`), or let agents share \
         connections (--agents-per-connection)"
    )]
    FileLimit {
        /// Files the run needs.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The limit of open files could not be read or raised.
    #[error("cannot raise the limit of open files: {0}")]
    FileLimitUnknown(#[source] nix::Error),
    /// The coordinator of the run did not start.
    #[error("the coordinator of this run ({program}) did not start: {reason}{log}")]
    CoordinatorStart {
        /// The program that was started.
        program: PathBuf,
        /// What happened.
        reason: String,
        /// The end of its log, on lines of its own; empty if there is none.
        log: String,
    },
    /// The directory of the run's coordinator could not be used.
    #[error("cannot use {path} for the coordinator of this run: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The coordinator's address is none.
    #[error("the coordinator at `{url}` cannot be dialled: {source}")]
    Address {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: evenkeel_shared::dial::DialError,
    },
    /// Nobody answers at the coordinator's address.
    #[error("no coordinator answers at {url}: {}", status.message())]
    Unreachable {
        /// Its address.
        url: String,
        /// How the last call ended.
        status: Box<tonic::Status>,
    },
    /// A call failed for a reason that another try does not change.
    #[error("{call} failed: {}: {}", status.code(), status.message())]
    Call {
        /// Which call.
        call: &'static str,
        /// How it ended.
        status: Box<tonic::Status>,
    },
    /// The fleet did not come together.
    #[error("{connected} of {wanted} agents have a session after {} s: {reason}", waited.as_secs())]
    AgentsMissing {
        /// Agents with a session.
        connected: u32,
        /// Agents of the plan.
        wanted: u32,
        /// How long it was waited for.
        waited: Duration,
        /// What the last refused agent was told.
        reason: String,
    },
}
