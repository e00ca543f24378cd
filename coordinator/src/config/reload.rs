//! How changes of the configuration are taken.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How changes of the configuration are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {}

impl ReloadConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "there is nothing to set yet")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
