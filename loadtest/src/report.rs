//! What a run found.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{ledger::LedgerTotals, oracle::Verified, plan::RunPlan};

/// Percentiles of a latency, in milliseconds, with an error below 0.1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// None is above this.
    pub max: f64,
}

impl Latency {
    pub(crate) fn of(us: &Histogram<u64>) -> Self {
        let at = |quantile| millis(us.value_at_quantile(quantile));
        if us.is_empty() {
            return Self::default();
        }
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: millis(us.max()) }
    }
}

fn millis(us: u64) -> f64 {
    us as f64 / 1e3
}

/// How evenly the tasks were spread: tasks finished by each agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// By the agent with the fewest.
    pub min: u32,
    /// By all, on average.
    pub mean: f64,
    /// By the agent with the most.
    pub max: u32,
    /// Standard deviation over mean.
    pub variation: f64,
}

impl Spread {
    pub(crate) fn of(counts: &[u32]) -> Self {
        let (Some(&min), Some(&max)) = (counts.iter().min(), counts.iter().max()) else {
            return Self::default();
        };
        let len = counts.len() as f64;
        let mean = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / len;
        let variance = counts.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum::<f64>() / len;
        let variation = if mean > 0.0 { variance.sqrt() / mean } else { 0.0 };
        Self { min, mean, max, variation }
    }
}

/// What a run found. Its JSON form is part of the command line's interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Agents that had a session when the first task was submitted.
    pub agents: u32,
    /// Tasks sent.
    pub submitted: u32,
    /// Tasks answered with an id.
    pub accepted: u32,
    /// Tasks that succeeded.
    pub completed: u32,
    /// Tasks that ended in any other way.
    pub failed: u32,
    /// Tasks accepted that have no end: not noticed, and not known when asked for at the end.
    pub lost: u32,
    /// Tasks accepted of whose end nothing is known, because no coordinator answered at the end.
    pub unverified: u32,
    /// Tasks with two ids or two ends, or with two attempts recorded.
    pub duplicated: u32,
    /// Tasks that came to their end in a second, first submission to last end.
    pub throughput_per_s: f64,
    /// Submission to the notice of the end, as the client saw it.
    pub latency_ms: Latency,
    /// Submission to its answer.
    pub acceptance_ms: Latency,
    /// Ends that do not fit their task: another task's output, an agent or a task of nobody.
    pub mismatched: u32,
    /// Tasks refused for good.
    pub refused: u32,
    /// Tasks put off by RESOURCE_EXHAUSTED or UNAVAILABLE and sent again; one task may count more than once.
    pub retried: u64,
    /// Times the client's stream broke and was opened again.
    pub reconnects: u32,
    /// Ends found by asking, because no notice of them came.
    pub notices_missed: u32,
    /// Notices that came again and said the same.
    pub notices_repeated: u32,
    /// Executions beyond the first of their task.
    pub executions_extra: u64,
    /// Results that agents were told are stale.
    pub stale_results: u64,
    /// Tasks finished by each agent.
    pub tasks_by_agent: Spread,
    /// First submission to last end, in seconds.
    pub duration_s: f64,
    /// The strategy of the run.
    pub strategy: String,
    /// Of the plan.
    pub seed: u64,
    /// The run's id: the value of its agents' label `loadtest_run`.
    pub run: String,
    /// The first reason a task was refused for, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refusal: Option<String>,
    /// The first reason a task failed for, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// What is to be thought of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every task was accepted and came to one end.
    Passed,
    /// A promise was broken: a task is lost, duplicated or mixed up with another.
    Broken,
    /// No broken promise was seen, and of some tasks nobody could say what became of them.
    Unverified,
    /// No promise was broken, and not every task succeeded.
    Incomplete,
}

/// What the client counted beside its books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientTotals {
    pub retried: u64,
    pub reconnects: u32,
    pub notices_missed: u32,
}

impl Report {
    pub(crate) fn new(
        plan: &RunPlan,
        run: &str,
        strategy: &str,
        client: ClientTotals,
        agents: &LedgerTotals,
        verified: Verified,
    ) -> Self {
        let totals = verified.totals;
        let recorded_twice = u32::try_from(agents.recorded_twice).unwrap_or(u32::MAX);
        let foreign = u32::try_from(agents.foreign).unwrap_or(u32::MAX);
        Self {
            agents: plan.agents,
            submitted: totals.submitted,
            accepted: totals.accepted,
            completed: totals.completed,
            failed: totals.failed,
            lost: totals.accepted - totals.over() - totals.unverified,
            unverified: totals.unverified,
            // Both books may have seen the same one.
            duplicated: totals.duplicated.max(recorded_twice),
            throughput_per_s: rate(totals.over(), verified.elapsed),
            latency_ms: Latency::of(&verified.latency_us),
            acceptance_ms: Latency::of(&verified.acceptance_us),
            mismatched: totals.mismatched.saturating_add(foreign),
            refused: totals.refused,
            retried: client.retried,
            reconnects: client.reconnects,
            notices_missed: client.notices_missed,
            notices_repeated: totals.notices_repeated,
            executions_extra: agents.executions_extra,
            stale_results: agents.stale,
            tasks_by_agent: Spread::of(&agents.finished_by_agent),
            duration_s: verified.elapsed.as_secs_f64(),
            strategy: strategy.to_owned(),
            seed: plan.seed,
            run: run.to_owned(),
            first_refusal: verified.first_refusal,
            first_failure: verified.first_failure,
        }
    }

    /// What is to be thought of the run.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.lost > 0 || self.duplicated > 0 || self.mismatched > 0 {
            Verdict::Broken
        } else if self.unverified > 0 {
            Verdict::Unverified
        } else if self.completed < self.submitted || self.submitted == 0 {
            Verdict::Incomplete
        } else {
            Verdict::Passed
        }
    }
}

fn rate(count: u32, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { f64::from(count) / elapsed.as_secs_f64() }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, max } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spread = self.tasks_by_agent;
        writeln!(f, "agents          {} ({}, seed {})", self.agents, self.strategy, self.seed)?;
        writeln!(f, "submitted       {} ({} accepted, {} refused)", self.submitted, self.accepted, self.refused)?;
        writeln!(f, "completed       {} ({} failed)", self.completed, self.failed)?;
        writeln!(f, "lost            {} ({} unverified)", self.lost, self.unverified)?;
        writeln!(f, "duplicated      {} ({} mismatched)", self.duplicated, self.mismatched)?;
        writeln!(f, "throughput      {:.0} tasks/s over {:.2} s", self.throughput_per_s, self.duration_s)?;
        writeln!(f, "latency ms      {}", self.latency_ms)?;
        writeln!(f, "acceptance ms   {}", self.acceptance_ms)?;
        writeln!(
            f,
            "tasks by agent  min {}  mean {:.1}  max {}  variation {:.2}",
            spread.min, spread.mean, spread.max, spread.variation
        )?;
        write!(
            f,
            "beside          {} retried, {} reconnects, {} notices missed, {} extra executions, {} stale results",
            self.retried, self.reconnects, self.notices_missed, self.executions_extra, self.stale_results
        )?;
        for (name, reason) in [("refusal", &self.first_refusal), ("failure", &self.first_failure)] {
            if let Some(reason) = reason {
                write!(f, "\nfirst {name}   {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Report {
        Report { agents: 2, submitted: 10, accepted: 10, completed: 10, ..Report::default() }
    }

    #[test]
    fn the_verdict_follows_the_promises() {
        assert_eq!(clean().verdict(), Verdict::Passed);
        for broken in [
            Report { lost: 1, completed: 9, ..clean() },
            Report { duplicated: 1, ..clean() },
            Report { mismatched: 1, ..clean() },
        ] {
            assert_eq!(broken.verdict(), Verdict::Broken);
        }
        assert_eq!(Report { unverified: 1, completed: 9, ..clean() }.verdict(), Verdict::Unverified);
        assert_eq!(Report { unverified: 1, lost: 1, completed: 8, ..clean() }.verdict(), Verdict::Broken);
        assert_eq!(Report { completed: 9, failed: 1, ..clean() }.verdict(), Verdict::Incomplete);
        assert_eq!(Report { accepted: 9, completed: 9, refused: 1, ..clean() }.verdict(), Verdict::Incomplete);
        assert_eq!(Report::default().verdict(), Verdict::Incomplete);
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        let json = serde_json::to_value(clean()).unwrap();
        for field in ["agents", "submitted", "accepted", "completed", "failed", "lost", "unverified", "duplicated"] {
            assert!(json[field].is_u64(), "{field}");
        }
        assert!(json["throughput_per_s"].is_f64());
        for field in ["p50", "p90", "p99", "p999", "max"] {
            assert!(json["latency_ms"][field].is_f64(), "{field}");
        }
        assert!(json.get("first_failure").is_none());
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut us = Histogram::<u64>::new(3).unwrap();
        (1..=1_000_u64).for_each(|ms| us.record(ms * 1_000).unwrap());
        let latency = Latency::of(&us);
        for (found, wanted) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1_000.0)] {
            assert!((found / wanted - 1.0).abs() < 2e-3, "{found} ms instead of {wanted}");
        }
        assert_eq!(Latency::of(&Histogram::new(3).unwrap()), Latency::default());
    }

    #[test]
    fn the_spread_is_that_of_the_counts() {
        let spread = Spread::of(&[1, 3]);
        assert_eq!((spread.min, spread.max), (1, 3));
        assert!((spread.mean - 2.0).abs() < 1e-9 && (spread.variation - 0.5).abs() < 1e-9);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
