//! An agent described in a file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{AgentSpec, Kind, Labels, dial::Security};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, AgentBuilder, DRAIN_TIMEOUT_DEFAULT},
    error::BuildError,
    executors::{
        Burn, CommandConfig, CommandExecutor, Echo, ExecutorConfigError, Fail, HttpConfig, HttpExecutor,
        ProgramsConfig, ProgramsExecutor, Sleep,
    },
    task::Executor,
    traces::TelemetryConfig,
};

/// Where a coordinator listens unless told otherwise.
const COORDINATOR_DEFAULT: &str = "http://127.0.0.1:7400";

/// The settings of an agent that runs the executors of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// The coordinator's gRPC address. Default `http://127.0.0.1:7400`.
    pub coordinator: String,
    /// What it trusts and what it shows: `ca_file`, `cert_file`, `key_file`, `server_name`, `token_file`, `allow_plaintext`.
    /// The files are read at every dial.
    pub security: Security,
    /// The agent's lasting name, unique in the fleet. Default: the host's name.
    pub id: Option<String>,
    /// Tasks it runs at once, 1 to 4096. Default: the number of cores it may use.
    pub slots: Option<u32>,
    /// Processor it offers, in thousandths of a core. Default: what it may use. 0: not declared.
    pub cpu_millis: Option<u64>,
    /// Memory it offers. Default: what it may use. 0: not declared.
    pub memory_bytes: Option<u64>,
    /// Named resources in whole units, such as `gpu`.
    pub custom: BTreeMap<String, u64>,
    /// Labels for tasks to choose by.
    pub labels: Labels,
    /// For the priority strategy: 0 (default) is used first. 0 to 15.
    pub tier: u8,
    /// How much strategies that weigh favour it. 1 to 1000. Default 100.
    pub weight: u16,
    /// Tasks it wants ahead, per slot: 0 or 1. Default: the coordinator decides.
    pub prefetch_per_slot: Option<u8>,
    /// Upstream quotas that all its work draws on: while one is used up the agent is given nothing. At most 8.
    pub quota_keys: Vec<String>,
    /// Time for what runs to finish when the agent is told to go. Default 30000.
    pub drain_timeout_ms: u64,
    /// Where spans of traced attempts are sent.
    pub telemetry: TelemetryConfig,
    /// The kinds of task it takes, and who does them. Default: `echo`, `sleep`, `burn` and `fail`.
    pub kinds: BTreeMap<String, ExecutorConfig>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        let kinds = [
            ("echo", ExecutorConfig::Echo {}),
            ("sleep", ExecutorConfig::Sleep {}),
            ("burn", ExecutorConfig::Burn {}),
            ("fail", ExecutorConfig::Fail {}),
        ];
        Self {
            coordinator: COORDINATOR_DEFAULT.to_owned(),
            security: Security::default(),
            id: None,
            slots: None,
            cpu_millis: None,
            memory_bytes: None,
            custom: BTreeMap::new(),
            labels: Labels::new(),
            tier: 0,
            weight: AgentSpec::WEIGHT_ORDINARY,
            prefetch_per_slot: None,
            quota_keys: Vec::new(),
            telemetry: TelemetryConfig::default(),
            drain_timeout_ms: u64::try_from(DRAIN_TIMEOUT_DEFAULT.as_millis()).unwrap_or(u64::MAX),
            kinds: kinds.into_iter().map(|(kind, executor)| (kind.to_owned(), executor)).collect(),
        }
    }
}

/// Who does the tasks of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "executor", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecutorConfig {
    /// [`Echo`].
    Echo {},
    /// [`Sleep`].
    Sleep {},
    /// [`Burn`].
    Burn {},
    /// [`Fail`].
    Fail {},
    /// [`CommandExecutor`]: a configured program.
    Command(CommandConfig),
    /// [`ProgramsExecutor`]: the program that the task names.
    Programs(ProgramsConfig),
    /// [`HttpExecutor`].
    Http(HttpConfig),
}

impl ExecutorConfig {
    /// The executor described.
    ///
    /// # Errors
    /// The setting at fault.
    pub fn executor(self) -> Result<Arc<dyn Executor>, ExecutorConfigError> {
        Ok(match self {
            Self::Echo {} => Arc::new(Echo),
            Self::Sleep {} => Arc::new(Sleep),
            Self::Burn {} => Arc::new(Burn),
            Self::Fail {} => Arc::new(Fail),
            Self::Command(config) => Arc::new(CommandExecutor::new(config)?),
            Self::Programs(config) => Arc::new(ProgramsExecutor::new(config)?),
            Self::Http(config) => Arc::new(HttpExecutor::new(config)?),
        })
    }
}

impl AgentConfig {
    /// The agent described.
    ///
    /// # Errors
    /// The first setting at fault.
    pub fn into_agent(self) -> Result<Agent, BuildError> {
        let mut agent = Agent::builder(self.coordinator)
            .security(self.security)
            .tier(self.tier)
            .weight(self.weight)
            .drain_timeout(Duration::from_millis(self.drain_timeout_ms));
        if let Some(settings) = self.telemetry.settings() {
            agent = agent.telemetry(settings);
        }
        if let Some(id) = self.id {
            agent = agent.id(id);
        }
        if let Some(slots) = self.slots {
            agent = agent.slots(slots);
        }
        if let Some(cpu_millis) = self.cpu_millis {
            agent = agent.cpu_millis(cpu_millis);
        }
        if let Some(memory_bytes) = self.memory_bytes {
            agent = agent.memory_bytes(memory_bytes);
        }
        if let Some(tasks) = self.prefetch_per_slot {
            agent = agent.prefetch_per_slot(tasks);
        }
        agent = self.custom.into_iter().fold(agent, |agent, (name, units)| agent.resource(name, units));
        agent = self.labels.into_iter().fold(agent, |agent, (key, value)| agent.label(key, value));
        agent = self.quota_keys.into_iter().fold(agent, AgentBuilder::quota_key);
        for (kind, config) in self.kinds {
            let name = Kind::new(&kind)?;
            let executor = config.executor().map_err(|error| BuildError::Executor { kind: name, error })?;
            agent = agent.kind_shared(kind, executor);
        }
        agent.build()
    }
}

#[cfg(test)]
mod tests;
