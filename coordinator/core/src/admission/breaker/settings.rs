//! When breakers open, and for how long.

use std::time::Duration;

use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

use crate::health::settings::{check_count, check_ms, check_within};

/// Longest window, in attempts: it is walked when a failure finds the rate too high.
const WINDOW_MAX: u32 = 1_000;

/// When breakers of kinds and quotas open, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Whether they open by themselves. By hand they do in any case.
    pub enabled: bool,
    /// Share of the latest attempts whose failure opens. 0.05 to 1.
    pub failure_ratio: f64,
    /// The latest attempts are so many at most. 1 to 1000. Fewer react faster, to chance too.
    pub window_attempts: u32,
    /// And at most so old.
    pub window_ms: u64,
    /// The share counts from so many attempts on. 1 to 1000, at most `window_attempts`.
    pub attempts_min: u32,
    /// So many failures in a row open, whatever the share. 1 to 1000.
    pub consecutive_failures: u32,
    /// So many different agents must have failed, where there are as many. 1 to 100.
    pub agents_min: u32,
    /// Attempts let through to see whether it is well again. 1 to 100.
    pub trials: u32,
    /// How long it is open the first time; each time after that twice as long.
    pub open_base_ms: u64,
    /// And at most. Closed for so long, it begins at the base again.
    pub open_max_ms: u64,
    /// Share of that by which it may be shorter, by chance. 0 to 0.5.
    pub jitter: f64,
}

impl Default for BreakerSettings {
    /// As resilience4j has it (half of the last hundred), but open for seconds at first: a task that waits loses nothing but
    /// time, so a try too many is cheap, and one too late is not. For the same reason half a minute at most: the last few tasks
    /// of a kind that fails much by its nature would otherwise wait for minutes before each attempt.
    fn default() -> Self {
        Self {
            enabled: true,
            failure_ratio: 0.5,
            window_attempts: 100,
            window_ms: 60_000,
            attempts_min: 20,
            consecutive_failures: 20,
            agents_min: 3,
            trials: 5,
            open_base_ms: 5_000,
            open_max_ms: 30_000,
            jitter: 0.2,
        }
    }
}

impl BreakerSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_within("failure_ratio", self.failure_ratio, 0.05..=1.0)?;
        check_count("window_attempts", self.window_attempts, WINDOW_MAX)?;
        check_ms("window_ms", self.window_ms)?;
        check_count("attempts_min", self.attempts_min, self.window_attempts)?;
        check_count("consecutive_failures", self.consecutive_failures, WINDOW_MAX)?;
        check_count("agents_min", self.agents_min, 100)?;
        check_count("trials", self.trials, 100)?;
        check_ms("open_base_ms", self.open_base_ms)?;
        check_ms("open_max_ms", self.open_max_ms)?;
        check_within("jitter", self.jitter, 0.0..=0.5)?;
        if self.open_max_ms < self.open_base_ms {
            return Err(Violation::new("open_max_ms", "must not be below open_base_ms"));
        }
        Ok(())
    }

    /// Longest time that a breaker opens for by itself; closed for so long, it has forgotten that it ever was open.
    pub(in crate::admission) const fn open_max(&self) -> Duration {
        Duration::from_millis(self.open_max_ms)
    }

    /// How long trials may take until others are let through.
    pub(super) const fn trial_time(&self) -> Duration {
        Duration::from_millis(self.open_base_ms)
    }

    /// How many attempts the window keeps: a row of failures must fit into it too.
    pub(super) fn kept(&self) -> usize {
        self.window_attempts.max(self.consecutive_failures) as usize
    }

    /// For how long it opens, the `time` in a row. The draw is from 0 to 1.
    pub(super) fn open_for(&self, time: u32, draw: f64) -> Duration {
        let doublings = time.saturating_sub(1).min(63);
        let most = Duration::from_millis(self.open_base_ms.saturating_mul(1 << doublings).min(self.open_max_ms));
        most.mul_f64(1.0 - self.jitter * draw.clamp(0.0, 1.0))
    }
}
