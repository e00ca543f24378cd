//! Health of an agent by warning and critical bounds on its processor, its memory and its failures.
//!
//! Above a warning bound the agent is degraded (used after the healthy ones), above a critical one unhealthy (gets
//! nothing new). Two things keep a verdict from flapping. A level is entered or left only after several readings in a
//! row that agree, and a level is left only below its bound less a margin (hysteresis). A processor has to stay critical
//! for longer than memory: a busy processor is what a busy agent looks like, and one spike says nothing.
//!
//! Failures are a rate over attempts whose weight halves with time (see [`DecayingRate`]), so no streak is asked of them.
//! Evidence fades: an agent that gets nothing new because of its failures is tried again after a few half-lives.
//!
//! Bounds on absolute values were rejected: shares of the agent's own limits mean the same on every machine.

use std::{fmt, time::Duration};

use evenkeel_shared::{AgentLoad, Health, Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::{
    decay::DecayingRate,
    settings::{check_count, check_ms, check_within},
};

/// Most readings in a row that may be asked: at one a second beyond it the verdict is about the past.
const READINGS_MAX: u32 = 600;
/// The failure rate remembers at most this many times the least number of samples, so that an agent with very many
/// failures is tried again after at most five half-lives.
const SAMPLES_KEPT_FACTOR: f64 = 10.0;

/// When a measured share is too high. All numbers but the last are shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// From here on the agent is degraded.
    pub warning: f64,
    /// From here on it is unhealthy. Above `warning`.
    pub critical: f64,
    /// A level is left only so far below its bound. Below `warning`.
    pub margin: f64,
    /// Readings in a row before a level is entered or left; a reading is a heartbeat, for failures an attempt or one.
    pub readings: u32,
}

impl Bounds {
    fn validate(&self) -> Result<(), Violation> {
        check_within("warning", self.warning, 0.01..=1.0)?;
        check_within("critical", self.critical, 0.01..=1.0)?;
        check_within("margin", self.margin, 0.0..=1.0)?;
        check_count("readings", self.readings, READINGS_MAX)?;
        if self.critical <= self.warning {
            return Err(Violation::new("critical", format!("must be above the warning bound of {}", self.warning)));
        }
        if self.margin >= self.warning {
            return Err(Violation::new("margin", format!("must be below the warning bound of {}", self.warning)));
        }
        Ok(())
    }

    /// The level a reading speaks for, seen from the present one.
    fn wanted(&self, value: f64, present: Option<Level>) -> Option<Level> {
        let holds = |level: Level| {
            let margin = if present >= Some(level) { self.margin } else { 0.0 };
            value >= self.of(level) - margin
        };
        [Level::Critical, Level::Warning].into_iter().find(|&level| holds(level))
    }

    const fn of(&self, level: Level) -> f64 {
        match level {
            Level::Warning => self.warning,
            Level::Critical => self.critical,
        }
    }
}

/// When an agent counts as strained.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// On the processor in use.
    pub cpu: Bounds,
    /// On the memory in use.
    pub memory: Bounds,
    /// On the share of attempts that failed.
    pub failure_rate: Bounds,
    /// With fewer attempts the missing ones count as successes. 1 to 1000.
    pub failure_samples_min: u32,
    /// After this long an attempt counts half.
    pub failure_half_life_ms: u64,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            cpu: Bounds { warning: 0.90, critical: 0.98, margin: 0.05, readings: 10 },
            memory: Bounds { warning: 0.85, critical: 0.95, margin: 0.05, readings: 3 },
            failure_rate: Bounds { warning: 0.25, critical: 0.60, margin: 0.05, readings: 1 },
            failure_samples_min: 10,
            failure_half_life_ms: 30_000,
        }
    }
}

impl HealthSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        self.cpu.validate().map_err(|violation| violation.within("cpu"))?;
        self.memory.validate().map_err(|violation| violation.within("memory"))?;
        self.failure_rate.validate().map_err(|violation| violation.within("failure_rate"))?;
        check_count("failure_samples_min", self.failure_samples_min, 1_000)?;
        check_ms("failure_half_life_ms", self.failure_half_life_ms)
    }

    const fn failure_half_life(&self) -> Duration {
        Duration::from_millis(self.failure_half_life_ms)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Strained.
    Warning,
    /// Too much.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Processor in use.
    Cpu,
    /// Memory in use.
    Memory,
    /// Attempts that failed.
    FailureRate,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "processor in use",
            Self::Memory => "memory in use",
            Self::FailureRate => "failed attempts",
        })
    }
}

/// One reason why an agent is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Condition {
    /// What is too high.
    pub metric: Metric,
    /// Its latest value, 0 to 1. It may have fallen below the bound already, and not for long or far enough.
    pub value: f64,
    /// The bound of the level.
    pub bound: f64,
    /// The level.
    pub level: Level,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, value, bound, level } = self;
        write!(f, "{metric}: {:.0} % ({level} from {:.0} %)", value * 100.0, bound * 100.0)
    }
}

/// How an agent is, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assessment {
    /// Healthy, degraded or unhealthy; that an agent is lost is known elsewhere.
    pub health: Health,
    /// Why, if it is not healthy: the worst first.
    pub conditions: Vec<Condition>,
}

/// The level of one metric.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    value: f64,
    level: Option<Level>,
    /// The level that the latest readings in a row all went at least as far towards, and how many there were.
    pending: Option<(Option<Level>, u32)>,
}

impl Gauge {
    fn read(&mut self, value: f64, bounds: &Bounds) {
        self.value = value;
        let wanted = bounds.wanted(value, self.level);
        if wanted == self.level {
            self.pending = None;
            return;
        }
        let rises = wanted > self.level;
        let (toward, readings) = match self.pending {
            Some((toward, readings)) if (toward > self.level) == rises => {
                (if rises { toward.min(wanted) } else { toward.max(wanted) }, readings + 1)
            }
            _ => (wanted, 1),
        };
        self.pending = Some((toward, readings));
        if readings >= bounds.readings {
            self.level = toward;
            self.pending = None;
        }
    }

    fn condition(&self, metric: Metric, bounds: &Bounds) -> Option<Condition> {
        self.level.map(|level| Condition { metric, value: self.value, bound: bounds.of(level), level })
    }
}

/// What is known of one agent's strain.
#[derive(Clone, Debug)]
pub struct HealthTracker {
    settings: HealthSettings,
    cpu: Gauge,
    memory: Gauge,
    failures: Gauge,
    rate: DecayingRate,
}

impl HealthTracker {
    /// Nothing is known, so all is well.
    #[must_use]
    pub fn new(settings: HealthSettings) -> Self {
        let (cpu, memory, failures) = (Gauge::default(), Gauge::default(), Gauge::default());
        Self { settings, cpu, memory, failures, rate: DecayingRate::default() }
    }

    /// Other settings, for the readings from now on.
    pub const fn configure(&mut self, settings: HealthSettings) {
        self.settings = settings;
    }

    /// A heartbeat.
    pub fn observe_load(&mut self, now: Timestamp, load: &AgentLoad) {
        self.cpu.read(load.cpu_share, &self.settings.cpu);
        self.memory.read(load.memory_share, &self.settings.memory);
        self.read_failures(now);
    }

    /// An attempt that ended in a way that says something about the agent: done, or failed in a way that another agent
    /// might have avoided. What is the task's own fault does not belong here.
    pub fn observe_outcome(&mut self, now: Timestamp, ok: bool) {
        self.rate.record(now, self.settings.failure_half_life(), !ok);
        self.rate.limit(f64::from(self.settings.failure_samples_min) * SAMPLES_KEPT_FACTOR);
        self.read_failures(now);
    }

    fn read_failures(&mut self, now: Timestamp) {
        let value = self.failure_rate(now);
        self.failures.read(value, &self.settings.failure_rate);
    }

    /// The share of attempts that failed, as it counts now; see [`DecayingRate::rate`].
    fn failure_rate(&self, now: Timestamp) -> f64 {
        self.rate.rate(now, self.settings.failure_half_life(), f64::from(self.settings.failure_samples_min))
    }

    /// How the agent is by all that was observed, and why.
    #[must_use]
    pub fn assess(&self) -> Assessment {
        let Self { settings, cpu, memory, failures, .. } = self;
        let mut conditions: Vec<_> = [
            memory.condition(Metric::Memory, &settings.memory),
            failures.condition(Metric::FailureRate, &settings.failure_rate),
            cpu.condition(Metric::Cpu, &settings.cpu),
        ]
        .into_iter()
        .flatten()
        .collect();
        conditions.sort_by_key(|condition| std::cmp::Reverse(condition.level));
        let health = match conditions.first().map(|condition| condition.level) {
            None => Health::Healthy,
            Some(Level::Warning) => Health::Degraded,
            Some(Level::Critical) => Health::Unhealthy,
        };
        Assessment { health, conditions }
    }
}

#[cfg(test)]
#[path = "thresholds_tests.rs"]
mod tests;
