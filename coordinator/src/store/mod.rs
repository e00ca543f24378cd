//! What survives the process: tasks, attempts, outputs, history, and what operators asked for.
//!
//! [`Store`] is the writer's side, with one owner: the store writer hands it the engine's changes and waits until they
//! are on stable storage. [`StoreReader`] is everybody else's: cheap, concurrent, and never in the writer's way. Both
//! block, so they are called from threads where that is allowed.
//!
//! The trait is shaped for several engines. A claim takes ownership of the tasks that are not over and fences whoever had
//! it before; a commit carries the claim's incarnation with it; a release gives the ownership back. [`sqlite`] is the
//! embedded one. What every engine has to do is written down as tests in `conformance`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::{
    engine::Change,
    model::{ClusterEvent, ClusterEventKind, CostEntry, Declaration, Recovery, ScalingRecord, TaskEvent, UsageSample},
};
use evenkeel_shared::{
    AgentId, AttemptEnd, AttemptRef, Decision, EventPosition, Failure, Kind, TaskId, TaskSpec, TaskState, Tenant,
    Timestamp, Usage,
};

mod error;
mod resources;
pub mod sqlite;

#[cfg(test)]
mod conformance;

pub use error::StoreError;
pub use resources::{
    AllocationFilter, COARSE, COSTS_FINE_MAX, CostQuery, DeclarationQuery, Expiry, FINE_DEFAULT, HISTORY_DEFAULT,
    HISTORY_MIN, Pruned, ROWS_MAX, RecommendationFilter, RecordPage, RecordPlace, Records, Retention, SAMPLES_MAX,
    StoredAllocation, Subjects, TimeRange, UsageQuery, WINDOWS_RECOVERED_MAX,
};

/// The writer's side. One owner; every call blocks.
pub trait Store: Send + 'static {
    /// Begins a new incarnation, which fences every older one, and answers what the engine must know to go on.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    fn claim(&mut self, now: Timestamp) -> Result<Recovery, StoreError>;

    /// Makes the changes durable, all or none, in their order. What is answered after an error is decided by
    /// [`StoreError::is_fatal`]; after [`StoreError::Full`] the same changes may be tried again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if somebody has claimed the store since; otherwise what went wrong.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// Gives up the claim at a clean stop, so that the next start need not check the data.
    ///
    /// # Errors
    /// If the store cannot be written; the next start then checks it.
    fn release(&mut self) -> Result<(), StoreError>;

    /// Removes what is past its time: tasks with all that belongs to them, events, history; and thins out what was measured.
    /// At most `limit` of each, so that a call takes a bounded time; it goes on where the last one ended. Live tasks and
    /// declarations in force stay, and so does a task's idempotency key for as long as the task.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn prune(&mut self, expiry: Expiry, limit: usize) -> Result<Pruned, StoreError>;

    /// The readers' side. It sees every commit that was answered before a call.
    fn reader(&self) -> Arc<dyn StoreReader>;
}

/// The readers' side. Every call blocks for a short time, and never waits for the writer.
///
/// The store does not know all that the engine knows of a live task: one that is running is stored as assigned, and one
/// whose retry is due as waiting for it. For such tasks the caller puts the live state on top.
pub trait StoreReader: Send + Sync + 'static {
    /// One task, with its output.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn task(&self, id: TaskId) -> Result<Option<StoredTask>, StoreError>;

    /// A task's payload.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn payload(&self, id: TaskId) -> Result<Option<Bytes>, StoreError>;

    /// The attempts at a task, the first one first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn attempts(&self, id: TaskId) -> Result<Vec<StoredAttempt>, StoreError>;

    /// The task under this idempotency key, and the fingerprint of what it asked for.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn by_key(&self, tenant: &Tenant, key: &str) -> Result<Option<(TaskId, u128)>, StoreError> {
        Ok(self.by_keys(&[(tenant.clone(), key.to_owned())])?.pop().flatten())
    }

    /// The same for each of these keys, in their order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn by_keys(&self, keys: &[(Tenant, String)]) -> Result<Vec<Option<(TaskId, u128)>>, StoreError>;

    /// Whether this very attempt ended by its agent's own word, so that the agent may forget its result.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn result_recorded(&self, attempt: AttemptRef) -> Result<bool, StoreError>;

    /// Tasks, newest first, without their outputs.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list(&self, filter: &TaskFilter, page: Page) -> Result<TaskPage, StoreError>;

    /// At most `limit` events of these tasks (of all, if none is named) after a position, in order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn task_events(&self, tasks: &[TaskId], after: EventPosition, limit: usize) -> Result<Vec<TaskEvent>, StoreError>;

    /// At most `limit` events of the fleet after a position, in order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn cluster_events(
        &self,
        filter: &ClusterEventFilter,
        after: EventPosition,
        limit: usize,
    ) -> Result<Vec<ClusterEvent>, StoreError>;

    /// From this position on no event is missing; some before it may be.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn oldest_position(&self) -> Result<EventPosition, StoreError>;

    /// The newest task that drives this one again.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn redriven_as(&self, id: TaskId) -> Result<Option<TaskId>, StoreError>;

    /// What was measured, in the order of time.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageSample>, StoreError>;

    /// What was spent.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn costs(&self, query: &CostQuery) -> Result<Vec<CostEntry>, StoreError>;

    /// What was declared.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn declarations(&self, query: &DeclarationQuery) -> Result<Vec<Declaration>, StoreError>;

    /// Recommendations, the last changed ones first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn recommendations(
        &self,
        filter: &RecommendationFilter,
        page: RecordPage,
    ) -> Result<Records<Declaration>, StoreError>;

    /// Decisions about the size of the fleet, newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scaling_events(&self, range: TimeRange, page: RecordPage) -> Result<Records<ScalingRecord>, StoreError>;

    /// What limits, breakers, quotas, budgets and failovers did, newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn allocation_events(
        &self,
        filter: &AllocationFilter,
        page: RecordPage,
    ) -> Result<Records<StoredAllocation>, StoreError>;
}

/// A task, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<TaskSpec>,
    /// Its state; see [`StoreReader`] on live ones.
    pub state: TaskState,
    /// Place in the order of acceptance.
    pub order: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ended, if it is over.
    pub finished_at: Option<Timestamp>,
    /// Attempts made, the current one included.
    pub attempts_made: u32,
    /// Attempts that ended because their agent died.
    pub crashes: u32,
    /// The agent that has it, or had it last.
    pub agent: Option<AgentId>,
    /// Its output; empty in lists.
    pub output: Bytes,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// Size of its payload.
    pub payload_bytes: u64,
    /// Hash of what was asked for.
    pub fingerprint: u128,
    /// The task that it drives again.
    pub redrive_of: Option<TaskId>,
}

/// One attempt, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAttempt {
    /// The fencing token.
    pub attempt: AttemptRef,
    /// Which agent.
    pub agent: AgentId,
    /// When it was given to it.
    pub assigned_at: Timestamp,
    /// When the agent said that it began; known once the attempt is over.
    pub started_at: Option<Timestamp>,
    /// Why it went there.
    pub decision: Decision,
    /// How it ended; `None` if it has not.
    pub ended: Option<StoredEnd>,
}

/// How an attempt ended, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub end: AttemptEnd,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// How long it ran, as the agent measured it.
    pub run: Duration,
    /// What it used, as far as the agent said.
    pub usage: Option<Usage>,
}

/// Which tasks to list. Nothing set: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    /// In one of these states. `Assigned` and `Running` stand for each other, and so do `Queued` and `RetryWait`: which of
    /// them it is, the store cannot tell.
    pub states: Vec<TaskState>,
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Whose last attempt was on this agent.
    pub agent: Option<AgentId>,
    /// Accepted in this millisecond or later.
    pub accepted_from: Option<Timestamp>,
    /// Accepted before this millisecond.
    pub accepted_before: Option<Timestamp>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Tasks that are older than this one; `None` begins with the newest.
    pub older_than: Option<TaskId>,
    /// At most so many.
    pub size: u32,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    /// Newest first.
    pub tasks: Vec<StoredTask>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<TaskId>,
}

/// Which events of the fleet. Nothing set: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterEventFilter {
    /// About this agent.
    pub agent: Option<AgentId>,
    /// Of one of these kinds.
    pub kinds: Vec<ClusterEventKind>,
}
