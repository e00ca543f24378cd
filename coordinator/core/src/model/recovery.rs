//! What a store hands the engine at start: everything that is not over.

use std::sync::Arc;

use bytes::Bytes;
use evenkeel_shared::{AdminState, AgentId, AttemptRef, StrategyConfig, TaskId, TaskSpec, Timestamp};

use super::record::{BudgetShare, BudgetSpent, Declaration, ScalingRecord};

/// All that the engine must know to go on where the last incarnation ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// Grows with every start on the same store, from 1. The upper half of every number the engine makes, so that none is
    /// ever made twice. Below 2^24.
    pub incarnation: u64,
    /// Tasks that are not over, in the order of their acceptance.
    pub tasks: Vec<RecoveredTask>,
    /// What the operator wants of agents, where it is not the default.
    pub admin: Vec<RecoveredAdmin>,
    /// The strategy last set at run time.
    pub strategy: Option<StrategyConfig>,
    /// Declarations in force, and without a body those that were taken back and whose versions count on.
    pub declarations: Vec<Declaration>,
    /// What budgets have spent in the windows that are not long over.
    pub spent: Vec<BudgetSpent>,
    /// The newest decision about the size of the fleet.
    pub scaling: Option<ScalingRecord>,
}

/// A task that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredTask {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<TaskSpec>,
    /// Its payload.
    pub payload: Bytes,
    /// Hash of what was asked for, to compare submissions under one idempotency key.
    pub fingerprint: u128,
    /// Place in the order of acceptance.
    pub order: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts made, the current one included.
    pub attempts_made: u32,
    /// Attempts that ended because their agent died.
    pub crashes: u32,
    /// Where it stood.
    pub state: RecoveredState,
    /// The task that it drives again.
    pub redrive_of: Option<TaskId>,
}

/// Where a task stood.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveredState {
    /// It waited, since then.
    Queued {
        /// Since when.
        since: Timestamp,
    },
    /// It waited for its next attempt.
    RetryWait {
        /// Until when.
        not_before: Timestamp,
    },
    /// It was given to an agent, which may still run it.
    Assigned {
        /// The attempt.
        attempt: AttemptRef,
        /// The agent.
        agent: AgentId,
        /// When.
        at: Timestamp,
        /// What it holds of budgets. `None`: a version made it that did not write that down.
        reserved: Option<Vec<BudgetShare>>,
    },
}

/// What the operator wants of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredAdmin {
    /// The agent.
    pub agent: AgentId,
    /// What is wanted.
    pub state: AdminState,
    /// Of a drain: when what is left is moved.
    pub drain_deadline: Option<Timestamp>,
    /// Why, in the operator's words.
    pub reason: String,
}
