//! What the engine wants done: changes to make durable, and messages that may go out only after that.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{
    AdminState, AgentId, AttemptEnd, AttemptRef, Decision, Error, Failure, SessionEpoch, StrategyConfig, TaskId,
    TaskSpec, TaskState, Timestamp, Usage,
};

use super::event::RequestId;
use crate::{
    admission::gates::LimitView,
    cost::ledger::BudgetView,
    model::{BudgetShare, ClusterEvent, Record, RecoveredState, RecoveredTask, TaskEvent},
    sizing::Size,
};

/// The effects of one event or of a batch of them, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// To be made durable in one transaction, in this order.
    pub changes: Vec<Change>,
    /// To be sent once the changes are durable, in this order.
    pub messages: Vec<Message>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.messages.is_empty()
    }
}

/// Something to make durable. Ephemeral tasks cause none.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A task was accepted; it is queued.
    Accept(Arc<AcceptedTask>),
    /// A task was given to an agent: a new attempt.
    Assign {
        /// The attempt.
        attempt: AttemptRef,
        /// The agent.
        agent: AgentId,
        /// When.
        at: Timestamp,
        /// Why there.
        decision: Decision,
        /// What it holds of budgets, for as long as it is live.
        reserved: Vec<BudgetShare>,
    },
    /// An attempt is over.
    EndAttempt {
        /// The attempt.
        attempt: AttemptRef,
        /// When.
        at: Timestamp,
        /// When the agent said it had begun.
        started_at: Option<Timestamp>,
        /// How.
        end: AttemptEnd,
        /// What went wrong.
        failure: Option<Failure>,
        /// How long it ran, as the agent measured it.
        run: Duration,
        /// What it used, as far as its agent said.
        usage: Option<Box<Usage>>,
    },
    /// A task waits again, now or from `not_before` on.
    Requeue {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
        /// `None`: it is queued now. Otherwise it waits for its retry until then; that it is queued at that time is not
        /// recorded again.
        not_before: Option<Timestamp>,
        /// Attempts so far that ended because their agent died.
        crashes: u32,
    },
    /// A task is over.
    Finish {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
        /// A terminal state.
        state: TaskState,
        /// Its output.
        output: Bytes,
        /// Why it did not succeed.
        failure: Option<Failure>,
        /// Attempts that ended because their agent died.
        crashes: u32,
    },
    /// An event of a task.
    TaskEvent(TaskEvent),
    /// An event of the fleet.
    ClusterEvent(ClusterEvent),
    /// What the operator wants of an agent.
    Admin {
        /// The agent.
        agent: AgentId,
        /// What is wanted.
        state: AdminState,
        /// Of a drain: when what is left is moved.
        drain_deadline: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// The strategy was set at run time.
    Strategy(StrategyConfig),
    /// Something was declared, spent, measured or decided about resources.
    Record(Box<Record>),
}

/// A task as it was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedTask {
    /// Its id.
    pub id: TaskId,
    /// What is asked for, with what it reserves.
    pub spec: Arc<TaskSpec>,
    /// Its payload.
    pub payload: Bytes,
    /// Hash of what was asked for.
    pub fingerprint: u128,
    /// Place in the order of acceptance.
    pub order: u64,
    /// When.
    pub at: Timestamp,
    /// The task that it drives again.
    pub redrive_of: Option<TaskId>,
}

impl From<&AcceptedTask> for RecoveredTask {
    /// What a restart right after its acceptance finds.
    fn from(task: &AcceptedTask) -> Self {
        Self {
            id: task.id,
            spec: Arc::clone(&task.spec),
            payload: task.payload.clone(),
            fingerprint: task.fingerprint,
            order: task.order,
            accepted_at: task.at,
            attempts_made: 0,
            crashes: 0,
            state: RecoveredState::Queued { since: task.at },
            redrive_of: task.redrive_of,
        }
    }
}

/// Something to say, once the changes before it are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// Which one.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// For an agent, on one session.
    ToAgent {
        /// The session.
        session: SessionEpoch,
        /// What to say.
        message: AgentMessage,
    },
    /// End a session with this error.
    CloseSession {
        /// The session.
        session: SessionEpoch,
        /// Why.
        error: Error,
    },
    /// A result of an attempt that the engine no longer knows: the store knows whether it was recorded. Answer the agent
    /// on its session: recorded if the stored attempt of this assignment ended by its own result, otherwise stale.
    LookUpResult {
        /// The session.
        session: SessionEpoch,
        /// The attempt.
        attempt: AttemptRef,
    },
    /// A task was accepted, for readers.
    Accepted(Arc<AcceptedTask>),
    /// A task is over, for those who wait.
    Finished(Arc<FinishedTask>),
    /// Something happened to a task, for those who watch.
    TaskEvent(TaskEvent),
    /// Something happened to the fleet, for those who watch.
    ClusterEvent(ClusterEvent),
}

/// A task that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedTask {
    /// Its id.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<TaskSpec>,
    /// Hash of it, to compare submissions under one idempotency key; 0 where the task has none.
    pub fingerprint: u128,
    /// A terminal state.
    pub state: TaskState,
    /// Its output.
    pub output: Bytes,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// Attempts made.
    pub attempts_made: u32,
    /// Attempts that ended because their agent died.
    pub crashes: u32,
    /// The agent that had it last.
    pub agent: Option<AgentId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a submission, in its order.
    Submitted(Vec<Result<Submitted, Error>>),
    /// To a cancellation: the state after it, CANCELLED.
    Cancelled(Result<TaskState, Error>),
    /// To a command of the operator.
    Done(Result<(), Error>),
    /// To one that put something in force.
    Put(Box<Put>),
}

/// What was put in force, as it stands once all that follows from it at once has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// A limit, with the tasks that wait under it.
    Limit(LimitView, u64),
    /// A request size, with its version.
    Size(Size, u64),
    /// A budget, with the tasks that wait for it.
    Budget(BudgetView, u64),
}

/// A submission that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The task.
    pub task: TaskId,
    /// It had been accepted before, under the same idempotency key.
    pub duplicate: bool,
}

/// Something to say to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentMessage {
    /// The session is valid.
    Welcome {
        /// Between two heartbeats.
        heartbeat_interval: Duration,
        /// After so long a silence the agent is given up.
        session_timeout: Duration,
        /// Attempts that it holds and goes on with.
        adopted: Vec<AttemptRef>,
        /// Attempts that it holds and must drop.
        superseded: Vec<AttemptRef>,
    },
    /// Run this.
    Assign(Box<Assignment>),
    /// Stop this.
    Cancel {
        /// The attempt.
        attempt: AttemptRef,
        /// Why.
        reason: String,
    },
    /// A result was recorded, or came too late.
    Ack {
        /// The attempt.
        attempt: AttemptRef,
        /// False: stale.
        recorded: bool,
    },
    /// Take nothing new, finish by the deadline. Also the answer to an agent that drains by itself: nothing new comes after it.
    Drain {
        /// The deadline. `None`: the agent's own.
        deadline: Option<Timestamp>,
        /// Why.
        reason: String,
    },
}

/// A task for an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The attempt: the fencing token.
    pub attempt: AttemptRef,
    /// What is asked for.
    pub spec: Arc<TaskSpec>,
    /// Its payload.
    pub payload: Bytes,
    /// Longest time to run.
    pub timeout: Duration,
    /// Why it goes there, in short.
    pub placed: Placed,
}

/// Why an assignment goes where it goes: what of a [`Decision`] is told without being stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// When it was decided.
    pub at: Timestamp,
    /// The strategy that decided.
    pub strategy: &'static str,
    /// Its score of the agent chosen.
    pub score: f64,
    /// Agents that had room for the task, the chosen one included.
    pub agents_with_room: u32,
    /// The agent takes it ahead of a slot becoming free.
    pub prefetched: bool,
    /// Time in the queue before this assignment.
    pub queued: Duration,
}
