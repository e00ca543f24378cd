//! When the coordinator itself counts as degraded or unhealthy.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// When the parts of the coordinator count as degraded or unhealthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {}

impl HealthConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
