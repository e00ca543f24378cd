//! How a policy has done, by its own history: one number from 0 to 100.
//!
//! | part | weight | full marks | none |
//! |---|---|---|---|
//! | misses: share of the time in which a task had waited for longer than the policy's wait target | 50 | 0 | 5 % |
//! | spare: share of agent time beyond what demand asked for at the target, and beyond the least that the policy keeps | 30 | 0 | all |
//! | reversals: changes against the direction of the one before, within half an hour of it | 20 | 0 | 4 per hour |
//!
//! Misses weigh most, since to prevent them is what a policy is for, and five per cent of them is bad already. The number
//! compares policies on similar work; it is no absolute. Time in which too many agents are kept because the policy says so
//! (`agents_min`) is not held against it, time in which too few are allowed (`agents_max`) is.

use std::time::Duration;

use evenkeel_shared::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    demand::{Demand, Load},
    policy::Policy,
    verdict::Action,
};

/// A change of direction within this time of the last change is a reversal: a day's rise and fall is none.
const REVERSAL_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Nothing is said before so much has been seen.
const SEEN_MIN: Duration = Duration::from_secs(60);
/// A longer time between two observations is a gap in what is known, and counts as this.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Share of time with misses that leaves no marks.
const MISSES_FULL: f64 = 0.05;
/// Reversals per hour that leave no marks.
const REVERSALS_FULL: f64 = 4.0;

/// What a policy has come to so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effect {
    /// Time that was seen.
    pub seen_s: f64,
    /// Of that, with a task waiting for longer than the target.
    pub missed_s: f64,
    /// Agents times seconds.
    pub agents_s: f64,
    /// Of that, beyond demand and the policy's least.
    pub spare_s: f64,
    /// Changes.
    pub changes: u32,
    /// Of them against the direction of the one before.
    pub reversals: u32,
    #[serde(skip)]
    last_seen: Option<Timestamp>,
    last_change: Option<(Timestamp, Action)>,
}

impl Effect {
    /// Nothing yet.
    pub const NONE: Self = Self {
        seen_s: 0.0,
        missed_s: 0.0,
        agents_s: 0.0,
        spare_s: 0.0,
        changes: 0,
        reversals: 0,
        last_seen: None,
        last_change: None,
    };

    /// Takes in how the fleet is now.
    pub fn observe(&mut self, now: Timestamp, policy: &Policy, load: &Load) {
        let Some(last) = self.last_seen.replace(now) else { return };
        let step_s = now.since(last).min(STEP_MAX).as_secs_f64();
        self.seen_s += step_s;
        if load.oldest_wait > Duration::from_millis(policy.wait_target_ms) {
            self.missed_s += step_s;
        }
        let agents = f64::from(load.agents_coming());
        let needed = Demand::of(policy, load).agents / policy.target();
        self.agents_s += agents * step_s;
        self.spare_s += (agents - needed.ceil().max(f64::from(policy.agents_min))).max(0.0) * step_s;
    }

    /// Takes in a change.
    pub fn changed(&mut self, now: Timestamp, action: Action) {
        if action == Action::None {
            return;
        }
        self.changes += 1;
        let reversal = self.last_change.is_some_and(|(at, last)| last != action && now.since(at) <= REVERSAL_WITHIN);
        self.reversals += u32::from(reversal);
        self.last_change = Some((now, action));
    }

    /// Reversals per hour.
    #[must_use]
    pub fn reversals_per_hour(&self) -> f64 {
        if self.seen_s > 0.0 { f64::from(self.reversals) * 3_600.0 / self.seen_s } else { 0.0 }
    }

    /// Share of the time with a task waiting for longer than the target.
    #[must_use]
    pub fn missed_share(&self) -> f64 {
        share(self.missed_s, self.seen_s)
    }

    /// Share of agent time beyond demand.
    #[must_use]
    pub fn spare_share(&self) -> f64 {
        share(self.spare_s, self.agents_s)
    }

    /// 0 to 100; `None`: too little has been seen.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        if self.seen_s < SEEN_MIN.as_secs_f64() {
            return None;
        }
        // Over less than an hour one reversal is one an hour, not sixty.
        let hours = (self.seen_s / 3_600.0).max(1.0);
        let reversals = f64::from(self.reversals) / hours / REVERSALS_FULL;
        let left = |bad: f64| (1.0 - bad).clamp(0.0, 1.0);
        let misses = left(self.missed_share() / MISSES_FULL);
        Some(50.0 * misses + 30.0 * left(self.spare_share()) + 20.0 * left(reversals))
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
