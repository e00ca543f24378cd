//! `evenkeel agent`: an agent of the built-in executors.

use std::{collections::BTreeMap, io, path::PathBuf, thread, time::Duration};

use clap::Args;
use evenkeel_agent::{
    Agent, AgentConfig, AgentError, ExecutorConfig,
    executors::{HttpConfig, ProgramsConfig},
};
use evenkeel_shared::{limits::SLOTS_MAX, otlp::endpoint_from_environment};
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    quantity,
    security::SecurityArgs,
    settings, signals,
};

/// The kind that runs the program a task names.
pub const COMMAND_KIND: &str = "command";

/// Arguments of `agent`. What is given here goes before the file.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Settings, in TOML
    #[arg(long, value_name = "FILE", env = "EVENKEEL_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Its lasting name, unique in the fleet [default: the host's name]
    #[arg(long, env = "EVENKEEL_AGENT_ID")]
    id: Option<String>,
    /// Tasks it runs at once [default: the cores it may use]
    #[arg(long, env = "EVENKEEL_SLOTS", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS_MAX)))]
    slots: Option<u32>,
    /// Processor it offers, for example 1.5 or 500m [default: what it may use]
    #[arg(long, value_name = "CORES", value_parser = quantity::cpu_millis)]
    cpu: Option<u64>,
    /// Memory it offers, for example 2GiB [default: what it may use]
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes)]
    memory: Option<u64>,
    /// A named resource it offers, for example gpu=1 (may be repeated)
    #[arg(long, value_name = "NAME=AMOUNT", value_parser = quantity::amount)]
    resource: Vec<(String, u64)>,
    /// A label for tasks to choose by, for example zone=eu (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = quantity::pair)]
    label: Vec<(String, String)>,
    /// A kind of task it takes: echo, sleep, burn, fail, or NAME=URL for tasks that are posted to a local service
    /// (may be repeated) [default: echo, sleep, burn and fail]
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<(String, ExecutorConfig)>,
    /// A program that tasks of the kind `command` may run, as a name or an absolute path; '*' is any (may be repeated)
    #[arg(long, value_name = "PROGRAM")]
    allow: Vec<String>,
    /// For the priority strategy: 0 is used first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=15))]
    tier: Option<u8>,
    /// How much strategies that weigh favour it; 100 is ordinary
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    weight: Option<u16>,
    /// Tasks it wants ahead, per slot [default: the coordinator decides]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1))]
    prefetch: Option<u8>,
    /// Leave when the standard input ends, as when the program that started the agent is gone
    #[arg(long)]
    until_stdin_ends: bool,
    /// Time for what runs to finish when the agent is told to go [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    drain_timeout: Option<Duration>,
}

/// Reads `--kind`.
fn kind(text: &str) -> Result<(String, ExecutorConfig), String> {
    if let Some((name, url)) = text.split_once('=') {
        return Ok((name.to_owned(), ExecutorConfig::Http(HttpConfig::new(url))));
    }
    let executor = match text {
        "echo" => ExecutorConfig::Echo {},
        "sleep" => ExecutorConfig::Sleep {},
        "burn" => ExecutorConfig::Burn {},
        "fail" => ExecutorConfig::Fail {},
        _ => {
            return Err(
                "there are echo, sleep, burn and fail; write NAME=http://127.0.0.1:8000/path for a service, use \
                        --allow for programs, and --config for the rest"
                    .to_owned(),
            );
        }
    };
    Ok((text.to_owned(), executor))
}

impl AgentArgs {
    fn config(self, coordinator: Option<&str>, security: &SecurityArgs) -> Result<AgentConfig, CliError> {
        let mut config: AgentConfig = settings::load(self.config.as_deref())?;
        config.security = security.over(config.security)?;
        if let Some(coordinator) = coordinator {
            let has_scheme = coordinator.contains("://");
            config.coordinator = if has_scheme { coordinator.to_owned() } else { format!("http://{coordinator}") };
        }
        config.id = self.id.or(config.id);
        config.telemetry.otlp_endpoint = config.telemetry.otlp_endpoint.or_else(endpoint_from_environment);
        config.slots = self.slots.or(config.slots);
        config.cpu_millis = self.cpu.or(config.cpu_millis);
        config.memory_bytes = self.memory.or(config.memory_bytes);
        config.custom.extend(self.resource);
        config.labels.extend(self.label);
        config.tier = self.tier.unwrap_or(config.tier);
        config.weight = self.weight.unwrap_or(config.weight);
        config.prefetch_per_slot = self.prefetch.or(config.prefetch_per_slot);
        config.drain_timeout_ms = self.drain_timeout.map_or(config.drain_timeout_ms, quantity::millis);
        if !self.kind.is_empty() {
            config.kinds = BTreeMap::from_iter(self.kind);
        }
        if !self.allow.is_empty() {
            config.kinds.insert(COMMAND_KIND.to_owned(), ExecutorConfig::Programs(ProgramsConfig::new(self.allow)));
        }
        Ok(config)
    }
}

/// Runs the agent until it is told to go and has drained.
///
/// # Errors
/// If a setting is wrong, or the coordinator will not have it.
pub async fn run(args: AgentArgs, global: &Global) -> Outcome {
    let until_stdin_ends = args.until_stdin_ends;
    let config = args.config(global.coordinator.as_deref(), &global.security)?;
    let agent = build(config)?;
    let shutdown = signals::shutdown()?;
    if until_stdin_ends {
        cancel_when_stdin_ends(shutdown.clone())?;
    }
    let (id, slots) = (agent.id().clone(), agent.spec().capacity.slots);
    tracing::info!(agent = %id, slots, "the agent starts");
    agent.run(shutdown.cancelled()).await.map_err(stopped)?;
    tracing::info!(agent = %id, "the agent has drained");
    Ok(Exit::Ok)
}

/// Whoever started this program holds the other end, and closes it by ending, however that comes about.
fn cancel_when_stdin_ends(shutdown: CancellationToken) -> Result<(), CliError> {
    // A thread, because a read of the standard input cannot be given up: the end of the runtime would wait for it.
    let watch = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        shutdown.cancel();
    };
    let failed = |error| CliError::new(Exit::Error, "the standard input cannot be watched").because(error);
    thread::Builder::new().name("stdin".into()).spawn(watch).map(drop).map_err(failed)
}

/// The agent of a configuration.
///
/// # Errors
/// The first setting at fault.
pub fn build(config: AgentConfig) -> Result<Agent, CliError> {
    config.into_agent().map_err(|error| CliError::usage("no agent can be made of these settings").because(error))
}

/// Why an agent stopped unasked.
pub fn stopped(error: AgentError) -> CliError {
    let exit = match error {
        AgentError::Build(_) => Exit::Usage,
        AgentError::Refused { .. } | AgentError::Fenced { .. } => Exit::Refused,
    };
    CliError::new(exit, "the agent stopped").because(error)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: AgentArgs,
    }

    fn config(flags: &[&str], file: &str) -> AgentConfig {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, file).unwrap();
        let line = ["agent", "--config", path.to_str().unwrap()];
        let line = Line::try_parse_from(line.iter().chain(flags)).unwrap();
        line.args.config(None, &SecurityArgs::default()).unwrap()
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = "coordinator = \"http://a:1\"\nid = \"file\"\nslots = 2\ntier = 3\nlabels = { zone = \"eu\", gpu = \"no\" }";
        let config = config(&["--id", "flag", "--label", "gpu=a100", "--kind", "echo", "--allow", "cat"], file);
        assert_eq!((config.id.as_deref(), config.slots, config.tier), (Some("flag"), Some(2), 3));
        assert_eq!(config.coordinator, "http://a:1");
        let labels: Vec<_> = config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["gpu=a100", "zone=eu"]);
        assert_eq!(config.kinds.keys().collect::<Vec<_>>(), ["command", "echo"]);
    }

    #[test]
    fn kinds_are_built_in_or_a_service() {
        assert_eq!(kind("echo"), Ok(("echo".into(), ExecutorConfig::Echo {})));
        let service = ExecutorConfig::Http(HttpConfig::new("http://127.0.0.1:8000/embed?a=b"));
        assert_eq!(kind("embed=http://127.0.0.1:8000/embed?a=b"), Ok(("embed".into(), service)));
        assert!(kind("embed").is_err());
    }
}
