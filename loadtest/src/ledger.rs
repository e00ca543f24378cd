//! The agents' own books: what they ran and what they were told is recorded.
//!
//! Shared by all agents of a run, one counter a task and one an agent, so that keeping them costs no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::plan::KIND;

/// Counters by task and by agent.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: String,
    executions: Box<[AtomicU32]>,
    recorded: Box<[AtomicU32]>,
    finished_by_agent: Box<[AtomicU32]>,
    stale: AtomicU64,
    foreign: AtomicU64,
}

/// What the agents' books say at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedgerTotals {
    /// Executions beyond the first of their task.
    pub executions_extra: u64,
    /// Tasks of which more than one attempt was recorded as a success.
    pub recorded_twice: u64,
    /// Results answered STALE.
    pub stale: u64,
    /// Assignments of tasks that are not of this run.
    pub foreign: u64,
    /// Results sent by each agent.
    pub finished_by_agent: Vec<u32>,
}

fn zeroes(len: u32) -> Box<[AtomicU32]> {
    (0..len).map(|_| AtomicU32::new(0)).collect()
}

impl Ledger {
    pub(crate) fn new(run: &str, tasks: u32, agents: u32) -> Self {
        Self {
            run: run.to_owned(),
            executions: zeroes(tasks),
            recorded: zeroes(tasks),
            finished_by_agent: zeroes(agents),
            stale: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
        }
    }

    /// The run's id.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The idempotency key of a task.
    pub(crate) fn key(&self, number: u32) -> String {
        format!("{}-{number}", self.run)
    }

    /// The task of a key; `None`, and counted, if it is not of this run.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        let number = key.strip_prefix(self.run.as_str()).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        let known = number.filter(|number| (*number as usize) < self.executions.len());
        if known.is_none() {
            self.foreign.fetch_add(1, Relaxed);
        }
        known
    }

    /// The name of an agent of this run.
    pub(crate) fn agent_id(&self, agent: u32) -> String {
        format!("{KIND}-{}-{agent}", self.run)
    }

    /// The agent of a name, if it is of this run.
    pub(crate) fn agent(&self, id: &str) -> Option<u32> {
        let number = id.strip_prefix(KIND)?.strip_prefix('-')?.strip_prefix(self.run.as_str())?.strip_prefix('-')?;
        number.parse().ok().filter(|agent| (*agent as usize) < self.finished_by_agent.len())
    }

    /// An agent starts the task.
    pub(crate) fn started(&self, number: u32) {
        self.executions[number as usize].fetch_add(1, Relaxed);
    }

    /// An agent has finished a task.
    pub(crate) fn finished(&self, agent: u32) {
        self.finished_by_agent[agent as usize].fetch_add(1, Relaxed);
    }

    /// The success of one attempt is acknowledged as recorded. To be told once an attempt.
    pub(crate) fn recorded(&self, number: u32) {
        self.recorded[number as usize].fetch_add(1, Relaxed);
    }

    /// The result of one attempt is answered STALE.
    pub(crate) fn stale(&self) {
        self.stale.fetch_add(1, Relaxed);
    }

    /// What the books say.
    pub(crate) fn totals(&self) -> LedgerTotals {
        let extra = |count: &AtomicU32| u64::from(count.load(Relaxed).saturating_sub(1));
        LedgerTotals {
            executions_extra: self.executions.iter().map(extra).sum(),
            recorded_twice: self.recorded.iter().filter(|count| count.load(Relaxed) > 1).count() as u64,
            stale: self.stale.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            finished_by_agent: self.finished_by_agent.iter().map(|count| count.load(Relaxed)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_tasks_and_foreign_keys_are_counted() {
        let ledger = Ledger::new("run", 10, 1);
        assert_eq!(ledger.number(&ledger.key(9)), Some(9));
        for foreign in ["run-10", "run-", "other-1", "run1", ""] {
            assert_eq!(ledger.number(foreign), None, "{foreign}");
        }
        assert_eq!(ledger.totals().foreign, 5);
    }

    #[test]
    fn agents_of_other_runs_are_told_apart() {
        let ledger = Ledger::new("run", 1, 2);
        assert_eq!(ledger.agent(&ledger.agent_id(1)), Some(1));
        for foreign in ["loadtest-run-2", "loadtest-other-1", "dev-1", ""] {
            assert_eq!(ledger.agent(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_happens_twice_shows() {
        let ledger = Ledger::new("run", 3, 2);
        for number in [0, 1, 1, 1, 2] {
            ledger.started(number);
        }
        ledger.recorded(0);
        ledger.recorded(1);
        assert_eq!((ledger.totals().executions_extra, ledger.totals().recorded_twice), (2, 0));
        ledger.recorded(1);
        assert_eq!(ledger.totals().recorded_twice, 1);
    }
}
