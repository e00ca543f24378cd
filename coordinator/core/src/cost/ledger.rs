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
//! **Restarts.** What is spent is stored; reservations are not, and are made again from the attempts that are live. An attempt that
//! began before a budget was put holds nothing of it, and must not after a restart either: so with each budget is stored the number
//! of the first assignment that may hold a part of it. Numbers grow from one assignment to the next, over restarts too. Times were
//! rejected: two events can have the same one. What is not known again is the mean of a kind: an attempt that reserved by it
//! reserves nothing after a restart, and what it costs is an overrun; and one that reserved by a default that was changed since
//! reserves by the new one.
//!
//! Budgets are found by tenant, kind, both or neither, so a task costs what covers it, however many budgets there are.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::{AssignmentId, Cost, CostUnit, Kind, Micros, TaskBudget, Tenant, Timestamp};

use super::{BUDGETS_MAX, Budget, account::Account, means::Means, window};
use crate::model::BudgetSpent;

/// How far a budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Below all others.
    #[default]
    Ok,
    /// From `warning_percent` of the cap on.
    Warning,
    /// From `critical_percent` on.
    Critical,
    /// Nothing is left.
    Exhausted,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Why an attempt may not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The budget that is short.
    pub budget: Arc<str>,
    /// What it counts.
    pub unit: CostUnit,
    /// What the attempt would reserve.
    pub needed: Micros,
    /// What is left.
    pub left: Micros,
    /// The whole.
    pub cap: Micros,
    /// When its window ends. `None`: never; it needs a settlement that leaves something over, or a higher cap.
    pub until: Option<Timestamp>,
    /// Submissions are refused.
    pub refuse: bool,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { budget, unit, needed, left, cap, .. } = self;
        if needed > cap {
            return write!(f, "budget `{budget}` has a cap of {cap} {unit}, and the task may cost {needed}");
        }
        write!(f, "budget `{budget}` has {left} of {cap} {unit} left")?;
        if left.0 > 0 { write!(f, ", and the task may cost {needed}") } else { Ok(()) }
    }
}

/// A budget's level is not what was last said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The budget.
    pub budget: Arc<str>,
    /// What it counts.
    pub unit: CostUnit,
    /// As last said.
    pub from: Level,
    /// As it is.
    pub to: Level,
    /// Spent and reserved.
    pub used: Micros,
    /// The whole.
    pub cap: Micros,
}

impl std::fmt::Display for Crossing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { budget, unit, from, to, used, cap } = self;
        let (from, to) = (from.name(), to.name());
        write!(f, "budget `{budget}` is {to}, was {from}: {used} of {cap} {unit} spent or reserved")
    }
}

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
}

#[derive(Debug, PartialEq, Eq)]
struct Share {
    place: usize,
    /// Of the account: a place may have been given to another budget since.
    serial: u64,
    amount: Micros,
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

/// A budget with its use at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetView {
    /// As declared.
    pub budget: Budget,
    /// Of its present window.
    pub window_start: Timestamp,
    /// `None`: it has no end.
    pub window_end: Option<Timestamp>,
    /// In this window.
    pub spent: Micros,
    /// By attempts that run or are about to.
    pub reserved: Micros,
    /// Spent in this window beyond what was reserved.
    pub overrun: Micros,
    /// Of spent and reserved together.
    pub level: Level,
}

/// Places of accounts by whom they cover.
#[derive(Debug, Default)]
struct Index {
    everyone: Vec<usize>,
    by_tenant: BTreeMap<Tenant, Vec<usize>>,
    by_kind: BTreeMap<Kind, Vec<usize>>,
    by_both: BTreeMap<Tenant, BTreeMap<Kind, Vec<usize>>>,
}

impl Index {
    fn add(&mut self, budget: &Budget, place: usize) {
        let places = match (&budget.tenant, &budget.kind) {
            (None, None) => &mut self.everyone,
            (Some(tenant), None) => self.by_tenant.entry(tenant.clone()).or_default(),
            (None, Some(kind)) => self.by_kind.entry(kind.clone()).or_default(),
            (Some(tenant), Some(kind)) => {
                self.by_both.entry(tenant.clone()).or_default().entry(kind.clone()).or_default()
            }
        };
        places.push(place);
    }

    fn remove(&mut self, place: usize) {
        let without = |places: &mut Vec<usize>| {
            places.retain(|&other| other != place);
            !places.is_empty()
        };
        without(&mut self.everyone);
        self.by_tenant.retain(|_, places| without(places));
        self.by_kind.retain(|_, places| without(places));
        self.by_both.retain(|_, kinds| {
            kinds.retain(|_, places| without(places));
            !kinds.is_empty()
        });
    }

    fn covering(&self, tenant: &Tenant, kind: &Kind) -> impl Iterator<Item = usize> {
        let lists = [
            Some(&self.everyone),
            self.by_tenant.get(tenant),
            self.by_kind.get(kind),
            self.by_both.get(tenant).and_then(|kinds| kinds.get(kind)),
        ];
        lists.into_iter().flatten().flatten().copied()
    }
}

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

    /// Reserves again whatever is left, for an attempt that was live when the coordinator restarted: in the budgets that it held a
    /// part of before.
    pub fn restore(
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
            if !holds(account) {
                continue;
            }
            account.roll(now);
            let amount = account.needed(task, kind, &self.means);
            account.reserved += amount;
            shares.push(Share { place, serial: account.serial, amount });
            self.crossings.extend(account.crossing(now));
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

    /// All budgets with their use, by name.
    #[must_use]
    pub fn views(&self, now: Timestamp) -> Vec<BudgetView> {
        let accounts = self.by_name.values().map(|&place| &self.accounts[place]);
        accounts.map(|account| account.view(now)).collect()
    }

    fn of_share(&self, share: &Share) -> Option<&Account> {
        self.accounts.get(share.place).filter(|account| account.serial == share.serial)
    }
}

#[cfg(test)]
mod tests;
