//! Outlier ejection: an agent that fails far more than the others rests for a while.
//!
//! The danger is the agent that fails *fast*: it is idle again at once, looks like the best choice, and swallows the
//! queue. So an agent is ejected after a few failures in a row, where a failure far below the kind's normal run time
//! counts twice, or when its failure rate is far above that of all others together. The comparison with the others is
//! what tells a bad agent from bad tasks: when everything fails everywhere, nobody is ejected for its rate.
//!
//! A share of the fleet at most is ejected at a time, since the rest has to carry the load. Each ejection in succession
//! lasts longer. As in Envoy's outlier detection, whose deviation from the mean was not taken over: with a few agents it
//! says little, and nobody can do the sum.
//!
//! Only what speaks of the agent is to be recorded: not a non-retryable failure (the task's own fault), not a
//! cancellation, not an agent that was lost (the lease's matter).

use std::{collections::BTreeSet, time::Duration};

use evenkeel_shared::{Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::{
    decay::DecayingRate,
    settings::{check_count, check_ms, check_within},
};
use crate::ix::AgentIx;

/// A failure within this share of the kind's normal run time is a fast one.
const FAST_SHARE: f64 = 0.1;
/// What a fast failure counts for in a row of failures.
const FAST_WEIGHT: u32 = 2;

/// When agents are ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierSettings {
    /// Failures in a row that eject. 1 to 1000.
    pub consecutive_failures: u32,
    /// A failure rate so far above that of the others ejects. 0.05 to 1.
    pub rate_excess: f64,
    /// The rate of an agent counts from so many attempts on. 1 to 1000.
    pub samples_min: u32,
    /// After this long an attempt counts half.
    pub half_life_ms: u64,
    /// The first ejection lasts this long, the second twice as long, and so on.
    pub ejection_base_ms: u64,
    /// The longest ejection. After this long without one the count begins anew.
    pub ejection_max_ms: u64,
    /// At most this share of the fleet is ejected at a time, 0 to 0.5; but one agent of two or more may always be.
    pub fleet_share_max: f64,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            rate_excess: 0.4,
            samples_min: 20,
            half_life_ms: 30_000,
            ejection_base_ms: 10_000,
            ejection_max_ms: 300_000,
            fleet_share_max: 0.1,
        }
    }
}

impl OutlierSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_count("consecutive_failures", self.consecutive_failures, 1_000)?;
        check_within("rate_excess", self.rate_excess, 0.05..=1.0)?;
        check_count("samples_min", self.samples_min, 1_000)?;
        check_ms("half_life_ms", self.half_life_ms)?;
        check_ms("ejection_base_ms", self.ejection_base_ms)?;
        check_ms("ejection_max_ms", self.ejection_max_ms)?;
        check_within("fleet_share_max", self.fleet_share_max, 0.0..=0.5)?;
        if self.ejection_max_ms < self.ejection_base_ms {
            return Err(Violation::new("ejection_max_ms", "must not be below ejection_base_ms"));
        }
        Ok(())
    }

    const fn half_life(&self) -> Duration {
        Duration::from_millis(self.half_life_ms)
    }

    /// How many of `fleet_size` agents may be ejected at a time: never all.
    fn ejected_max(&self, fleet_size: usize) -> usize {
        if fleet_size < 2 {
            return 0;
        }
        // Exact: fleets are far below 2^52.
        ((fleet_size as f64 * self.fleet_share_max) as usize).max(1)
    }
}

/// An attempt that ended in a way that says something about its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it ran.
    pub run: Duration,
    /// How long attempts of its kind run as a rule, if that is known.
    pub run_normal: Option<Duration>,
}

impl Ended {
    /// What it adds to a row of failures.
    fn weight(&self) -> u32 {
        let fast = self.run_normal.is_some_and(|normal| self.run < normal.mul_f64(FAST_SHARE));
        if fast { FAST_WEIGHT } else { 1 }
    }
}

/// An agent is to get nothing new until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// When it is let in again; see [`Outliers::release_due`].
    pub until: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    consecutive: u32,
    rate: DecayingRate,
    ejections: u32,
    /// The present ejection, or the end of the last one.
    ejected_until: Option<Timestamp>,
}

/// The failures of a fleet.
#[derive(Clone, Debug)]
pub struct Outliers {
    settings: OutlierSettings,
    /// By agent; those that nothing was recorded of are empty.
    records: Vec<Record>,
    fleet: DecayingRate,
    ejected: BTreeSet<(Timestamp, AgentIx)>,
}

impl Outliers {
    /// Nothing is known of anybody.
    #[must_use]
    pub const fn new(settings: OutlierSettings) -> Self {
        let fleet = DecayingRate::new();
        Self { settings, records: Vec::new(), fleet, ejected: BTreeSet::new() }
    }

    /// Other settings. Ejections last as they were announced.
    pub const fn configure(&mut self, settings: OutlierSettings) {
        self.settings = settings;
    }

    /// Records the end of an attempt. Answers an ejection if the agent is to rest. `fleet_size` is the number of
    /// connected agents, the ejected ones included.
    ///
    /// What still ends on an agent that is ejected neither prolongs its rest nor counts against it.
    pub fn record(&mut self, now: Timestamp, agent: AgentIx, ended: Ended, fleet_size: usize) -> Option<Ejection> {
        if self.is_ejected(agent) {
            return None;
        }
        let half_life = self.settings.half_life();
        self.fleet.record(now, half_life, !ended.ok);
        if self.records.len() <= agent.at() {
            self.records.resize_with(agent.at() + 1, Record::default);
        }
        let record = &mut self.records[agent.at()];
        record.rate.record(now, half_life, !ended.ok);
        if ended.ok {
            record.consecutive = 0;
            return None;
        }
        record.consecutive = record.consecutive.saturating_add(ended.weight());
        let row = record.consecutive >= self.settings.consecutive_failures;
        let room = self.ejected.len() < self.settings.ejected_max(fleet_size);
        (room && (row || self.stands_out(now, agent))).then(|| self.eject(now, agent))
    }

    /// Whether the agent's failure rate is far above that of all others.
    fn stands_out(&self, now: Timestamp, agent: AgentIx) -> bool {
        let half_life = self.settings.half_life();
        let (failed, total) = self.records[agent.at()].rate.counts(now, half_life);
        if total < f64::from(self.settings.samples_min) {
            return false;
        }
        let (fleet_failed, fleet_total) = self.fleet.counts(now, half_life);
        let (others_failed, others_total) = ((fleet_failed - failed).max(0.0), fleet_total - total);
        // Without the others there is nothing to compare with; below one attempt it is rounding or long past.
        others_total >= 1.0 && failed / total >= others_failed / others_total + self.settings.rate_excess
    }

    fn eject(&mut self, now: Timestamp, agent: AgentIx) -> Ejection {
        let longest = Duration::from_millis(self.settings.ejection_max_ms);
        let record = &mut self.records[agent.at()];
        if record.ejected_until.is_some_and(|until| now.since(until) >= longest) {
            record.ejections = 0;
        }
        record.ejections = record.ejections.saturating_add(1);
        let base = Duration::from_millis(self.settings.ejection_base_ms);
        let until = now.plus(base.saturating_mul(record.ejections).min(longest));
        record.ejected_until = Some(until);
        self.ejected.insert((until, agent));
        Ejection { until }
    }

    /// Lets in one agent whose time is over, with a clean record save for the number of its ejections. Call it until
    /// there is none left.
    pub fn release_due(&mut self, now: Timestamp) -> Option<AgentIx> {
        let &(_, agent) = self.ejected.first().filter(|&&(until, _)| until <= now)?;
        self.ejected.pop_first();
        let half_life = self.settings.half_life();
        let record = &mut self.records[agent.at()];
        self.fleet.take_out(now, half_life, &record.rate);
        (record.consecutive, record.rate) = (0, DecayingRate::new());
        Some(agent)
    }

    /// An operator ejects an agent until then, or lets it in. It does not count among its ejections, and its record is clean
    /// afterwards.
    pub fn order(&mut self, now: Timestamp, agent: AgentIx, until: Option<Timestamp>) {
        if self.records.len() <= agent.at() {
            self.records.resize_with(agent.at() + 1, Record::default);
        }
        let half_life = self.settings.half_life();
        let record = &mut self.records[agent.at()];
        if let Some(before) = record.ejected_until {
            self.ejected.remove(&(before, agent));
        }
        self.fleet.take_out(now, half_life, &record.rate);
        (record.consecutive, record.rate) = (0, DecayingRate::new());
        if let Some(until) = until {
            record.ejected_until = Some(until);
            self.ejected.insert((until, agent));
        }
    }

    /// Failures and attempts of an agent, as they count now.
    #[must_use]
    pub fn counts(&self, now: Timestamp, agent: AgentIx) -> (u32, u32) {
        let Some(record) = self.records.get(agent.at()) else { return (0, 0) };
        let (failed, total) = record.rate.counts(now, self.settings.half_life());
        // In range: what counts half after a half-life is far below what a u32 holds, and the conversion saturates.
        (failed.round() as u32, total.round() as u32)
    }

    /// Whether the agent is ejected: from [`record`](Self::record)'s answer until it is released.
    fn is_ejected(&self, agent: AgentIx) -> bool {
        let until = self.records.get(agent.at()).and_then(|record| record.ejected_until);
        until.is_some_and(|until| self.ejected.contains(&(until, agent)))
    }

    /// The agent is gone for good: its index may name another one from now on.
    pub fn forget(&mut self, now: Timestamp, agent: AgentIx) {
        let half_life = self.settings.half_life();
        let Some(record) = self.records.get_mut(agent.at()).map(std::mem::take) else { return };
        self.fleet.take_out(now, half_life, &record.rate);
        if let Some(until) = record.ejected_until {
            self.ejected.remove(&(until, agent));
        }
    }
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
