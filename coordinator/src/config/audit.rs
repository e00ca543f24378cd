//! The log of who changed what.

use serde::{Deserialize, Serialize};

use super::{ConfigError, at_least, at_most};

/// The log of who changed what. It is in the directory `audit` of the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Bytes after which the next file begins. 65536 to 1073741824; default 16777216.
    pub file_bytes_max: u64,
    /// Files that are kept; the oldest go. 2 to 10000; default 64, which with full files is 1 GiB.
    pub files_max: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file_bytes_max: 16 << 20, files_max: 64 }
    }
}

impl AuditConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        at_least("audit.file_bytes_max", self.file_bytes_max, 64 << 10)?;
        at_most("audit.file_bytes_max", self.file_bytes_max, 1 << 30)?;
        at_least("audit.files_max", self.files_max as u64, 2)?;
        Ok(at_most("audit.files_max", self.files_max as u64, 10_000)?)
    }
}
