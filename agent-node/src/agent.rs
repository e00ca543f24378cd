//! An agent, from its description to its run.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AgentSpec, Kind, Labels, Registration, Resources,
    dial::{DialError, Security, Way},
    limits::SLOTS_MAX,
    otlp::{Settings, StartError},
    wire,
};

use crate::{
    error::{AgentError, BuildError},
    node::Node,
    sampler::{HostSampler, Sampler},
    session,
    task::{ExecutionError, Executor, KindFn, TaskContext},
    traces::Traces,
};

/// Time for running attempts to finish when the agent is told to go: what service managers and Kubernetes wait before they
/// kill.
pub(crate) const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A built agent, ready to run.
pub struct Agent {
    pub(crate) spec: AgentSpec,
    pub(crate) executors: BTreeMap<Kind, Arc<dyn Executor>>,
    pub(crate) way: Way,
    pub(crate) sampler: Arc<dyn Sampler>,
    pub(crate) drain_timeout: Duration,
    pub(crate) telemetry: Option<Settings>,
}

impl Agent {
    /// Describes an agent of the coordinator at this URL, such as `http://127.0.0.1:7400`.
    pub fn builder(coordinator: impl Into<String>) -> AgentBuilder {
        AgentBuilder {
            coordinator: coordinator.into(),
            security: Security::default(),
            id: None,
            slots: None,
            cpu_millis: None,
            memory_bytes: None,
            custom: BTreeMap::new(),
            labels: Labels::new(),
            tier: 0,
            weight: AgentSpec::WEIGHT_ORDINARY,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            prefetch_per_slot: None,
            quota_keys: Vec::new(),
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            sampler: None,
            telemetry: None,
            executors: Vec::new(),
        }
    }

    /// The agent's lasting name.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.spec.id
    }

    /// What the agent registers as.
    #[must_use]
    pub fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    /// Runs the agent until `shutdown` completes and it has drained: it hands back what has not started, finishes what
    /// runs within the drain timeout, and waits for the coordinator to have its results. A coordinator that is away is
    /// dialled again and again. Dropping the future kills what runs.
    ///
    /// # Errors
    /// When a newer session has taken over the agent's id, or the coordinator refuses the agent for good.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let traces = Traces::start(self.telemetry.as_ref(), self.spec.id.as_str()).map_err(no_telemetry)?;
        Node::new(self, traces).run(shutdown).await
    }
}

/// Describes an agent. What is not said has a default; what is wrong shows in [`AgentBuilder::build`].
#[must_use]
pub struct AgentBuilder {
    coordinator: String,
    security: Security,
    id: Option<String>,
    slots: Option<u32>,
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    custom: BTreeMap<String, u64>,
    labels: Labels,
    tier: u8,
    weight: u16,
    version: String,
    prefetch_per_slot: Option<u8>,
    quota_keys: Vec<String>,
    drain_timeout: Duration,
    sampler: Option<Arc<dyn Sampler>>,
    telemetry: Option<Settings>,
    executors: Vec<(String, Arc<dyn Executor>)>,
}

impl AgentBuilder {
    /// What it trusts, and what it shows the coordinator. Files are read at every dial. Default: nothing shown.
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// Its lasting name, unique in the fleet. Default: the host's name.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Tasks it runs at once, 1 to 4096. Default: the number of cores it may use.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Processor it offers, in thousandths of a core. Default: what it may use. 0: not declared, so that it takes only
    /// tasks that do not ask for it.
    pub fn cpu_millis(mut self, cpu_millis: u64) -> Self {
        self.cpu_millis = Some(cpu_millis);
        self
    }

    /// Memory it offers. Default: what it may use. 0: not declared.
    pub fn memory_bytes(mut self, memory_bytes: u64) -> Self {
        self.memory_bytes = Some(memory_bytes);
        self
    }

    /// So many units of a named resource, such as `gpu`.
    pub fn resource(mut self, name: impl Into<String>, units: u64) -> Self {
        self.custom.insert(name.into(), units);
        self
    }

    /// A label for tasks to choose by.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// For the priority strategy: 0 (default) is used first. 0 to 15.
    pub fn tier(mut self, tier: u8) -> Self {
        self.tier = tier;
        self
    }

    /// How much strategies that weigh favour it; 100 (default) is ordinary. 1 to 1000.
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// The version of your program. Default: that of this crate.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Tasks it wants ahead, per slot: 1 hides the round trip, 0 binds every task as late as possible. Default: the
    /// coordinator decides.
    pub fn prefetch_per_slot(mut self, tasks: u8) -> Self {
        self.prefetch_per_slot = Some(tasks);
        self
    }

    /// An upstream quota that all its work draws on, whatever the tasks say: while it is used up the agent is given nothing.
    /// At most 8.
    pub fn quota_key(mut self, key: impl Into<String>) -> Self {
        self.quota_keys.push(key.into());
        self
    }

    /// Time for what runs to finish when the agent is told to go. Default 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Where heartbeats get their measurements. Default: [`HostSampler::shared`].
    pub fn sampler(mut self, sampler: Arc<dyn Sampler>) -> Self {
        self.sampler = Some(sampler);
        self
    }

    /// Where spans of traced attempts are sent. Default: nowhere.
    pub fn telemetry(mut self, settings: Settings) -> Self {
        self.telemetry = Some(settings);
        self
    }

    /// Takes tasks of this kind, with this executor.
    pub fn kind(self, kind: impl Into<String>, executor: impl Executor) -> Self {
        self.kind_shared(kind, Arc::new(executor))
    }

    /// Takes tasks of this kind, with a function.
    pub fn kind_fn<F, R>(self, kind: impl Into<String>, function: F) -> Self
    where
        F: Fn(TaskContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Bytes, ExecutionError>> + Send + 'static,
    {
        self.kind(kind, KindFn(function))
    }

    /// Takes tasks of this kind, with an executor that others may use too.
    pub fn kind_shared(mut self, kind: impl Into<String>, executor: Arc<dyn Executor>) -> Self {
        self.executors.push((kind.into(), executor));
        self
    }

    /// Checks everything and makes the agent.
    ///
    /// # Errors
    /// The first setting at fault.
    pub fn build(self) -> Result<Agent, BuildError> {
        let wrong = |error: DialError| BuildError::Coordinator(error.to_string());
        if !self.coordinator.contains("://") {
            return Err(BuildError::Coordinator(format!("`{}` is no URL; write http://host:port", self.coordinator)));
        }
        let way = Way::new(&self.coordinator, self.security).map_err(wrong)?;
        session::endpoint(&way).map_err(wrong)?;
        let executors = executors(self.executors)?;
        let spec = AgentSpec {
            id: match &self.id {
                Some(id) => AgentId::new(id)?,
                None => default_id()?,
            },
            kinds: executors.keys().cloned().collect(),
            labels: self.labels,
            capacity: capacity(self.slots, self.cpu_millis, self.memory_bytes, self.custom),
            tier: self.tier,
            weight: self.weight,
            version: self.version,
            prefetch_per_slot: self.prefetch_per_slot,
            quota_keys: wire::spend::quota_keys(&self.quota_keys)?,
        };
        // The coordinator's own check, so that what is built here is not refused there.
        let registration = Registration { spec, instance: String::new(), dial: 0, held: Vec::new() };
        let spec = wire::agent::registration(wire::agent::to_registration(&registration))?.spec;
        let sampler = self.sampler.unwrap_or_else(|| HostSampler::shared());
        if let Some(settings) = &self.telemetry {
            settings.check().map_err(no_telemetry)?;
        }
        let (drain_timeout, telemetry) = (self.drain_timeout, self.telemetry);
        Ok(Agent { spec, executors, way, sampler, drain_timeout, telemetry })
    }

    /// Builds the agent and runs it; see [`Agent::run`].
    ///
    /// # Errors
    /// The first setting at fault, or what [`Agent::run`] ends with.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        self.build()?.run(shutdown).await
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as `map_err` wants it")]
fn no_telemetry(error: StartError) -> BuildError {
    BuildError::Telemetry(error.to_string())
}

fn executors(named: Vec<(String, Arc<dyn Executor>)>) -> Result<BTreeMap<Kind, Arc<dyn Executor>>, BuildError> {
    let mut executors = BTreeMap::new();
    for (kind, executor) in named {
        let kind = Kind::new(&kind)?;
        if executors.insert(kind.clone(), executor).is_some() {
            return Err(BuildError::KindTwice(kind));
        }
    }
    Ok(executors)
}

/// What was said, and for the rest what this process may use.
fn capacity(
    slots: Option<u32>,
    cpu_millis: Option<u64>,
    memory_bytes: Option<u64>,
    custom: BTreeMap<String, u64>,
) -> Resources {
    let limits = HostSampler::limits();
    let cores = u32::try_from(limits.cpu_millis / 1_000).unwrap_or(SLOTS_MAX);
    Resources {
        slots: slots.unwrap_or(cores.clamp(1, SLOTS_MAX)),
        cpu_millis: cpu_millis.unwrap_or(limits.cpu_millis),
        memory_bytes: memory_bytes.unwrap_or(limits.memory_bytes),
        custom,
    }
}

fn default_id() -> Result<AgentId, BuildError> {
    AgentId::new(&sysinfo::System::host_name().unwrap_or_default()).map_err(BuildError::NoId)
}

#[cfg(test)]
mod tests;
