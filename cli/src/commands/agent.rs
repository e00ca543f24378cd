//! `evenkeel agent`: an agent of the built-in executors.

use std::{collections::BTreeMap, env, io, path::PathBuf, thread, time::Duration};

use clap::Args;
use evenkeel_agent::{
    Agent, AgentConfig, AgentError, ExecutorConfig,
    executors::{HttpConfig, ProgramsConfig},
};
use evenkeel_shared::{limits::SLOTS_MAX, otlp::endpoint_from_environment, shown::without_secrets};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity,
    security::SecurityArgs,
    settings, signals,
};

/// The kind that runs the program a task names.
pub const COMMAND_KIND: &str = "command";

/// Variables with lists, of which each entry is as after the flag of that name; commas stand between them.
const RESOURCES: &str = "EVENKEEL_AGENT_RESOURCES";
const LABELS: &str = "EVENKEEL_AGENT_LABELS";
const KINDS: &str = "EVENKEEL_AGENT_KINDS";
const ALLOW: &str = "EVENKEEL_AGENT_ALLOW";

/// Arguments of `agent`. What is given here goes before the environment, and that before the file.
///
/// The coordinator's table of settings does not serve here: it holds settings that have one type each, and an agent's are maps of
/// names that its operator makes up (kinds, labels, resources), with executors of several sorts among them.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Settings, in TOML
    #[arg(long, value_name = "FILE", env = "EVENKEEL_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Its lasting name, unique in the fleet [default: the host's name]
    #[arg(long, env = "EVENKEEL_AGENT_ID")]
    id: Option<String>,
    /// Tasks it runs at once, 1 to 4096 [default: the cores it may use]
    #[arg(long, env = "EVENKEEL_SLOTS", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS_MAX)))]
    slots: Option<u32>,
    /// Processor it offers, for example 1.5 or 500m [default: what it may use]
    #[arg(long, value_name = "CORES", env = "EVENKEEL_AGENT_CPU", value_parser = quantity::cpu_millis)]
    cpu: Option<u64>,
    /// Memory it offers, for example 2GiB [default: what it may use]
    #[arg(long, value_name = "SIZE", env = "EVENKEEL_AGENT_MEMORY", value_parser = quantity::bytes)]
    memory: Option<u64>,
    /// A named resource it offers, for example gpu=1 (may be repeated) [env: EVENKEEL_AGENT_RESOURCES, with commas]
    #[arg(long, value_name = "NAME=AMOUNT", value_parser = quantity::amount)]
    resource: Vec<(String, u64)>,
    /// A label for tasks to choose by, for example zone=eu (may be repeated) [env: EVENKEEL_AGENT_LABELS, with commas]
    #[arg(long, value_name = "KEY=VALUE", value_parser = quantity::pair)]
    label: Vec<(String, String)>,
    /// A kind of task it takes: echo, sleep, burn, fail, or NAME=URL for tasks that are posted to a local service
    /// (may be repeated) [env: EVENKEEL_AGENT_KINDS, with commas] [default: echo, sleep, burn and fail]
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<(String, ExecutorConfig)>,
    /// A program that tasks of the kind `command` may run, as a name or an absolute path; '*' is any (may be
    /// repeated) [env: EVENKEEL_AGENT_ALLOW, with commas]
    #[arg(long, value_name = "PROGRAM")]
    allow: Vec<String>,
    /// Its tier for the strategy `priority`, 0 to 15; 0 is used first [default: 0]
    #[arg(long, env = "EVENKEEL_AGENT_TIER", value_parser = clap::value_parser!(u8).range(0..=15))]
    tier: Option<u8>,
    /// How much the strategy `weighted` prefers it, 1 to 1000 [default: 100]
    #[arg(long, env = "EVENKEEL_AGENT_WEIGHT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    weight: Option<u16>,
    /// Tasks it takes ahead, per slot, 0 or 1 [default: the coordinator decides]
    #[arg(long, env = "EVENKEEL_AGENT_PREFETCH", value_parser = clap::value_parser!(u8).range(0..=1))]
    prefetch: Option<u8>,
    /// Stop when standard input ends, as it does when the program that started the agent is gone
    #[arg(long)]
    until_stdin_ends: bool,
    /// Time for what runs to finish when the agent is told to go [default: 30s]
    #[arg(long, value_name = "DURATION", env = "EVENKEEL_AGENT_DRAIN_TIMEOUT", value_parser = quantity::duration)]
    drain_timeout: Option<Duration>,
    /// Print what file, environment and flags come to, or what is wrong with them, and exit
    #[arg(long)]
    check: bool,
}

/// What the settings of an agent come to. Values of variables for its programs are not shown.
#[derive(Serialize)]
struct Effective(AgentConfig);

impl Effective {
    fn new(mut config: AgentConfig) -> Self {
        config.coordinator = without_secrets(&config.coordinator).into_owned();
        if let Some(endpoint) = &mut config.telemetry.otlp_endpoint {
            *endpoint = without_secrets(endpoint).into_owned();
        }
        for executor in config.kinds.values_mut() {
            match executor {
                ExecutorConfig::Command(command) => {
                    command.env.values_mut().for_each(|value| "***".clone_into(value));
                }
                ExecutorConfig::Http(service) => service.url = without_secrets(&service.url).into_owned(),
                _ => {}
            }
        }
        Self(config)
    }
}

impl Show for Effective {
    fn show(&self, _style: &Style) -> String {
        // Every one of its types can be in TOML: that is where they come from.
        toml::to_string(&self.0).unwrap_or_default().trim_end().to_owned()
    }
}

/// The entries of a variable, if it says anything.
///
/// # Errors
/// The first that is none.
fn listed<T>(
    variable: impl Fn(&str) -> Option<String>,
    name: &str,
    entry: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, CliError> {
    let text = variable(name).unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            entry(word).map_err(|problem| {
                CliError::usage(format!("the environment variable {name} is of no use"))
                    .because(format!("`{word}`: {problem}"))
            })
        })
        .collect()
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
    fn config(
        self,
        coordinator: Option<&str>,
        security: &SecurityArgs,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<AgentConfig, CliError> {
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
        config.custom.extend(listed(&variable, RESOURCES, quantity::amount)?);
        config.custom.extend(self.resource);
        config.labels.extend(listed(&variable, LABELS, quantity::pair)?);
        config.labels.extend(self.label);
        config.tier = self.tier.unwrap_or(config.tier);
        config.weight = self.weight.unwrap_or(config.weight);
        config.prefetch_per_slot = self.prefetch.or(config.prefetch_per_slot);
        config.drain_timeout_ms = self.drain_timeout.map_or(config.drain_timeout_ms, quantity::millis);
        let kinds = if self.kind.is_empty() { listed(&variable, KINDS, kind)? } else { self.kind };
        if !kinds.is_empty() {
            config.kinds = BTreeMap::from_iter(kinds);
        }
        let program = |name: &str| Ok(name.to_owned());
        let allow = if self.allow.is_empty() { listed(&variable, ALLOW, program)? } else { self.allow };
        if !allow.is_empty() {
            config.kinds.insert(COMMAND_KIND.to_owned(), ExecutorConfig::Programs(ProgramsConfig::new(allow)));
        }
        Ok(config)
    }
}

/// Runs the agent until it is told to go and has drained.
///
/// # Errors
/// If a setting is wrong, or the coordinator will not have it.
pub async fn run(args: AgentArgs, global: &Global) -> Outcome {
    let (until_stdin_ends, check) = (args.until_stdin_ends, args.check);
    let config = args.config(global.coordinator.as_deref(), &global.security, |name| env::var(name).ok())?;
    if check {
        let effective = Effective::new(config.clone());
        build(config)?;
        global.output().one(&effective)?;
        return Ok(Exit::Ok);
    }
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
        layered(flags, &[], file).unwrap()
    }

    fn layered(flags: &[&str], variables: &[(&str, &str)], file: &str) -> Result<AgentConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, file).unwrap();
        let line = ["agent", "--config", path.to_str().unwrap()];
        let line = Line::try_parse_from(line.iter().chain(flags)).unwrap();
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        line.args.config(None, &SecurityArgs::default(), variable).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_of_the_environment_go_before_the_file_and_after_flags() {
        let file = "labels = { zone = \"eu\", gpu = \"no\", disk = \"ssd\" }";
        let variables = [(LABELS, "gpu=a100, zone=us"), (RESOURCES, "gpu=2"), (KINDS, "echo,sleep"), (ALLOW, "cat,tr")];
        let config = layered(&["--label", "zone=af"], &variables, file).unwrap();
        let labels: Vec<_> = config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["disk=ssd", "gpu=a100", "zone=af"]);
        assert_eq!(config.custom.get("gpu"), Some(&2));
        assert_eq!(config.kinds.keys().collect::<Vec<_>>(), ["command", "echo", "sleep"]);
        let config = layered(&["--kind", "burn"], &variables[2..3], "").unwrap();
        assert_eq!(config.kinds.keys().collect::<Vec<_>>(), ["burn"]);
        let error = layered(&[], &[(LABELS, "zone=eu,gpu")], "").unwrap_err();
        assert!(error.contains(LABELS) && error.contains("`gpu`"), "{error}");
    }

    #[test]
    fn what_settings_come_to_can_be_read_again_and_has_no_secrets_in_it() {
        let file = "[kinds.pay]\nexecutor = \"command\"\nprogram = \"pay\"\nenv = { KEY = \"hunter2\" }\n\
                    [telemetry]\notlp_endpoint = \"http://me:hunter2@127.0.0.1:1\"\n";
        let shown = Effective::new(config(&["--slots", "3"], file)).show(&Style::default());
        assert!(!shown.contains("hunter2") && shown.contains("KEY = \"***\""), "{shown}");
        let again: AgentConfig = toml::from_str(&shown).unwrap();
        assert_eq!(again.slots, Some(3));
        assert_eq!(again.kinds.into_keys().collect::<Vec<_>>(), ["pay"]);
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
