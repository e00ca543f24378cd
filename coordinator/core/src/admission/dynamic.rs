//! How many tasks at a time an agent is good for, found from how long its attempts take.
//!
//! An agent says how many slots it has; whether its machine, or what its work depends on, bears so many at once is another
//! matter. Where it does not, attempts take longer the more there are, at last longer than their timeout, and overload looks
//! like failure. So the slots in use follow the latency: an agent that has become slow gets fewer tasks at a time, and the
//! rest wait in the queue, where they can still go elsewhere, in their order. What was taken away stays open to urgent
//! tasks: a few more of those cost less than their wait.
//!
//! How it goes:
//!
//! - A run is compared with what its kind takes, so that agents with different mixes of kinds can be compared with
//!   themselves; as in [`crate::health::pace`], in octaves (logarithms to base 2), which keep an estimate calm where a few
//!   runs take thirty times as long as the others.
//! - The runs of an agent are taken together in *rounds* of as many as its limit, at least [`ROUND_MIN`]. The limit moves
//!   once a round: what ended in a round began under the limit of the one before, so to move with each run would be to
//!   react several times to the same thing.
//! - How slow a round was is compared with the agent's *best*: what it takes when it is not overloaded. The best follows the
//!   rounds, faster down than up, and up only while the agent has all its slots and is well within its tolerance (its square
//!   root): a limit is at rest near the tolerance, and a best that followed there would take the limit along, step by step,
//!   until an overload that lasts is what is normal. Save at the least limit: what is slow there is not slow from too many at a
//!   time; the work has changed, and the best is learned anew. That is how a limit gets out of a wrong idea of the best.
//! - **Gradient**, after Gradient2 of Netflix's concurrency-limits: over the tolerance `limit * tolerance * best / latency`, at
//!   least half of the limit, else a little more; a part of the way each time. **AIMD** (Chiu and Jain, 1989): one more each
//!   round, a tenth less when over the tolerance. Both come to rest about where the latency is `tolerance` times the best;
//!   the gradient is quicker to it.
//! - A limit grows only if it was used: an idle agent proves nothing.
//! - A timeout, and an agent that had no room after all, shrink the limit, once a round. Other failures do not: they are the
//!   business of breakers and of the agent's ejection, and a kind of which one attempt in twenty fails would else crush
//!   every limit.
//!
//! Deviations from Gradient2, each for its reason: its base line is a mean over the latest 600 runs, which an overload that
//! lasts turns into the normal; its allowance of 4 on top (there for queues within a process) would be most of the
//! slots of a usual agent. The fleet's norms of [`crate::health::pace`] are not used for the kinds: they forget within 1,024 runs
//! of the fleet, so what makes all agents slow at once, an overloaded database, could not be seen.
//!
//! Everything is a few additions a result, and nothing while it is off.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, Violation};

use super::{DynamicAlgorithm, DynamicLimitSettings};
use crate::health::settings::{check_count, check_within};

/// Fewest runs in a round: the mean of fewer is chance.
const ROUND_MIN: u32 = 16;
/// Kinds that are told apart; runs of others say nothing. A bound on memory, far above what one fleet has.
const KINDS_MAX: usize = 4_096;
/// Runs over which what a kind takes is averaged.
const KIND_RUNS: f64 = 1_024.0;
/// A kind learns from so many runs whoever made them: of a kind that is new while all agents are slow something must be known.
const KIND_RUNS_MIN: f64 = 64.0;
/// How far the measure moves towards the latest round: two rounds or three count.
const MEASURE_STEP: f64 = 0.5;
/// How far the best moves down, and up, towards the measure with each round. The quotient of the two is small, so that chance
/// alone does not pull it down.
const BEST_DOWN: f64 = 0.2;
const BEST_UP: f64 = 0.05;
/// How far it moves at the least limit, where what is seen is what is normal.
const BEST_ANEW: f64 = 0.5;
/// How far the gradient's limit moves towards where it should be, each round.
const GRADIENT_STEP: f64 = 0.5;
/// The most that a gradient takes away at once.
const GRADIENT_MIN: f64 = 0.5;
/// What is left of a limit after one step down of AIMD, and after a timeout.
const BACKOFF: f64 = 0.9;
/// A limit grows by one or by this share a round, whichever is more.
const GROWTH_SHARE: f64 = 1.0 / 16.0;
/// Largest tolerance: beyond it nothing is limited.
const TOLERANCE_MAX: f64 = 100.0;

impl DynamicLimitSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_count("slots_min", self.slots_min, evenkeel_shared::limits::SLOTS_MAX)?;
        check_within("tolerance", self.tolerance, 1.0..=TOLERANCE_MAX)?;
        if self.headroom_priority > 9 {
            let words = format!("{} is not from 0 to 9", self.headroom_priority);
            return Err(Violation::new("headroom_priority", words));
        }
        Ok(())
    }
}

/// How an attempt ended, as far as it says something about how much its agent bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It succeeded, in this time.
    For(Duration),
    /// It ran out of time, or the agent had no room for it.
    Overload,
}

/// What is found for one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotLimit {
    /// 0: nothing is known yet, and all slots are open.
    limit: f64,
    /// How much longer than its kind a run takes on this agent, in octaves: in the latest rounds, and at best.
    measure: f64,
    best: f64,
    rounds: u32,
    round: Round,
}

/// The runs since the limit moved last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    runs: u32,
    octaves: f64,
    in_use_max: u32,
    overloads: u32,
}

impl SlotLimit {
    /// Slots that may be in use, of `slots`.
    #[must_use]
    pub fn slots(&self, settings: &DynamicLimitSettings, slots: u32) -> u32 {
        if self.limit <= 0.0 {
            return slots;
        }
        // In range: the limit is brought into 1 to `slots` with each move; the slots may have changed since.
        (self.limit as u32).max(settings.slots_min).min(slots)
    }

    /// How many times the best an attempt takes at present.
    #[must_use]
    pub fn latency_ratio(&self) -> f64 {
        if self.rounds == 0 { 1.0 } else { (self.measure - self.best).exp2() }
    }

    /// It has all its slots, and is so far within its tolerance, that what is seen is what is normal.
    fn is_well(&self, settings: &DynamicLimitSettings, slots: u32) -> bool {
        self.limit >= f64::from(slots) && self.latency_ratio() <= settings.tolerance.sqrt()
    }
}

/// What is common to the agents: how long each kind takes.
#[derive(Clone, Debug, Default)]
pub struct DynamicLimits {
    kinds: BTreeMap<Kind, Norm>,
}

#[derive(Clone, Copy, Debug)]
struct Norm {
    octaves: f64,
    runs: f64,
}

impl DynamicLimits {
    /// An attempt ended on an agent with so many slots, of which `in_use` were in use, its own included. True: the limit moved.
    pub fn observe(
        &mut self,
        settings: &DynamicLimitSettings,
        kind: &Kind,
        ran: Ran,
        (in_use, slots): (u32, u32),
        agent: &mut SlotLimit,
    ) -> bool {
        if agent.limit <= 0.0 {
            agent.limit = f64::from(slots);
        }
        let before = agent.slots(settings, slots);
        agent.round.in_use_max = agent.round.in_use_max.max(in_use);
        match ran {
            Ran::For(run) => {
                let Some(above) = self.above_kind((settings, slots), kind, run, agent) else { return false };
                agent.round.runs += 1;
                agent.round.octaves += above;
            }
            Ran::Overload => {
                // Where every attempt runs out of time there are no rounds of runs: a row of overloads is one as well.
                if agent.round.overloads.is_multiple_of(before.max(1)) {
                    agent.limit = clamp(agent.limit * BACKOFF, settings, slots);
                }
                agent.round.overloads += 1;
            }
        }
        if agent.round.runs >= before.max(ROUND_MIN) {
            agent.end_round(settings, slots);
        }
        agent.slots(settings, slots) != before
    }

    /// By how many octaves a run took longer than its kind does, which learns from it unless the agent is overloaded.
    fn above_kind(
        &mut self,
        (settings, slots): (&DynamicLimitSettings, u32),
        kind: &Kind,
        run: Duration,
        agent: &SlotLimit,
    ) -> Option<f64> {
        // A run of no time at all is one below the clock's resolution.
        let octaves = (run.as_secs_f64() * 1e6).max(1.0).log2();
        let Some(norm) = self.kinds.get_mut(kind) else {
            if self.kinds.len() >= KINDS_MAX {
                return None;
            }
            self.kinds.insert(kind.clone(), Norm { octaves: octaves - agent.best, runs: 1.0 });
            return Some(agent.best);
        };
        let above = octaves - norm.octaves;
        if norm.runs < KIND_RUNS_MIN || agent.is_well(settings, slots) {
            norm.runs = (norm.runs + 1.0).min(KIND_RUNS);
            norm.octaves += (above - agent.best) / norm.runs;
        }
        Some(above)
    }

    /// Forgets what was learned: it was switched off, and may have become untrue meanwhile.
    pub fn reset(&mut self) {
        self.kinds.clear();
    }
}

impl SlotLimit {
    /// Moves the limit by what the round has shown.
    fn end_round(&mut self, settings: &DynamicLimitSettings, slots: u32) {
        let round = std::mem::take(&mut self.round);
        let mean = round.octaves / f64::from(round.runs);
        if self.rounds == 0 {
            (self.measure, self.best) = (mean, mean);
        }
        self.rounds = self.rounds.saturating_add(1);
        self.measure += MEASURE_STEP * (mean - self.measure);
        let ratio = self.latency_ratio();
        let over = ratio > settings.tolerance;
        self.learn_best((settings, slots), over && round.in_use_max <= settings.slots_min, mean);
        let used = f64::from(round.in_use_max) >= self.limit / 2.0;
        let more = self.limit + (self.limit * GROWTH_SHARE).max(1.0);
        let wanted = match settings.algorithm {
            DynamicAlgorithm::Gradient => {
                let wanted = if over { self.limit * (settings.tolerance / ratio).max(GRADIENT_MIN) } else { more };
                self.limit + GRADIENT_STEP * (wanted - self.limit)
            }
            DynamicAlgorithm::Aimd if over => self.limit * BACKOFF,
            DynamicAlgorithm::Aimd => more,
        };
        // A round with an overload has had its step down.
        if over || used && round.overloads == 0 {
            self.limit = clamp(wanted, settings, slots);
        }
    }

    /// The best follows a round. `anew`: it was slow at the least limit, so slow is normal.
    fn learn_best(&mut self, (settings, slots): (&DynamicLimitSettings, u32), anew: bool, mean: f64) {
        if anew {
            self.best += BEST_ANEW * (mean - self.best);
        } else if self.measure < self.best {
            self.best += BEST_DOWN * (self.measure - self.best);
        } else if self.is_well(settings, slots) {
            self.best += BEST_UP * (self.measure - self.best);
        }
    }
}

fn clamp(limit: f64, settings: &DynamicLimitSettings, slots: u32) -> f64 {
    let least = settings.slots_min.min(slots).max(1);
    limit.clamp(f64::from(least), f64::from(slots.max(least)))
}

#[cfg(test)]
#[path = "dynamic_tests.rs"]
mod tests;
