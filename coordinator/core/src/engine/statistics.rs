//! Who gets how much: where the engine counts it. See [`crate::admission::statistics`].

use std::time::Duration;

use evenkeel_shared::{AttemptEnd, Kind, TaskSpec, Tenant};

use super::Engine;
use crate::{
    admission::statistics::{AgentRows, Counts, RowIx, Table},
    ix::{AgentIx, TaskIx},
};

/// The rows of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskRows {
    tenant: RowIx,
    kind: RowIx,
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub tenants: Table<Tenant>,
    pub kinds: Table<Kind>,
    pub agents: AgentRows,
}

impl Engine {
    /// The rows of a task that begins, which it keeps until [`Engine::leave_rows`].
    pub(super) fn enter_rows(&mut self, spec: &TaskSpec) -> TaskRows {
        let (now, statistics) = (self.now, &mut self.allocation.statistics);
        TaskRows { tenant: statistics.tenants.enter(now, &spec.tenant), kind: statistics.kinds.enter(now, &spec.kind) }
    }

    /// The task is over.
    pub(super) fn leave_rows(&mut self, rows: TaskRows) {
        self.allocation.statistics.tenants.leave(rows.tenant);
        self.allocation.statistics.kinds.leave(rows.kind);
    }

    fn count(&mut self, rows: TaskRows, change: impl Fn(&mut Counts)) {
        let (now, statistics) = (self.now, &mut self.allocation.statistics);
        statistics.tenants.count(now, rows.tenant, &change);
        statistics.kinds.count(now, rows.kind, &change);
    }

    /// A task was accepted.
    pub(super) fn count_request(&mut self, rows: TaskRows) {
        self.count(rows, |counts| counts.requested += 1);
    }

    /// A submission was refused.
    pub(super) fn count_refusal(&mut self, spec: &TaskSpec) {
        let rows = self.enter_rows(spec);
        self.count(rows, |counts| counts.refused += 1);
        self.leave_rows(rows);
    }

    /// An attempt was assigned, after such a wait; `recovered`: before this coordinator started.
    pub(super) fn count_grant(&mut self, task: TaskIx, agent: AgentIx, waited: Option<Duration>) {
        let row = &self.tasks[task];
        let (rows, slots) = (row.rows, i64::from(row.spec.requirements.resources.slots));
        let now = self.now;
        if let Some(waited) = waited {
            let wait_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            let change = |counts: &mut Counts| {
                counts.granted += 1;
                counts.wait_us = counts.wait_us.saturating_add(wait_us);
            };
            self.count(rows, change);
            self.allocation.statistics.agents.count(now, agent, change);
        }
        let statistics = &mut self.allocation.statistics;
        statistics.tenants.use_slots(now, rows.tenant, slots);
        statistics.kinds.use_slots(now, rows.kind, slots);
        statistics.agents.use_slots(now, agent, slots);
    }

    /// An attempt ended after it ran for so long.
    pub(super) fn count_release(&mut self, task: TaskIx, agent: AgentIx, end: AttemptEnd, run: Duration) {
        let row = &self.tasks[task];
        let (rows, slots) = (row.rows, i64::from(row.spec.requirements.resources.slots));
        let (now, run_us) = (self.now, u64::try_from(run.as_micros()).unwrap_or(u64::MAX));
        let change = |counts: &mut Counts| {
            counts.released += 1;
            counts.timed_out += u64::from(end == AttemptEnd::TimedOut);
            counts.run_us = counts.run_us.saturating_add(run_us);
        };
        self.count(rows, change);
        let statistics = &mut self.allocation.statistics;
        statistics.agents.count(now, agent, change);
        statistics.tenants.use_slots(now, rows.tenant, -slots);
        statistics.kinds.use_slots(now, rows.kind, -slots);
        statistics.agents.use_slots(now, agent, -slots);
    }
}
