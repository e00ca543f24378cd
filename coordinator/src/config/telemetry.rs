//! Traces, and where they are sent.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Traces, and where they are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {}

impl TelemetryConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
