//! The client's books of a run: what is due, what became of it, and how long it took.
//!
//! Time is an argument. The [`Oracle`] judges whether the coordinator keeps its promises; beside it stands what a scenario
//! adds: tasks of many kinds, sessions that wait for an end before they go on, follow-ups, and latencies from when a task
//! was due.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    iter::Peekable,
    time::{Duration, Instant},
};

use evenkeel_proto::v1::TaskSpec;
use evenkeel_shared::{TaskId, TaskState};
use fastrand::Rng;

use super::{
    arrivals::{Arrival, Arrivals, geometric},
    catalogue::{Catalogue, Task},
};
use crate::{
    ledger::Ledger,
    oracle::{Notice, Oracle, Verified},
    record::{Histograms, Phase},
    scenario::{Network, Process, Scenario},
    task_time::{TaskTime, mix},
    trace::TraceTask,
};

/// Tasks that are due and were never sent, at most: some minutes of a fast run. A client that kept more would measure its
/// own queue; the task counts as refused instead.
pub(crate) const UNSENT_MAX: usize = 200_000;
/// The session of a task that is of none.
const NO_SESSION: u32 = u32::MAX;
/// What tells keys of sessions' tasks and of recorded ones from those of others.
const SESSION_SALT: u64 = 0x5e55;
const TRACE_SALT: u64 = 0x7ace;

/// Counts of tasks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub offered: u64,
    pub accepted: u64,
    pub refused: u64,
    pub completed: u64,
    pub failed: u64,
    pub escalated: u64,
    pub retried: u64,
}

/// A task that was due.
#[derive(Clone, Copy, Debug)]
struct Entry {
    task: Task,
    due: Instant,
    tries: u32,
    session: u32,
    settled: bool,
}

/// A user: submits a task, waits for its end, thinks, and goes on with the next.
#[derive(Clone, Copy, Debug)]
struct Session {
    tasks_left: u64,
    tasks_done: u64,
}

/// The books.
pub(crate) struct Books<'a> {
    ledger: &'a Ledger,
    pub catalogue: Catalogue,
    pub oracle: Oracle<'a>,
    pub tally: Tally,
    /// How often and when tasks are tried again.
    pub network: Network,
    /// Tasks that are due and were never sent.
    pub unsent: VecDeque<u32>,
    /// Latencies since they were last taken.
    pub latencies: Histograms,
    entries: Vec<Entry>,
    arrivals: Peekable<Arrivals>,
    arrived: u64,
    spike_kinds: Vec<Option<u16>>,
    trace: VecDeque<(f64, Task)>,
    process: Process,
    seed: u64,
    sessions: Vec<Session>,
    /// Sessions that think, until then.
    thinking: BinaryHeap<Reverse<(Instant, u32)>>,
    started: Instant,
    /// Nothing is due any more from then on, but for follow-ups.
    pub ends: Instant,
    /// There was no room in the ledger for all tasks.
    pub full: bool,
}

impl<'a> Books<'a> {
    pub(crate) fn new(
        scenario: &Scenario,
        seed: u64,
        ledger: &'a Ledger,
        recorded: &[TraceTask],
        started: Instant,
    ) -> Self {
        let mut catalogue = Catalogue::new(scenario, seed);
        let arrivals = &scenario.arrivals;
        let spike_kinds =
            arrivals.spikes.iter().map(|spike| spike.work.as_ref().and_then(|work| catalogue.named(work))).collect();
        let speed = if let Process::Trace { speed, .. } = arrivals.process { speed } else { 1.0 };
        let trace = (0..).zip(recorded).map(|(at, task)| {
            (task.submitted_at.as_secs_f64() / speed, catalogue.recorded(mix(TRACE_SALT) ^ at, task))
        });
        let trace = trace.filter(|(at_s, _)| *at_s < scenario.duration_s).collect();
        Self {
            ledger,
            catalogue,
            oracle: Oracle::new(ledger),
            tally: Tally::default(),
            network: scenario.network.clone(),
            unsent: VecDeque::new(),
            latencies: Histograms::default(),
            entries: Vec::new(),
            arrivals: Arrivals::new(arrivals, scenario.duration_s, seed).peekable(),
            arrived: 0,
            spike_kinds,
            trace,
            process: arrivals.process.clone(),
            seed,
            sessions: Vec::new(),
            thinking: BinaryHeap::new(),
            started,
            ends: started + Duration::from_secs_f64(scenario.duration_s),
            full: false,
        }
    }

    fn at(&self, at_s: f64) -> Instant {
        self.started + Duration::from_secs_f64(at_s)
    }

    /// When the next task is due; `None` once no more come but follow-ups.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        let arrival = self.arrivals.peek().map(|arrival| arrival.at_s);
        let recorded = self.trace.front().map(|recorded| recorded.0);
        let earliest = [arrival, recorded].into_iter().flatten().min_by(f64::total_cmp).map(|at_s| self.at(at_s));
        let thinking = self.thinking.peek().map(|Reverse((at, _))| *at);
        let due = [earliest, thinking].into_iter().flatten().min();
        due.filter(|due| *due < self.ends && !self.full)
    }

    /// No more tasks come, but for follow-ups.
    pub(crate) fn end_arrivals(&mut self, now: Instant) {
        self.ends = self.ends.min(now);
    }

    /// Whether tasks still come by themselves. A trace may be shorter than the run was planned.
    pub(crate) fn is_open(&mut self, now: Instant) -> bool {
        let replayed = matches!(self.process, Process::Trace { .. }) && self.next_due().is_none();
        now < self.ends && !self.full && !replayed
    }

    /// Puts all tasks that are due by now into the queue.
    pub(crate) fn fall_due(&mut self, now: Instant) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            if self.thinking.peek().is_some_and(|Reverse((at, _))| *at == due) {
                if let Some(Reverse((_, session))) = self.thinking.pop() {
                    self.session_task(session, due);
                }
            } else if self.trace.front().is_some_and(|(at_s, _)| self.at(*at_s) == due) {
                if let Some((_, task)) = self.trace.pop_front() {
                    self.offer(task, due, NO_SESSION);
                }
            } else if let Some(arrival) = self.arrivals.next() {
                self.arrive(arrival, due);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival, due: Instant) {
        let key = self.arrived;
        self.arrived += 1;
        let Process::Sessions { mean_tasks, .. } = self.process else {
            let kind = arrival.spike.and_then(|spike| self.spike_kinds[spike]);
            let task = self.catalogue.draw(key, kind);
            return self.offer(task, due, NO_SESSION);
        };
        let tasks_left = geometric(mean_tasks, &mut Rng::with_seed(mix(self.seed ^ mix(key ^ SESSION_SALT))));
        self.sessions.push(Session { tasks_left, tasks_done: 0 });
        self.session_task(u32::try_from(self.sessions.len() - 1).unwrap_or(NO_SESSION), due);
    }

    /// The next task of a session, drawn from the session's number and its own, so that it does not depend on what other
    /// sessions do meanwhile.
    fn session_task(&mut self, number: u32, due: Instant) {
        let Some(session) = self.sessions.get_mut(number as usize) else { return };
        let key = mix(mix(SESSION_SALT ^ u64::from(number)) ^ session.tasks_done);
        session.tasks_done += 1;
        session.tasks_left -= 1;
        let task = self.catalogue.draw(key, None);
        self.offer(task, due, number);
    }

    fn offer(&mut self, task: Task, due: Instant, session: u32) {
        if !self.ledger.open(task.time, self.catalogue.failure_share(&task)) {
            self.full = true;
            return;
        }
        self.tally.offered += 1;
        let number = self.oracle.submitted(due);
        self.entries.push(Entry { task, due, tries: 0, session, settled: false });
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(number);
        } else {
            self.refused(number, "the client's own queue is full", due);
        }
    }

    /// The task of this number.
    pub(crate) fn task(&self, number: u32) -> &Task {
        &self.entries[number as usize].task
    }

    /// How the task is submitted.
    pub(crate) fn spec(&self, number: u32) -> TaskSpec {
        self.catalogue.spec(self.task(number), number, self.ledger)
    }

    /// Counts a try of the task; how many there were.
    pub(crate) fn tried(&mut self, number: u32) -> u32 {
        let tries = &mut self.entries[number as usize].tries;
        *tries += 1;
        *tries
    }

    /// The last try never left.
    pub(crate) fn untried(&mut self, number: u32) {
        let tries = &mut self.entries[number as usize].tries;
        *tries = tries.saturating_sub(1);
    }

    /// Tries so far.
    pub(crate) fn tries(&self, number: u32) -> u32 {
        self.entries[number as usize].tries
    }

    /// The coordinator answered the submission with an id.
    pub(crate) fn accepted(&mut self, number: u32, id: TaskId, now: Instant) {
        let news = !self.oracle.is_accepted(number);
        self.oracle.accepted(number, id, now);
        if news {
            self.tally.accepted += 1;
            self.record(number, Phase::Acceptance, self.since_due_us(number, now));
        }
        // Its end may have overtaken the answer.
        self.settle(number, now);
    }

    /// The task is refused for good.
    pub(crate) fn refused(&mut self, number: u32, why: &str, now: Instant) {
        if self.oracle.is_accepted(number) || self.entries[number as usize].settled {
            return;
        }
        self.oracle.refused(number, why);
        self.tally.refused += 1;
        self.entries[number as usize].settled = true;
        self.think(number, now);
    }

    /// The coordinator says that a task is over. `true` if that is news.
    pub(crate) fn finished(&mut self, notice: Notice, now: Instant) -> bool {
        let number = self.oracle.number(notice.id);
        let news = self.oracle.finished(notice, now);
        if let Some(number) = number {
            self.settle(number, now);
        }
        news
    }

    /// Does what follows of a task's end, once.
    fn settle(&mut self, number: u32, now: Instant) {
        let Some(state) = self.oracle.ended(number).filter(|_| !self.entries[number as usize].settled) else {
            return;
        };
        self.entries[number as usize].settled = true;
        self.record(number, Phase::EndToEnd, self.since_due_us(number, now));
        if let Some(execution) = self.ledger.execution(number) {
            let due_us = self.ledger.us(self.entries[number as usize].due);
            self.record(number, Phase::Queueing, execution.started_us.saturating_sub(due_us));
            self.record(number, Phase::Execution, execution.ran_us);
        }
        if state == TaskState::Succeeded {
            self.tally.completed += 1;
            if let Some(task) = self.catalogue.follow_up(self.task(number)) {
                self.tally.escalated += 1;
                self.offer(task, now, NO_SESSION);
            }
        } else {
            self.tally.failed += 1;
        }
        self.think(number, now);
    }

    /// The task's session goes on after a while, if it has one and is not over.
    fn think(&mut self, number: u32, now: Instant) {
        let session = self.entries[number as usize].session;
        let Process::Sessions { think_time, .. } = self.process else { return };
        let Some(Session { tasks_left: 1.., tasks_done }) = self.sessions.get(session as usize) else { return };
        let pause = think(think_time, self.seed, session, *tasks_done);
        self.thinking.push(Reverse((now + pause, session)));
    }

    fn since_due_us(&self, number: u32, now: Instant) -> u64 {
        let waited = now.saturating_duration_since(self.entries[number as usize].due);
        u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)
    }

    fn record(&mut self, number: u32, phase: Phase, us: u64) {
        let Self { catalogue, latencies, entries, .. } = self;
        for slice in catalogue.slices(&entries[number as usize].task) {
            latencies.record(slice, phase, us);
        }
    }

    /// Tasks that are neither over nor refused.
    pub(crate) fn in_flight(&self) -> u32 {
        self.oracle.totals().in_flight()
    }

    /// Ends the books: what was never answered counts as refused.
    pub(crate) fn close(mut self, unanswered: &[TaskId], now: Instant) -> (Tally, Histograms, Verified) {
        for number in 0..self.oracle.totals().submitted {
            self.refused(number, "never answered", now);
        }
        self.oracle.unverified(unanswered);
        (self.tally, self.latencies, self.oracle.close())
    }
}

fn think(think_time: TaskTime, seed: u64, session: u32, tasks_done: u64) -> Duration {
    think_time.of_task(mix(seed ^ mix(SESSION_SALT ^ u64::from(session) << 32 ^ tasks_done)), 0)
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
