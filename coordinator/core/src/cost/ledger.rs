//! Budgets as a resource that is scheduled: what is reserved, what is spent, and what may still begin.
//!
//! What an attempt may cost is reserved with its place on an agent in every budget that covers it, or in none, and settled on
//! what it did cost. Two numbers per budget decide: an attempt begins only if spent and reserved, with its own share, stay
//! within the cap, and something is left at all.
//!
//! **What is reserved** is the most the task may cost, where it says so; else its estimate; else the budget's default; else the
//! mean of its kind so far; else nothing. Only the first is certain: an attempt that costs more than was reserved for it is
//! recorded with what it cost. That is an *overrun*: it is shown, counts as spent, and may take the budget over its cap, after
//! which nothing begins. To reserve all that is left for a kind of which nothing is known was rejected: kinds that cost
//! nothing in a unit would stand in line for each other.
//!
//! **Windows.** A reservation counts in every window in which it lives, and what it cost is spent in the window in which it
//! is settled. Nobody knows when in its life an attempt spends; this way, whenever it was, each window's real spending is
//! within the cap: what is spent in a window is in its settlements, or in what was still reserved at its end. To settle in the
//! window in which the reservation was made was rejected: what was then spent after its end would be in no cap.
//!
//! **Levels** (warning, critical, exhausted) are of spent and reserved together. Each is announced once on the way up; on the
//! way down only after a calm and well below, so that a budget that is kept full by its own tasks does not fill the history.
//!
//! **Restarts.** What is spent is stored with the end of the attempt that spent it, what is reserved with the assignment: so a restart
//! knows both to the millionth, whatever was declared or learned meanwhile, and settles what was reserved. To reserve anew for what runs
//! was rejected: by the mean or default of that day it may be less, and then a cap is passed that every attempt kept to. A share
//! is stored by the name of its budget; that one of the name may have been removed and put again, or counts another unit now,
//! is told by the first assignment that may hold a part of it, which is stored with the budget. Numbers grow from one assignment to
//! the next, over restarts too. Times were rejected: two events can have the same one. What a version wrote that did not write
//! down reservations yet is reserved anew, see [`Ledger::restore_unwritten`].
//!
//! What an attempt holds, from its beginning to its end, is in `reservation`; who is covered in `index`; what is said of it in `words`.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::{AssignmentId, Micros, Timestamp};

use super::{BUDGETS_MAX, Budget, account::Account, means::Means, window};
use crate::model::BudgetSpent;

mod index;
mod reservation;
mod words;

use index::Index;
pub use reservation::{Actual, Reservation, Settled};
pub use words::{BudgetView, Crossing, Level, Shortage};

/// All budgets. See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: slab::Slab<Account>,
    by_name: BTreeMap<Arc<str>, usize>,
    index: Index,
    means: Means,
    serials: u64,
    /// Not announced yet.
    crossings: Vec<Crossing>,
}

impl Ledger {
    /// Whether there are no budgets: then no task needs to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether no budget of a new name may be put: there are [`BUDGETS_MAX`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.accounts.len() >= BUDGETS_MAX
    }

    /// The budget of this name, as declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Budget> {
        self.by_name.get(name).map(|&place| &self.accounts[place].budget)
    }

    /// The first assignment that may hold a part of this budget, if it is put now and `next` is the next one: it is another for a
    /// budget that begins anew.
    #[must_use]
    pub fn since(&self, budget: &Budget, next: AssignmentId) -> AssignmentId {
        let place = self.by_name.get(budget.name.as_str());
        let account = place.map(|&place| &self.accounts[place]);
        account.filter(|account| account.budget.unit == budget.unit).map_or(next, |account| account.since)
    }

    /// Puts a budget in force, or replaces the one of its name. Assignments from `since` on may hold a part of it, see
    /// [`Self::since`]; `recovered` is what the store knows of its windows.
    ///
    /// A replaced one goes on with what is spent and reserved, unless it counts another unit now: then it begins anew, and
    /// attempts that hold a share of the old one are not counted. Attempts that began before a budget was put hold nothing of
    /// it. Answers what is spent in the present window, to be recorded with the declaration: it outdates what the store knows.
    pub fn put(
        &mut self,
        now: Timestamp,
        budget: Budget,
        since: AssignmentId,
        recovered: &[BudgetSpent],
    ) -> BudgetSpent {
        let span = window::window(budget.window, now);
        let of_window = recovered.iter().find(|spent| spent.budget == budget.name && spent.window_start == span.start);
        let known = of_window.map_or((Micros::ZERO, Micros::ZERO), |known| (known.spent, known.overrun));
        let place = match self.by_name.get(budget.name.as_str()) {
            Some(&place) if self.accounts[place].budget.unit == budget.unit => {
                self.index.remove(place);
                let account = &mut self.accounts[place];
                account.roll(now);
                (account.span, account.budget) = (span, budget);
                place
            }
            _ => {
                self.remove(&budget.name);
                self.open(budget, since, span, known)
            }
        };
        let account = &mut self.accounts[place];
        // Whoever changes a budget looks at it.
        account.announced_at = Timestamp::ZERO;
        self.index.add(&account.budget, place);
        self.crossings.extend(account.crossing(now));
        account.record()
    }

    fn open(
        &mut self,
        budget: Budget,
        since: AssignmentId,
        span: window::Span,
        (spent, overrun): (Micros, Micros),
    ) -> usize {
        self.serials += 1;
        let name: Arc<str> = budget.name.as_str().into();
        let place = self.accounts.insert(Account {
            name: name.clone(),
            budget,
            serial: self.serials,
            since,
            span,
            spent,
            overrun,
            reserved: Micros::ZERO,
            announced: Level::Ok,
            announced_at: Timestamp::ZERO,
        });
        self.by_name.insert(name, place);
        place
    }

    /// Removes a budget; false: there is none of this name. Shares of it are forgotten.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(place) = self.by_name.remove(name) else { return false };
        self.accounts.remove(place);
        self.index.remove(place);
        true
    }

    /// Begins the windows that are due. True: some have begun, so who waits for one should be looked at.
    pub fn roll(&mut self, now: Timestamp) -> bool {
        let mut rolled = false;
        for (_, account) in &mut self.accounts {
            if account.roll(now) {
                rolled = true;
                self.crossings.extend(account.crossing(now));
            }
        }
        rolled
    }

    /// What is left of a budget. `None`: there is none of this name.
    #[must_use]
    pub fn left(&self, now: Timestamp, name: &str) -> Option<Micros> {
        self.by_name.get(name).map(|&place| self.accounts[place].left(now))
    }

    /// When the next window begins.
    #[must_use]
    pub fn next_roll(&self) -> Option<Timestamp> {
        self.accounts.iter().filter_map(|(_, account)| account.span.end).min()
    }

    /// Levels crossed that are not announced yet: after whatever changes the ledger.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        std::mem::take(&mut self.crossings)
    }

    /// The budget of this name with its use.
    #[must_use]
    pub fn view(&self, now: Timestamp, name: &str) -> Option<BudgetView> {
        self.by_name.get(name).map(|&place| self.accounts[place].view(now))
    }

    /// All budgets with their use, by name.
    #[must_use]
    pub fn views(&self, now: Timestamp) -> Vec<BudgetView> {
        let accounts = self.by_name.values().map(|&place| &self.accounts[place]);
        accounts.map(|account| account.view(now)).collect()
    }
}

#[cfg(test)]
mod tests;
