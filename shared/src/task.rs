//! Tasks: what a client asks for, and what can become of it.

mod ended;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use ended::{AttemptEnd, Failure, FailureClass, Outcome};

use crate::{
    ids::{Kind, QuotaKey, Tenant},
    labels::LabelRule,
    spend::TaskBudget,
    time::Timestamp,
    trace::TraceContext,
    units::{Resources, cores, memory},
};

/// How urgent a task is: 0 to 9, 9 most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const MAX: Self = Self(9);
    /// How many there are.
    pub const COUNT: usize = 10;

    /// The priority of this number, 0 to 9.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::MAX.0 { Some(Self(level)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        Self::new(level).ok_or("a priority is 0 to 9")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// What an accepted submission survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The coordinator's death: it is on stable storage before it is answered.
    #[default]
    Durable,
    /// The death of agents only.
    Ephemeral,
}

/// What a task needs of the agent that runs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirements {
    /// Set aside while it runs. At least one slot.
    pub resources: Resources,
    /// All must hold.
    pub required: Vec<LabelRule>,
    /// Should hold; the lightest is given up first.
    pub preferred: Vec<LabelRule>,
    /// Upstream quotas that the task draws on, sorted, without repeats: while one is used up the task waits.
    #[serde(default)]
    pub quota_keys: Vec<QuotaKey>,
}

impl Default for Requirements {
    fn default() -> Self {
        Self { resources: Resources::slots(1), required: Vec::new(), preferred: Vec::new(), quota_keys: Vec::new() }
    }
}

/// When and how often a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. At least 1.
    pub attempts_max: u32,
    /// Wait before the second attempt, before jitter.
    pub backoff_initial: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Growth of the wait from one attempt to the next. At least 1.
    pub multiplier: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_initial: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            multiplier: 2.0,
        }
    }
}

/// A unit of work, as a client describes it, without its payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// With the same key and content the same task is answered. Empty: none. Unique within the tenant.
    pub idempotency_key: String,
    /// What is to be done.
    pub kind: Kind,
    /// Whose work it is.
    pub tenant: Tenant,
    /// How urgent it is.
    pub priority: Priority,
    /// What it needs.
    pub requirements: Requirements,
    /// Tasks of one key go to one agent where the strategy allows it. Empty: none.
    pub affinity_key: String,
    /// What its acceptance survives.
    pub delivery: Delivery,
    /// Longest time in the queue before each attempt.
    pub queue_timeout: Option<Duration>,
    /// Longest time of one attempt. `None`: the engine's default.
    pub attempt_timeout: Option<Duration>,
    /// When the task as a whole is given up.
    pub deadline: Option<Timestamp>,
    /// What follows a failed attempt.
    pub retry: RetryPolicy,
    /// What an attempt may cost and use. `None`: no limit, nothing expected. Boxed: most tasks have none.
    #[serde(default)]
    pub budget: Option<Box<TaskBudget>>,
    /// The place in a trace that it was submitted from. `None`: it is in none. Boxed: most tasks are in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<TraceContext>>,
    /// What its client asked for, where `requirements` has been given the request size of its kind. `None`: it reserves what it
    /// asked for. Boxed: most tasks do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
}

/// What a client asked for, of a task that reserves something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Thousandths of a processor core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The version of the request size that was in force when the task was accepted.
    pub size_version: u64,
}

impl TaskSpec {
    /// A task of this kind with every other setting at its default.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Self {
        Self {
            idempotency_key: String::new(),
            kind,
            tenant: Tenant::default(),
            priority: Priority::default(),
            requirements: Requirements::default(),
            affinity_key: String::new(),
            delivery: Delivery::Durable,
            queue_timeout: None,
            attempt_timeout: None,
            deadline: None,
            retry: RetryPolicy::default(),
            budget: None,
            trace: None,
            asked: None,
        }
    }

    /// The task as its client asked for it, whatever it reserves.
    #[must_use]
    pub fn as_asked(mut self) -> Self {
        if let Some(asked) = self.asked.take() {
            let resources = &mut self.requirements.resources;
            (resources.cpu_millis, resources.memory_bytes) = (asked.cpu_millis, asked.memory_bytes);
        }
        self
    }

    /// What was asked for and what is reserved instead, for people. `None`: it reserves what was asked for.
    #[must_use]
    pub fn sized_in_words(&self) -> Option<String> {
        let Asked { cpu_millis, memory_bytes, size_version } = **self.asked.as_ref()?;
        let reserved = &self.requirements.resources;
        let cpu = (cpu_millis != reserved.cpu_millis).then(|| [cores(cpu_millis), cores(reserved.cpu_millis)]);
        let memory =
            (memory_bytes != reserved.memory_bytes).then(|| [memory(memory_bytes), memory(reserved.memory_bytes)]);
        let (asked, reserved): (Vec<_>, Vec<_>) = [cpu, memory].into_iter().flatten().map(<(_, _)>::from).unzip();
        Some(format!(
            "requested {}, reserves {}: request size of kind `{}`, version {size_version}",
            asked.join(" and "),
            reserved.join(" and "),
            self.kind
        ))
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for an agent.
    Queued,
    /// Was given to an agent that has not said yet that it started.
    Assigned,
    /// Runs.
    Running,
    /// Waits for its next attempt.
    RetryWait,
    /// Over: done.
    Succeeded,
    /// Over: not done, and not tried again.
    Failed,
    /// Over: somebody called it off.
    Cancelled,
    /// Over: its deadline or queue timeout passed.
    Expired,
    /// Over: it killed too many agents. It can be driven again.
    Quarantined,
}

impl TaskState {
    /// All states, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Assigned,
        Self::Running,
        Self::RetryWait,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Quarantined,
    ];

    /// Whether the task is over.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired | Self::Quarantined)
    }

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::RetryWait => "retry_wait",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an assignment went where it went; kept with the attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The strategy that decided.
    pub strategy: String,
    /// Its score of the agent chosen; higher is better, comparable within one strategy only.
    pub score: f64,
    /// Agents that had room for the task at that moment, the chosen one included.
    pub agents_with_room: u32,
    /// The agent took it ahead of a slot becoming free.
    pub prefetched: bool,
    /// Preferred rules that were given up to place it.
    pub preferences_given_up: u8,
    /// Time in the queue before this assignment.
    pub queued: Duration,
}
