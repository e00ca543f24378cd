//! The log of who changed what.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The log of who changed what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {}

impl AuditConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
