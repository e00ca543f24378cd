//! The tasks of one class and priority: one lane a tenant, and the tenants' turns.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_shared::Timestamp;

use super::fair::{Head, Moved, TenantIx};
use crate::ix::TaskIx;

/// The head of a tenant's lane, as it competes with the others'; the smallest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Where the tenant's account stands.
    finish: u64,
    /// Equal tenants go by acceptance.
    head: Head,
    tenant: TenantIx,
}

impl Turn {
    pub(super) const fn task(self) -> TaskIx {
        self.head.task
    }
}

/// What a bucket has to offer to a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) turn: Turn,
    pub(super) oldest: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Each tenant's tasks by acceptance; no lane is empty.
    lanes: BTreeMap<TenantIx, BTreeSet<Head>>,
    /// The heads of all lanes.
    turns: BTreeSet<Turn>,
    /// All tasks by the time since when they wait. Heads alone would not do: a task that waits anew is the head of its
    /// lane, and those behind it wait longer.
    by_age: BTreeSet<(Timestamp, TaskIx)>,
    /// The first of `turns` and of `by_age`: a decision reads them in every class and priority, so they lie at hand.
    first_turn: Option<Turn>,
    oldest: Option<(Timestamp, TaskIx)>,
}

impl Bucket {
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Adds a task of a tenant whose account stands at `finish`. True: it is now the head of its lane.
    pub(super) fn insert(&mut self, tenant: TenantIx, finish: u64, task: Head, since: Timestamp) -> bool {
        let aged = (since, task.task);
        self.by_age.insert(aged);
        self.oldest = Some(self.oldest.map_or(aged, |oldest| oldest.min(aged)));
        let lane = self.lanes.entry(tenant).or_default();
        let head = lane.first().copied();
        lane.insert(task);
        let is_head = head.is_none_or(|head| task < head);
        if is_head {
            if let Some(head) = head {
                self.drop_turn(Turn { finish, head, tenant });
            }
            self.add_turn(Turn { finish, head: task, tenant });
        }
        is_head
    }

    /// Removes a task of a tenant whose account moves. Gives the head of its lane; `None`: it is empty.
    pub(super) fn remove(&mut self, tenant: TenantIx, moved: Moved, task: Head, since: Timestamp) -> Option<Head> {
        self.by_age.remove(&(since, task.task));
        if self.oldest == Some((since, task.task)) {
            self.oldest = self.by_age.first().copied();
        }
        let lane = self.lanes.get_mut(&tenant)?;
        let head = lane.first().copied()?;
        lane.remove(&task);
        let next = lane.first().copied();
        if next.is_none() {
            self.lanes.remove(&tenant);
        }
        if next != Some(head) || moved.old != moved.new {
            self.drop_turn(Turn { finish: moved.old, head, tenant });
            if let Some(head) = next {
                self.add_turn(Turn { finish: moved.new, head, tenant });
            }
        }
        next
    }

    /// Moves a tenant's turn as its account moves.
    pub(super) fn rekey(&mut self, tenant: TenantIx, moved: Moved, head: Head) {
        self.drop_turn(Turn { finish: moved.old, head, tenant });
        self.add_turn(Turn { finish: moved.new, head, tenant });
    }

    fn add_turn(&mut self, turn: Turn) {
        self.turns.insert(turn);
        self.first_turn = Some(self.first_turn.map_or(turn, |first| first.min(turn)));
    }

    fn drop_turn(&mut self, turn: Turn) {
        self.turns.remove(&turn);
        if self.first_turn == Some(turn) {
            self.first_turn = self.turns.first().copied();
        }
    }

    /// `None`: it is empty.
    pub(super) fn offer(&self) -> Option<Offer> {
        let (turn, (oldest, _)) = self.first_turn.zip(self.oldest)?;
        Some(Offer { turn, oldest })
    }

    /// The longest waiting task, and since when it waits.
    pub(super) fn oldest(&self) -> Option<(TaskIx, Timestamp)> {
        self.oldest.map(|(since, task)| (task, since))
    }

    pub(super) fn tenants(&self) -> impl Iterator<Item = TenantIx> + '_ {
        self.lanes.keys().copied()
    }

    /// A tenant's tasks in the order of acceptance.
    pub(super) fn lane(&self, tenant: TenantIx) -> impl Iterator<Item = Head> + '_ {
        self.lanes.get(&tenant).into_iter().flatten().copied()
    }
}
