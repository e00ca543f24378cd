//! What there is to see of limits and budgets, and what they keep from going.

use std::time::Duration;

use evenkeel_shared::{Kind, Tenant, Timestamp};

use super::Engine;
use crate::{
    admission::{
        gates::{LimitView, Shut, Site},
        statistics::{OTHERS, Row, Window},
    },
    cost::ledger::{BudgetView, Shortage},
    ix::TaskIx,
    routing::AgentSet,
};

/// What keeps a waiting task from going, whatever room there is.
#[derive(Clone, Debug, PartialEq)]
pub enum Blocked {
    /// A limit.
    Limit {
        /// Its name.
        name: String,
        /// Why it is shut.
        why: Shut,
    },
    /// A budget.
    Budget(Shortage),
}

impl Blocked {
    /// Until when, as far as that is known.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Limit { why: Shut::Rate { opens, .. }, .. } => Some(*opens),
            Self::Limit { .. } => None,
            Self::Budget(shortage) => shortage.until,
        }
    }

    /// For people, to follow "waits for".
    #[must_use]
    pub fn in_words(&self, now: Timestamp) -> String {
        let until =
            self.until().map(|until| format!(", for another {}", in_words(until.since(now)))).unwrap_or_default();
        match self {
            Self::Limit { name, why } => format!("limit `{name}`: {why}{until}"),
            Self::Budget(shortage) => format!("money: {shortage}{until}"),
        }
    }
}

/// By what allocation is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocationBy {
    /// By tenant.
    Tenant,
    /// By kind.
    Kind,
    /// By agent.
    Agent,
}

/// What a tenant, kind or agent asked for and got.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationView {
    /// Its name; [`OTHERS`] for all that have no row of their own.
    pub name: String,
    /// Since the coordinator started.
    pub total: crate::admission::statistics::Counts,
    /// Waits at this moment; of an agent: waits there.
    pub waiting: u64,
    /// Slots in use at this moment.
    pub slots_in_use: u32,
    /// Over the last minute, five minutes and hour.
    pub windows: [Window; 3],
}

/// A time for people: what is a month away is not said in tenths of a second.
fn in_words(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0..2) => format!("{time:.1?}"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

impl Engine {
    /// What keeps a waiting task from going: a limit or budget that is shut for such tasks.
    pub(super) fn blocked_by(&self, task: TaskIx, now: Timestamp) -> Option<Blocked> {
        let spec = &self.tasks[task].spec;
        let limits = &self.allocation.limits;
        if let Some((name, why)) = limits.shut_for(&spec.tenant, &spec.kind).and_then(|gate| limits.why(now, gate)) {
            return Some(Blocked::Limit { name: name.to_owned(), why });
        }
        let shortage = self.allocation.short(&spec.tenant, &spec.kind)?;
        // It has what was left when the lane shut; since then some may have been spent, or come free.
        let left = self.allocation.ledger.left(self.now, &shortage.budget).unwrap_or(shortage.left);
        Some(Blocked::Budget(Shortage { left, ..shortage.clone() }))
    }

    /// All limits as they stand, by name, each with the tasks that wait under it. Walks gates and classes: for people and for
    /// publication now and then.
    #[must_use]
    pub fn limit_views(&self, now: Timestamp) -> Vec<(LimitView, u64)> {
        let views = self.allocation.limits.views(self.now.max(now)).into_iter();
        views.map(|view| (self.waiting_at(&view.sites), view)).map(|(waiting, view)| (view, waiting)).collect()
    }

    /// Tasks that wait at shut gates of a limit: all that these cover. Where they are agents' gates, a task that several of
    /// the agents could take waits once.
    fn waiting_at(&self, sites: &[Site]) -> u64 {
        let (mut waiting, mut shut) = (0, AgentSet::default());
        for site in sites {
            match site {
                Site::Kind(kind) => waiting += self.waiting_of(None, Some(kind)),
                Site::Tenant(tenant, kind) => waiting += self.waiting_of(Some(tenant), kind.as_ref()),
                Site::Agent(agent) => {
                    shut.insert(*agent);
                }
                Site::Group(group) => self.allocation.limits.members(*group).into_iter().for_each(|agent| {
                    shut.insert(agent);
                }),
            }
        }
        if shut.is_empty() {
            return waiting;
        }
        let classes = self.queue.classes().filter(|&class| self.router.any_matches(class, &shut));
        waiting + classes.map(|class| self.queue.class_len(class) as u64).sum::<u64>()
    }

    fn waiting_of(&self, tenant: Option<&Tenant>, kind: Option<&Kind>) -> u64 {
        let of_kind = |class| kind.is_none_or(|kind| self.router.asks_for(class).is_some_and(|(of, _)| of == kind));
        let classes = self.queue.classes().filter(|class| of_kind(*class));
        let waiting: usize = match tenant {
            Some(tenant) => classes.map(|class| self.queue.lane_len(tenant, class)).sum(),
            None => classes.map(|class| self.queue.class_len(class)).sum(),
        };
        waiting as u64
    }

    /// All budgets with their use, by name, each with the tasks that wait for it.
    #[must_use]
    pub fn budget_views(&self, now: Timestamp) -> Vec<(BudgetView, u64)> {
        let views = self.allocation.ledger.views(self.now.max(now)).into_iter();
        views
            .map(|view| (self.tasks_waiting_for(&view.budget.name), view))
            .map(|(waiting, view)| (view, waiting))
            .collect()
    }

    /// The budget of this name with its use and the tasks that wait for it.
    #[must_use]
    pub fn budget_view(&self, name: &str, now: Timestamp) -> Option<(BudgetView, u64)> {
        let view = self.allocation.ledger.view(self.now.max(now), name)?;
        Some((view, self.tasks_waiting_for(name)))
    }

    fn tasks_waiting_for(&self, budget: &str) -> u64 {
        self.allocation.waiting_for(budget).map(|(tenant, kind)| self.waiting_of(Some(tenant), Some(kind))).sum()
    }

    /// Who asked for how much and got it. Walks all rows of that sort.
    #[must_use]
    pub fn allocation(&self, by: AllocationBy, now: Timestamp) -> Vec<AllocationView> {
        let now = self.now.max(now);
        let view = |name: String, row: &Row, waiting: u64| AllocationView {
            name,
            total: row.total,
            waiting,
            slots_in_use: row.slots_in_use,
            windows: row.windows(now),
        };
        let statistics = &self.allocation.statistics;
        match by {
            AllocationBy::Tenant => {
                let rows = statistics.tenants.rows();
                rows.map(|(tenant, row)| match tenant {
                    Some(tenant) => view(tenant.to_string(), row, self.queue.tenant_len(tenant) as u64),
                    None => view(OTHERS.to_owned(), row, 0),
                })
                .collect()
            }
            AllocationBy::Kind => {
                let rows = statistics.kinds.rows();
                rows.map(|(kind, row)| match kind {
                    Some(kind) => view(kind.to_string(), row, self.waiting_of(None, Some(kind))),
                    None => view(OTHERS.to_owned(), row, 0),
                })
                .collect()
            }
            AllocationBy::Agent => {
                let mut views: Vec<_> = self
                    .agents
                    .iter()
                    .filter_map(|(ix, agent)| {
                        let row = statistics.agents.get(ix)?;
                        Some(view(agent.spec.id.to_string(), row, agent.ahead_tasks.into()))
                    })
                    .collect();
                views.sort_by(|a, b| a.name.cmp(&b.name));
                views
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, words) in [
            (0, "0.0ns"),
            (119, "119.0s"),
            (120, "2 min"),
            (3_600, "1 h 0 min"),
            (65_297, "18 h 8 min"),
            (8 * 86_400 + 7_200, "8 d 2 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
