//! What everybody saw of a run, and the judge of it.
//!
//! A [`History`] is put together from three sides that do not trust each other: clients write down what they submitted,
//! what they were answered and how they saw tasks end; agents write down what they executed and what became of their
//! results; and the coordinator is asked in the end what it has recorded. [`check()`] compares them and names every broken
//! promise. The same judge serves simulated and real clusters, so a fault that one of them finds can be looked for in the
//! other.
//!
//! The judge knows nothing of how the coordinator works. Where the truth cannot be known it gives the benefit of the
//! doubt: a submission that was never answered may have made one task or none.

mod attempts;
#[cfg(test)]
mod breaks;
mod check;
mod collect;
#[cfg(test)]
mod example;
mod executions;
mod keys;
#[cfg(test)]
mod model;
#[cfg(test)]
mod property_tests;
mod redrives;
mod shared;
mod tasks;
mod verdict;

use std::time::Duration;

use evenkeel_shared::{AgentId, AttemptEnd, AttemptRef, Delivery, TaskId, TaskState, Tenant, Timestamp};

pub use self::{
    check::check,
    collect::{CollectError, collect},
    executions::{ExecutionsError, read_executions},
    shared::SharedHistory,
    verdict::{Expect, Rule, Verdict, Violation},
};

/// Everything that was seen in a run, in no particular order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients asked for, one entry for each try.
    pub submissions: Vec<Submission>,
    /// States of tasks that clients were shown.
    pub sightings: Vec<Sighting>,
    /// What agents ran.
    pub executions: Vec<Execution>,
    /// What agents were answered to their results.
    pub acknowledgements: Vec<Acknowledgement>,
    /// What the coordinator has recorded in the end.
    pub recorded: Vec<RecordedTask>,
}

impl History {
    /// Takes in what others saw of the same run.
    pub fn merge(&mut self, other: Self) {
        self.submissions.extend(other.submissions);
        self.sightings.extend(other.sightings);
        self.executions.extend(other.executions);
        self.acknowledgements.extend(other.acknowledgements);
        self.recorded.extend(other.recorded);
    }
}

/// The hash of an output or a task's content, as a history has it (FNV-1a, 64 bits).
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// An idempotency key with its tenant, as a history has it; empty stays empty. The default tenant adds nothing where that
/// is clear: no tenant has a `#` in its name.
#[must_use]
pub fn key_of(tenant: &Tenant, key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else if *tenant != Tenant::default() {
        format!("{tenant}#{key}")
    } else if key.contains('#') {
        format!("#{key}")
    } else {
        key.to_owned()
    }
}

/// One try to submit one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The idempotency key with its tenant, see [`key_of`]; empty: none.
    pub key: String,
    /// Hash of what was asked for: equal keys with equal content ask for the same task.
    pub content: u64,
    /// Whether the task was to survive a crash of the coordinator.
    pub delivery: Delivery,
    /// When the client asked.
    pub asked_at: Timestamp,
    /// What came of it.
    pub outcome: SubmissionOutcome,
}

/// What a client knows of its try.
#[derive(Clone, Debug, PartialEq)]
pub enum SubmissionOutcome {
    /// Answered with a task.
    Acknowledged {
        /// The task.
        task: TaskId,
        /// Whether the coordinator said that it had the task already.
        duplicate: bool,
    },
    /// Answered with a refusal: there must be no task of this try.
    Refused,
    /// Not answered, or answered that nobody knows: one task or none.
    Unknown,
}

/// A state that a client was shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Of this task.
    pub task: TaskId,
    /// The state.
    pub state: TaskState,
    /// Hash of the output, of a task that succeeded.
    pub output: Option<u64>,
    /// When.
    pub at: Timestamp,
}

/// An agent ran an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Who.
    pub agent: AgentId,
    /// The token that it was handed.
    pub attempt: AttemptRef,
    /// When it began, on the agent's clock.
    pub begun_at: Timestamp,
    /// When it ended; `None`: not as far as is known.
    pub ended_at: Option<Timestamp>,
}

/// An agent was answered to a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledgement {
    /// Who.
    pub agent: AgentId,
    /// The token that the result carried.
    pub attempt: AttemptRef,
    /// Whether the result said that the task succeeded.
    pub success: bool,
    /// Recorded, or stale.
    pub recorded: bool,
}

/// A task as the coordinator has it in the end.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedTask {
    /// The task.
    pub id: TaskId,
    /// Its idempotency key with its tenant, see [`key_of`]; empty: none.
    pub key: String,
    /// Whether it was to survive a crash. The attempts of an ephemeral task need not be known.
    pub delivery: Delivery,
    /// The task that it drives again: nobody submitted it.
    pub redrive_of: Option<TaskId>,
    /// Its state.
    pub state: TaskState,
    /// Hash of the output, where it was asked for and the task succeeded.
    pub output: Option<u64>,
    /// Attempts made, as counted; of an ephemeral task there may be no other word.
    pub attempts_made: u32,
    /// Attempts that it may have.
    pub attempts_max: u32,
    /// When it has to be over.
    pub deadline: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// When it was removed, past its time; `None`: it is still there, or the source does not tell.
    pub pruned_at: Option<Timestamp>,
    /// How often its end was recorded, where the source tells: a history of events does.
    pub ends_recorded: u32,
    /// The attempts, the first one first.
    pub attempts: Vec<RecordedAttempt>,
}

impl RecordedTask {
    /// When it was made, to the millisecond, if its id tells: one of version 7 does.
    fn made_at(&self) -> Option<Timestamp> {
        let bits = self.id.as_u128();
        let millis = u64::try_from(bits >> 80).ok()?;
        ((bits >> 76) & 0xf == 7).then(|| Timestamp::from_unix_millis(millis))
    }

    /// Whether one of the two was gone before the other was made, so that nobody could know of both.
    fn may_be_replaced_by(&self, other: &Self, tolerance: Duration) -> bool {
        let before = |gone: &Self, made: &Self| {
            gone.pruned_at.zip(made.made_at()).is_some_and(|(gone, made)| gone <= plus_ms(made).plus(tolerance))
        };
        before(self, other) || before(other, self)
    }
}

/// A time that was cut to its millisecond, at the latest.
fn plus_ms(time: Timestamp) -> Timestamp {
    time.plus(Duration::from_millis(1))
}

/// An attempt as the coordinator has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedAttempt {
    /// The token.
    pub attempt: AttemptRef,
    /// Who had it.
    pub agent: AgentId,
    /// When it was assigned.
    pub assigned_at: Timestamp,
    /// When it ended, and how; `None`: it is live.
    pub ended: Option<(Timestamp, AttemptEnd)>,
    /// How long it ran, as the agent said.
    pub run: Duration,
}
