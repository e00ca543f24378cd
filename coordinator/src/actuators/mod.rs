//! What carries decisions about the fleet's size out.
//!
//! An actuator is told what is wanted, once for each decision, and answers when it has done its part: started what is to
//! come, or taken away what is to go. Whether agents join or leave is seen by the manager, not promised by the actuator. By
//! the time it is told to take agents away they are empty: draining is the engine's.
//!
//! | name | what it does |
//! |---|---|
//! | `advise` | nothing: decisions are shown, and somebody may act (the default) |
//! | `local` | starts and stops agents on this machine |
//! | `command` | runs a program with the decision on its standard input |
//! | `webhook` | posts the decision to an address |
//! | `keda` | nothing: KEDA asks how many are wanted (see [`crate::services::keda`]) and does the rest |

mod command;
mod local;
mod order;
#[cfg(test)]
mod testing;
mod webhook;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use evenkeel_core::capacity::Decision;
use evenkeel_shared::{Violation, limits::DURATION_MAX, shown::without_secrets};
use serde::{Deserialize, Serialize};

pub use self::{command::CommandConfig, local::LocalConfig, order::Order, webhook::WebhookConfig};

/// Why a decision was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActuatorError {
    /// A program could not be started.
    #[error("`{program}` could not be started: {reason}")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// A program said that it failed.
    #[error("`{program}` ended with {status}{said}")]
    Exit {
        /// Which.
        program: String,
        /// Exit code or signal, in words.
        status: String,
        /// The end of its error output, with a colon before it; may be empty.
        said: String,
    },
    /// It took too long.
    #[error("{what} took longer than {} ms", .after.as_millis())]
    Late {
        /// What.
        what: String,
        /// Its time.
        after: Duration,
    },
    /// An agent that this actuator has not started cannot be taken away by it.
    #[error("`{0}` was not started here, so it cannot be stopped here")]
    NotMine(String),
    /// A request was not answered as it should be.
    #[error("POST {}: {reason}", without_secrets(url))]
    Request {
        /// Where.
        url: String,
        /// Why, after the last attempt.
        reason: String,
    },
}

/// What carries decisions out.
#[tonic::async_trait]
pub trait Actuator: Send + Sync + 'static {
    /// Its name, as it is set and shown.
    fn name(&self) -> &'static str;

    /// Does its part of a decision: once for each, never two at a time. It ends within a bound of its own.
    ///
    /// # Errors
    /// Why it could not.
    async fn scale(&self, decision: &Decision) -> Result<(), ActuatorError>;

    /// Ends what it has started; the process ends soon.
    async fn stop(&self) {}
}

/// Which actuator, with its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum ActuatorConfig {
    /// Decisions are shown only.
    #[default]
    Advise,
    /// Agents on this machine.
    Local(LocalConfig),
    /// A program.
    Command(CommandConfig),
    /// An address.
    Webhook(WebhookConfig),
    /// KEDA.
    Keda,
}

impl ActuatorConfig {
    /// Those that need no settings, by name.
    pub const SIMPLE: [&str; 3] = ["advise", "local", "keda"];

    /// One that needs no settings.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "advise" => Some(Self::Advise),
            "local" => Some(Self::Local(LocalConfig::default())),
            "keda" => Some(Self::Keda),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Advise => "advise",
            Self::Local(_) => "local",
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
            Self::Keda => "keda",
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first setting at fault.
    pub fn validate(&self) -> Result<(), Violation> {
        match self {
            Self::Advise | Self::Keda => Ok(()),
            Self::Local(config) => config.validate(),
            Self::Command(config) => config.validate(),
            Self::Webhook(config) => config.validate(),
        }
    }

    /// Agents that it can take away begin with this; `None`: any.
    #[must_use]
    pub fn removable_prefix(&self) -> Option<&str> {
        match self {
            Self::Local(config) => Some(&config.prefix),
            _ => None,
        }
    }

    /// Makes it. `grpc` is where agents find the coordinator.
    #[must_use]
    pub fn build(&self, grpc: SocketAddr, encrypted: bool) -> Arc<dyn Actuator> {
        match self.clone() {
            Self::Advise => Arc::new(Idle("advise")),
            Self::Keda => Arc::new(Idle("keda")),
            Self::Local(config) => Arc::new(local::Local::new(config, grpc, encrypted)),
            Self::Command(config) => Arc::new(command::Command::new(config)),
            Self::Webhook(config) => Arc::new(webhook::Webhook::new(config)),
        }
    }
}

/// Somebody else acts.
struct Idle(&'static str);

#[tonic::async_trait]
impl Actuator for Idle {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn scale(&self, _: &Decision) -> Result<(), ActuatorError> {
        Ok(())
    }
}

fn timeout_ms(field: &str, value: u64) -> Result<(), Violation> {
    let max = u64::try_from(DURATION_MAX.as_millis()).unwrap_or(u64::MAX);
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(Violation::new(field, format!("is {value}; 1 to {max} milliseconds are allowed")))
    }
}
