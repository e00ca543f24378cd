//! Live tasks, for readers: where each is at the moment.
//!
//! The dispatcher writes it, after the commit; readers never wait for the engine. A durable task leaves when it is over,
//! because the store has it then. An ephemeral one is in no store, so the most recent of those that are over are kept here,
//! bounded by count and by bytes.
//!
//! It is written several times for each task, so it keeps what the engine shares anyway and adds a few words to it; what
//! readers are shown is put together when one asks.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use evenkeel_core::{
    engine::{AcceptedTask, FinishedTask},
    insight::sample::CacheSample,
    model::{RecoveredState, RecoveredTask, TaskEvent},
};
use evenkeel_shared::{AgentId, Delivery, TaskId, TaskSpec, TaskState, Tenant, Timestamp};

use crate::hashing::NumberState;

/// A task that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveTask {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<TaskSpec>,
    /// Its payload.
    pub payload: Bytes,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The task that it drives again.
    pub redrive_of: Option<TaskId>,
    /// Where it is.
    pub state: TaskState,
    /// Attempts made, the current one included.
    pub attempts_made: u32,
    /// The agent that has it or had it last.
    pub agent: Option<AgentId>,
    /// Last progress reported, 0 to 1.
    pub progress: f64,
    /// And its note.
    pub progress_note: String,
}

/// What the directory knows of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It is not over.
    Live(Box<LiveTask>),
    /// It was ephemeral and is over.
    Over(Arc<FinishedTask>),
}

impl Known {
    /// Where it is.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match self {
            Self::Live(task) => task.state,
            Self::Over(task) => task.state,
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &Arc<TaskSpec> {
        match self {
            Self::Live(task) => &task.spec,
            Self::Over(task) => &task.spec,
        }
    }
}

/// Bounds of what is kept of ephemeral tasks that are over.
#[derive(Clone, Copy, Debug)]
pub struct KeptLimits {
    /// Tasks.
    pub tasks: usize,
    /// Bytes of their outputs.
    pub bytes: usize,
}

/// The directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Directory(Arc<State>);

#[derive(Debug)]
struct State {
    tasks: DashMap<TaskId, Row, NumberState>,
    /// Those of them that are not over.
    live: AtomicUsize,
    ephemeral: Mutex<Ephemeral>,
    limits: KeptLimits,
    /// Looks that found a task which is over, and looks for one that nobody knew any more.
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
enum Row {
    Live(Live),
    Over(Arc<FinishedTask>),
}

/// Where a live task is.
#[derive(Debug)]
struct Live {
    task: Arc<AcceptedTask>,
    state: TaskState,
    attempts_made: u32,
    agent: Option<AgentId>,
    /// Few tasks report any.
    progress: Option<Box<Progress>>,
}

#[derive(Debug)]
struct Progress {
    fraction: f64,
    note: String,
}

#[derive(Debug, Default)]
struct Ephemeral {
    /// All ephemeral tasks, live and kept, for lists.
    ids: BTreeSet<TaskId>,
    /// Those that are over, in the order of their end.
    ended: VecDeque<TaskId>,
    /// The idempotency keys of those that are over: the engine forgets them soon, and the store never has them.
    keys: HashMap<(Tenant, String), TaskId>,
    output_bytes: usize,
    /// Those that were given up for want of room.
    evicted: u64,
}

impl Live {
    fn shown(&self) -> LiveTask {
        let progress = self.progress.as_deref();
        LiveTask {
            id: self.task.id,
            spec: Arc::clone(&self.task.spec),
            payload: self.task.payload.clone(),
            accepted_at: self.task.at,
            redrive_of: self.task.redrive_of,
            state: self.state,
            attempts_made: self.attempts_made,
            agent: self.agent.clone(),
            progress: progress.map_or(0.0, |progress| progress.fraction),
            progress_note: progress.map(|progress| progress.note.clone()).unwrap_or_default(),
        }
    }
}

impl Directory {
    /// A directory of what was recovered.
    #[must_use]
    pub fn new(recovered: &[RecoveredTask], limits: KeptLimits) -> Self {
        let tasks = DashMap::with_hasher(NumberState::default());
        for task in recovered {
            tasks.insert(task.id, Row::Live(recovered_task(task)));
        }
        let live = AtomicUsize::new(tasks.len());
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(State { tasks, live, ephemeral: Mutex::default(), limits, hits, misses }))
    }

    /// A task was accepted.
    pub fn accepted(&self, task: &Arc<AcceptedTask>) {
        if task.spec.delivery == Delivery::Ephemeral {
            self.ephemeral().ids.insert(task.id);
        }
        let task = Arc::clone(task);
        let live = Live { state: TaskState::Queued, attempts_made: 0, agent: None, progress: None, task };
        if !matches!(self.0.tasks.insert(live.task.id, Row::Live(live)), Some(Row::Live(_))) {
            self.0.live.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something happened to a task. Returns what the task asks for, if it is live.
    pub fn apply(&self, event: &TaskEvent) -> Option<Arc<TaskSpec>> {
        use evenkeel_core::model::TaskEventKind as Kind;
        let mut row = self.0.tasks.get_mut(&event.task)?;
        let Row::Live(live) = &mut *row else { return None };
        if !event.state.is_terminal() {
            live.state = event.state;
        }
        match event.kind {
            Kind::Assigned => {
                live.agent.clone_from(&event.agent);
                live.attempts_made = event.attempt.0;
                live.progress = None;
            }
            Kind::Adopted => live.agent.clone_from(&event.agent),
            Kind::Progress => {
                let note = event.message.clone();
                live.progress = Some(Box::new(Progress { fraction: event.progress, note }));
            }
            _ => {}
        }
        Some(Arc::clone(&live.task.spec))
    }

    /// A task is over.
    pub fn finished(&self, task: &Arc<FinishedTask>) {
        let before = if task.spec.delivery == Delivery::Ephemeral {
            let before = self.0.tasks.insert(task.id, Row::Over(Arc::clone(task)));
            self.make_room(task);
            before
        } else {
            self.0.tasks.remove(&task.id).map(|(_, row)| row)
        };
        if let Some(Row::Live(_)) = before {
            self.0.live.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// An ephemeral task is kept that is over: the oldest of those go that there is no room for with it.
    fn make_room(&self, task: &FinishedTask) {
        let mut ephemeral = self.ephemeral();
        ephemeral.ended.push_back(task.id);
        ephemeral.output_bytes += task.output.len();
        if !task.spec.idempotency_key.is_empty() {
            ephemeral.keys.insert((task.spec.tenant.clone(), task.spec.idempotency_key.clone()), task.id);
        }
        while ephemeral.ended.len() > self.0.limits.tasks || ephemeral.output_bytes > self.0.limits.bytes {
            let Some(oldest) = ephemeral.ended.pop_front() else { break };
            ephemeral.evicted += 1;
            ephemeral.ids.remove(&oldest);
            let Entry::Occupied(row) = self.0.tasks.entry(oldest) else { continue };
            let Row::Over(gone) = row.get() else { continue };
            ephemeral.output_bytes -= gone.output.len();
            if !gone.spec.idempotency_key.is_empty() {
                let key = (gone.spec.tenant.clone(), gone.spec.idempotency_key.clone());
                if ephemeral.keys.get(&key) == Some(&oldest) {
                    ephemeral.keys.remove(&key);
                }
            }
            row.remove();
        }
    }

    /// What is known of a task; `None`: the store may know it.
    #[must_use]
    pub fn get(&self, id: TaskId) -> Option<Known> {
        Some(match &*self.0.tasks.get(&id)? {
            Row::Live(live) => Known::Live(Box::new(live.shown())),
            Row::Over(task) => {
                self.0.hits.fetch_add(1, Ordering::Relaxed);
                Known::Over(Arc::clone(task))
            }
        })
    }

    /// A task was asked for that neither this nor the store knows: perhaps an ephemeral one that there was no room for any more.
    pub fn missed(&self) {
        self.0.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// What is kept of ephemeral tasks that are over, as a cache.
    #[must_use]
    pub fn cache(&self) -> CacheSample {
        let ephemeral = self.ephemeral();
        CacheSample {
            name: "finished_ephemeral_tasks",
            entries: ephemeral.ended.len() as u64,
            capacity: self.0.limits.tasks as u64,
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
            evictions: ephemeral.evicted,
        }
    }

    /// The ephemeral task under this key that is over and kept, and the hash of what it asked for. The engine knows the
    /// keys of live tasks.
    #[must_use]
    pub fn by_key(&self, tenant: &Tenant, key: &str) -> Option<(TaskId, u128)> {
        let id = *self.ephemeral().keys.get(&(tenant.clone(), key.to_owned()))?;
        match &*self.0.tasks.get(&id)? {
            Row::Over(task) => Some((id, task.fingerprint)),
            Row::Live(_) => None,
        }
    }

    /// Live tasks.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Ephemeral tasks before `before` in the order of lists, newest first, for as long as `keep` has room for them: it is
    /// asked for each and says whether to go on.
    pub fn ephemeral_before(&self, before: Option<TaskId>, mut keep: impl FnMut(Known) -> bool) {
        // Copied in small steps, so that the dispatcher never waits for a reader's work.
        const STEP: usize = 256;
        let mut before = before;
        loop {
            let ids: Vec<TaskId> = {
                let ephemeral = self.ephemeral();
                match before {
                    Some(end) => ephemeral.ids.range(..end).rev().take(STEP).copied().collect(),
                    None => ephemeral.ids.iter().rev().take(STEP).copied().collect(),
                }
            };
            let Some(last) = ids.last().copied() else { return };
            before = Some(last);
            for known in ids.into_iter().filter_map(|id| self.get(id)) {
                if !keep(known) {
                    return;
                }
            }
        }
    }

    fn ephemeral(&self) -> MutexGuard<'_, Ephemeral> {
        self.0.ephemeral.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn recovered_task(task: &RecoveredTask) -> Live {
    let (state, agent) = match &task.state {
        RecoveredState::Queued { .. } => (TaskState::Queued, None),
        RecoveredState::RetryWait { .. } => (TaskState::RetryWait, None),
        RecoveredState::Assigned { agent, .. } => (TaskState::Assigned, Some(agent.clone())),
    };
    let accepted = AcceptedTask {
        id: task.id,
        spec: Arc::clone(&task.spec),
        payload: task.payload.clone(),
        fingerprint: task.fingerprint,
        order: task.order,
        at: task.accepted_at,
        redrive_of: task.redrive_of,
    };
    Live { task: Arc::new(accepted), state, attempts_made: task.attempts_made, agent, progress: None }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
