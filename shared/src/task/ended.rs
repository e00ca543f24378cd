//! How attempts end: what their agents say of them, what is recorded, and what went wrong.

use serde::{Deserialize, Serialize};

/// Why an attempt failed, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Worth another attempt.
    Retryable,
    /// Would fail again.
    NonRetryable,
    /// Took longer than its attempt timeout; tried again.
    Timeout,
    /// The agent would not start it; tried elsewhere.
    Rejected,
    /// The agent died or fell silent; counts as a crash.
    AgentLost,
    /// It used or cost more than it may; not tried again.
    BudgetExceeded,
    /// An upstream quota is used up; tried again once it is not.
    QuotaExhausted,
}

impl FailureClass {
    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::NonRetryable => "non_retryable",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::AgentLost => "agent_lost",
            Self::BudgetExceeded => "budget_exceeded",
            Self::QuotaExhausted => "quota_exhausted",
        }
    }
}

/// What went wrong with an attempt, or with a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means for the next attempt.
    pub class: FailureClass,
    /// What happened, in words.
    pub message: String,
    /// Exit code of a program, where there was one.
    pub exit_code: Option<i32>,
}

impl Failure {
    /// A failure without an exit code.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), exit_code: None }
    }
}

/// What an agent says of an attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with its output.
    Succeeded(bytes::Bytes),
    /// Not done.
    Failed(Failure),
    /// Called off, as asked.
    Cancelled,
    /// Not started, and given back.
    HandedBack(String),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Done.
    Succeeded,
    /// The executor failed.
    Failed,
    /// The attempt timeout passed.
    TimedOut,
    /// The task was cancelled.
    Cancelled,
    /// The agent died or fell silent.
    AgentLost,
    /// The agent would not start it.
    Rejected,
    /// The agent drains and gave it back unstarted.
    HandedBack,
    /// The task's deadline passed.
    Expired,
}

impl AttemptEnd {
    /// All ends.
    pub const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::AgentLost,
        Self::Rejected,
        Self::HandedBack,
        Self::Expired,
    ];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::AgentLost => "agent_lost",
            Self::Rejected => "rejected",
            Self::HandedBack => "handed_back",
            Self::Expired => "expired",
        }
    }

    /// The end of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }
}
