//! The history that can be read back: what happened to tasks, and to the fleet.

use evenkeel_shared::{AgentId, AttemptNumber, EventPosition, TaskId, TaskState, Timestamp};

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskEventKind {
    /// It was accepted.
    Accepted,
    /// It was given to an agent.
    Assigned,
    /// The agent began. Not kept on disk: it changes nothing that a restart must know.
    Started,
    /// The agent reported progress. Not kept on disk.
    Progress,
    /// An attempt is over.
    AttemptEnded,
    /// It waits again.
    Requeued,
    /// It is over.
    Finished,
    /// An agent came back and still runs it.
    Adopted,
}

impl TaskEventKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Assigned,
        Self::Started,
        Self::Progress,
        Self::AttemptEnded,
        Self::Requeued,
        Self::Finished,
        Self::Adopted,
    ];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Assigned => "assigned",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::AttemptEnded => "attempt_ended",
            Self::Requeued => "requeued",
            Self::Finished => "finished",
            Self::Adopted => "adopted",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether events of this kind are made durable.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        !matches!(self, Self::Started | Self::Progress)
    }
}

/// One event in the life of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEvent {
    /// Its place in the history.
    pub position: EventPosition,
    /// When.
    pub at: Timestamp,
    /// Which task.
    pub task: TaskId,
    /// What.
    pub kind: TaskEventKind,
    /// The task's state after it.
    pub state: TaskState,
    /// The attempt it is about; 0 if none.
    pub attempt: AttemptNumber,
    /// The agent it is about.
    pub agent: Option<AgentId>,
    /// Progress, 0 to 1; otherwise 0.
    pub progress: f64,
    /// In words; may be empty.
    pub message: String,
}

/// What happened to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterEventKind {
    /// An agent that was not known registered.
    AgentJoined,
    /// An agent's session ended or fell silent.
    AgentLost,
    /// An agent finished what it ran and went, as it had said it would.
    AgentLeft,
    /// A known agent has a session again.
    AgentReturned,
    /// An agent's health changed.
    AgentHealth,
    /// The operator, or the agent itself, changed what it is given.
    AgentAdmin,
    /// An agent that fails much more than the others gets nothing for a while.
    AgentEjected,
    /// An attempt was taken from a lost agent.
    Failover,
    /// A task crashed too many agents.
    Quarantine,
    /// The strategy changed.
    Strategy,
    /// Failover is slowed down, or no longer.
    PanicMode,
    /// The coordinator started or stops.
    Coordinator,
    /// A limit was declared, changed or removed.
    Limit,
    /// A circuit breaker changed its state.
    Breaker,
    /// An upstream quota is used up, or no longer.
    Quota,
    /// A budget was declared or changed, or crossed a threshold.
    Budget,
    /// The size of the fleet, its policy, or what it should be.
    Scaling,
    /// Something holds the fleet up, or no longer.
    Bottleneck,
    /// Settings changed, were refused, or were rolled back.
    Config,
    /// A credential was revoked, a certificate was loaded anew.
    Security,
    /// A part of the coordinator changed its health.
    Component,
    /// A request size was declared, changed or removed.
    Size,
}

impl ClusterEventKind {
    /// All kinds.
    pub const ALL: [Self; 22] = [
        Self::AgentJoined,
        Self::AgentLost,
        Self::AgentLeft,
        Self::AgentReturned,
        Self::AgentHealth,
        Self::AgentAdmin,
        Self::AgentEjected,
        Self::Failover,
        Self::Quarantine,
        Self::Strategy,
        Self::PanicMode,
        Self::Coordinator,
        Self::Limit,
        Self::Breaker,
        Self::Quota,
        Self::Budget,
        Self::Scaling,
        Self::Bottleneck,
        Self::Config,
        Self::Security,
        Self::Component,
        Self::Size,
    ];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentJoined => "agent_joined",
            Self::AgentLost => "agent_lost",
            Self::AgentLeft => "agent_left",
            Self::AgentReturned => "agent_returned",
            Self::AgentHealth => "agent_health",
            Self::AgentAdmin => "agent_admin",
            Self::AgentEjected => "agent_ejected",
            Self::Failover => "failover",
            Self::Quarantine => "quarantine",
            Self::Strategy => "strategy",
            Self::PanicMode => "panic_mode",
            Self::Coordinator => "coordinator",
            Self::Limit => "limit",
            Self::Breaker => "breaker",
            Self::Quota => "quota",
            Self::Budget => "budget",
            Self::Scaling => "scaling",
            Self::Bottleneck => "bottleneck",
            Self::Config => "config",
            Self::Security => "security",
            Self::Component => "component",
            Self::Size => "size",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One event in the life of the fleet. All are made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Its place in the history; shares the numbers of [`TaskEvent`].
    pub position: EventPosition,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ClusterEventKind,
    /// The agent it is about.
    pub agent: Option<AgentId>,
    /// The task it is about.
    pub task: Option<TaskId>,
    /// In words.
    pub message: String,
}
