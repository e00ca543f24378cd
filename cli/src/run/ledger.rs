//! What of a run is submitted, what is over, and what may be delivered: state alone, without I/O or a clock.
//!
//! Every place (input) is waiting, open, or over. Open places are bounded by `jobs`; results that came early by
//! [`HELD_MAX`] and [`HELD_BYTES_MAX`], so that one slow task at the front cannot fill the memory. A connection that breaks
//! makes every open place due again, under the same key, and the coordinator answers with the task it has.
//!
//! A task that had failed before this run began is tried again under a new key: its generation, counted from 1, is part of
//! it. A task that fails in this run is not.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error, TaskState, wire::enums};

use super::ordered::Ordered;

/// Results held that wait for an earlier one: beyond it nothing new is begun.
pub const HELD_MAX: usize = 4_096;
/// Bytes of these.
const HELD_BYTES_MAX: usize = 256 << 20;
/// Generations of one task; one is used up by each resumed run in which it had failed.
const GENERATIONS_MAX: u32 = 100;
/// Wait after a refusal that gives none.
const REFUSED_WAIT: Duration = Duration::from_millis(250);

/// How a place ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// With this output.
    Output(Bytes),
    /// Without one, for this reason.
    Failed(String),
}

/// The books of one run.
#[derive(Debug)]
pub struct Ledger {
    total: usize,
    jobs: usize,
    next: usize,
    open: HashMap<usize, Open>,
    /// Open places that are not on the present connection: to be sent at once, and to be sent later.
    ready: BTreeSet<usize>,
    delayed: BTreeSet<(Instant, usize)>,
    by_task: HashMap<String, usize>,
    /// Results that came before the answer that says whose they are; at most one per open place.
    early: HashMap<String, v1::TaskFinished>,
    done: Ordered<Delivered>,
}

/// A place that has begun and is not over.
#[derive(Clone, Debug)]
struct Open {
    generation: u32,
    /// It was sent by this run on an earlier connection, so that finding it accepted is no news.
    sent_before: bool,
    /// It had been accepted before this run.
    found: bool,
}

impl Ledger {
    /// The books of so many places, of which at most `jobs` are open at once.
    #[must_use]
    pub fn new(total: usize, jobs: usize) -> Self {
        Self {
            total,
            jobs: jobs.max(1),
            next: 0,
            open: HashMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            by_task: HashMap::new(),
            early: HashMap::new(),
            done: Ordered::new(),
        }
    }

    /// At most `max` places to submit now, each with its generation. They count as sent.
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<(usize, u32)> {
        while let Some(&(at, place)) = self.delayed.first()
            && at <= now
        {
            self.delayed.pop_first();
            self.ready.insert(place);
        }
        while self.next < self.total && self.open.len() < self.jobs && self.has_room() {
            self.begin(self.next, 1);
            self.next += 1;
        }
        let places = std::iter::from_fn(|| self.ready.pop_first()).take(max);
        places.filter_map(|place| Some((place, self.open.get(&place)?.generation))).collect()
    }

    /// When a refused place is due again, if there is one.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    fn begin(&mut self, place: usize, generation: u32) {
        self.open.insert(place, Open { generation, sent_before: false, found: false });
        self.ready.insert(place);
    }

    fn has_room(&self) -> bool {
        self.done.held() < HELD_MAX && self.done.held_bytes() < HELD_BYTES_MAX
    }

    /// A place was accepted as this task.
    pub fn accepted(&mut self, place: usize, task_id: String, duplicate: bool) {
        let Some(open) = self.open.get_mut(&place) else { return };
        open.found |= duplicate && !open.sent_before;
        open.sent_before = true;
        let early = self.early.remove(&task_id);
        self.by_task.insert(task_id, place);
        if let Some(finished) = early {
            self.finished(finished);
        }
    }

    /// A place was refused. What a later try may change is tried again, anything else is its end.
    pub fn refused(&mut self, place: usize, error: &Error, now: Instant) {
        match error.code {
            Code::ResourceExhausted | Code::Unavailable | Code::Aborted => {
                if self.open.contains_key(&place) {
                    self.delayed.insert((now + error.retry_after.unwrap_or(REFUSED_WAIT), place));
                }
            }
            _ => self.end(place, Delivered::Failed(format!("refused: {}", error.message))),
        }
    }

    /// A task is over.
    pub fn finished(&mut self, task: v1::TaskFinished) {
        let Some(place) = self.by_task.remove(&task.task_id) else {
            self.early.insert(task.task_id.clone(), task);
            return;
        };
        let state = enums::task_state(task.state);
        if state == Some(TaskState::Succeeded) {
            return self.end(place, Delivered::Output(task.output));
        }
        if let Some(&Open { found: true, generation, .. }) = self.open.get(&place)
            && generation < GENERATIONS_MAX
        {
            return self.begin(place, generation + 1);
        }
        self.end(place, Delivered::Failed(reason(state, task.failure)));
    }

    /// The connection broke: what was open on it is due again.
    pub fn disconnected(&mut self) {
        self.by_task.clear();
        self.early.clear();
        let waiting: BTreeSet<usize> = self.delayed.iter().map(|(_, place)| *place).chain(self.ready.clone()).collect();
        for (place, open) in &mut self.open {
            // Sent, it may have been accepted though no answer came.
            open.sent_before |= !waiting.contains(place);
        }
        self.delayed.clear();
        self.ready = self.open.keys().copied().collect();
    }

    /// The next place in order that is over.
    pub fn pop(&mut self) -> Option<(usize, Delivered)> {
        self.done.pop()
    }

    /// Places that are over.
    #[must_use]
    pub fn over(&self) -> usize {
        self.done.popped() + self.done.held()
    }

    /// Whether all is delivered.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done.popped() == self.total
    }

    fn end(&mut self, place: usize, delivered: Delivered) {
        if self.open.remove(&place).is_some() {
            let bytes = match &delivered {
                Delivered::Output(output) => output.len(),
                Delivered::Failed(reason) => reason.len(),
            };
            self.done.push(place, bytes, delivered);
        }
    }
}

/// Why a task did not succeed, in one line of words and then the program's own.
fn reason(state: Option<TaskState>, failure: Option<v1::Failure>) -> String {
    let state = state.map_or("over", TaskState::name);
    match failure {
        Some(v1::Failure { message, exit_code: Some(code), .. }) => format!("exit code {code}: {message}"),
        Some(v1::Failure { message, .. }) if !message.is_empty() => format!("{state}: {message}"),
        _ => state.to_owned(),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
