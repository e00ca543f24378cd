//! The tasks of one class and priority: one lane a tenant, and the tenants' turns.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_shared::Timestamp;

use super::fair::TenantIx;
use crate::ix::TaskIx;

/// The head of a tenant's lane, as it competes with the others'; the smallest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Where the tenant's account stands.
    finish: u128,
    /// The task's place in the order of acceptance, which decides between equal tenants.
    order: u64,
    pub(super) task: TaskIx,
    tenant: TenantIx,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Each tenant's tasks by acceptance; no lane is empty.
    lanes: BTreeMap<TenantIx, BTreeSet<(u64, TaskIx)>>,
    /// The heads of all lanes.
    turns: BTreeSet<Turn>,
    /// All tasks by the time since when they wait. Heads alone would not do: a task that waits anew is the head of its
    /// lane, and those behind it wait longer.
    by_age: BTreeSet<(Timestamp, TaskIx)>,
}

impl Bucket {
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Adds a task of a tenant whose account stands at `finish`.
    pub(super) fn insert(&mut self, tenant: TenantIx, finish: u128, task: TaskIx, order: u64, since: Timestamp) {
        self.by_age.insert((since, task));
        let lane = self.lanes.entry(tenant).or_default();
        let head = lane.first().copied();
        lane.insert((order, task));
        if head.is_none_or(|head| (order, task) < head) {
            if let Some((order, task)) = head {
                self.turns.remove(&Turn { finish, order, task, tenant });
            }
            self.turns.insert(Turn { finish, order, task, tenant });
        }
    }

    /// Removes a task of a tenant whose account stands at `finish`. True: it was the last of its lane.
    pub(super) fn remove(
        &mut self,
        tenant: TenantIx,
        finish: u128,
        task: TaskIx,
        order: u64,
        since: Timestamp,
    ) -> bool {
        self.by_age.remove(&(since, task));
        let Some(lane) = self.lanes.get_mut(&tenant) else { return true };
        let was_head = lane.first() == Some(&(order, task));
        lane.remove(&(order, task));
        let next = lane.first().copied();
        if was_head {
            self.turns.remove(&Turn { finish, order, task, tenant });
            if let Some((order, task)) = next {
                self.turns.insert(Turn { finish, order, task, tenant });
            }
        }
        if next.is_none() {
            self.lanes.remove(&tenant);
        }
        next.is_none()
    }

    /// Moves a tenant's turn, if it has one here, as its account moves.
    pub(super) fn rekey(&mut self, tenant: TenantIx, old: u128, new: u128) {
        if let Some(&(order, task)) = self.lanes.get(&tenant).and_then(BTreeSet::first) {
            self.turns.remove(&Turn { finish: old, order, task, tenant });
            self.turns.insert(Turn { finish: new, order, task, tenant });
        }
    }

    pub(super) fn next_turn(&self) -> Option<Turn> {
        self.turns.first().copied()
    }

    /// The longest waiting task, and since when it waits.
    pub(super) fn oldest(&self) -> Option<(TaskIx, Timestamp)> {
        self.by_age.first().map(|&(since, task)| (task, since))
    }

    pub(super) fn tenants(&self) -> impl Iterator<Item = TenantIx> + '_ {
        self.lanes.keys().copied()
    }

    /// A tenant's tasks with their places in the order of acceptance, in that order.
    pub(super) fn lane(&self, tenant: TenantIx) -> impl Iterator<Item = (u64, TaskIx)> + '_ {
        self.lanes.get(&tenant).into_iter().flatten().copied()
    }
}
