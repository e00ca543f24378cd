//! What an attempt holds of budgets: reserved when it begins, kept over restarts, settled on what it did cost.

use std::sync::Arc;

use evenkeel_shared::{AssignmentId, Cost, Kind, Micros, TaskBudget, Tenant, Timestamp};

use super::{Crossing, Ledger, Shortage};
use crate::{
    cost::account::Account,
    model::{BudgetShare, BudgetSpent},
};

/// What an attempt holds of budgets. Made by [`Ledger::reserve`], ended by [`Ledger::settle`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reservation(Vec<Share>);

impl Reservation {
    /// Whether no budget covers the attempt.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is reserved in the budget of this name.
    #[must_use]
    pub fn amount(&self, ledger: &Ledger, budget: &str) -> Option<Micros> {
        let share = self.0.iter().find(|share| ledger.of_share(share).is_some_and(|account| *account.name == *budget));
        share.map(|share| share.amount)
    }

    /// To be stored, for [`Ledger::restore`]: also what is zero, for an attempt of which nothing was expected may cost something.
    #[must_use]
    pub fn shares(&self, ledger: &Ledger) -> Vec<BudgetShare> {
        let share = |share: &Share| {
            let account = ledger.of_share(share)?;
            Some(BudgetShare { budget: Arc::clone(&account.name), amount: share.amount })
        };
        self.0.iter().filter_map(share).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Share {
    place: usize,
    /// Of the account: a place may have been given to another budget since.
    serial: u64,
    amount: Micros,
}

impl Share {
    /// Reserves so much of the account at this place.
    fn take(
        now: Timestamp,
        place: usize,
        amount: Micros,
        account: &mut Account,
        crossings: &mut Vec<Crossing>,
    ) -> Self {
        account.roll(now);
        account.reserved += amount;
        crossings.extend(account.crossing(now));
        Self { place, serial: account.serial, amount }
    }
}

/// What an attempt did cost.
#[derive(Clone, Copy, Debug)]
pub enum Actual<'a> {
    /// This, as its agent said when it ended; what it does not name cost nothing.
    Final(Option<&'a Cost>),
    /// Nobody knows: at least this, as its agent last said, and at least what was reserved.
    Unknown(Option<&'a Cost>),
}

/// What a settlement did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// To be recorded with the end of the attempt.
    pub spent: Vec<BudgetSpent>,
    /// To be announced.
    pub crossings: Vec<Crossing>,
    /// Some budget has more left than before: who waits for one should be looked at.
    pub opened: bool,
}

impl Ledger {
    /// Why such an attempt could not begin now; of several budgets the one that opens last.
    #[must_use]
    pub fn check(&self, now: Timestamp, tenant: &Tenant, kind: &Kind, task: Option<&TaskBudget>) -> Option<Shortage> {
        let shortages = self.index.covering(tenant, kind).filter_map(|place| {
            let account = &self.accounts[place];
            account.shortage(now, account.needed(task, kind, &self.means))
        });
        shortages.max_by_key(|shortage| (shortage.refuse, shortage.until.unwrap_or(Timestamp::MAX)))
    }

    /// Reserves what such an attempt may cost in every budget that covers it.
    ///
    /// # Errors
    /// A budget that is short. Nothing is reserved then.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        tenant: &Tenant,
        kind: &Kind,
        task: Option<&TaskBudget>,
    ) -> Result<Reservation, Shortage> {
        match self.check(now, tenant, kind, task) {
            Some(shortage) => Err(shortage),
            None => Ok(self.hold(now, tenant, kind, task)),
        }
    }

    /// Reserves whatever is left, for an attempt that begins: [`Self::check`] was asked just before.
    pub fn hold(&mut self, now: Timestamp, tenant: &Tenant, kind: &Kind, task: Option<&TaskBudget>) -> Reservation {
        self.hold_of(now, tenant, kind, task, |_| true)
    }

    /// Reserves again what an attempt held that was live when the coordinator restarted, whatever is left: these shares of the budgets
    /// that are still those of which they were.
    pub fn restore(&mut self, now: Timestamp, shares: &[BudgetShare], assignment: AssignmentId) -> Reservation {
        let mut held = Vec::with_capacity(shares.len());
        for BudgetShare { budget, amount } in shares {
            let Some(&place) = self.by_name.get(budget) else { continue };
            let account = &mut self.accounts[place];
            if assignment >= account.since {
                held.push(Share::take(now, place, *amount, account, &mut self.crossings));
            }
        }
        Reservation(held)
    }

    /// The same for an attempt of which a version of before reservations were stored did not write down what it held: what such an
    /// attempt would reserve now, in the budgets that it may hold a part of. What it held by the mean of its kind is not known.
    pub fn restore_unwritten(
        &mut self,
        now: Timestamp,
        tenant: &Tenant,
        kind: &Kind,
        task: Option<&TaskBudget>,
        assignment: AssignmentId,
    ) -> Reservation {
        self.hold_of(now, tenant, kind, task, |account| assignment >= account.since)
    }

    fn hold_of(
        &mut self,
        now: Timestamp,
        tenant: &Tenant,
        kind: &Kind,
        task: Option<&TaskBudget>,
        holds: impl Fn(&Account) -> bool,
    ) -> Reservation {
        let mut shares = Vec::new();
        for place in self.index.covering(tenant, kind) {
            let account = &mut self.accounts[place];
            if holds(account) {
                let amount = account.needed(task, kind, &self.means);
                shares.push(Share::take(now, place, amount, account, &mut self.crossings));
            }
        }
        Reservation(shares)
    }

    /// Ends a reservation: what the attempt of this kind did cost is spent, the rest is free again.
    pub fn settle(&mut self, now: Timestamp, reservation: Reservation, actual: Actual<'_>, kind: &Kind) -> Settled {
        let mut settled = Settled::default();
        for share in reservation.0 {
            let Some(account) = self.accounts.get_mut(share.place).filter(|account| account.serial == share.serial)
            else {
                continue;
            };
            let rolled = account.roll(now);
            let before = account.left(now);
            let said = |cost: Option<&Cost>| cost.and_then(|cost| cost.get(&account.budget.unit)).copied();
            let spent = match actual {
                Actual::Final(cost) => said(cost).unwrap_or_default(),
                Actual::Unknown(cost) => said(cost).unwrap_or_default().max(share.amount),
            };
            if matches!(actual, Actual::Final(Some(_))) {
                self.means.observe(&account.budget.unit, kind, spent);
            }
            account.reserved = account.reserved.minus(share.amount);
            account.spent += spent;
            account.overrun += spent.minus(share.amount);
            settled.opened |= rolled || account.left(now) > before;
            if spent > Micros::ZERO {
                settled.spent.push(account.record());
            }
            self.crossings.extend(account.crossing(now));
        }
        settled.crossings = self.take_crossings();
        settled
    }

    /// The account of a share, unless it is gone or another one.
    fn of_share(&self, share: &Share) -> Option<&Account> {
        self.accounts.get(share.place).filter(|account| account.serial == share.serial)
    }
}
