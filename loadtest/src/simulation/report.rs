//! What simulations came to.

use std::{collections::BTreeMap, fmt, time::Duration};

use evenkeel_shared::TaskId;
use serde::Serialize;

use super::{faults::Fault, world::Breach};
use crate::history::Verdict;

/// One seed.
#[derive(Clone, Debug, Serialize)]
pub struct SeedReport {
    /// It.
    pub seed: u64,
    /// Agents of its cluster.
    pub agents: usize,
    /// Simulated time.
    #[serde(serialize_with = "seconds")]
    pub simulated: Duration,
    /// Events that happened.
    pub events: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// How long after the last fault all was well; `None`: it was not.
    #[serde(serialize_with = "some_seconds")]
    pub healed_after: Option<Duration>,
    /// Tasks that drive others again.
    pub driven_again: u64,
    /// Tasks that were removed as past their time.
    pub pruned: u64,
    /// What the judge says.
    pub verdict: Verdict,
    /// What the simulation itself found.
    pub breaches: Vec<Breach>,
    /// What came of clients' orders, where something was broken.
    #[serde(skip)]
    pub(super) orders: Vec<(usize, TaskId)>,
}

impl SeedReport {
    /// Whether all was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.breaches.is_empty() && self.healed_after.is_some()
    }

    /// Every rule that was broken, by name.
    #[must_use]
    pub fn rules_broken(&self) -> Vec<&'static str> {
        let judged = self.verdict.broken.keys().map(|rule| rule.name());
        let mut rules: Vec<_> = judged.chain(self.breaches.iter().map(|breach| breach.rule)).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// A seed that broke something.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// What it came to.
    pub report: SeedReport,
    /// The command that runs it again.
    pub replay: String,
    /// What led to it, in short.
    pub trace: Vec<String>,
}

/// All seeds of a run together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SimulationReport {
    /// Seeds that ran.
    pub seeds: u64,
    /// Of them clean.
    pub clean: u64,
    /// Simulated time in all.
    #[serde(serialize_with = "seconds")]
    pub simulated: Duration,
    /// Real time.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// Events in all.
    pub events: u64,
    /// Tasks recorded.
    pub tasks: u64,
    /// Of them such that drive others again.
    pub driven_again: u64,
    /// Of them such that were removed in the end, past their time.
    pub pruned: u64,
    /// Attempts at them.
    pub attempts: u64,
    /// Executions.
    pub executions: u64,
    /// Results answered as stale.
    pub stale_answers: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// The longest healing.
    #[serde(serialize_with = "seconds")]
    pub healed_after_max: Duration,
    /// Healing has to be done within this.
    #[serde(serialize_with = "seconds")]
    pub heal_within: Duration,
    /// The seeds that broke something; the first ones with a trace.
    pub failing: Vec<Failing>,
}

impl SimulationReport {
    /// Takes a seed in.
    pub(super) fn add(&mut self, report: &SeedReport) {
        self.seeds += 1;
        self.clean += u64::from(report.is_clean());
        self.simulated += report.simulated;
        self.events += report.events;
        self.tasks += report.verdict.tasks;
        self.driven_again += report.driven_again;
        self.pruned += report.pruned;
        self.attempts += report.verdict.attempts;
        self.executions += report.verdict.executions;
        self.stale_answers += report.verdict.stale_answers;
        for (fault, count) in &report.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.healed_after_max = self.healed_after_max.max(report.healed_after.unwrap_or_default());
    }

    /// Whether every seed kept every promise.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failing.is_empty() && self.clean == self.seeds
    }
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        writeln!(f, "seeds       {} of {} clean", self.clean, self.seeds)?;
        writeln!(f, "simulated   {hours:.1} h in {:.1} s, {} events", self.took.as_secs_f64(), self.events)?;
        writeln!(f, "tasks       {}, {} attempts, {} executions", self.tasks, self.attempts, self.executions)?;
        writeln!(f, "            {} driven again, {} removed past their time", self.driven_again, self.pruned)?;
        writeln!(f, "            {} late results answered as stale", self.stale_answers)?;
        let (healed, bound) = (self.healed_after_max.as_secs_f64(), self.heal_within.as_secs());
        writeln!(f, "healed      after {healed:.0} s at the latest; the bound is {bound} s")?;
        let faults: Vec<_> = self.faults.iter().map(|(fault, count)| format!("{count} {}", fault.name())).collect();
        writeln!(f, "faults      {}", faults.join(", "))?;
        for failing in &self.failing {
            write!(f, "\n{failing}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} broke {}", self.report.seed, self.report.rules_broken().join(", "))?;
        writeln!(f, "run it again with: {}", self.replay)?;
        for breach in &self.report.breaches {
            writeln!(f, "  {}: {}", breach.rule, breach.facts)?;
        }
        for violation in &self.report.verdict.violations {
            writeln!(f, "  {}: {}", violation.rule, violation.facts)?;
        }
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn some_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}
