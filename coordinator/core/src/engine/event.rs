//! What the engine is told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AgentLoad, AttemptRef, Kind, Outcome, QuotaKey, Registration, SessionEpoch, StrategyConfig, TaskId,
    TaskSpec, Timestamp, Usage,
};

use super::settings::Settings;
use crate::{
    admission::{BreakerId, BreakerOrder, DynamicLimitSettings, Limit},
    cost::{Budget, Prices},
    model::{Notice, Record},
    sizing::Size,
};

/// Names a request of the shell, so that the reply finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened. The shell has checked its form; whether it fits the state is the engine's to decide.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client submits tasks. Replied with [`super::Reply::Submitted`].
    Submit {
        /// Whom to reply to.
        request: RequestId,
        /// The tasks.
        tasks: Vec<NewTask>,
    },
    /// A client calls a task off. Replied with [`super::Reply::Cancelled`]. A task that the engine does not hold is
    /// answered NOT_FOUND; it may be over, which the store knows.
    Cancel {
        /// Whom to reply to.
        request: RequestId,
        /// The task.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// An agent's session begins.
    Register {
        /// The session. The shell numbers them: growing, the store's incarnation in the upper 24 bits.
        session: SessionEpoch,
        /// What it said.
        registration: Box<Registration>,
    },
    /// An agent's session ended.
    SessionClosed {
        /// The session.
        session: SessionEpoch,
        /// Why, in words.
        reason: String,
    },
    /// An agent reports its load.
    Heartbeat {
        /// Its session.
        session: SessionEpoch,
        /// The load.
        load: Box<AgentLoad>,
    },
    /// An agent began an attempt.
    Started {
        /// Its session.
        session: SessionEpoch,
        /// The attempt.
        attempt: AttemptRef,
    },
    /// An agent reports progress.
    Progress {
        /// Its session.
        session: SessionEpoch,
        /// The attempt.
        attempt: AttemptRef,
        /// 0 to 1.
        fraction: f64,
        /// In words.
        note: String,
        /// What it has used so far.
        usage: Option<Box<Usage>>,
    },
    /// An attempt is over.
    Result {
        /// Its session.
        session: SessionEpoch,
        /// The attempt.
        attempt: AttemptRef,
        /// How it ended.
        outcome: Outcome,
        /// How long it ran.
        run: Duration,
        /// What it used.
        usage: Option<Box<Usage>>,
    },
    /// An agent found an upstream quota used up.
    QuotaExhausted {
        /// Its session.
        session: SessionEpoch,
        /// Which.
        key: QuotaKey,
        /// For how long.
        retry_after: Duration,
        /// In words.
        reason: String,
    },
    /// An agent wants nothing new.
    AgentDraining {
        /// Its session.
        session: SessionEpoch,
        /// Why.
        reason: String,
    },
    /// The operator wants something of an agent. Replied with [`super::Reply::Done`].
    Admin {
        /// Whom to reply to.
        request: RequestId,
        /// The agent.
        agent: AgentId,
        /// What is wanted.
        command: AdminCommand,
        /// Why.
        reason: String,
    },
    /// The operator changes the strategy. Replied with [`super::Reply::Done`].
    SetStrategy {
        /// Whom to reply to.
        request: RequestId,
        /// The strategy.
        strategy: StrategyConfig,
    },
    /// The operator changes who may use how much. Replied with [`super::Reply::Done`], or with [`super::Reply::Put`] where it puts
    /// something in force that has a name.
    Control {
        /// Whom to reply to.
        request: RequestId,
        /// What is wanted.
        command: Box<ControlCommand>,
        /// Why.
        reason: String,
    },
    /// The resource manager wants something kept and said. Replied with [`super::Reply::Done`].
    Keep {
        /// Whom to reply to.
        request: RequestId,
        /// What to keep.
        records: Vec<Record>,
        /// What to say of the fleet.
        notices: Vec<Notice>,
    },
    /// The store has no room (true), or has room again: see the module `pause`.
    StoreFull(bool),
    /// Time has passed: see [`super::Engine::next_wakeup`].
    Tick,
}

/// What an operator can want of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Give it nothing new.
    Cordon,
    /// Give it nothing new, and move what is left after this time. `None`: the engine's default.
    Drain(Option<Duration>),
    /// Give it work again.
    Resume,
}

/// What an operator can want of limits, breakers, quotas, request sizes, budgets and prices.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlCommand {
    /// Declare a limit, or replace the one of its name.
    PutLimit(Limit),
    /// Remove the limit of this name.
    RemoveLimit(String),
    /// Let the slots of agents follow measured latency, or no longer.
    SetDynamicLimits(DynamicLimitSettings),
    /// An upstream quota is used up for so long.
    ReportQuota(QuotaKey, Duration),
    /// It no longer is.
    ClearQuota(QuotaKey),
    /// Open or close a breaker by hand.
    SetBreaker(BreakerId, BreakerOrder),
    /// Declare what tasks of a kind reserve from now on, or replace it.
    PutSize(Size),
    /// Let tasks of this kind reserve what they ask for.
    RemoveSize(Kind),
    /// Declare a budget, or replace the one of its name.
    PutBudget(Budget),
    /// Remove the budget of this name.
    RemoveBudget(String),
    /// What resources cost from now on.
    SetPrices(Prices),
    /// Settings of the engine from now on.
    Configure(Box<Configure>),
}

/// Settings that change, and what is stored and said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configure {
    /// All settings of the engine.
    pub settings: Settings,
    /// What is stored, each as a version: JSON, the engine does not read it.
    pub declared: Vec<String>,
    /// What is said of it.
    pub notice: String,
}

/// A task to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// What is asked for.
    pub spec: Arc<TaskSpec>,
    /// Its payload.
    pub payload: Bytes,
    /// Hash of spec and payload; compared where a task of the same idempotency key exists.
    pub fingerprint: u128,
    /// What the store knew of its idempotency key.
    pub stored_key: StoredKey,
    /// The task that it drives again.
    pub redrive_of: Option<TaskId>,
}

/// What the store knew of an idempotency key. The engine knows the keys of live tasks and of those that ended within
/// [`super::limits::KEY_MEMORY`]; older ones only the store knows, which was asked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKey {
    /// The task has no key.
    None,
    /// No task of that key was stored at that time.
    Absent {
        /// When the store was asked.
        asked_at: Timestamp,
    },
    /// This task has the key.
    Present {
        /// The task.
        task: TaskId,
        /// Hash of what it asked for.
        fingerprint: u128,
    },
}
