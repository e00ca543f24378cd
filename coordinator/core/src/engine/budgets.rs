//! Budgets in the engine: what may be spent is looked for before a task goes, reserved with its place and settled with the end
//! of its attempt.
//!
//! They are first come, first served: who finds enough left reserves it, whatever his priority, since no order of the queue
//! runs across lanes that wait for money. A lane that is short waits until its budget has as much left as its task needed.
//! Lanes of one budget are looked at in the order in which they shut, a few at a time; a few that need more than is left are
//! passed over, so that one large task does not keep everybody else from what is there.
//!
//! A task that may cost more than the whole of a budget could only ever hold up its lane: its submission is refused, whatever
//! the budget says. An ephemeral task that a restart loses takes its reservation along, spent or not.

use std::{collections::VecDeque, sync::Arc};

use evenkeel_shared::{AttemptEnd, Kind, Micros, TaskSpec, Tenant, Usage};

use super::{
    Engine,
    effects::{Change, Effects},
    gates::WaitingLane,
    limits,
};
use crate::{
    cost::ledger::{Actual, Crossing},
    ix::TaskIx,
    model::{BudgetShare, ClusterEventKind, Record},
};

impl Engine {
    /// What the live attempt holds of budgets, to be stored.
    pub(super) fn reserved_by(&self, task: TaskIx) -> Vec<BudgetShare> {
        let spending = self.tasks[task].spending.as_ref();
        spending.map(|reservation| reservation.shares(&self.allocation.ledger)).unwrap_or_default()
    }

    /// The attempt has ended: what it did cost is spent, the rest of its reservation is free.
    pub(super) fn settle_spending(&mut self, task: TaskIx, end: AttemptEnd, said: Option<&Usage>, out: &mut Effects) {
        let row = &mut self.tasks[task];
        let used = row.used.take();
        let Some(reservation) = row.spending.take() else { return };
        let kind = row.spec.kind.clone();
        // What ends without its agent's word may have spent all that it could.
        let unknown = match end {
            AttemptEnd::AgentLost | AttemptEnd::Expired => true,
            AttemptEnd::TimedOut | AttemptEnd::Cancelled => said.is_none(),
            AttemptEnd::Succeeded | AttemptEnd::Failed | AttemptEnd::Rejected | AttemptEnd::HandedBack => false,
        };
        let cost = said.or(used.as_deref()).map(|usage| &usage.cost);
        let actual = if unknown { Actual::Unknown(cost) } else { Actual::Final(cost) };
        let settled = self.allocation.ledger.settle(self.now, *reservation, actual, &kind);
        out.changes.extend(settled.spent.into_iter().map(|spent| Change::Record(Box::new(Record::Spent(spent)))));
        self.allocation.budget_opened |= settled.opened;
        self.say_crossings(settled.crossings, out);
    }

    /// Whether all budgets that cover such tasks have enough left; if one is short, their lane waits for it.
    pub(super) fn has_money(&mut self, spec: &TaskSpec, out: &mut Effects) -> bool {
        let ledger = &self.allocation.ledger;
        if ledger.is_empty() {
            return true;
        }
        let Some(shortage) = ledger.check(self.now, &spec.tenant, &spec.kind, spec.budget.as_deref()) else {
            return true;
        };
        self.note("throttled", "budget", &shortage.budget, shortage.to_string(), out);
        let pair = (spec.tenant.clone(), spec.kind.clone());
        let lane = WaitingLane { of: pair.clone(), needed: shortage.needed };
        self.allocation.waiting.entry(shortage.budget.clone()).or_default().push_back(lane);
        self.allocation.short.insert(pair, shortage);
        self.recheck_lanes(&spec.tenant, Some(&spec.kind));
        false
    }

    /// Opens the lanes whose budget has as much left as they need, for so many of each budget.
    pub(super) fn open_lanes(&mut self) {
        let budgets: Vec<Arc<str>> = self.allocation.waiting.keys().cloned().collect();
        for budget in budgets {
            let mut opened = 0;
            let mut left = self.allocation.ledger.left(self.now, &budget);
            let waiting = self.allocation.waiting.get(&budget).map_or(0, VecDeque::len);
            let mut skipped = VecDeque::new();
            for _ in 0..waiting {
                if opened >= limits::LANES_OPENED_MAX || skipped.len() >= limits::LANES_SKIPPED_MAX {
                    break;
                }
                let lanes = self.allocation.waiting.get_mut(&budget);
                let Some(lane) = lanes.and_then(VecDeque::pop_front) else { break };
                // A budget that is gone keeps nobody waiting.
                if left.is_some_and(|left| left == Micros::ZERO || lane.needed > left) {
                    skipped.push_back(lane);
                    continue;
                }
                left = left.map(|left| left.minus(lane.needed));
                opened += 1;
                self.allocation.short.remove(&lane.of);
                self.recheck_lanes(&lane.of.0, Some(&lane.of.1));
            }
            self.allocation.follow_up |= opened >= limits::LANES_OPENED_MAX;
            self.allocation.budget_opened |= opened >= limits::LANES_OPENED_MAX;
            if let Some(lanes) = self.allocation.waiting.get_mut(&budget) {
                for lane in skipped.into_iter().rev() {
                    lanes.push_front(lane);
                }
                if lanes.is_empty() {
                    self.allocation.waiting.remove(&budget);
                }
            }
        }
    }

    pub(super) fn say_crossings(&mut self, crossings: Vec<Crossing>, out: &mut Effects) {
        for crossing in crossings {
            self.announce(ClusterEventKind::Budget, None, crossing.to_string(), out);
        }
    }

    /// A task of these no longer waits, and did not go: if it was the one that a budget was too short for, the next may go.
    pub(super) fn leave_short(&mut self, tenant: &Tenant, kind: &Kind) {
        let pair = (tenant.clone(), kind.clone());
        let Some(shortage) = self.allocation.short.remove(&pair) else { return };
        if let Some(lanes) = self.allocation.waiting.get_mut(&shortage.budget) {
            lanes.retain(|lane| lane.of != pair);
        }
        self.recheck_lanes(tenant, Some(kind));
    }

    /// A budget has another cap, scope or estimate: what its lanes' next tasks need of it is found out anew.
    pub(super) fn forget_needs(&mut self, budget: &str) {
        let lanes = self.allocation.waiting.get_mut(budget).into_iter().flatten();
        lanes.for_each(|lane| lane.needed = Micros::ZERO);
    }

    /// Limits or budgets have changed.
    pub(super) fn budgets_changed(&mut self) {
        self.allocation.next_roll = self.allocation.ledger.next_roll();
        // Until the end of the event at least, so that what waited for the last of them goes on.
        self.allocation.active = true;
        self.allocation.budget_opened = true;
    }
}
