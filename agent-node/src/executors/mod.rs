//! The executors that come with the agent.
//!
//! [`Echo`], [`Sleep`], [`Burn`] and [`Fail`] are for trying out and for load tests; [`CommandExecutor`],
//! [`ProgramsExecutor`] and [`HttpExecutor`] hand work to programs in any language.

mod command;
mod http;
mod process;
mod programs;
mod report;
mod synthetic;
mod watch;

pub use command::{CommandConfig, CommandExecutor};
pub use http::{HttpConfig, HttpExecutor};
pub use programs::{CommandPayload, ProgramsConfig, ProgramsExecutor};
pub use synthetic::{Burn, Echo, Fail, Sleep};

use evenkeel_shared::limits::OUTPUT_BYTES_MAX;
use thiserror::Error;

/// Why an executor cannot be made of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExecutorConfigError {
    /// The program to run is not named.
    #[error("`program` is empty; name a program on the PATH, or give an absolute path")]
    ProgramMissing,
    /// A program's path depends on the directory the agent happens to be in.
    #[error("`{0}` is a relative path; name a program on the PATH, or give an absolute path")]
    ProgramRelative(String),
    /// No program may be run.
    #[error("`allowed_programs` is empty, so every task would be refused; list programs, or \"*\" for any")]
    NoProgramAllowed,
    /// The size limit is of no use.
    #[error("`output_bytes_max` is {0}; use 1 to {OUTPUT_BYTES_MAX}")]
    OutputLimit(usize),
    /// The URL cannot be posted to.
    #[error("`url` is `{url}`: {problem}; use http://host:port/path")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Refuses an output limit that nothing fits in or that the protocol does not allow.
fn check_output_limit(bytes: usize) -> Result<(), ExecutorConfigError> {
    if (1..=OUTPUT_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(ExecutorConfigError::OutputLimit(bytes)) }
}

const fn output_bytes_max() -> usize {
    OUTPUT_BYTES_MAX
}

#[cfg(test)]
pub(crate) mod testing;
