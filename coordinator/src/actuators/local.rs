//! Agents on this machine, as processes of the coordinator's.
//!
//! Each leads a process group of its own, so that a Ctrl-C in the coordinator's terminal does not reach it: it is told to go
//! by SIGTERM, once it is drained, and killed if it does not. It holds the reading end of a pipe as its standard input, and
//! the agent of this program leaves when that ends, so that none outlives a coordinator that was killed; the kernel's
//! parent-death signal would need unsafe code. An agent that ends by itself is not started again here: the manager sees that
//! it is gone, and decides.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel_core::capacity::{Action, Decision};
use evenkeel_shared::{AgentId, Violation};
use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Actuator, ActuatorError, timeout_ms};
use crate::listen::reached_here;

/// Agents on one machine beyond which more would only wait for each other.
const AGENTS_MAX: usize = 1_024;
/// In the command, the agent's name.
const AGENT: &str = "{agent}";
/// In the command, where the coordinator is.
const COORDINATOR: &str = "{coordinator}";

/// Settings of `local`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// Program and arguments of an agent; `{agent}` stands for its name and `{coordinator}` for the coordinator's address.
    /// Empty: this program's own `agent`.
    pub command: Vec<String>,
    /// Names begin with this, and end with a number.
    pub prefix: String,
    /// Options that this program's own agents are given before all others, such as `--ca-file` and `--token-file`. What the
    /// coordinator has in its environment they have as well.
    pub options: Vec<String>,
    /// How long an agent that was told to go may take, in milliseconds, before it is killed.
    pub stop_timeout_ms: u64,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { command: Vec::new(), prefix: "local-".to_owned(), options: Vec::new(), stop_timeout_ms: 40_000 }
    }
}

impl LocalConfig {
    pub(super) fn validate(&self) -> Result<(), Violation> {
        timeout_ms("scaling.actuator.stop_timeout_ms", self.stop_timeout_ms)?;
        AgentId::new(&format!("{}{AGENTS_MAX}", self.prefix))
            .map_err(|violation| Violation::new("scaling.actuator.prefix", violation.description))?;
        if !self.command.is_empty() && !self.command.iter().any(|word| word.contains(AGENT)) {
            let what = format!("must contain `{AGENT}`: each agent needs a name of its own");
            return Err(Violation::new("scaling.actuator.command", what));
        }
        Ok(())
    }

    /// Program and arguments for an agent.
    fn command(&self, agent: &AgentId, coordinator: &str) -> Result<Vec<String>, ActuatorError> {
        if self.command.is_empty() {
            let program = std::env::current_exe().map_err(|error| ActuatorError::Start {
                program: "this program".to_owned(),
                reason: error.to_string(),
            })?;
            let program = program.display().to_string();
            let words = ["--coordinator", coordinator, "agent", "--until-stdin-ends", "--id", agent.as_str()];
            let options = self.options.iter().cloned();
            return Ok([program].into_iter().chain(options).chain(words.map(str::to_owned)).collect());
        }
        let fill = |word: &String| word.replace(AGENT, agent.as_str()).replace(COORDINATOR, coordinator);
        Ok(self.command.iter().map(fill).collect())
    }
}

/// Starts and stops agents on this machine.
pub struct Local {
    config: LocalConfig,
    coordinator: String,
    agents: Agents,
}

type Agents = Arc<Mutex<BTreeMap<AgentId, Running>>>;

/// An agent that runs.
struct Running {
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    /// Its process is killed when this is dropped.
    _watched: AbortOnDropHandle<()>,
}

impl Local {
    /// An actuator that has started nothing.
    #[must_use]
    pub fn new(config: LocalConfig, grpc: SocketAddr, encrypted: bool) -> Self {
        let scheme = if encrypted { "https" } else { "http" };
        let coordinator = format!("{scheme}://{}", reached_here(grpc));
        Self { config, coordinator, agents: Agents::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Running>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first names that no agent of this machine has.
    fn free_names(&self, count: usize) -> Vec<AgentId> {
        let agents = self.lock();
        (1..=AGENTS_MAX)
            .filter_map(|number| AgentId::new(&format!("{}{number}", self.config.prefix)).ok())
            .filter(|name| !agents.contains_key(name))
            .take(count.min(AGENTS_MAX.saturating_sub(agents.len())))
            .collect()
    }

    fn start(&self, agent: &AgentId) -> Result<(), ActuatorError> {
        let words = self.config.command(agent, &self.coordinator)?;
        let [program, args @ ..] = words.as_slice() else { return Ok(()) };
        let child = Command::new(program)
            .args(args)
            // Its end says that the coordinator is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ActuatorError::Start { program: program.clone(), reason: error.to_string() })?;
        let stop = CancellationToken::new();
        let (ends, ended) = watch::channel(false);
        let within = Duration::from_millis(self.config.stop_timeout_ms);
        let (name, agents, told) = (agent.clone(), Arc::downgrade(&self.agents), stop.clone());
        let watched = tokio::spawn(async move {
            watch_over(&name, child, told, within).await;
            if let Some(agents) = agents.upgrade() {
                agents.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            }
            ends.send_replace(true);
        });
        let running = Running { stop, ended, _watched: AbortOnDropHandle::new(watched) };
        // It may have ended before it is entered; then it is taken out when it is next looked for.
        self.lock().insert(agent.clone(), running);
        Ok(())
    }

    /// Tells agents to go, and waits until they are gone: they are killed if they take too long.
    async fn end(&self, agents: impl IntoIterator<Item = AgentId>) {
        let ends: Vec<_> = {
            let running = self.lock();
            let told = agents.into_iter().filter_map(|agent| running.get(&agent));
            told.map(|agent| {
                agent.stop.cancel();
                agent.ended.clone()
            })
            .collect()
        };
        // An error means that it ended before it could say so.
        join_all(ends.into_iter().map(async |mut ended| drop(ended.wait_for(|ended| *ended).await))).await;
        self.lock().retain(|_, agent| !*agent.ended.borrow());
    }
}

#[tonic::async_trait]
impl Actuator for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn scale(&self, decision: &Decision) -> Result<(), ActuatorError> {
        self.lock().retain(|_, agent| !*agent.ended.borrow());
        if decision.action == Action::Down {
            let running = |agent: &&AgentId| self.lock().contains_key(*agent);
            if let Some(other) =
                decision.agents.iter().find(|agent| !agent.as_str().starts_with(&self.config.prefix) && !running(agent))
            {
                return Err(ActuatorError::NotMine(other.to_string()));
            }
            self.end(decision.agents.iter().cloned()).await;
            return Ok(());
        }
        // Whatever is counted elsewhere, there are never more of them than are wanted in all.
        let running = u32::try_from(self.lock().len()).unwrap_or(u32::MAX);
        let more = decision.agents_after.saturating_sub(decision.agents_before.max(running));
        for agent in self.free_names(more as usize) {
            self.start(&agent)?;
        }
        Ok(())
    }

    async fn stop(&self) {
        let all: Vec<AgentId> = self.lock().keys().cloned().collect();
        self.end(all).await;
    }
}

/// Waits until the process has ended, and ends it when told.
async fn watch_over(agent: &AgentId, mut child: Child, stop: CancellationToken, within: Duration) {
    // Waiting would close it.
    let _stdin = child.stdin.take();
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.cancelled() => {
            signal(pid, |pid| kill(pid, Signal::SIGTERM));
            match timeout(within, child.wait()).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::warn!(%agent, ?within, "an agent did not go in time; it is killed");
                    signal(pid, |pid| killpg(pid, Signal::SIGKILL));
                    child.wait().await
                }
            }
        }
    };
    match ended {
        Ok(status) if stop.is_cancelled() => tracing::info!(%agent, %status, "an agent has been stopped"),
        Ok(status) => tracing::warn!(%agent, %status, "an agent ended by itself"),
        Err(error) => tracing::warn!(%agent, %error, "an agent cannot be waited for"),
    }
}

/// Sends a signal to a process that has not been waited for, so that its number is still its own.
fn signal(pid: Option<Pid>, send: impl Fn(Pid) -> nix::Result<()>) {
    if let Some(pid) = pid
        && let Err(error) = send(pid)
    {
        tracing::debug!(%pid, %error, "a process could not be signalled");
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
