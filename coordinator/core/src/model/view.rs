//! What the engine shows of itself: plain values that a shell can publish.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{
    AdminState, AgentId, AgentLoad, AgentSpec, Health, Kind, Resources, SessionEpoch, TaskId, TaskState, Timestamp,
};

/// One agent, as the coordinator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    /// What it said of itself.
    pub spec: Arc<AgentSpec>,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// What is observed of it.
    pub health: Health,
    /// Why it is not healthy, or takes less than its capacity, in words.
    pub conditions: Vec<String>,
    /// Its last session.
    pub session: SessionEpoch,
    /// When that began.
    pub connected_at: Timestamp,
    /// When it was heard last.
    pub last_heard_at: Timestamp,
    /// Set aside for attempts that hold a slot.
    pub reserved: Resources,
    /// Slots that it may use now.
    pub slots_usable: u32,
    /// Attempts that hold a slot.
    pub running_tasks: u32,
    /// Attempts given ahead of a slot.
    pub prefetched_tasks: u32,
    /// What it measured of itself last.
    pub load: AgentLoad,
    /// Attempts that succeeded, since the coordinator started.
    pub succeeded: u64,
    /// Attempts that did not.
    pub failed: u64,
    /// By kind.
    pub kinds_seen: Vec<KindStatistics>,
}

/// How one kind of task fares on one agent, as the coordinator measured it.
#[derive(Clone, Debug, PartialEq)]
pub struct KindStatistics {
    /// The kind.
    pub kind: Kind,
    /// Attempts completed.
    pub completed: u64,
    /// Moving average of their run time.
    pub mean: Duration,
}

/// The whole, in numbers. Counters are since the coordinator started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStatus {
    /// The strategy's name.
    pub strategy: &'static str,
    /// Agents by health, in the order of [`Health::ALL`].
    pub agents_by_health: [u32; 4],
    /// Slots of connected agents.
    pub slots_total: u32,
    /// Slots in use.
    pub slots_used: u32,
    /// Live tasks by state: queued, assigned, running, waiting for a retry.
    pub queued: u64,
    /// Given to an agent that has not said that it started.
    pub assigned: u64,
    /// Running.
    pub running: u64,
    /// Waiting for their next attempt.
    pub retry_wait: u64,
    /// Payload bytes of live tasks.
    pub payload_bytes: u64,
    /// Longest wait in the queue at the moment.
    pub oldest_queued: Duration,
    /// Queued tasks by priority.
    pub queued_by_priority: [u64; 10],
    /// Failover is slowed down.
    pub panic_mode: bool,
    /// Counters.
    pub counters: Counters,
}

/// What has happened since the coordinator started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks accepted.
    pub accepted: u64,
    /// Submissions answered with a task that existed.
    pub duplicates: u64,
    /// Submissions refused for want of room.
    pub refused: u64,
    /// Tasks by terminal state.
    pub succeeded: u64,
    /// Not done, and not tried again.
    pub failed: u64,
    /// Called off.
    pub cancelled: u64,
    /// Too late.
    pub expired: u64,
    /// Crashed too many agents.
    pub quarantined: u64,
    /// Assignments made.
    pub assignments: u64,
    /// Of them, ahead of a slot.
    pub prefetched: u64,
    /// Attempts followed by another.
    pub retries: u64,
    /// Attempts that ended with their agent.
    pub attempts_lost: u64,
    /// Attempts that went on after their agent came back.
    pub adopted: u64,
    /// Results of superseded attempts.
    pub stale_results: u64,
    /// Results sent again after they had been recorded.
    pub repeated_results: u64,
    /// Agents found gone by silence.
    pub leases_expired: u64,
    /// Agents ejected for failing.
    pub ejections: u64,
    /// Messages of sessions that were over, or about attempts that the agent does not hold.
    pub refused_messages: u64,
}

/// Why a task is where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The task.
    pub task: TaskId,
    /// Where it is.
    pub state: TaskState,
    /// The whole in one sentence.
    pub summary: String,
    /// Tasks ahead of it that compete for the same agents.
    pub queue_position: Option<usize>,
    /// What it waits for.
    pub waiting_for: Option<String>,
    /// What it reserves instead of what it asked for, and why. `None`: it reserves what it asked for.
    pub reserves: Option<String>,
    /// The strategy's name.
    pub strategy: &'static str,
    /// Agents with their score or refusal: the eligible ones first, best first; cut to what was asked for.
    pub candidates: Vec<Candidate>,
    /// Agents looked at.
    pub agents_considered: u32,
    /// How many were refused, by reason.
    pub refused_by_reason: BTreeMap<&'static str, u32>,
}

/// One agent in an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The agent.
    pub agent: AgentId,
    /// The strategy's score of it; higher is better.
    pub score: f64,
    /// Why it cannot take the task now: a word for programs and a sentence for people.
    pub refusal: Option<(&'static str, String)>,
}
