//! One budget's account: what of it is spent and reserved in the present window, and what was last said of it.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{AssignmentId, Kind, Micros, TaskBudget, Timestamp};

use super::{
    Budget, BudgetAction,
    ledger::{BudgetView, Crossing, Level, Shortage},
    means::Means,
    window,
};
use crate::model::BudgetSpent;

/// A level is left, for the history, when its budget is so many per cent of its cap below it: more than one task's share of
/// a budget that is worth its name.
const CALM_PERCENT: u64 = 5;
/// And only so long after the last announcement.
pub(super) const CALM: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Account {
    pub name: Arc<str>,
    pub budget: Budget,
    pub serial: u64,
    /// The first assignment that may hold a part of it.
    pub since: AssignmentId,
    pub span: window::Span,
    pub spent: Micros,
    pub overrun: Micros,
    pub reserved: Micros,
    pub announced: Level,
    pub announced_at: Timestamp,
}

impl Account {
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.span.end.is_some_and(|end| end <= now)
    }

    /// Spent in the window of this moment.
    pub fn spent(&self, now: Timestamp) -> Micros {
        if self.has_ended(now) { Micros::ZERO } else { self.spent }
    }

    pub fn left(&self, now: Timestamp) -> Micros {
        self.budget.cap.minus(self.spent(now).plus(self.reserved))
    }

    pub fn level(&self, now: Timestamp) -> Level {
        self.level_of(self.spent(now).plus(self.reserved))
    }

    pub fn level_of(&self, used: Micros) -> Level {
        let of_cap = |percent: u8| u128::from(self.budget.cap.0) * u128::from(percent);
        let used_hundredfold = u128::from(used.0) * 100;
        if used >= self.budget.cap {
            Level::Exhausted
        } else if used_hundredfold >= of_cap(self.budget.critical_percent) {
            Level::Critical
        } else if used_hundredfold >= of_cap(self.budget.warning_percent) {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    /// Begins the window of this moment, if it is another one.
    pub fn roll(&mut self, now: Timestamp) -> bool {
        if !self.has_ended(now) {
            return false;
        }
        self.span = window::window(self.budget.window, now);
        (self.spent, self.overrun) = (Micros::ZERO, Micros::ZERO);
        // A new window is a new story.
        self.announced_at = Timestamp::ZERO;
        true
    }

    pub fn needed(&self, task: Option<&TaskBudget>, kind: &Kind, means: &Means) -> Micros {
        let unit = &self.budget.unit;
        let said = task.and_then(|task| task.max.get(unit).or_else(|| task.estimate.get(unit))).copied();
        said.or(self.budget.default_estimate).or_else(|| means.of(unit, kind)).unwrap_or_default()
    }

    pub fn shortage(&self, now: Timestamp, needed: Micros) -> Option<Shortage> {
        let left = self.left(now);
        if needed <= left && left > Micros::ZERO {
            return None;
        }
        let Budget { cap, ref unit, action, .. } = self.budget;
        // A window that has ended without the engine's notice begins anew with the next reservation.
        let end = if self.has_ended(now) { window::window(self.budget.window, now).end } else { self.span.end };
        let until = end.filter(|_| needed <= cap && cap > Micros::ZERO);
        let refuse = action == BudgetAction::Refuse;
        Some(Shortage { budget: self.name.clone(), unit: unit.clone(), needed, left, cap, until, refuse })
    }

    pub fn crossing(&mut self, now: Timestamp) -> Option<Crossing> {
        let used = self.spent.plus(self.reserved);
        let to = self.level_of(used);
        let margin = Micros(self.budget.cap.0 / 100 * CALM_PERCENT);
        let is_calm = self.level_of(used.plus(margin)) < self.announced && now.since(self.announced_at) >= CALM;
        if to == self.announced || (to < self.announced && !is_calm) {
            return None;
        }
        let from = std::mem::replace(&mut self.announced, to);
        self.announced_at = now;
        let Budget { cap, ref unit, .. } = self.budget;
        Some(Crossing { budget: self.name.clone(), unit: unit.clone(), from, to, used, cap })
    }

    pub fn record(&self) -> BudgetSpent {
        BudgetSpent {
            budget: self.budget.name.clone(),
            window_start: self.span.start,
            spent: self.spent,
            overrun: self.overrun,
        }
    }

    /// As it is shown.
    pub fn view(&self, now: Timestamp) -> BudgetView {
        let ended = self.has_ended(now);
        let span = if ended { window::window(self.budget.window, now) } else { self.span };
        BudgetView {
            budget: self.budget.clone(),
            window_start: span.start,
            window_end: span.end,
            spent: self.spent(now),
            reserved: self.reserved,
            overrun: if ended { Micros::ZERO } else { self.overrun },
            level: self.level(now),
        }
    }
}
