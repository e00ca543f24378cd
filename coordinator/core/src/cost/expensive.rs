//! The most expensive tasks of the last hour.
//!
//! A bounded set ordered by cost. A task that is in it is added to, one that is not gets in once an attempt of it costs more
//! than the cheapest that is in; what its earlier attempts cost is then not known any more. To keep a sum for each task of an
//! hour was rejected: that is memory without a bound, for a list of which the head is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel_shared::{Cost, CostUnit, Micros, TaskId, Timestamp, Usage};

use super::book::STRETCH;
use crate::model::CostEntry;

/// Tasks kept: more than anybody reads.
const TASKS_MAX: usize = 256;
/// How long they are kept.
const KEPT: Duration = Duration::from_secs(3_600);

/// What orders tasks: what they cost in the unit of the prices, then what they reported in all units, for fleets that have no
/// prices.
type Rank = (Micros, Micros);

#[derive(Clone, Debug, Default)]
struct Expense {
    resources: Micros,
    reported: Cost,
    attempts: u64,
    rank: Rank,
    at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expensive {
    by_task: BTreeMap<TaskId, Expense>,
    by_rank: BTreeSet<(Rank, TaskId)>,
}

impl Expensive {
    /// An attempt of a task cost so much.
    pub fn add(&mut self, now: Timestamp, task: TaskId, unit: &CostUnit, resources: Micros, usage: Option<&Usage>) {
        let none = Cost::new();
        let reported = usage.map_or(&none, |usage| &usage.cost);
        let all = reported.values().copied().sum();
        let rank: Rank = (resources.plus(reported.get(unit).copied().unwrap_or_default()), all);
        if rank == Rank::default() {
            return;
        }
        if !self.by_task.contains_key(&task) {
            if self.by_task.len() >= TASKS_MAX && !self.make_room(now, rank) {
                return;
            }
            self.by_task.insert(task, Expense::default());
        }
        let Some(expense) = self.by_task.get_mut(&task) else { return };
        self.by_rank.remove(&(expense.rank, task));
        expense.resources += resources;
        expense.attempts += 1;
        expense.at = now;
        expense.rank = (expense.rank.0.plus(rank.0), expense.rank.1.plus(rank.1));
        for (unit, amount) in reported {
            *expense.reported.entry(unit.clone()).or_default() += *amount;
        }
        self.by_rank.insert((expense.rank, task));
    }

    /// Drops what is old, or the cheapest, if it is cheaper than this. Looks at all, which are few.
    fn make_room(&mut self, now: Timestamp, rank: Rank) -> bool {
        self.forget(now);
        if self.by_task.len() < TASKS_MAX {
            return true;
        }
        let Some(&(cheapest, task)) = self.by_rank.first().filter(|(cheapest, _)| *cheapest < rank) else {
            return false;
        };
        self.by_rank.remove(&(cheapest, task));
        self.by_task.remove(&task);
        true
    }

    /// Forgets what is older than an hour.
    pub fn forget(&mut self, now: Timestamp) {
        let old: Vec<TaskId> = self.old(now).collect();
        self.drop_all(&old);
    }

    fn old(&self, now: Timestamp) -> impl Iterator<Item = TaskId> {
        self.by_task.iter().filter(move |(_, expense)| now.since(expense.at) > KEPT).map(|(task, _)| *task)
    }

    fn drop_all(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            if let Some(expense) = self.by_task.remove(task) {
                self.by_rank.remove(&(expense.rank, *task));
            }
        }
    }

    /// The most expensive first; one entry a task and unit.
    pub fn entries(&self, now: Timestamp, unit: &CostUnit) -> Vec<CostEntry> {
        let tasks = self.by_rank.iter().rev().filter_map(|(_, task)| Some((task, self.by_task.get(task)?)));
        let recent = tasks.filter(|(_, expense)| now.since(expense.at) <= KEPT);
        recent.flat_map(|(task, expense)| expense.entries(*task, unit)).collect()
    }
}

impl Expense {
    fn entries(&self, task: TaskId, unit: &CostUnit) -> Vec<CostEntry> {
        let of = |unit: &CostUnit, reported: Micros| {
            CostEntry::reported(self.at, STRETCH, format!("task:{task}"), unit.clone(), reported)
        };
        let in_unit = self.reported.get(unit).copied().unwrap_or_default();
        let main = CostEntry { resources: self.resources, tasks: 1, attempts: self.attempts, ..of(unit, in_unit) };
        let others = self.reported.iter().filter(|(other, _)| *other != unit);
        std::iter::once(main).chain(others.map(|(unit, amount)| of(unit, *amount))).collect()
    }
}
