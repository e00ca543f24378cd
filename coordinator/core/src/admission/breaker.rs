//! Circuit breakers: where most attempts fail, none are made for a while.
//!
//! A task whose attempts all fail is soon out of attempts. If that is not its own fault, since what its kind of work depends
//! on is down, it had better wait: it then still has its attempts when that is up again, and what is down is left in peace.
//!
//! Closed, open, half-open, as in Nygard ("Release It!", 2007), with a window over a number of attempts and a number of
//! trials as in resilience4j:
//!
//! - **Closed**: all go. It opens when of the latest attempts a share fails, or a number in a row.
//! - **Open**: none go, for a while that doubles each time, a little shorter by chance, so that breakers that opened
//!   together do not try together.
//! - **Half-open**: a few go, as trials. When it is clear how more than the share of them end, it closes or opens again.
//!   Trials that end without a verdict (they were cancelled, their agent was lost) are replaced after a while, which needs no
//!   account of each.
//!
//! This is for kinds and upstream quotas. **An agent's breaker is its ejection** ([`crate::health::outlier`]), which knows
//! what is normal for the fleet and how many agents may be out at once; it is only shown as a breaker: ejected is open, the
//! ramp after it is half-open. So here the opposite must be ensured: one broken agent must not open the breaker of a kind.
//! Hence the attempts of the agent that failed most are left out, what is left must still be enough evidence and fail at
//! the same rate, and so many different agents must have failed. Attempts are told apart by their number, so that what
//! began before the breaker turned has no say in what comes of it.
//!
//! A window opens with a failure and is dropped once all is well: of what does not fail nothing is kept, and a healthy
//! system pays for one look into an empty map. Rejected: a decaying rate ([`crate::health::decay::DecayingRate`]), which
//! cannot leave an agent out afterwards; counters for each agent and kind, which grow with their product.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use evenkeel_shared::{AssignmentId, Timestamp};

use super::BreakerOrder;
use crate::ix::AgentIx;

mod settings;

pub use settings::BreakerSettings;

/// Without the agent that failed most, one in so many of the attempts asked for must be left.
const LEFT_OVER: u32 = 4;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All go.
    Closed,
    /// None go.
    Open {
        /// Until then.
        until: Timestamp,
    },
    /// A few go, as trials.
    HalfOpen,
}

impl BreakerState {
    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }

    /// Whether it keeps anything from going: it is open, or half-open.
    #[must_use]
    pub const fn is_turned(&self) -> bool {
        !matches!(self, Self::Closed)
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An attempt that ended in a way that says something about what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number: later ones are larger.
    pub number: AssignmentId,
    /// On which agent.
    pub agent: AgentIx,
    /// Whether it succeeded.
    pub ok: bool,
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    at: Timestamp,
    agent: AgentIx,
    ok: bool,
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: BreakerState,
    since: Timestamp,
    reason: String,
    /// The latest attempts, oldest first. Empty unless closed.
    window: VecDeque<Outcome>,
    failures: u32,
    /// Failures at the end of the window without a success between.
    row: u32,
    /// Attempts below this number began before the last turn.
    counts_from: AssignmentId,
    /// Times it opened since it was last closed for long.
    openings: u32,
    times_opened: u32,
    trials: Trials,
}

/// What became of the trials of a half-open breaker.
#[derive(Clone, Copy, Debug, Default)]
struct Trials {
    let_through: u32,
    succeeded: u32,
    failed: u32,
    /// When as many are let through again.
    again_at: Timestamp,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: BreakerState::Closed,
            since: now,
            reason: String::new(),
            window: VecDeque::new(),
            failures: 0,
            row: 0,
            counts_from: AssignmentId(0),
            openings: 0,
            times_opened: 0,
            trials: Trials::default(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Why, in words. Empty if it never turned.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Failures and attempts that count at present: of the trials of a half-open one.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        match self.state {
            BreakerState::HalfOpen => (self.trials.failed, self.trials.failed + self.trials.succeeded),
            _ => (self.failures, u32::try_from(self.window.len()).unwrap_or(u32::MAX)),
        }
    }

    /// How often it opened.
    #[must_use]
    pub const fn times_opened(&self) -> u32 {
        self.times_opened
    }

    /// Until when nothing may go; `None`: something may.
    #[must_use]
    pub fn shut_until(&self, settings: &BreakerSettings) -> Option<Timestamp> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open { until } => Some(until),
            BreakerState::HalfOpen => (self.trials.let_through >= settings.trials).then_some(self.trials.again_at),
        }
    }

    /// Nothing is known that would have to be kept: it is closed, and all is well or long past.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp, settings: &BreakerSettings) -> bool {
        let newest = self.window.back().map_or(self.since, |outcome| outcome.at);
        self.state == BreakerState::Closed
            && (self.failures == 0 || now.since(newest) >= Duration::from_millis(settings.window_ms))
            && (self.openings == 0 || now.since(self.since) >= settings.open_max())
    }

    /// An attempt began. True: it was the last trial for now.
    pub fn begun(&mut self, now: Timestamp, settings: &BreakerSettings) -> bool {
        if self.state != BreakerState::HalfOpen {
            return false;
        }
        self.trials.let_through += 1;
        self.trials.again_at = now.plus(settings.trial_time());
        self.trials.let_through >= settings.trials
    }

    /// An attempt ended. `fleet` is the number of connected agents, `next` the number of the next attempt, `draw` is from 0
    /// to 1. True: the breaker turned.
    pub fn ended(
        &mut self,
        now: Timestamp,
        settings: &BreakerSettings,
        attempt: Attempt,
        (fleet, next): (usize, AssignmentId),
        draw: f64,
    ) -> bool {
        if attempt.number < self.counts_from {
            return false;
        }
        match self.state {
            BreakerState::Open { .. } => false,
            BreakerState::Closed => {
                self.note(now, settings, attempt);
                let why = if attempt.ok { None } else { self.why_open(settings, fleet) };
                let Some(why) = why else { return false };
                self.open(now, settings, (why, next), draw);
                true
            }
            BreakerState::HalfOpen => self.judge_trial(now, settings, attempt.ok, (next, draw)),
        }
    }

    fn note(&mut self, now: Timestamp, settings: &BreakerSettings, attempt: Attempt) {
        let oldest = now.minus(Duration::from_millis(settings.window_ms));
        while self.window.len() >= settings.kept() || self.window.front().is_some_and(|first| first.at < oldest) {
            let Some(gone) = self.window.pop_front() else { break };
            self.failures -= u32::from(!gone.ok);
        }
        self.row = if attempt.ok { 0 } else { self.row + 1 };
        self.failures += u32::from(!attempt.ok);
        self.window.push_back(Outcome { at: now, agent: attempt.agent, ok: attempt.ok });
        self.row = self.row.min(u32::try_from(self.window.len()).unwrap_or(u32::MAX));
    }

    /// Why it is to open now, if it is.
    fn why_open(&self, settings: &BreakerSettings, fleet: usize) -> Option<String> {
        let row = settings.consecutive_failures;
        if self.row >= row
            && let Some(agents) = self.evidence(row, row, 1.0, settings, fleet)
        {
            return Some(format!("{row} attempts in a row failed, on {agents} agents"));
        }
        let attempts = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        let too_many = f64::from(self.failures) >= settings.failure_ratio * f64::from(attempts);
        if attempts < settings.attempts_min || !too_many {
            return None;
        }
        let agents = self.evidence(attempts, settings.attempts_min, settings.failure_ratio, settings, fleet)?;
        Some(format!("{} of the latest {attempts} attempts failed, on {agents} agents", self.failures))
    }

    /// Whether the latest attempts speak against what they depend on, and not against one agent: the number of agents that
    /// failed, if they do.
    fn evidence(
        &self,
        latest: u32,
        wanted: u32,
        ratio: f64,
        settings: &BreakerSettings,
        fleet: usize,
    ) -> Option<usize> {
        let mut agents: BTreeMap<AgentIx, (u32, u32)> = BTreeMap::new();
        for outcome in self.window.iter().rev().take(latest as usize) {
            let (failed, all) = agents.entry(outcome.agent).or_default();
            *failed += u32::from(!outcome.ok);
            *all += 1;
        }
        let failing = agents.values().filter(|(failed, _)| *failed > 0).count();
        if fleet <= 1 {
            // With nobody to compare with it is the same to wait for the agent or for what it depends on.
            return Some(failing);
        }
        let needed = (settings.agents_min as usize).min(agents.len()).max(2).min(fleet);
        let sum = agents.values().fold((0, 0), |sum, (failed, all)| (sum.0 + failed, sum.1 + all));
        let worst = agents.values().copied().max()?;
        let (failed, all) = (sum.0 - worst.0, sum.1 - worst.1);
        let enough = all >= (wanted / LEFT_OVER).max(1) && f64::from(failed) >= ratio * f64::from(all);
        (failing >= needed && enough).then_some(failing)
    }

    fn open(&mut self, now: Timestamp, settings: &BreakerSettings, (why, next): (String, AssignmentId), draw: f64) {
        if self.state == BreakerState::Closed && now.since(self.since) >= settings.open_max() {
            self.openings = 0;
        }
        self.openings = self.openings.saturating_add(1);
        let until = now.plus(settings.open_for(self.openings, draw));
        self.turn(now, BreakerState::Open { until }, why, next);
    }

    fn judge_trial(
        &mut self,
        now: Timestamp,
        settings: &BreakerSettings,
        ok: bool,
        (next, draw): (AssignmentId, f64),
    ) -> bool {
        let trials = &mut self.trials;
        *(if ok { &mut trials.succeeded } else { &mut trials.failed }) += 1;
        let (succeeded, failed) = (f64::from(trials.succeeded), f64::from(trials.failed));
        // So many failures are the share that opens; with one success too many it cannot be reached any more.
        let opens_at = (f64::from(settings.trials) * settings.failure_ratio).ceil().max(1.0);
        if failed >= opens_at {
            self.open(now, settings, (format!("{failed} of its trials failed"), next), draw);
            return true;
        }
        if succeeded > f64::from(settings.trials) - opens_at {
            self.turn(now, BreakerState::Closed, format!("{succeeded} of its trials succeeded"), next);
            return true;
        }
        false
    }

    /// What time does: an open one is tried, and one whose trials say nothing lets others through. True: something changed.
    pub fn due(&mut self, now: Timestamp, settings: &BreakerSettings, next: AssignmentId) -> bool {
        if self.shut_until(settings).is_none_or(|until| until > now) {
            return false;
        }
        if self.state == BreakerState::HalfOpen {
            self.trials.let_through = 0;
        } else {
            self.turn(now, BreakerState::HalfOpen, format!("tried with {} attempts", settings.trials), next);
        }
        true
    }

    /// What an operator wants. What comes by hand does not count among the openings that make each other longer.
    pub fn order(&mut self, now: Timestamp, order: BreakerOrder, reason: &str, next: AssignmentId) {
        let reason = if reason.is_empty() { "by hand".to_owned() } else { format!("by hand: {reason}") };
        match order {
            BreakerOrder::Open(time) => self.turn(now, BreakerState::Open { until: now.plus(time) }, reason, next),
            BreakerOrder::Close => {
                self.turn(now, BreakerState::Closed, reason, next);
                self.openings = 0;
            }
        }
    }

    fn turn(&mut self, now: Timestamp, state: BreakerState, reason: String, next: AssignmentId) {
        self.times_opened = self.times_opened.saturating_add(u32::from(matches!(state, BreakerState::Open { .. })));
        (self.state, self.since, self.reason, self.counts_from) = (state, now, reason, next);
        (self.failures, self.row, self.trials) = (0, 0, Trials::default());
        self.window.clear();
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
