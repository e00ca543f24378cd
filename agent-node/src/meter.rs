//! What is known of a running attempt: how far it is, what it has used and cost, which upstream quotas it found used up.
//!
//! An executor, the watch over its program and the node all look at it, each for a moment, so it is a lock and no actor.
//! Everything in it is bounded, however much an executor reports.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel_shared::{
    AttemptRef, CostUnit, Micros, QuotaKey, Usage, Violation,
    limits::{COOLDOWN_MAX, COST_UNITS_MAX, QUOTA_KEYS_MAX},
};

use crate::task::Progress;

/// Shortest time that a quota is said to be used up: the protocol has no 0.
const COOLDOWN_MIN: Duration = Duration::from_millis(1);

/// An upstream quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// Which.
    pub key: QuotaKey,
    /// For how long.
    pub retry_after: Duration,
    /// In words.
    pub reason: String,
}

/// An attempt used more than its task may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Memory.
    Memory {
        /// What it had.
        used_bytes: u64,
        /// What it may have.
        limit_bytes: u64,
    },
    /// Processor time.
    CpuTime {
        /// What it had.
        used: Duration,
        /// What it may have.
        limit: Duration,
    },
    /// Time by the clock.
    WallTime {
        /// What it may have.
        limit: Duration,
    },
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { used_bytes, limit_bytes } => {
                write!(f, "it had {used_bytes} bytes of memory, and its budget allows {limit_bytes}")
            }
            Self::CpuTime { used, limit } => {
                let (used, limit) = (used.as_millis(), limit.as_millis());
                write!(f, "it used {used} ms of processor time, and its budget allows {limit} ms")
            }
            Self::WallTime { limit } => {
                write!(
                    f,
                    "it ran for the {} ms of wall time that its budget allows, and was not done",
                    limit.as_millis()
                )
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    fraction: f64,
    note: String,
    usage: Usage,
    quotas: Vec<QuotaReport>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

impl Meter {
    /// A poisoned lock still holds whole values: nothing that can panic happens between two of them.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is so far.
    pub fn progress(&self, fraction: f64, note: String) {
        let mut state = self.state();
        (state.fraction, state.note) = (fraction, note);
    }

    /// It has cost so much more.
    pub fn cost(&self, unit: CostUnit, amount: Micros) -> Result<(), Violation> {
        let mut state = self.state();
        let cost = &mut state.usage.cost;
        if cost.len() >= COST_UNITS_MAX && !cost.contains_key(&unit) {
            return Err(Violation::new("unit", format!("`{unit}` is one more than {COST_UNITS_MAX} units of cost")));
        }
        *cost.entry(unit).or_default() += amount;
        Ok(())
    }

    /// Its program has used so much processor time so far, and has so much memory.
    pub fn used(&self, cpu: Duration, memory_bytes: u64) {
        let usage = &mut self.state().usage;
        usage.cpu = usage.cpu.max(cpu);
        usage.memory_max_bytes = usage.memory_max_bytes.max(memory_bytes);
    }

    /// It found this quota used up. Beyond a handful, which is all that a task may draw on, the rest is dropped.
    pub fn quota(&self, key: QuotaKey, retry_after: Duration, reason: String) {
        let retry_after = retry_after.clamp(COOLDOWN_MIN, COOLDOWN_MAX);
        let quotas = &mut self.state().quotas;
        quotas.retain(|report| report.key != key);
        if quotas.len() < QUOTA_KEYS_MAX {
            quotas.push(QuotaReport { key, retry_after, reason });
        }
    }

    /// Quotas that are not said yet.
    pub fn take_quotas(&self) -> Vec<QuotaReport> {
        std::mem::take(&mut self.state().quotas)
    }

    /// What it used so far; `None`: nothing that anybody knows of.
    pub fn usage(&self) -> Option<Box<Usage>> {
        let state = self.state();
        (state.usage != Usage::default()).then(|| Box::new(state.usage.clone()))
    }

    /// How far it is, as a report.
    pub fn report(&self, attempt: AttemptRef) -> Progress {
        let state = self.state();
        let usage = (state.usage != Usage::default()).then(|| Box::new(state.usage.clone()));
        Progress { attempt, fraction: state.fraction, note: state.note.clone(), usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_and_are_bounded() {
        let meter = Meter::default();
        assert_eq!(meter.usage(), None);
        for _ in 0..10 {
            meter.cost(CostUnit::usd(), Micros::from_units(0.1)).unwrap();
        }
        assert_eq!(meter.usage().unwrap().cost[&CostUnit::usd()], Micros::from_units(1.0));
        let unit = |n: usize| CostUnit::new(&format!("unit-{n}")).unwrap();
        for n in 1..COST_UNITS_MAX {
            meter.cost(unit(n), Micros(1)).unwrap();
        }
        let error = meter.cost(unit(99), Micros(1)).unwrap_err();
        assert!(error.description.contains("unit-99"), "{error:?}");
    }

    #[test]
    fn the_last_word_on_a_quota_counts_and_is_said_once() {
        let meter = Meter::default();
        let key = QuotaKey::new("openai/a").unwrap();
        meter.quota(key.clone(), Duration::from_secs(1), "first".into());
        meter.quota(key.clone(), Duration::from_secs(90_000), "then".into());
        let report = QuotaReport { key, retry_after: COOLDOWN_MAX, reason: "then".into() };
        assert_eq!(meter.take_quotas(), [report]);
        assert_eq!(meter.take_quotas(), []);
    }
}
