//! A program that carries decisions out: it reads one as JSON and says by its exit code whether it did.

use std::{process::Stdio, time::Duration};

use evenkeel_core::capacity::Decision;
use evenkeel_shared::Violation;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command as Process,
    time::timeout,
};

use super::{Actuator, ActuatorError, Order, timeout_ms};

/// What is kept of the program's error output: its end, where programs say why they give up.
const STDERR_TAIL_BYTES: usize = 800;
/// Size of one read from a pipe.
const READ_BYTES: usize = 8 << 10;

/// Settings of `command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// Program and arguments. It gets the decision as JSON on its standard input.
    pub command: Vec<String>,
    /// How long it may take, in milliseconds, before it is killed and the decision has failed.
    #[serde(default = "timeout_default")]
    pub timeout_ms: u64,
}

/// A minute: a call to a cloud's interface takes seconds, and nothing else is decided meanwhile.
const fn timeout_default() -> u64 {
    60_000
}

impl CommandConfig {
    pub(super) fn validate(&self) -> Result<(), Violation> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(Violation::new("scaling.actuator.command", "must name a program"));
        }
        timeout_ms("scaling.actuator.timeout_ms", self.timeout_ms)
    }
}

/// Runs a program for each decision.
pub struct Command {
    config: CommandConfig,
}

impl Command {
    /// With these settings.
    #[must_use]
    pub const fn new(config: CommandConfig) -> Self {
        Self { config }
    }
}

#[tonic::async_trait]
impl Actuator for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    async fn scale(&self, decision: &Decision) -> Result<(), ActuatorError> {
        let program = self.config.command.first().cloned().unwrap_or_default();
        let start = |reason: String| ActuatorError::Start { program: program.clone(), reason };
        let order = serde_json::to_vec(&Order::from(decision)).map_err(|error| start(error.to_string()))?;
        let mut child = Process::new(&program)
            .args(self.config.command.iter().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| start(error.to_string()))?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read the order decides for itself what to do.
                let _ = stdin.write_all(&order).await;
            }
        };
        let within = Duration::from_millis(self.config.timeout_ms);
        let ended = timeout(within, async { tokio::join!(write, tail(stderr), child.wait()) }).await;
        // What it has started and left behind would hold nothing up, and nobody would ever end it.
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let Ok(((), said, status)) = ended else {
            return Err(ActuatorError::Late { what: format!("`{program}`"), after: within });
        };
        let status = status.map_err(|error| start(error.to_string()))?;
        if status.success() {
            return Ok(());
        }
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(ActuatorError::Exit { program, status: status.to_string(), said })
    }
}

/// Reads to the end and keeps the last of it.
async fn tail(source: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut source) = source else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(STDERR_TAIL_BYTES);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
