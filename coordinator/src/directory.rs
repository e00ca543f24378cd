//! Live tasks, for readers: where each is at the moment.
//!
//! The dispatcher writes it, after the commit; readers never wait for the engine. A durable task leaves when it is over,
//! because the store has it then. An ephemeral one is in no store, so the most recent of those that are over are kept here,
//! bounded by count and by bytes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use dashmap::DashMap;
use evenkeel_core::{
    engine::{AcceptedTask, FinishedTask},
    model::{RecoveredState, RecoveredTask, TaskEvent},
};
use evenkeel_shared::{AgentId, Delivery, TaskId, TaskSpec, TaskState, Tenant, Timestamp};

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
    live: DashMap<TaskId, LiveTask>,
    over: DashMap<TaskId, Arc<FinishedTask>>,
    ephemeral: Mutex<Ephemeral>,
    limits: KeptLimits,
}

#[derive(Debug, Default)]
struct Ephemeral {
    /// All ephemeral tasks, live and kept, for lists.
    ids: BTreeSet<TaskId>,
    /// Those that are over, in the order of their end.
    ended: VecDeque<TaskId>,
    /// The idempotency keys of those that are over: the engine forgets them soon, and the store never has them.
    keys: BTreeMap<(Tenant, String), TaskId>,
    output_bytes: usize,
}

impl Directory {
    /// A directory of what was recovered.
    #[must_use]
    pub fn new(recovered: &[RecoveredTask], limits: KeptLimits) -> Self {
        let live = recovered.iter().map(|task| (task.id, recovered_task(task))).collect();
        Self(Arc::new(State { live, over: DashMap::new(), ephemeral: Mutex::default(), limits }))
    }

    /// A task was accepted.
    pub fn accepted(&self, task: &AcceptedTask) {
        if task.spec.delivery == Delivery::Ephemeral {
            self.ephemeral().ids.insert(task.id);
        }
        let live = LiveTask {
            id: task.id,
            spec: Arc::clone(&task.spec),
            payload: task.payload.clone(),
            accepted_at: task.at,
            redrive_of: task.redrive_of,
            state: TaskState::Queued,
            attempts_made: 0,
            agent: None,
            progress: 0.0,
            progress_note: String::new(),
        };
        self.0.live.insert(task.id, live);
    }

    /// Something happened to a task. Returns what the task asks for, if it is live.
    pub fn apply(&self, event: &TaskEvent) -> Option<Arc<TaskSpec>> {
        use evenkeel_core::model::TaskEventKind as Kind;
        let mut task = self.0.live.get_mut(&event.task)?;
        if !event.state.is_terminal() {
            task.state = event.state;
        }
        match event.kind {
            Kind::Assigned => {
                task.agent.clone_from(&event.agent);
                task.attempts_made = event.attempt.0;
                task.progress = 0.0;
                task.progress_note.clear();
            }
            Kind::Adopted => task.agent.clone_from(&event.agent),
            Kind::Progress => {
                task.progress = event.progress;
                task.progress_note.clone_from(&event.message);
            }
            _ => {}
        }
        Some(Arc::clone(&task.spec))
    }

    /// A task is over.
    pub fn finished(&self, task: &Arc<FinishedTask>) {
        if task.spec.delivery == Delivery::Ephemeral {
            self.keep(task);
        }
        self.0.live.remove(&task.id);
    }

    fn keep(&self, task: &Arc<FinishedTask>) {
        self.0.over.insert(task.id, Arc::clone(task));
        let mut ephemeral = self.ephemeral();
        ephemeral.ids.insert(task.id);
        ephemeral.ended.push_back(task.id);
        ephemeral.output_bytes += task.output.len();
        if !task.spec.idempotency_key.is_empty() {
            ephemeral.keys.insert((task.spec.tenant.clone(), task.spec.idempotency_key.clone()), task.id);
        }
        while ephemeral.ended.len() > self.0.limits.tasks || ephemeral.output_bytes > self.0.limits.bytes {
            let Some(oldest) = ephemeral.ended.pop_front() else { break };
            ephemeral.ids.remove(&oldest);
            if let Some((_, gone)) = self.0.over.remove(&oldest) {
                ephemeral.output_bytes -= gone.output.len();
                let key = (gone.spec.tenant.clone(), gone.spec.idempotency_key.clone());
                if ephemeral.keys.get(&key) == Some(&oldest) {
                    ephemeral.keys.remove(&key);
                }
            }
        }
    }

    /// What is known of a task; `None`: the store may know it.
    #[must_use]
    pub fn get(&self, id: TaskId) -> Option<Known> {
        if let Some(task) = self.0.live.get(&id) {
            return Some(Known::Live(Box::new(task.clone())));
        }
        self.0.over.get(&id).map(|task| Known::Over(Arc::clone(&task)))
    }

    /// The ephemeral task under this key that is over and kept, and the hash of what it asked for. The engine knows the
    /// keys of live tasks.
    #[must_use]
    pub fn by_key(&self, tenant: &Tenant, key: &str) -> Option<(TaskId, u128)> {
        let id = *self.ephemeral().keys.get(&(tenant.clone(), key.to_owned()))?;
        self.0.over.get(&id).map(|task| (id, task.fingerprint))
    }

    /// Where a live task is.
    #[must_use]
    pub fn live_state(&self, id: TaskId) -> Option<TaskState> {
        self.0.live.get(&id).map(|task| task.state)
    }

    /// Live tasks.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.0.live.len()
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

fn recovered_task(task: &RecoveredTask) -> LiveTask {
    let (state, agent) = match &task.state {
        RecoveredState::Queued { .. } => (TaskState::Queued, None),
        RecoveredState::RetryWait { .. } => (TaskState::RetryWait, None),
        RecoveredState::Assigned { agent, .. } => (TaskState::Assigned, Some(agent.clone())),
    };
    LiveTask {
        id: task.id,
        spec: Arc::clone(&task.spec),
        payload: task.payload.clone(),
        accepted_at: task.accepted_at,
        redrive_of: task.redrive_of,
        state,
        attempts_made: task.attempts_made,
        agent,
        progress: 0.0,
        progress_note: String::new(),
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
