//! The tables of the engine: agents, live tasks, idempotency keys, and the numbers it gives out.
//!
//! Tables find and keep; they decide nothing. Ids are looked up here once per event, after that rows are named by index.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    ops::{Index, IndexMut},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptNumber, AttemptRef, EventPosition, SessionEpoch, TaskId, TaskSpec, TaskState, Tenant,
    Timestamp, Usage,
};
use indexmap::IndexMap;
use slab::Slab;

use super::{agent::Agent, holdings::Holding, limits, statistics::TaskRows};
use crate::{
    cost::ledger::Reservation,
    ix::{AgentIx, ClassIx, TaskIx},
    timer::TimerKey,
};

/// A live task.
#[derive(Debug)]
pub(super) struct Task {
    pub id: TaskId,
    pub spec: Arc<TaskSpec>,
    pub payload: Bytes,
    pub order: u64,
    pub accepted_at: Timestamp,
    pub class: ClassIx,
    pub affinity: Option<u64>,
    pub state: TaskState,
    pub attempts_made: u32,
    pub crashes: u32,
    /// When it began to wait, for the queue or for its retry.
    pub since: Timestamp,
    /// Of a task that waits for its retry: until when.
    pub not_before: Timestamp,
    /// The live attempt. There is one exactly in the states assigned and running.
    pub current: Option<Current>,
    /// The agent of the latest attempt.
    pub last_agent: Option<AgentId>,
    /// The earliest of the limits that apply in its state.
    pub timer: Option<TimerKey>,
    /// What its live attempt holds of budgets. `None`: no budget covers it. Boxed: most tasks have none.
    pub spending: Option<Box<Reservation>>,
    /// Where it is counted.
    pub rows: TaskRows,
    /// What its live attempt has used so far, as far as its agent said.
    pub used: Option<Box<Usage>>,
    /// An attempt at it said that it cost something.
    pub reported: bool,
}

impl Task {
    pub fn is_durable(&self) -> bool {
        self.spec.delivery == evenkeel_shared::Delivery::Durable
    }

    /// Whether it may be taken ahead of a slot. An agent that is stopped gives back what it has taken ahead, and that is the
    /// end of an attempt: it must not be the last one of a task that nobody has tried.
    pub fn may_go_ahead(&self) -> bool {
        self.attempts_made + 1 < self.spec.retry.attempts_max
    }
}

/// The live attempt of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub attempt: AttemptRef,
    pub agent: AgentIx,
    /// When the agent said that it began.
    pub started_at: Option<Timestamp>,
    /// When it began to count against the attempt timeout: when it got a slot. `None` while it is taken ahead.
    pub running_since: Option<Timestamp>,
}

impl Current {
    /// How long it has had a slot, as far as was seen here.
    pub fn seen_run(&self, now: Timestamp) -> Duration {
        self.running_since.map(|since| now.since(since)).unwrap_or_default()
    }
}

/// Hashes ids that the coordinator itself gives out, at random or one after the other: a multiplication is hash enough.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_u128(&mut self, id: u128) {
        self.write_u64((id ^ (id >> 64)) as u64);
    }
}

/// Live tasks by index and id.
#[derive(Debug, Default)]
pub(super) struct TaskTable {
    rows: Slab<Task>,
    by_id: IndexMap<TaskId, TaskIx, BuildHasherDefault<IdHasher>>,
    pub payload_bytes: u64,
    /// How many are in each state, in the order of [`TaskState::ALL`].
    pub by_state: [u64; 9],
}

impl TaskTable {
    /// Makes room for so many more at once: growing step by step moves all that is there each time.
    pub fn reserve(&mut self, tasks: usize) {
        self.rows.reserve(tasks);
        self.by_id.reserve(tasks);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn find(&self, id: TaskId) -> Option<TaskIx> {
        self.by_id.get(&id).copied()
    }

    pub fn insert(&mut self, task: Task) -> TaskIx {
        self.payload_bytes += task.payload.len() as u64;
        self.by_state[task.state as usize] += 1;
        let id = task.id;
        let ix = TaskIx::from(self.rows.insert(task));
        self.by_id.insert(id, ix);
        ix
    }

    pub fn remove(&mut self, ix: TaskIx) -> Task {
        let task = self.rows.remove(ix.at());
        self.by_id.swap_remove(&task.id);
        self.payload_bytes -= task.payload.len() as u64;
        self.by_state[task.state as usize] -= 1;
        task
    }

    pub fn set_state(&mut self, ix: TaskIx, state: TaskState) {
        let task = &mut self.rows[ix.at()];
        self.by_state[task.state as usize] -= 1;
        task.state = crate::model::transitions::check(task.state, state);
        self.by_state[state as usize] += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (TaskIx, &Task)> {
        self.rows.iter().map(|(at, task)| (TaskIx::from(at), task))
    }
}

impl Index<TaskIx> for TaskTable {
    type Output = Task;

    fn index(&self, ix: TaskIx) -> &Task {
        &self.rows[ix.at()]
    }
}

impl IndexMut<TaskIx> for TaskTable {
    fn index_mut(&mut self, ix: TaskIx) -> &mut Task {
        &mut self.rows[ix.at()]
    }
}

/// Agents by index, id and session.
#[derive(Debug, Default)]
pub(super) struct AgentTable {
    rows: Slab<Agent>,
    by_id: BTreeMap<AgentId, AgentIx>,
    by_session: IndexMap<SessionEpoch, AgentIx, BuildHasherDefault<IdHasher>>,
    /// Agents that look different from when they were last taken. Those that are gone by now are among them.
    changed: Vec<AgentIx>,
    forgotten: Vec<AgentId>,
}

impl AgentTable {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn find(&self, id: &AgentId) -> Option<AgentIx> {
        self.by_id.get(id).copied()
    }

    pub fn of_session(&self, session: SessionEpoch) -> Option<AgentIx> {
        self.by_session.get(&session).copied()
    }

    pub fn connected(&self) -> usize {
        self.by_session.len()
    }

    pub fn insert(&mut self, agent: Agent) -> AgentIx {
        let id = agent.spec.id.clone();
        let ix = AgentIx::from(self.rows.insert(agent));
        self.by_id.insert(id, ix);
        self.mark_changed(ix);
        ix
    }

    pub fn remove(&mut self, ix: AgentIx) -> Agent {
        let agent = self.rows.remove(ix.at());
        self.by_id.remove(&agent.spec.id);
        self.forgotten.push(agent.spec.id.clone());
        agent
    }

    pub fn open_session(&mut self, ix: AgentIx, session: SessionEpoch) {
        self.by_session.insert(session, ix);
        self.rows[ix.at()].session = Some(session);
    }

    pub fn close_session(&mut self, ix: AgentIx) -> Option<SessionEpoch> {
        let session = self.rows[ix.at()].session.take()?;
        self.by_session.swap_remove(&session);
        Some(session)
    }

    pub fn mark_changed(&mut self, ix: AgentIx) {
        // The flag is in a row that is being changed anyway, so most calls end here.
        if !std::mem::replace(&mut self.rows[ix.at()].changed, true) {
            self.changed.push(ix);
        }
    }

    /// The agents forgotten since the last call, and those that changed, by index.
    pub fn take_changed(&mut self) -> (Vec<AgentId>, Vec<AgentIx>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.retain(|ix| self.rows.get_mut(ix.at()).is_some_and(|row| std::mem::take(&mut row.changed)));
        (std::mem::take(&mut self.forgotten), changed)
    }

    pub fn iter(&self) -> impl Iterator<Item = (AgentIx, &Agent)> {
        self.rows.iter().map(|(at, agent)| (AgentIx::from(at), agent))
    }

    pub fn contains(&self, ix: AgentIx) -> bool {
        self.rows.contains(ix.at())
    }

    /// Everything that is assigned to anyone.
    pub fn holdings_mut(&mut self) -> impl Iterator<Item = (AgentIx, &mut Holding)> {
        self.rows
            .iter_mut()
            .flat_map(|(at, agent)| agent.holdings.values_mut().map(move |holding| (AgentIx::from(at), holding)))
    }

    pub fn indices(&self) -> Vec<AgentIx> {
        self.iter().map(|(ix, _)| ix).collect()
    }
}

impl Index<AgentIx> for AgentTable {
    type Output = Agent;

    fn index(&self, ix: AgentIx) -> &Agent {
        &self.rows[ix.at()]
    }
}

impl IndexMut<AgentIx> for AgentTable {
    fn index_mut(&mut self, ix: AgentIx) -> &mut Agent {
        &mut self.rows[ix.at()]
    }
}

/// The task under an idempotency key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    pub task: TaskId,
    pub fingerprint: u128,
}

/// Idempotency keys of live tasks, and for a while of finished ones.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    by_key: BTreeMap<(Tenant, String), Keyed>,
    finished: VecDeque<(Timestamp, Tenant, String)>,
}

impl KeyTable {
    /// A table of these tasks. Made at once: sorted, which is quicker than to find the place of each.
    pub fn of<'a>(tasks: impl Iterator<Item = (&'a TaskSpec, Keyed)>) -> Self {
        let with_key = tasks.filter(|(spec, _)| !spec.idempotency_key.is_empty());
        let by_key = with_key.map(|(spec, keyed)| ((spec.tenant.clone(), spec.idempotency_key.clone()), keyed));
        Self { by_key: by_key.collect(), finished: VecDeque::new() }
    }

    pub fn find(&self, spec: &TaskSpec) -> Option<Keyed> {
        self.by_key.get(&(spec.tenant.clone(), spec.idempotency_key.clone())).copied()
    }

    pub fn insert(&mut self, spec: &TaskSpec, keyed: Keyed) {
        if !spec.idempotency_key.is_empty() {
            self.by_key.insert((spec.tenant.clone(), spec.idempotency_key.clone()), keyed);
        }
    }

    /// The task is over; its key is forgotten at `until`. Answers the fingerprint kept under it, 0 where there is no key.
    pub fn finish(&mut self, spec: &TaskSpec, until: Timestamp) -> u128 {
        if spec.idempotency_key.is_empty() {
            return 0;
        }
        let fingerprint = self.find(spec).map_or(0, |keyed| keyed.fingerprint);
        self.finished.push_back((until, spec.tenant.clone(), spec.idempotency_key.clone()));
        fingerprint
    }

    pub fn forget(&mut self, now: Timestamp) {
        while self.finished.front().is_some_and(|(until, ..)| *until <= now) {
            if let Some((_, tenant, key)) = self.finished.pop_front() {
                self.by_key.remove(&(tenant, key));
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.finished.len() >= limits::FINISHED_KEYS_MAX
    }
}

/// The latest attempts whose result was recorded. Whole tokens: an assignment's number alone can be guessed.
#[derive(Debug)]
pub(super) struct Recorded {
    members: IndexMap<AssignmentId, (TaskId, AttemptNumber), BuildHasherDefault<IdHasher>>,
    /// Where the oldest is, once there are as many as may be.
    oldest: usize,
}

impl Default for Recorded {
    /// With room for all that there will be: a table that grows copies itself while the engine waits, and holds both meanwhile.
    fn default() -> Self {
        let members = IndexMap::with_capacity_and_hasher(limits::RECORDED_MAX, BuildHasherDefault::default());
        Self { members, oldest: 0 }
    }
}

impl Recorded {
    pub fn contains(&self, attempt: AttemptRef) -> bool {
        self.members.get(&attempt.assignment).is_some_and(|of| *of == (attempt.task, attempt.attempt))
    }

    pub fn insert(&mut self, attempt: AttemptRef) {
        let (assignment, of) = (attempt.assignment, (attempt.task, attempt.attempt));
        if self.members.len() < limits::RECORDED_MAX {
            self.members.insert(assignment, of);
        } else if self.members.replace_index(self.oldest, assignment).is_ok() {
            self.members[self.oldest] = of;
            self.oldest = (self.oldest + 1) % limits::RECORDED_MAX;
        }
    }
}

/// The numbers the engine gives out. Their upper 24 bits are the incarnation of the store, so that none is ever given out
/// twice; 40 bits are left for each incarnation, a million a second for twelve days and then still far from the end.
#[derive(Debug)]
pub(super) struct Numbers {
    position: u64,
    assignment: u64,
    order: u64,
}

impl Numbers {
    pub fn new(incarnation: u64) -> Self {
        let base = incarnation << 40;
        Self { position: base, assignment: base, order: base }
    }

    pub fn position(&mut self) -> EventPosition {
        self.position += 1;
        EventPosition(self.position)
    }

    pub fn assignment(&mut self) -> AssignmentId {
        self.assignment += 1;
        AssignmentId(self.assignment)
    }

    /// The number of the next assignment.
    pub const fn next_assignment(&self) -> AssignmentId {
        AssignmentId(self.assignment + 1)
    }

    pub fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}
