//! The agents' own books: what they ran and what they were told is recorded.
//!
//! Shared by all agents of a run, a few counters a task and an agent, so that keeping them costs no lock. The books grow in
//! segments that are never moved: a scenario does not know beforehand how many tasks it will have.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use crate::plan::{KIND, TASKS_MAX};

/// Tasks of a segment: two megabytes, a few seconds of a fast run.
const SEGMENT_TASKS: u32 = 65_536;
/// Segments of the largest run.
const SEGMENTS_MAX: u32 = TASKS_MAX.div_ceil(SEGMENT_TASKS);
/// Failures are drawn in millionths.
const PARTS: f64 = 1e6;

/// What is written down of a task.
#[derive(Debug, Default)]
struct Entry {
    executions: AtomicU32,
    recorded: AtomicU32,
    /// How long it takes, and the share of its executions that fail: known of tasks of scenarios.
    time_us: AtomicU32,
    failing_parts: AtomicU32,
    /// When its last execution started, and how long it ran.
    started_us: AtomicU64,
    ran_us: AtomicU32,
}

/// What is written down of an agent. Only its own agent writes, others read what is a moment old.
#[derive(Debug, Default)]
struct AgentEntry {
    finished: AtomicU32,
    connected: AtomicU32,
    /// Slots in use, since when, and slots times time in use before.
    busy_slots: AtomicU32,
    since_us: AtomicU64,
    busy_us: AtomicU64,
}

/// Counters by task and by agent.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: String,
    epoch: Instant,
    tasks: AtomicU32,
    segments: Box<[OnceLock<Box<[Entry]>>]>,
    agents: Box<[AgentEntry]>,
    stale: AtomicU64,
    foreign: AtomicU64,
    /// The agents are none of this run's.
    given_agents: bool,
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

/// When an execution started, in microseconds since the ledger was opened, and how long it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    pub started_us: u64,
    pub ran_us: u64,
}

fn empty() -> Box<[Entry]> {
    (0..SEGMENT_TASKS).map(|_| Entry::default()).collect()
}

impl Ledger {
    /// Books of so many tasks.
    pub(crate) fn new(run: &str, tasks: u32, agents: u32) -> Self {
        let ledger = Self {
            run: run.to_owned(),
            epoch: Instant::now(),
            tasks: AtomicU32::new(0),
            segments: (0..SEGMENTS_MAX).map(|_| OnceLock::new()).collect(),
            agents: (0..agents).map(|_| AgentEntry::default()).collect(),
            stale: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            given_agents: false,
        };
        for segment in &ledger.segments[..tasks.div_ceil(SEGMENT_TASKS) as usize] {
            segment.get_or_init(empty);
        }
        ledger.tasks.store(tasks, Release);
        ledger
    }

    /// The tasks run on agents that are there, none of this run's: as the built-in kind `sleep`.
    pub(crate) fn on_given_agents(self) -> Self {
        Self { given_agents: true, ..self }
    }

    /// Whether they do.
    pub(crate) fn has_given_agents(&self) -> bool {
        self.given_agents
    }

    /// What a task that succeeded has put out.
    pub(crate) fn output(&self, number: u32) -> String {
        if self.given_agents { String::new() } else { self.key(number) }
    }

    /// Opens an account for one more task, that takes so long and fails in this share of its executions. It must be
    /// opened before the task is submitted, and only by one thread. `false`: there is no room for more.
    pub(crate) fn open(&self, time: Duration, failure_share: f64) -> bool {
        let number = self.tasks.load(Relaxed);
        if number >= TASKS_MAX {
            return false;
        }
        let segment = self.segments[(number / SEGMENT_TASKS) as usize].get_or_init(empty);
        let entry = &segment[(number % SEGMENT_TASKS) as usize];
        entry.time_us.store(u32::try_from(time.as_micros()).unwrap_or(u32::MAX), Relaxed);
        entry.failing_parts.store((failure_share * PARTS) as u32, Relaxed);
        self.tasks.store(number + 1, Release);
        true
    }

    fn entry(&self, number: u32) -> &Entry {
        let segment = self.segments[(number / SEGMENT_TASKS) as usize].get();
        &segment.expect("numbers are those of accounts")[(number % SEGMENT_TASKS) as usize]
    }

    /// The run's id.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Microseconds since the ledger was opened.
    pub(crate) fn us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }

    /// The idempotency key of a task.
    pub(crate) fn key(&self, number: u32) -> String {
        format!("{}-{number}", self.run)
    }

    /// The task of a key; `None`, and counted, if it is not of this run.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        let number = key.strip_prefix(self.run.as_str()).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        let known = number.filter(|number| *number < self.tasks.load(Acquire));
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
        number.parse().ok().filter(|agent| (*agent as usize) < self.agents.len())
    }

    /// How long an account's task takes, and the share of its executions that fail.
    pub(crate) fn work(&self, number: u32) -> (Duration, f64) {
        let entry = self.entry(number);
        let time = Duration::from_micros(entry.time_us.load(Relaxed).into());
        (time, f64::from(entry.failing_parts.load(Relaxed)) / PARTS)
    }

    /// An agent starts the task.
    pub(crate) fn started(&self, number: u32, now: Instant) {
        let entry = self.entry(number);
        entry.executions.fetch_add(1, Relaxed);
        entry.started_us.store(self.us(now), Relaxed);
    }

    /// An agent has finished a task.
    pub(crate) fn finished(&self, agent: u32, number: u32, ran: Duration) {
        self.agents[agent as usize].finished.fetch_add(1, Relaxed);
        self.entry(number).ran_us.store(u32::try_from(ran.as_micros()).unwrap_or(u32::MAX), Relaxed);
    }

    /// So many slots of the agent are in use from now on.
    pub(crate) fn busy(&self, agent: u32, slots: usize, now: Instant) {
        let (entry, now_us) = (&self.agents[agent as usize], self.us(now));
        let before = u64::from(entry.busy_slots.load(Relaxed));
        let span_us = now_us.saturating_sub(entry.since_us.swap(now_us, Relaxed));
        entry.busy_us.fetch_add(before * span_us, Relaxed);
        entry.busy_slots.store(u32::try_from(slots).unwrap_or(u32::MAX), Relaxed);
    }

    /// The agent has a session, or has lost it.
    pub(crate) fn connected(&self, agent: u32, connected: bool) {
        self.agents[agent as usize].connected.store(connected.into(), Relaxed);
    }

    /// Of each agent: whether it has a session, and slots times microseconds that were in use until now.
    pub(crate) fn load(&self, now: Instant) -> impl Iterator<Item = (bool, u64)> {
        let now_us = self.us(now);
        self.agents.iter().map(move |agent| {
            let span_us = now_us.saturating_sub(agent.since_us.load(Relaxed));
            let busy_us = agent.busy_us.load(Relaxed) + u64::from(agent.busy_slots.load(Relaxed)) * span_us;
            (agent.connected.load(Relaxed) > 0, busy_us)
        })
    }

    /// The last execution of a task, if it was started.
    pub(crate) fn execution(&self, number: u32) -> Option<Execution> {
        let entry = self.entry(number);
        let started = entry.executions.load(Relaxed) > 0;
        started.then(|| Execution {
            started_us: entry.started_us.load(Relaxed),
            ran_us: entry.ran_us.load(Relaxed).into(),
        })
    }

    /// The success of one attempt is acknowledged as recorded. To be told once an attempt.
    pub(crate) fn recorded(&self, number: u32) {
        self.entry(number).recorded.fetch_add(1, Relaxed);
    }

    /// The result of one attempt is answered STALE.
    pub(crate) fn stale(&self) {
        self.stale.fetch_add(1, Relaxed);
    }

    /// What the books say.
    pub(crate) fn totals(&self) -> LedgerTotals {
        let entries = || self.segments.iter().filter_map(OnceLock::get).flatten();
        let extra = |entry: &Entry| u64::from(entry.executions.load(Relaxed).saturating_sub(1));
        LedgerTotals {
            executions_extra: entries().map(extra).sum(),
            recorded_twice: entries().filter(|entry| entry.recorded.load(Relaxed) > 1).count() as u64,
            stale: self.stale.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            finished_by_agent: self.agents.iter().map(|agent| agent.finished.load(Relaxed)).collect(),
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
            ledger.started(number, Instant::now());
        }
        ledger.recorded(0);
        ledger.recorded(1);
        assert_eq!((ledger.totals().executions_extra, ledger.totals().recorded_twice), (2, 0));
        ledger.recorded(1);
        assert_eq!(ledger.totals().recorded_twice, 1);
    }

    #[test]
    fn accounts_can_be_opened_one_by_one() {
        let ledger = Ledger::new("run", 0, 1);
        assert_eq!(ledger.number(&ledger.key(0)), None);
        for number in 0..SEGMENT_TASKS + 2 {
            assert!(ledger.open(Duration::from_micros(number.into()), 0.25));
        }
        let last = SEGMENT_TASKS + 1;
        assert_eq!(ledger.number(&ledger.key(last)), Some(last));
        assert_eq!(ledger.number(&ledger.key(last + 1)), None);
        assert_eq!(ledger.work(last), (Duration::from_micros(last.into()), 0.25));
        assert_eq!(ledger.execution(last), None);
    }

    #[test]
    fn busy_time_is_slots_times_time() {
        let ledger = Ledger::new("run", 1, 1);
        let at = |ms| ledger.epoch + Duration::from_millis(ms);
        ledger.busy(0, 2, at(10));
        ledger.busy(0, 1, at(15));
        ledger.connected(0, true);
        assert_eq!(ledger.load(at(18)).collect::<Vec<_>>(), [(true, 13_000)]);
        ledger.busy(0, 0, at(20));
        assert_eq!(ledger.load(at(50)).collect::<Vec<_>>(), [(true, 15_000)]);
    }
}
