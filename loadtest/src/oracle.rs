//! The client's books: what was accepted, and how each accepted task ended.
//!
//! The oracle believes nobody. A task is over once a terminal notice of it arrived; a second notice that says anything
//! else, a second id under one key, another task's output or an agent of another fleet is held against the coordinator.
//! Time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_shared::{TaskId, TaskState};
use hdrhistogram::Histogram;

use crate::ledger::Ledger;

/// Longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(3_600);
/// Digits kept of a latency: three, an error below 0.1 %.
const LATENCY_DIGITS: u8 = 3;

/// That a task is over, as the coordinator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub id: TaskId,
    pub state: TaskState,
    pub attempts_made: u32,
    pub agent_id: String,
    pub output: Bytes,
}

/// How a task ended: what two notices of it must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    state: TaskState,
    attempts_made: u32,
    agent: Option<u32>,
}

#[derive(Debug)]
struct Record {
    submitted: Instant,
    id: Option<TaskId>,
    ending: Option<Ending>,
    refused: bool,
    duplicated: bool,
}

/// What the client's books say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OracleTotals {
    /// Tasks sent at least once.
    pub submitted: u32,
    /// Tasks that have an id.
    pub accepted: u32,
    /// Tasks that succeeded.
    pub completed: u32,
    /// Tasks that ended in any other way.
    pub failed: u32,
    /// Tasks accepted of whose end nothing is known, because the coordinator did not answer when it was asked.
    pub unverified: u32,
    /// Tasks refused for good.
    pub refused: u32,
    /// Tasks with two ids, or two endings.
    pub duplicated: u32,
    /// Notices that do not fit their task: another task's output, an agent of another fleet, a task of nobody.
    pub mismatched: u32,
    /// Notices that came more than once and said the same.
    pub notices_repeated: u32,
}

impl OracleTotals {
    /// Tasks that are over.
    pub(crate) const fn over(&self) -> u32 {
        self.completed + self.failed
    }

    /// Tasks submitted whose end is not known.
    pub(crate) const fn in_flight(&self) -> u32 {
        self.submitted - self.refused - self.over()
    }
}

/// The books, and the latencies.
#[derive(Debug)]
pub(crate) struct Oracle<'a> {
    ledger: &'a Ledger,
    records: Vec<Record>,
    by_id: HashMap<TaskId, u32>,
    /// Notices that overtook the answer with their task's id.
    early: HashMap<TaskId, (Notice, Instant)>,
    totals: OracleTotals,
    first_refusal: Option<String>,
    first_failure: Option<String>,
    last_ending: Option<Instant>,
    acceptance_us: Histogram<u64>,
    latency_us: Histogram<u64>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(ledger: &'a Ledger) -> Self {
        Self {
            ledger,
            records: Vec::new(),
            by_id: HashMap::new(),
            early: HashMap::new(),
            totals: OracleTotals::default(),
            first_refusal: None,
            first_failure: None,
            last_ending: None,
            acceptance_us: histogram(),
            latency_us: histogram(),
        }
    }

    /// The next task is sent for the first time; this is its number.
    pub(crate) fn submitted(&mut self, now: Instant) -> u32 {
        self.records.push(Record { submitted: now, id: None, ending: None, refused: false, duplicated: false });
        self.totals.submitted += 1;
        self.totals.submitted - 1
    }

    /// The coordinator answered the submission with an id.
    pub(crate) fn accepted(&mut self, number: u32, id: TaskId, now: Instant) {
        let record = &mut self.records[number as usize];
        match record.id {
            Some(known) if known == id => {}
            Some(_) => duplicate(record, &mut self.totals),
            None => {
                record.id = Some(id);
                self.totals.accepted += 1;
                record_latency(&mut self.acceptance_us, now - record.submitted);
                if self.by_id.insert(id, number).is_some() {
                    // One id for two keys: one of the two tasks is nobody's.
                    self.totals.mismatched += 1;
                }
            }
        }
        if let Some((notice, at)) = self.early.remove(&id) {
            self.finished(notice, at);
        }
    }

    /// The coordinator refused the task, and would again.
    pub(crate) fn refused(&mut self, number: u32, why: &str) {
        let record = &mut self.records[number as usize];
        if !record.refused && record.id.is_none() {
            record.refused = true;
            self.totals.refused += 1;
            self.first_refusal.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The coordinator says that a task is over. `true` if that is news.
    pub(crate) fn finished(&mut self, notice: Notice, now: Instant) -> bool {
        let Some(&number) = self.by_id.get(&notice.id) else {
            self.early.insert(notice.id, (notice, now));
            return false;
        };
        let agent = self.ledger.agent(&notice.agent_id);
        let ending = Ending { state: notice.state, attempts_made: notice.attempts_made, agent };
        let record = &mut self.records[number as usize];
        if let Some(known) = record.ending {
            if known == ending {
                self.totals.notices_repeated += 1;
            } else {
                duplicate(record, &mut self.totals);
            }
            return false;
        }
        record.ending = Some(ending);
        record_latency(&mut self.latency_us, now.saturating_duration_since(record.submitted));
        self.last_ending = self.last_ending.max(Some(now));
        let succeeded = notice.state == TaskState::Succeeded;
        let of_no_agent = agent.is_none() && (succeeded || !notice.agent_id.is_empty());
        let foreign_agent = of_no_agent && !self.ledger.has_given_agents();
        let foreign_output = succeeded && notice.output != self.ledger.output(number);
        if foreign_agent || foreign_output {
            self.totals.mismatched += 1;
        }
        if succeeded {
            self.totals.completed += 1;
        } else {
            self.totals.failed += 1;
        }
        true
    }

    /// The task with this id.
    pub(crate) fn number(&self, id: TaskId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The task has an id.
    pub(crate) fn is_accepted(&self, number: u32) -> bool {
        self.records[number as usize].id.is_some()
    }

    /// How the task ended, if it did.
    pub(crate) fn ended(&self, number: u32) -> Option<TaskState> {
        self.records[number as usize].ending.map(|ending| ending.state)
    }

    /// Why a task did not succeed; the first reason is kept.
    pub(crate) fn failure(&mut self, why: &str) {
        self.first_failure.get_or_insert_with(|| why.to_owned());
    }

    /// Accepted tasks whose end is not known.
    pub(crate) fn open(&self) -> Vec<TaskId> {
        let open = self.records.iter().filter(|record| record.ending.is_none());
        open.filter_map(|record| record.id).collect()
    }

    /// The end of this accepted task is not known.
    pub(crate) fn is_open(&self, id: TaskId) -> bool {
        self.by_id.get(&id).is_some_and(|&number| self.records[number as usize].ending.is_none())
    }

    /// At the end the coordinator did not answer to questions about these: whether they are lost cannot be told.
    pub(crate) fn unverified(&mut self, unanswered: &[TaskId]) {
        let open = unanswered.iter().filter(|id| self.is_open(**id)).count();
        self.totals.unverified = u32::try_from(open).unwrap_or(u32::MAX);
    }

    /// What the books say now.
    pub(crate) const fn totals(&self) -> &OracleTotals {
        &self.totals
    }

    /// Closes the books: notices of tasks that nobody submitted are held against the coordinator.
    pub(crate) fn close(mut self) -> Verified {
        self.totals.mismatched += u32::try_from(self.early.len()).unwrap_or(u32::MAX);
        let first_submission = self.records.first().map(|record| record.submitted);
        let elapsed = first_submission.zip(self.last_ending).map_or(Duration::ZERO, |(first, last)| last - first);
        Verified {
            totals: self.totals,
            elapsed,
            acceptance_us: self.acceptance_us,
            latency_us: self.latency_us,
            first_refusal: self.first_refusal,
            first_failure: self.first_failure,
        }
    }
}

/// The client's books, closed.
#[derive(Debug)]
pub(crate) struct Verified {
    pub totals: OracleTotals,
    /// First submission to last end.
    pub elapsed: Duration,
    /// Submission to its answer.
    pub acceptance_us: Histogram<u64>,
    /// Submission to the notice of the end.
    pub latency_us: Histogram<u64>,
    pub first_refusal: Option<String>,
    pub first_failure: Option<String>,
}

const fn duplicate(record: &mut Record, totals: &mut OracleTotals) {
    if !record.duplicated {
        record.duplicated = true;
        totals.duplicated += 1;
    }
}

fn histogram() -> Histogram<u64> {
    let max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, max, LATENCY_DIGITS).expect("the bounds are constants in their legal range")
}

fn record_latency(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
