//! Those who wait for tasks to end.
//!
//! There is no race between looking and waiting, because a waiter registers first and looks second: a task that ends in
//! between is delivered twice at worst, never not at all. For a submission that wants its results the dispatcher registers
//! the waiter itself, before it says anything else of the task.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use evenkeel_core::engine::FinishedTask;
use evenkeel_shared::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::hashing::NumberState;

/// Who waits for what. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Waiters {
    by_task: Arc<DashMap<TaskId, Those, NumberState>>,
}

/// Those who wait for one task: hardly ever more than one.
#[derive(Debug)]
enum Those {
    One(ResultSink),
    Many(Vec<ResultSink>),
}

/// Where the results of a waiter's tasks go. Bounded by the number of tasks and by the bytes of output held for it. Clones
/// are of the same waiter.
#[derive(Clone, Debug)]
pub struct ResultSink(Arc<Sink>);

#[derive(Debug)]
struct Sink {
    queue: mpsc::Sender<Arc<FinishedTask>>,
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    bytes: AtomicUsize,
    bytes_max: usize,
    overflow: CancellationToken,
}

/// The other end of a [`ResultSink`].
#[derive(Debug)]
pub struct Results {
    queue: mpsc::Receiver<Arc<FinishedTask>>,
    held: Arc<Held>,
}

impl Waiters {
    /// A waiter for at most `tasks_max` tasks at a time, of which at most `bytes_max` bytes of output are held.
    #[must_use]
    pub fn open(&self, tasks_max: usize, bytes_max: usize) -> (ResultSink, Results) {
        let (queue, receiver) = mpsc::channel(tasks_max.max(1));
        let held = Arc::new(Held { bytes: AtomicUsize::new(0), bytes_max, overflow: CancellationToken::new() });
        (ResultSink(Arc::new(Sink { queue, held: Arc::clone(&held) })), Results { queue: receiver, held })
    }

    /// Waits for a task. Waiting twice is waiting once.
    pub fn register(&self, task: TaskId, sink: ResultSink) {
        match self.by_task.entry(task) {
            Entry::Vacant(place) => drop(place.insert(Those::One(sink))),
            Entry::Occupied(mut place) => place.get_mut().add(sink),
        }
    }

    /// Waits no longer.
    pub fn forget(&self, task: TaskId, sink: &ResultSink) {
        self.by_task.remove_if_mut(&task, |_, those| those.remove(sink));
    }

    /// A task is over.
    pub fn notify(&self, finished: &Arc<FinishedTask>) {
        match self.by_task.remove(&finished.id) {
            None => {}
            Some((_, Those::One(sink))) => sink.push(Arc::clone(finished)),
            Some((_, Those::Many(sinks))) => sinks.iter().for_each(|sink| sink.push(Arc::clone(finished))),
        }
    }

    /// Tasks that somebody waits for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_task.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }
}

impl Those {
    /// Who is among them already is so once.
    fn add(&mut self, sink: ResultSink) {
        match self {
            Self::One(other) if other.is(&sink) => {}
            Self::One(other) => *self = Self::Many(vec![other.clone(), sink]),
            Self::Many(others) if others.iter().any(|other| other.is(&sink)) => {}
            Self::Many(others) => others.push(sink),
        }
    }

    /// Whether nobody is left.
    fn remove(&mut self, sink: &ResultSink) -> bool {
        match self {
            Self::One(other) => other.is(sink),
            Self::Many(others) => {
                others.retain(|other| !other.is(sink));
                others.is_empty()
            }
        }
    }
}

impl ResultSink {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Hands a result over; a waiter that has too much already is told so by [`Results::overflow`].
    pub fn push(&self, finished: Arc<FinishedTask>) {
        let len = finished.output.len();
        let held = self.0.held.bytes.fetch_add(len, Ordering::AcqRel) + len;
        if held > self.0.held.bytes_max {
            self.0.held.overflow.cancel();
            return;
        }
        match self.0.queue.try_send(finished) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.0.held.overflow.cancel(),
        }
    }
}

impl Results {
    /// The next result. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Arc<FinishedTask>> {
        let finished = self.queue.recv().await?;
        self.taken(&finished);
        Some(finished)
    }

    /// The next result, if it is there.
    pub fn try_next(&mut self) -> Option<Arc<FinishedTask>> {
        let finished = self.queue.try_recv().ok()?;
        self.taken(&finished);
        Some(finished)
    }

    fn taken(&self, finished: &FinishedTask) {
        self.held.bytes.fetch_sub(finished.output.len(), Ordering::AcqRel);
    }

    /// Cancelled once more has come than this waiter may hold: results are missing from there on.
    #[must_use]
    pub fn overflow(&self) -> CancellationToken {
        self.held.overflow.clone()
    }
}

/// Waits for tasks for as long as it lives.
#[derive(Debug)]
pub struct Waiting<'a> {
    waiters: &'a Waiters,
    sink: ResultSink,
    tasks: HashSet<TaskId>,
}

impl<'a> Waiting<'a> {
    /// Registers for each of the tasks.
    #[must_use]
    pub fn register(waiters: &'a Waiters, sink: ResultSink, tasks: &[TaskId]) -> Self {
        for task in tasks {
            waiters.register(*task, sink.clone());
        }
        Self { waiters, sink, tasks: tasks.iter().copied().collect() }
    }

    /// Takes a task over that the dispatcher has registered. False if it waits for it already.
    pub fn adopt(&mut self, task: TaskId) -> bool {
        self.tasks.insert(task)
    }

    /// A task's result has come. False if nobody waited for it.
    pub fn remove(&mut self, task: TaskId) -> bool {
        self.tasks.remove(&task)
    }

    /// Tasks whose results are to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether all results have come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for task in &self.tasks {
            self.waiters.forget(*task, &self.sink);
        }
    }
}

#[cfg(test)]
#[path = "waiters_tests.rs"]
mod tests;
