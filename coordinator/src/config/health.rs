//! When the coordinator itself counts as degraded or unhealthy.

use evenkeel_shared::{Violation, limits::DURATION_MAX};
use serde::{Deserialize, Serialize};

use super::{ConfigError, at_least, at_most, ms};

/// When the parts of the coordinator count as degraded or unhealthy, and what is done then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Milliseconds between two looks at the parts. 100 to a year; default 1,000.
    pub sample_interval_ms: u64,
    /// A part has to be better for so many milliseconds before its status gets better. 0 to a year; default 5,000.
    pub recover_after_ms: u64,
    /// The engine's loop is degraded if it was late by so many milliseconds. 1 to a year; default 1,000.
    pub loop_lag_degraded_ms: u64,
    /// It is unhealthy, and the coordinator not ready, from so many milliseconds on. 1 to a year; default 5,000.
    pub loop_lag_unhealthy_ms: u64,
    /// The store is degraded if one transaction takes so many milliseconds. 1 to a year; default 1,000.
    pub commit_degraded_ms: u64,
    /// It is unhealthy, and the coordinator not ready, from so many milliseconds on. 1 to a year; default 10,000.
    pub commit_unhealthy_ms: u64,
    /// The disk is degraded with less than so many bytes free where the data is. Default 1 GiB.
    pub disk_free_degraded_bytes: u64,
    /// It is unhealthy with less than so many bytes. The coordinator stays ready until a transaction finds no room.
    /// Default 128 MiB.
    pub disk_free_unhealthy_bytes: u64,
    /// Sessions are degraded if so large a share of `limits.connections_max` is taken. 0 to 1; default 0.9.
    pub connections_degraded: f64,
    /// `/healthz` fails if the engine's loop has not turned for so many milliseconds: restarting is the only remedy. 500 to a
    /// year; default 10,000.
    pub stuck_ms: u64,
    /// The process ends itself (code 72) if the engine's loop has not turned for so many milliseconds, unless it waits for the
    /// store or the disk is full. 0: never. 1,000 to a year otherwise; default 30,000.
    pub watchdog_ms: u64,
    /// A stop says so for so many milliseconds (readiness off, health not serving) before it refuses anything, so that load
    /// balancers send clients elsewhere. Counts against `shutdown_deadline_ms`. 0 to an hour; default 0.
    pub stop_announce_ms: u64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            sample_interval_ms: 1_000,
            recover_after_ms: 5_000,
            loop_lag_degraded_ms: 1_000,
            loop_lag_unhealthy_ms: 5_000,
            commit_degraded_ms: 1_000,
            commit_unhealthy_ms: 10_000,
            disk_free_degraded_bytes: 1 << 30,
            disk_free_unhealthy_bytes: 128 << 20,
            connections_degraded: 0.9,
            stuck_ms: 10_000,
            watchdog_ms: 30_000,
            stop_announce_ms: 0,
        }
    }
}

impl HealthConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let times = [
            ("health.sample_interval_ms", self.sample_interval_ms, 100),
            ("health.recover_after_ms", self.recover_after_ms, 0),
            ("health.loop_lag_degraded_ms", self.loop_lag_degraded_ms, 1),
            ("health.loop_lag_unhealthy_ms", self.loop_lag_unhealthy_ms, self.loop_lag_degraded_ms),
            ("health.commit_degraded_ms", self.commit_degraded_ms, 1),
            ("health.commit_unhealthy_ms", self.commit_unhealthy_ms, self.commit_degraded_ms),
            ("health.stuck_ms", self.stuck_ms, 500),
        ];
        for (field, value, min) in times {
            at_least(field, value, min)?;
            at_most(field, value, ms(DURATION_MAX))?;
        }
        if self.watchdog_ms > 0 {
            at_least("health.watchdog_ms", self.watchdog_ms, 1_000)?;
            at_most("health.watchdog_ms", self.watchdog_ms, ms(DURATION_MAX))?;
        }
        at_most("health.stop_announce_ms", self.stop_announce_ms, 3_600_000)?;
        at_least("health.disk_free_degraded_bytes", self.disk_free_degraded_bytes, self.disk_free_unhealthy_bytes)?;
        if !(0.0..=1.0).contains(&self.connections_degraded) {
            let what = format!("is {}; a share from 0 to 1 is needed", self.connections_degraded);
            return Err(Violation::new("health.connections_degraded", what).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(health: HealthConfig) -> String {
        health.validate().unwrap_err().to_string()
    }

    #[test]
    fn thresholds_are_in_their_order() {
        let default = HealthConfig::default;
        assert_eq!(default().validate(), Ok(()));
        let lag = HealthConfig { loop_lag_degraded_ms: 200, loop_lag_unhealthy_ms: 100, ..default() };
        assert!(refused(lag).contains("health.loop_lag_unhealthy_ms"));
        let disk = HealthConfig { disk_free_degraded_bytes: 1, ..default() };
        assert!(refused(disk).contains("health.disk_free_degraded_bytes"));
        let share = HealthConfig { connections_degraded: f64::NAN, ..default() };
        assert!(refused(share).contains("health.connections_degraded"));
    }

    #[test]
    fn a_watchdog_is_off_or_patient() {
        assert_eq!(HealthConfig { watchdog_ms: 0, ..HealthConfig::default() }.validate(), Ok(()));
        assert!(refused(HealthConfig { watchdog_ms: 10, ..HealthConfig::default() }).contains("health.watchdog_ms"));
    }
}
