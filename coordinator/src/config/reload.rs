//! How changes of the configuration are taken.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How changes of the configuration are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadConfig {
    /// Take changes of the file as they come. Without it: on SIGHUP and on request alone. Default: true.
    pub watch: bool,
    /// How long a file has to stay as it is before it is read, in milliseconds. 1 to 60000; default 200.
    pub debounce_ms: u64,
    /// The file is compared so often besides, in milliseconds, for file systems that do not tell of changes. 100 to 3600000;
    /// default 5000.
    pub poll_ms: u64,
    /// A change that breaks the coordinator's health within this time, in milliseconds, is rolled back by itself. 0: none is.
    /// At most 3600000; default 60000.
    pub probation_ms: u64,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self { watch: true, debounce_ms: 200, poll_ms: 5_000, probation_ms: 60_000 }
    }
}

impl ReloadConfig {
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the table of settings has its ranges")]
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}
