//! Settings of the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{FINE_DEFAULT, HISTORY_DEFAULT, Retention, sqlite::WRITER_CACHE_BYTES_DEFAULT};

/// Finished tasks are kept at least so long: clients rely on it for their idempotency keys (24 h).
pub const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);

const DAY_SECONDS: u64 = 24 * 3_600;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Finished tasks are kept for so many hours. At least 24.
    pub retention_hours: u64,
    /// Measurements are kept as they were taken for so many hours, and by the quarter of an hour after that. At least 1.
    pub fine_hours: u64,
    /// Measurements, costs, scaling decisions and what was declared before are kept for so many days. At least 32, so that
    /// what a budget has spent in a month is known to the end of the month.
    pub history_days: u64,
    /// Memory for the pages that the writer has read or written, in bytes. At least 1 MiB.
    pub cache_bytes: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            retention_hours: 7 * 24,
            fine_hours: FINE_DEFAULT.as_secs() / 3_600,
            history_days: HISTORY_DEFAULT.as_secs() / DAY_SECONDS,
            cache_bytes: WRITER_CACHE_BYTES_DEFAULT,
        }
    }
}

impl StoreConfig {
    /// How long what is kept.
    #[must_use]
    pub const fn retention(&self) -> Retention {
        Retention {
            tasks: Duration::from_secs(self.retention_hours.saturating_mul(3_600)),
            fine: Duration::from_secs(self.fine_hours.saturating_mul(3_600)),
            history: Duration::from_secs(self.history_days.saturating_mul(DAY_SECONDS)),
        }
    }
}
