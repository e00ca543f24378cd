//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): who is owed the next turn.
//!
//! Every dispatch starts at `max(virtual time, finish of the last one of the same account)` and moves that finish on by
//! cost / weight; virtual time is the latest start. So a backlogged account never gets ahead of another by more than one
//! task each, and one that had nothing to dispatch, or could not, starts from the present: being idle earns no credit.
//!
//! A finish lies at most one task beyond virtual time. Rejected: deficit round robin (a rotation per class is one that
//! another class's service cannot move) and credit for time in which a tenant was blocked (a burst of it would hold up
//! all others when the block ends).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_shared::Tenant;
use slab::Slab;

use crate::ix::{ClassIx, TaskIx};

/// Virtual time per unit of cost at weight 1. Rounding down favours a weight of 1,000 by less than a thousandth, and 64 bits
/// last for 2^44 slots dispatched to one tenant: five years at 100,000 a second.
const SCALE: u64 = 1 << 20;
/// Idle accounts kept for what they still owe, which is one task at most. One more forgives the least of those debts; it
/// also bounds how many newcomers in a row can pass a tenant that has just been served.
pub(super) const IDLE_ACCOUNTS_MAX: usize = 4_096;

/// A tenant that has something waiting or owing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TenantIx(u32);

impl TenantIx {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

/// One account's state: where its last dispatch ended in virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    finish: u64,
}

impl Share {
    pub(super) const fn finish(self) -> u64 {
        self.finish
    }

    /// Where its next dispatch starts.
    pub(super) fn start(self, virtual_time: u64) -> u64 {
        self.finish.max(virtual_time)
    }

    /// Books a dispatch and gives its start. What costs nothing or weighs nothing counts as 1.
    pub(super) fn charge(&mut self, virtual_time: u64, cost: u32, weight: u32) -> u64 {
        let start = self.start(virtual_time);
        self.finish = start.saturating_add(u64::from(cost.max(1)) * SCALE / u64::from(weight.max(1)));
        start
    }
}

/// How an account's finish has moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) old: u64,
    pub(super) new: u64,
}

/// A task with its place in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) order: u64,
    pub(super) task: TaskIx,
    /// It may be taken ahead of a slot. Here because a decision asks it of every lane that is next.
    pub(super) ahead: bool,
}

/// How the head of a lane has changed; `None`: the lane was, or is, empty or shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) old: Option<Place>,
    pub(super) new: Option<Place>,
}

/// A tenant's tasks of one class and priority, by acceptance.
#[derive(Debug, Default)]
struct Lane {
    tasks: BTreeSet<Place>,
    /// The first of them, at hand because every charge asks for it. `None`: the lane is being made.
    head: Option<Place>,
    /// None of its tasks may go: it has no turn.
    shut: bool,
}

impl Lane {
    /// The task that has the lane's turn.
    fn turn(&self) -> Option<Place> {
        self.head.filter(|_| !self.shut)
    }
}

#[derive(Debug, Default)]
struct Account {
    share: Share,
    /// By class; none is empty. No lane: the account is idle.
    lanes: BTreeMap<ClassIx, Lane>,
}

/// The tenants' accounts at one priority, over all classes.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    virtual_time: u64,
    /// By [`TenantIx`].
    accounts: Vec<Option<Account>>,
    /// Idle accounts by finish, all of them ahead of virtual time: one that is not owes nothing and is dropped.
    idle: BTreeSet<(u64, TenantIx)>,
}

impl Accounts {
    fn account(&self, tenant: TenantIx) -> Option<&Account> {
        self.accounts.get(tenant.at())?.as_ref()
    }

    pub(super) fn share(&self, tenant: TenantIx) -> Share {
        self.account(tenant).map(|account| account.share).unwrap_or_default()
    }

    /// Books a dispatch on a copy of an account, for looking ahead.
    pub(super) fn charge_copy(&self, share: &mut Share, cost: u32, weight: u32) {
        share.charge(self.virtual_time, cost, weight);
    }

    /// The head of each of a tenant's lanes; `None` of those that are shut.
    pub(super) fn heads(&self, tenant: TenantIx) -> impl Iterator<Item = (ClassIx, Option<Place>)> + '_ {
        let lanes = self.account(tenant).into_iter().flat_map(|account| &account.lanes);
        lanes.map(|(&class, lane)| (class, lane.turn()))
    }

    /// A tenant's tasks of a class, by acceptance.
    pub(super) fn lane(&self, tenant: TenantIx, class: ClassIx) -> impl Iterator<Item = Place> + '_ {
        let lane = self.account(tenant).and_then(|account| account.lanes.get(&class));
        lane.into_iter().flat_map(|lane| &lane.tasks).copied()
    }

    /// Adds a task. A tenant that had none of the class starts from the present. Whether a lane that is made for it is shut
    /// is for the caller to say.
    pub(super) fn insert(
        &mut self,
        tenant: TenantIx,
        class: ClassIx,
        place: Place,
        shut: bool,
        tenants: &mut Tenants,
    ) -> (Moved, Heads) {
        if tenant.at() >= self.accounts.len() {
            self.accounts.resize_with(tenant.at() + 1, || None);
        }
        let account = self.accounts[tenant.at()].get_or_insert_with(|| {
            tenants.hold(tenant);
            Account::default()
        });
        let finish = account.share.finish;
        if account.lanes.is_empty() {
            self.idle.remove(&(finish, tenant));
        }
        let lane = account.lanes.entry(class).or_default();
        lane.tasks.insert(place);
        let (head, old) = (lane.head, lane.turn());
        lane.head = Some(head.map_or(place, |head| head.min(place)));
        lane.shut = if head.is_none() { shut } else { lane.shut };
        let new = lane.turn();
        if head.is_none() {
            account.share.finish = account.share.start(self.virtual_time);
        }
        (Moved { old: finish, new: account.share.finish }, Heads { old, new })
    }

    /// Shuts or opens a lane, if it is there and is not so already. One that opens starts from the present: the time for which
    /// it was shut earns no credit.
    pub(super) fn set_shut(&mut self, tenant: TenantIx, class: ClassIx, shut: bool) -> Option<(Moved, Heads)> {
        let account = self.accounts.get_mut(tenant.at())?.as_mut()?;
        let lane = account.lanes.get_mut(&class).filter(|lane| lane.shut != shut)?;
        let finish = account.share.finish;
        let old = lane.turn();
        lane.shut = shut;
        let new = lane.turn();
        if !shut {
            account.share.finish = account.share.start(self.virtual_time);
        }
        Some((Moved { old: finish, new: account.share.finish }, Heads { old, new }))
    }

    /// How many tasks the tenant has in this lane.
    pub(super) fn lane_len(&self, tenant: TenantIx, class: ClassIx) -> usize {
        self.account(tenant).and_then(|account| account.lanes.get(&class)).map_or(0, |lane| lane.tasks.len())
    }

    /// The classes of which the tenant has tasks.
    pub(super) fn classes(&self, tenant: TenantIx) -> impl Iterator<Item = ClassIx> + '_ {
        self.account(tenant).into_iter().flat_map(|account| account.lanes.keys().copied())
    }

    /// Whether the tenant's lane is shut; `None` if there is none.
    pub(super) fn is_shut(&self, tenant: TenantIx, class: ClassIx) -> Option<bool> {
        self.account(tenant)?.lanes.get(&class).map(|lane| lane.shut)
    }

    /// Takes a task out.
    pub(super) fn remove(&mut self, tenant: TenantIx, class: ClassIx, place: Place, tenants: &mut Tenants) -> Heads {
        const NOTHING: Heads = Heads { old: None, new: None };
        let Some(account) = self.accounts.get_mut(tenant.at()).and_then(Option::as_mut) else { return NOTHING };
        let Some(lane) = account.lanes.get_mut(&class) else { return NOTHING };
        lane.tasks.remove(&place);
        let old = lane.turn();
        lane.head = lane.tasks.first().copied();
        let heads = Heads { old, new: lane.turn() };
        if lane.head.is_none() {
            account.lanes.remove(&class);
        }
        if account.lanes.is_empty() {
            self.idle.insert((account.share.finish, tenant));
            self.forgive(tenants);
        }
        heads
    }

    /// Keeps the number of idle accounts within its limit.
    fn forgive(&mut self, tenants: &mut Tenants) {
        if self.idle.len() > IDLE_ACCOUNTS_MAX
            && let Some(&(finish, _)) = self.idle.first()
        {
            self.virtual_time = self.virtual_time.max(finish);
        }
        self.drop_settled(tenants);
    }

    /// Books a dispatch.
    pub(super) fn charge(&mut self, tenant: TenantIx, cost: u32, tenants: &mut Tenants) -> Moved {
        let Some(account) = self.accounts.get_mut(tenant.at()).and_then(Option::as_mut) else {
            return Moved { old: 0, new: 0 };
        };
        let old = account.share.finish;
        let start = account.share.charge(self.virtual_time, cost, tenants.weight(tenant));
        let new = account.share.finish;
        self.virtual_time = self.virtual_time.max(start);
        self.drop_settled(tenants);
        Moved { old, new }
    }

    /// Drops idle accounts that virtual time has caught up with: they are no different from new ones.
    fn drop_settled(&mut self, tenants: &mut Tenants) {
        while let Some(&(finish, tenant)) = self.idle.first().filter(|(finish, _)| *finish <= self.virtual_time) {
            self.idle.remove(&(finish, tenant));
            self.accounts[tenant.at()] = None;
            tenants.release(tenant);
        }
    }
}

#[derive(Debug)]
struct Record {
    name: Tenant,
    weight: u32,
    /// Its waiting tasks.
    len: usize,
    /// Its accounts, one a priority at most.
    accounts: u32,
}

/// The tenants that have something waiting or owing, and their weights.
#[derive(Debug)]
pub(super) struct Tenants {
    weights: BTreeMap<Tenant, u32>,
    default_weight: u32,
    by_name: BTreeMap<Tenant, TenantIx>,
    records: Slab<Record>,
}

impl Tenants {
    pub(super) fn new(weights: BTreeMap<Tenant, u32>, default_weight: u32) -> Self {
        Self { weights, default_weight, by_name: BTreeMap::new(), records: Slab::new() }
    }

    /// Other weights. What was charged stays charged.
    pub(super) fn configure(&mut self, weights: BTreeMap<Tenant, u32>) {
        self.weights = weights;
        for (_, record) in &mut self.records {
            record.weight = self.weights.get(&record.name).copied().unwrap_or(self.default_weight);
        }
    }

    /// One more task of the tenant waits.
    pub(super) fn enter(&mut self, name: &Tenant) -> TenantIx {
        let tenant = self.by_name.get(name).copied().unwrap_or_else(|| {
            let weight = self.weights.get(name).copied().unwrap_or(self.default_weight);
            let at = self.records.insert(Record { name: name.clone(), weight, len: 0, accounts: 0 });
            let tenant = TenantIx(u32::try_from(at).unwrap_or(u32::MAX));
            self.by_name.insert(name.clone(), tenant);
            tenant
        });
        self.records[tenant.at()].len += 1;
        tenant
    }

    /// The tenant of this name, if it has something waiting or owing.
    pub(super) fn find(&self, name: &Tenant) -> Option<TenantIx> {
        self.by_name.get(name).copied()
    }

    /// One fewer does.
    pub(super) fn leave(&mut self, tenant: TenantIx) {
        self.records[tenant.at()].len -= 1;
        self.forget_unused(tenant);
    }

    fn hold(&mut self, tenant: TenantIx) {
        self.records[tenant.at()].accounts += 1;
    }

    fn release(&mut self, tenant: TenantIx) {
        self.records[tenant.at()].accounts -= 1;
        self.forget_unused(tenant);
    }

    fn forget_unused(&mut self, tenant: TenantIx) {
        let record = &self.records[tenant.at()];
        if record.len == 0 && record.accounts == 0 {
            let record = self.records.remove(tenant.at());
            self.by_name.remove(&record.name);
        }
    }

    pub(super) fn weight(&self, tenant: TenantIx) -> u32 {
        self.records[tenant.at()].weight
    }

    pub(super) fn len(&self, tenant: TenantIx) -> usize {
        self.records[tenant.at()].len
    }

    /// Waiting tasks by tenant, in the order of their names.
    pub(super) fn lens(&self) -> impl Iterator<Item = (&Tenant, usize)> {
        self.by_name.iter().map(|(name, tenant)| (name, self.records[tenant.at()].len))
    }
}
