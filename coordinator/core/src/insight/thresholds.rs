//! From when on a measurement is a matter of concern.
//!
//! | metric | warning | critical | for | why |
//! |---|---|---|---|---|
//! | utilisation | 0.85 | 0.95 | 30 s | waits grow with 1 / (1 - utilisation): at 0.85 a fleet of few agents begins to queue |
//! | cpu, memory | 0.85 | 0.95 | 30 s | what an agent itself counts as strained; bursts of seconds are work, not want |
//! | agents_down | 0.1 | 0.5 | 10 s | one of ten is an incident; at half, failover is slowed down |
//! | oldest_wait_ms | 10,000 | 60,000 | 10 s | people wait for seconds, not for minutes |
//! | error_rate | 0.05 | 0.25 | 30 s | single failures are usual, and one in four is none of chance |
//! | commit_ms | 20 | 100 | 10 s | a disk that syncs takes 1 to 10; each answer waits for a commit or two |
//! | engine_busy | 0.7 | 0.9 | 10 s | one thread decides all: its queue grows like any other |
//!
//! What depends on the work has none unless an operator sets one: queue lengths, response times, rates.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

use super::metric::Metric;

/// How long a measurement must be past its threshold where that is not said.
pub const FOR_DEFAULT: Duration = Duration::from_secs(10);
/// Longest such time: an hour is as far as fine measurements reach.
const FOR_MAX: Duration = Duration::from_secs(3_600);

/// From when on a metric is a matter of concern.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Which metric.
    pub metric: Metric,
    /// From here on it should be looked at.
    pub warning: f64,
    /// From here on something should be done.
    pub critical: f64,
    /// It must last so long, in milliseconds.
    pub for_ms: u64,
    /// The smaller, the worse.
    pub below: bool,
}

impl Threshold {
    /// How far a value is between warning (0) and critical (1); negative: no concern.
    #[must_use]
    pub fn depth(&self, value: f64) -> f64 {
        let span = (self.critical - self.warning).abs();
        let past = if self.below { self.warning - value } else { value - self.warning };
        if span > 0.0 {
            past / span
        } else if past >= 0.0 {
            1.0 + past / self.warning.abs().max(1e-9)
        } else {
            past / self.warning.abs().max(1e-9)
        }
    }

    /// Points out of 100: all of them up to the warning, 40 at critical, none at twice as far.
    #[must_use]
    pub fn score(&self, value: f64) -> f64 {
        let depth = self.depth(value);
        let score = if depth <= 1.0 { 100.0 - 60.0 * depth } else { 80.0 - 40.0 * depth };
        score.clamp(0.0, 100.0)
    }

    /// How long it must last.
    #[must_use]
    pub const fn lasting(&self) -> Duration {
        Duration::from_millis(self.for_ms)
    }
}

/// Thresholds by metric: those of operators, and the defaults of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(BTreeMap<Metric, Threshold>);

impl Default for Thresholds {
    fn default() -> Self {
        use Metric as M;
        let usual = [
            (M::Utilisation, 0.85, 0.95, 30),
            (M::Cpu, 0.85, 0.95, 30),
            (M::Memory, 0.85, 0.95, 30),
            (M::AgentsDown, 0.1, 0.5, 10),
            (M::OldestWaitMs, 10_000.0, 60_000.0, 10),
            (M::ErrorRate, 0.05, 0.25, 30),
            (M::CommitMs, 20.0, 100.0, 10),
            (M::EngineBusy, 0.7, 0.9, 10),
        ];
        let usual = usual.map(|(metric, warning, critical, seconds)| {
            (metric, Threshold { metric, warning, critical, for_ms: seconds * 1_000, below: false })
        });
        Self(usual.into())
    }
}

impl Thresholds {
    /// These, and the defaults of all metrics that they do not name.
    ///
    /// # Errors
    /// A violation that names the field at fault, as `thresholds[2].critical`.
    pub fn new(declared: &[Threshold]) -> Result<Self, Violation> {
        let mut all = Self::default();
        let mut named = std::collections::BTreeSet::new();
        for (at, threshold) in declared.iter().enumerate() {
            let wrong = |field: &str, words: String| Err(Violation::new(format!("thresholds[{at}].{field}"), words));
            let Threshold { metric, warning, critical, for_ms, below } = *threshold;
            for (field, value) in [("warning", warning), ("critical", critical)] {
                if !value.is_finite() || value < 0.0 {
                    return wrong(field, format!("{value} is not a number of at least 0"));
                }
            }
            if (below && critical > warning) || (!below && critical < warning) {
                let (words, other) = if below { ("below", "above") } else { ("above", "below") };
                return wrong(
                    "critical",
                    format!("{critical} is {other} the warning of {warning}; it must be {words} it"),
                );
            }
            if for_ms > FOR_MAX.as_millis() as u64 {
                return wrong("for_ms", format!("{for_ms} is more than {}", FOR_MAX.as_millis()));
            }
            if !named.insert(metric) {
                return wrong("metric", format!("{metric} has a threshold already"));
            }
            all.0.insert(metric, *threshold);
        }
        Ok(all)
    }

    /// That of a metric.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<&Threshold> {
        self.0.get(&metric)
    }

    /// All of them, by metric.
    pub fn iter(&self) -> impl Iterator<Item = &Threshold> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(warning: f64, critical: f64, below: bool) -> Threshold {
        Threshold { metric: Metric::Queued, warning, critical, for_ms: 1_000, below }
    }

    #[test]
    fn points_are_lost_from_the_warning_on() {
        let usual = threshold(10.0, 20.0, false);
        let scores = [0.0, 10.0, 15.0, 20.0, 30.0, 99.0].map(|value| usual.score(value));
        assert_eq!(scores, [100.0, 100.0, 70.0, 40.0, 0.0, 0.0]);
        let below = threshold(0.9, 0.5, true);
        assert_eq!([1.0, 0.9, 0.5].map(|value| below.score(value).round()), [100.0, 100.0, 40.0]);
        let sharp = threshold(10.0, 10.0, false);
        assert_eq!([9.9, 10.0, 30.0].map(|value| sharp.score(value)), [100.0, 40.0, 0.0]);
    }

    #[test]
    fn what_is_declared_wins_and_all_else_is_as_usual() {
        let all = Thresholds::new(&[threshold(10.0, 20.0, false)]).unwrap();
        assert_eq!(all.get(Metric::Queued).unwrap().critical, 20.0);
        assert_eq!(all.get(Metric::Cpu), Thresholds::default().get(Metric::Cpu));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_field() {
        let refused = |declared: &[Threshold]| Thresholds::new(declared).unwrap_err().field;
        assert_eq!(refused(&[threshold(f64::NAN, 1.0, false)]), "thresholds[0].warning");
        assert_eq!(refused(&[threshold(2.0, 1.0, false)]), "thresholds[0].critical");
        assert_eq!(refused(&[threshold(1.0, 2.0, true)]), "thresholds[0].critical");
        assert_eq!(refused(&[threshold(1.0, 2.0, false); 2]), "thresholds[1].metric");
        let long = Threshold { for_ms: 3_600_001, ..threshold(1.0, 2.0, false) };
        assert_eq!(refused(&[long]), "thresholds[0].for_ms");
    }
}
