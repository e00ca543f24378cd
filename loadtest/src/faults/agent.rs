//! Agents for faults: the real agent of `evenkeel-agent`, whose only executor does what the task says and writes it down.
//!
//! They run in a process of their own, which can be stopped, killed and started again, and several share one, so that a
//! fleet of a thousand fits onto a small machine. What they execute goes line by line into a file, at once and in one write
//! each, so that it survives the death of the process.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use evenkeel_agent::{
    Agent, AgentError, ExecutionError, Executor, TaskContext,
    sampler::{HostLoad, Sampler},
};
use evenkeel_shared::AttemptRef;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The kind of the tasks of faults, where nothing else is said.
pub const KIND: &str = "fault";

/// What a task of a fault is to do: its payload, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Wait so long, in milliseconds.
    pub wait_ms: u64,
    /// Then kill the whole process.
    pub poison: bool,
    /// Then fail, in the first so many attempts.
    pub failures: u32,
    /// Bytes of output beside the token.
    pub output_bytes: usize,
}

/// A process full of agents.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Where they dial.
    pub coordinator: String,
    /// They are called `NAME-0`, `NAME-1`, ...
    pub name: String,
    /// How many.
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// Tasks wanted ahead per slot; none: the coordinator decides.
    pub prefetch: Option<u8>,
    /// The kind of tasks that they take.
    pub kind: String,
    /// Where they write down what they execute.
    pub executions: PathBuf,
}

/// Why a host ended.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No file to write into.
    #[error("cannot write down executions in {path}: {source}")]
    Executions {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An agent cannot be built or is not wanted.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// One line of what agents executed.
#[derive(Serialize)]
struct Line<'a> {
    agent: &'a str,
    task_id: String,
    attempt: u32,
    assignment_id: u64,
    event: &'static str,
    at_unix_us: u64,
}

struct Recorder {
    agent: String,
    lines: fs::File,
}

impl Recorder {
    /// One write of a whole line: `O_APPEND` keeps lines of several agents apart.
    fn write(&self, attempt: AttemptRef, event: &'static str) {
        let at_unix_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let line = Line {
            agent: &self.agent,
            task_id: attempt.task.to_string(),
            attempt: attempt.attempt.0,
            assignment_id: attempt.assignment.0,
            event,
            at_unix_us: u64::try_from(at_unix_us).unwrap_or(u64::MAX),
        };
        let text = serde_json::json!(line).to_string() + "\n";
        if let Err(error) = (&self.lines).write_all(text.as_bytes()) {
            // Without its books the host proves nothing.
            tracing::error!(%error, "an execution could not be written down; the host ends");
            std::process::abort();
        }
    }
}

#[async_trait]
impl Executor for Recorder {
    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        self.write(task.attempt, "begin");
        let work: Work = serde_json::from_slice(&task.payload)
            .map_err(|error| ExecutionError::non_retryable(format!("not the work of a fault: {error}")))?;
        let cancelled = task.cancelled();
        let cut_short = cancelled.run_until_cancelled(tokio::time::sleep(Duration::from_millis(work.wait_ms))).await;
        if work.poison {
            std::process::abort();
        }
        self.write(task.attempt, "end");
        if cut_short.is_none() {
            return Err(ExecutionError::retryable("cancelled"));
        }
        if task.attempt.attempt.0 <= work.failures {
            return Err(ExecutionError::retryable("it fails as it was told"));
        }
        let AttemptRef { task: id, attempt, assignment } = task.attempt;
        let mut output = format!("{id} {} {}", attempt.0, assignment.0).into_bytes();
        output.resize(output.len() + work.output_bytes, b'.');
        Ok(output.into())
    }
}

/// Measures an idle machine: a small one that runs a whole cluster is busy for other reasons than the agents' tasks.
struct Idle;

impl Sampler for Idle {
    fn load(&self) -> HostLoad {
        HostLoad { cpu_share: 0.1, memory_share: 0.1, ..HostLoad::default() }
    }
}

/// Runs the agents of a host until `stop` is cancelled and they have drained, or the first of them ends with an error.
///
/// # Errors
/// If the file cannot be written, or an agent cannot go on.
pub async fn host(plan: HostPlan, stop: CancellationToken) -> Result<(), HostError> {
    let mut agents = JoinSet::new();
    for index in 0..plan.agents {
        let agent = build(&plan, index)?;
        agents.spawn(agent.run(stop.clone().cancelled_owned()));
    }
    while let Some(ended) = agents.join_next().await {
        // A panic of an agent is as good as its end with an error.
        match ended {
            Ok(ended) => ended?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}

fn build(plan: &HostPlan, index: u32) -> Result<Agent, HostError> {
    let id = format!("{}-{index}", plan.name);
    let lines = open(&plan.executions)?;
    let executor: Arc<dyn Executor> = Arc::new(Recorder { agent: id.clone(), lines });
    let mut agent = Agent::builder(&plan.coordinator)
        .id(id)
        .slots(plan.slots)
        // What they offer is slots; the machine's cores say nothing of tasks that wait.
        .cpu_millis(0)
        .memory_bytes(0)
        .sampler(Arc::new(Idle))
        .kind_shared(&plan.kind, executor);
    if let Some(prefetch) = plan.prefetch {
        agent = agent.prefetch_per_slot(prefetch);
    }
    Ok(agent.build().map_err(AgentError::from)?)
}

fn open(path: &Path) -> Result<fs::File, HostError> {
    let opened = fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| HostError::Executions { path: path.to_owned(), source })
}
