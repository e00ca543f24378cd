//! What the resource manager is told each second of tenants, kinds and limits.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{Kind, Timestamp};

use super::Engine;
use crate::{
    admission::{
        gates::LimitView,
        statistics::{Counts, OTHERS},
    },
    cost::ledger::BudgetView,
    insight::sample::{GroupSample, LimitSample, MoreSamples},
    model::AgentView,
};

/// Limits and budgets as they stand at one moment, each with the tasks that wait for it: found once for all who look.
#[derive(Clone, Debug, PartialEq)]
pub struct Gated {
    /// Limits, by name.
    pub limits: Vec<(LimitView, u64)>,
    /// Budgets, by name.
    pub budgets: Vec<(BudgetView, u64)>,
}

impl Engine {
    /// Limits and budgets as they stand. Walks gates and classes: once a second, or for people.
    #[must_use]
    pub fn gated(&self, now: Timestamp) -> Gated {
        Gated { limits: self.limit_views(now), budgets: self.budget_views(now) }
    }

    /// The agents as they are now, by id. Walks the fleet: for an operator's call, never for a task. Unlike what is published
    /// it has every change that was answered so far.
    #[must_use]
    pub fn fleet(&self, now: Timestamp) -> Vec<Arc<AgentView>> {
        let mut agents: Vec<_> = self.agents.iter().map(|(_, agent)| Arc::new(agent.view(now))).collect();
        agents.sort_unstable_by(|one, other| one.spec.id.cmp(&other.spec.id));
        agents
    }

    /// What a sample tells beside the status and the agents; the shell's own part is left out. `gated` is of the same moment.
    /// Walks the rows of tenants and kinds and the classes, each bounded by some thousands: once a second, not for every task.
    #[must_use]
    pub fn more_samples(&self, gated: &Gated) -> MoreSamples {
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
        let limits = gated.limits.iter().map(|(view, waiting)| LimitSample {
            name: view.limit.name.clone(),
            concurrency_max: view.limit.concurrency_max.unwrap_or(0),
            closed: view.closed,
            // More agents would take what waits for agents that are at their limit: it is not held up by that.
            waiting: if view.limit.scope.is_about_tasks() { *waiting } else { 0 },
        });
        // What waits for a budget is held like what waits for a limit: more agents would not begin it sooner.
        let budgets = gated.budgets.iter().filter(|(_, waiting)| *waiting > 0);
        let budgets = budgets.map(|(view, waiting)| LimitSample {
            name: format!("budget {}", view.budget.name),
            concurrency_max: 0,
            closed: true,
            waiting: *waiting,
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
