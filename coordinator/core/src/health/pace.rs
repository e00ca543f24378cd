//! How long does this agent take, compared with the others?
//!
//! Machines differ, and an agent on the slower one is the worse choice even when both are idle. What an agent says of its
//! processor does not tell how fast it is; how long its attempts took does. Everything here is in octaves, the logarithm
//! to base 2: two octaves are four times as long.
//!
//! A run is taken for the sum of what its kind takes in this fleet, what its agent adds to that, and chance. Each new run
//! moves the first two a little towards it, the agent's part more where little is known. Logarithms keep the estimate
//! calm where a few runs in a hundred take thirty times as long as the others: a mean of plain times needs five times as many
//! runs to be as sure. Small differences count as none ([`DEAD_BAND`]), so that chance does not make equal agents unequal.
//!
//! Only runs that succeeded count: failing at once is not fast. An agent that has long done nothing is taken for an
//! ordinary one again, step by step: it may have become faster, and nobody would find out.
//!
//! The statistics for each kind and agent were rejected as the measure: agents with different mixes of kinds could not be
//! compared, and one with a kind that is new to it would count as unknown.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, Timestamp};

use super::decay::remaining;

/// Difference that counts as none, either way: 41 %, beyond the error of all but one in a hundred estimates where run
/// times have an exponential law.
pub const DEAD_BAND: f64 = 0.5;
/// Largest difference that counts, either way, beyond the dead band.
pub const COUNTED_MAX: f64 = 1.8;
/// Runs of an agent over which its part is averaged.
const AGENT_RUNS: f64 = 64.0;
/// An agent's part counts as if so many runs had shown none.
const AGENT_RUNS_ASSUMED: f64 = 16.0;
/// Runs over which what is common to the fleet is averaged.
const FLEET_RUNS: f64 = 1_024.0;
/// Kinds that are told apart; runs of others teach nothing. Far above what one fleet has, and a bound on memory.
const KINDS_MAX: usize = 4_096;
/// An agent that has done nothing for so long has gone halfway to an ordinary one.
const HALF_LIFE: Duration = Duration::from_secs(300);

/// An agent's part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Above the kind's part, in octaves.
    octaves: f64,
    runs: f64,
    /// When the agent last had something to do, or faded.
    at: Timestamp,
}

/// What is common to the fleet.
#[derive(Clone, Debug, Default)]
pub struct Norms {
    kinds: BTreeMap<Kind, Norm>,
    /// Mean of the agents' parts over the latest runs: an ordinary agent's.
    ordinary: f64,
    runs: f64,
}

/// A kind's part.
#[derive(Clone, Copy, Debug)]
struct Norm {
    octaves: f64,
    runs: f64,
}

impl Norms {
    /// Learns from a run that succeeded.
    pub fn observe(&mut self, now: Timestamp, kind: &Kind, run: Duration, pace: &mut Pace) {
        // A run of no time at all is one below the clock's resolution.
        let octaves = (run.as_secs_f64() * 1e6).max(1.0).log2();
        if pace.runs == 0.0 {
            pace.octaves = self.ordinary;
        }
        let Some(norm) = self.kinds.get_mut(kind) else {
            if self.kinds.len() < KINDS_MAX {
                self.kinds.insert(kind.clone(), Norm { octaves: octaves - pace.octaves, runs: 1.0 });
            }
            return;
        };
        let missed = octaves - norm.octaves - pace.octaves;
        norm.runs = (norm.runs + 1.0).min(FLEET_RUNS);
        norm.octaves += missed / norm.runs;
        pace.runs = (pace.runs + 1.0).min(AGENT_RUNS - AGENT_RUNS_ASSUMED);
        pace.octaves += missed / (pace.runs + AGENT_RUNS_ASSUMED);
        pace.at = now;
        self.runs = (self.runs + 1.0).min(FLEET_RUNS);
        self.ordinary += (pace.octaves - self.ordinary) / self.runs;
    }

    /// Lets an agent that has nothing to do become an ordinary one. To be called now and then of each agent.
    pub fn fade(&self, now: Timestamp, idle: bool, pace: &mut Pace) {
        if !idle {
            pace.at = now;
            return;
        }
        pace.octaves = self.ordinary + (pace.octaves - self.ordinary) * remaining(now.since(pace.at), HALF_LIFE);
        pace.at = pace.at.max(now);
    }

    /// By how many octaves the agent takes longer than an ordinary one, as far as that counts.
    #[must_use]
    pub fn octaves(&self, pace: &Pace) -> f64 {
        if pace.runs == 0.0 {
            return 0.0;
        }
        let difference = pace.octaves - self.ordinary;
        let beyond = (difference.abs() - DEAD_BAND).clamp(0.0, COUNTED_MAX);
        beyond.copysign(difference)
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
