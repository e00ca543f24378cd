//! What the resource manager is told each second of tenants, kinds and limits.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Kind, Timestamp};

use super::Engine;
use crate::{
    admission::statistics::{Counts, OTHERS},
    insight::sample::{GroupSample, LimitSample, MoreSamples},
};

impl Engine {
    /// What a sample tells beside the status and the agents; the shell's own part is left out. Walks the rows of tenants and
    /// kinds, the classes and the gates of limits, each bounded by a thousand or a few: once a second, not for every task.
    #[must_use]
    pub fn more_samples(&self, now: Timestamp) -> MoreSamples {
        let mut waiting: BTreeMap<&Kind, u64> = BTreeMap::new();
        for class in self.queue.classes() {
            if let Some((kind, _)) = self.router.asks_for(class) {
                *waiting.entry(kind).or_default() += self.queue.class_len(class) as u64;
            }
        }
        let statistics = &self.allocation.statistics;
        let tenants = statistics.tenants.rows().map(|(tenant, row)| {
            let waiting = tenant.map_or(0, |tenant| self.queue.tenant_len(tenant) as u64);
            group(tenant.map_or(OTHERS, |tenant| tenant.as_str()), &row.total, waiting, row.slots_in_use)
        });
        let kinds = statistics.kinds.rows().map(|(kind, row)| {
            let waiting = kind.and_then(|kind| waiting.get(kind)).copied().unwrap_or(0);
            group(kind.map_or(OTHERS, |kind| kind.as_str()), &row.total, waiting, row.slots_in_use)
        });
        let limits = self.limit_views(now).into_iter().map(|(view, waiting)| LimitSample {
            name: view.limit.name,
            concurrency_max: view.limit.concurrency_max.unwrap_or(0),
            closed: view.closed,
            // More agents would take what waits for agents that are at their limit: it is not held up by that.
            waiting: if view.limit.scope.is_about_tasks() { waiting } else { 0 },
        });
        // What waits for a budget is held like what waits for a limit: more agents would not begin it sooner.
        let budgets = self.budget_views(now).into_iter().filter(|(_, waiting)| *waiting > 0);
        let budgets = budgets.map(|(view, waiting)| LimitSample {
            name: format!("budget {}", view.budget.name),
            concurrency_max: 0,
            closed: true,
            waiting,
        });
        let limits = limits.chain(budgets);
        MoreSamples {
            tenants: tenants.collect(),
            kinds: kinds.collect(),
            limits: limits.collect(),
            prices: self.prices().clone(),
            ..MoreSamples::default()
        }
    }
}

fn group(name: &str, total: &Counts, waiting: u64, slots_in_use: u32) -> GroupSample {
    GroupSample {
        name: name.to_owned(),
        waiting,
        slots_in_use,
        requested: total.requested,
        released: total.released,
        timed_out: total.timed_out,
        run_time: Duration::from_micros(total.run_us),
    }
}
