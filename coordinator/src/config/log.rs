//! What the process logs, and how.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What the process logs, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {}

impl LogConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
