//! One class and priority: the tenants' turns, and the ages of the tasks.

use std::collections::BTreeSet;

use evenkeel_shared::Timestamp;

use super::fair::{Heads, Moved, Place, TenantIx};
use crate::ix::TaskIx;

/// The head of a tenant's lane, as it competes with the others'; the smallest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Where the tenant's account stands.
    finish: u64,
    /// Equal tenants go by acceptance.
    head: Place,
    tenant: TenantIx,
}

impl Turn {
    pub(super) const fn task(self) -> TaskIx {
        self.head.task
    }

    /// Whether it may be taken ahead of a slot.
    pub(super) const fn ahead(self) -> bool {
        self.head.ahead
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
    /// The heads of the tenants' lanes.
    turns: BTreeSet<Turn>,
    /// All tasks by the time since when they wait. Heads alone would not do: a task that waits anew is the head of its
    /// lane, and those behind it wait longer.
    by_age: BTreeSet<(Timestamp, TaskIx)>,
    /// The first of `turns` and of `by_age`: a decision reads them in every class and priority, so they lie at hand.
    first_turn: Option<Turn>,
    oldest: Option<(Timestamp, TaskIx)>,
    /// Lanes that are shut. Their tasks are among `by_age`, so while there are any the ages say nothing of those that may go.
    shut_lanes: usize,
}

impl Bucket {
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Adds a task; its tenant's turn is a matter of [`follow`](Self::follow).
    pub(super) fn insert(&mut self, task: TaskIx, since: Timestamp) {
        let aged = (since, task);
        self.by_age.insert(aged);
        self.oldest = Some(self.oldest.map_or(aged, |oldest| oldest.min(aged)));
    }

    /// Takes a task out; its tenant's turn is a matter of [`follow`](Self::follow).
    pub(super) fn remove(&mut self, task: TaskIx, since: Timestamp) {
        self.by_age.remove(&(since, task));
        if self.oldest == Some((since, task)) {
            self.oldest = self.by_age.first().copied();
        }
    }

    /// Moves a tenant's turn as its account and the head of its lane have moved.
    pub(super) fn follow(&mut self, tenant: TenantIx, account: Moved, heads: Heads) {
        if heads.old == heads.new && account.old == account.new {
            return;
        }
        if let Some(head) = heads.old {
            self.drop_turn(Turn { finish: account.old, head, tenant });
        }
        if let Some(head) = heads.new {
            self.add_turn(Turn { finish: account.new, head, tenant });
        }
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

    /// One more lane is shut, or one fewer.
    pub(super) fn count_shut(&mut self, shut: bool) {
        self.shut_lanes = if shut { self.shut_lanes + 1 } else { self.shut_lanes.saturating_sub(1) };
    }

    /// Whether any lane is shut.
    pub(super) fn has_shut(&self) -> bool {
        self.shut_lanes > 0
    }

    /// Nothing of it may go. Its oldest is that of all lanes: see [`has_shut`](Self::has_shut).
    pub(super) fn offer(&self) -> Option<Offer> {
        let (turn, (oldest, _)) = self.first_turn.zip(self.oldest)?;
        Some(Offer { turn, oldest })
    }

    /// The longest waiting task, and since when it waits.
    pub(super) fn oldest(&self) -> Option<(TaskIx, Timestamp)> {
        self.oldest.map(|(since, task)| (task, since))
    }

    /// The tenants that have tasks here.
    pub(super) fn tenants(&self) -> impl Iterator<Item = TenantIx> + '_ {
        self.turns.iter().map(|turn| turn.tenant)
    }
}
