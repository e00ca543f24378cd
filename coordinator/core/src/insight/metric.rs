//! What is measured, and of what.

use std::fmt;

use evenkeel_shared::{AgentId, Kind, Tenant};
use serde::{Deserialize, Serialize};

/// A measurement. Its name says its unit where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of slots in use, 0 to 1.
    Utilisation,
    /// Mean share of processor in use, 0 to 1.
    Cpu,
    /// Mean share of memory in use, 0 to 1.
    Memory,
    /// Slots there are.
    SlotsTotal,
    /// Connected agents.
    Agents,
    /// Share of known agents that are unhealthy or lost, 0 to 1.
    AgentsDown,
    /// Tasks that wait for an agent.
    Queued,
    /// Longest wait in the queue.
    OldestWaitMs,
    /// Tasks accepted per second.
    RequestRate,
    /// Tasks, or attempts of an agent, that ended per second.
    CompletionRate,
    /// Share of what ended that did not succeed, 0 to 1.
    ErrorRate,
    /// Mean time from acceptance to end.
    ResponseTimeMs,
    /// Mean time of an attempt.
    RunTimeMs,
    /// Mean time of a transaction of the store.
    CommitMs,
    /// Share of the time that the engine's thread is at work, 0 to 1.
    EngineBusy,
}

impl Metric {
    /// All of them, in the order in which a series keeps them.
    pub const ALL: [Self; 15] = [
        Self::Utilisation,
        Self::Cpu,
        Self::Memory,
        Self::SlotsTotal,
        Self::Agents,
        Self::AgentsDown,
        Self::Queued,
        Self::OldestWaitMs,
        Self::RequestRate,
        Self::CompletionRate,
        Self::ErrorRate,
        Self::ResponseTimeMs,
        Self::RunTimeMs,
        Self::CommitMs,
        Self::EngineBusy,
    ];

    /// Its name, as shown and stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utilisation => "utilisation",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::SlotsTotal => "slots_total",
            Self::Agents => "agents",
            Self::AgentsDown => "agents_down",
            Self::Queued => "queued",
            Self::OldestWaitMs => "oldest_wait_ms",
            Self::RequestRate => "request_rate",
            Self::CompletionRate => "completion_rate",
            Self::ErrorRate => "error_rate",
            Self::ResponseTimeMs => "response_time_ms",
            Self::RunTimeMs => "run_time_ms",
            Self::CommitMs => "commit_ms",
            Self::EngineBusy => "engine_busy",
        }
    }

    /// The metric of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether it is a share, which no forecast takes out of 0 to 1.
    #[must_use]
    pub const fn is_share(self) -> bool {
        matches!(
            self,
            Self::Utilisation | Self::Cpu | Self::Memory | Self::AgentsDown | Self::ErrorRate | Self::EngineBusy
        )
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Of what something is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The fleet.
    Fleet,
    /// The tasks of a tenant.
    Tenant(Tenant),
    /// The tasks of a kind.
    Kind(Kind),
    /// An agent.
    Agent(AgentId),
    /// The agents with one value of the pool label.
    Pool(String),
    /// A limit. Nothing is recorded of it, but it can hold tasks up.
    Limit(String),
}

impl Subject {
    /// Reads `fleet`, `tenant:NAME`, `kind:NAME`, `agent:ID`, `pool:NAME` or `limit:NAME`; an empty word is the fleet.
    #[must_use]
    pub fn parse(words: &str) -> Option<Self> {
        if words.is_empty() || words == "fleet" {
            return Some(Self::Fleet);
        }
        let (sort, name) = words.split_once(':')?;
        match sort {
            "tenant" => Tenant::new(name).ok().map(Self::Tenant),
            "kind" => Kind::new(name).ok().map(Self::Kind),
            "agent" => AgentId::new(name).ok().map(Self::Agent),
            "pool" if !name.is_empty() => Some(Self::Pool(name.to_owned())),
            "limit" if !name.is_empty() => Some(Self::Limit(name.to_owned())),
            _ => None,
        }
    }

    /// What is recorded of it.
    #[must_use]
    pub const fn metrics(&self) -> &'static [Metric] {
        use Metric as M;
        match self {
            Self::Fleet => &M::ALL,
            Self::Tenant(_) => &[M::Queued, M::RequestRate, M::CompletionRate],
            Self::Kind(_) => &[M::Queued, M::RequestRate, M::CompletionRate, M::RunTimeMs],
            Self::Agent(_) => &[M::Utilisation, M::Cpu, M::Memory, M::ErrorRate],
            Self::Pool(_) => &[M::Utilisation, M::Cpu, M::Memory, M::Queued, M::Agents],
            Self::Limit(_) => &[],
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Tenant(name) => write!(f, "tenant:{name}"),
            Self::Kind(name) => write!(f, "kind:{name}"),
            Self::Agent(id) => write!(f, "agent:{id}"),
            Self::Pool(name) => write!(f, "pool:{name}"),
            Self::Limit(name) => write!(f, "limit:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_subjects_are_read_back() {
        for metric in Metric::ALL {
            assert_eq!(Metric::named(metric.name()), Some(metric));
        }
        for words in ["fleet", "tenant:a", "kind:b", "agent:c", "pool:gpu", "limit:d"] {
            assert_eq!(Subject::parse(words).unwrap().to_string(), words);
        }
        assert_eq!(Subject::parse(""), Some(Subject::Fleet));
        assert!(["cat:x", "tenant:", "pool:", "x"].iter().all(|words| Subject::parse(words).is_none()));
    }
}
