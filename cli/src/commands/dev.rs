//! `evenkeel dev`: coordinator and agents in one process, to try things out.
//!
//! The agents run any program that a task names, so everything listens on this machine's own addresses, unless its settings say
//! otherwise. Where they switch TLS or authentication on, the agents trust and show what every other command is told to trust and
//! show (`--ca-file`, `--token-file` and so on): there is no way around the gate for those that are in the same process. With
//! `--autoscale` they are processes of their own that come and go with the work; see [`autoscale`].

mod autoscale;

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use evenkeel_agent::{AgentConfig, AgentError, ExecutorConfig, executors::ProgramsConfig, sampler::HostSampler};
use evenkeel_coordinator::{CoordinatorConfig, RunningCoordinator, config::Sources};
use evenkeel_proto::v1;
use evenkeel_shared::{dial::Security, limits::SLOTS_MAX, otlp::endpoint_from_environment};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    agent::{self, COMMAND_KIND},
    service::{self, ServiceArgs},
};
use crate::{
    args::Global,
    client::Address,
    exit::{CliError, Exit, Outcome},
    quantity, settings, signals,
};

/// Data of `dev`, below the current directory.
const DATA_DIRECTORY: &str = ".evenkeel/dev";
/// More agents of one process would only wait for each other.
const AGENTS_MAX: u32 = 256;
/// What an agent of a fleet that is scaled runs at once: few, so that a handful of tasks shows how it grows.
const AUTOSCALE_SLOTS: u32 = 2;
/// Time for running tasks to finish at the end: a person waits for it. What is left runs again at the next start.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the agents to join before it is ready; what takes milliseconds does not come at all after this.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Agents, named dev-1, dev-2 and so on
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=i64::from(AGENTS_MAX)))]
    agents: u32,
    /// As many agents as the work needs, within these bounds; they are processes named local-1, local-2 and so on
    #[arg(long, value_name = "MIN..MAX", value_parser = autoscale::bounds, conflicts_with = "agents")]
    autoscale: Option<(u32, u32)>,
    /// Tasks that one agent runs at once [default: the cores of this machine; 2 with --autoscale]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS_MAX)))]
    slots: Option<u32>,
    /// Settings of the coordinator, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Serves until told to stop.
///
/// # Errors
/// If an address is taken, the data cannot be used, or a part stops by itself.
pub async fn run(mut args: DevArgs, global: &Global) -> Outcome {
    let base = CoordinatorConfig { data_dir: PathBuf::from(DATA_DIRECTORY), ..CoordinatorConfig::default() };
    let mut flags = args.service.flags();
    if let Some(bounds) = args.autoscale {
        args.agents = 0;
        let scaling =
            autoscale::config(bounds, args.slots.unwrap_or(AUTOSCALE_SLOTS), DRAIN_TIMEOUT, global.security.words())?;
        flags.extend(settings::section_flags("--autoscale", "scaling", &scaling));
    }
    let base = Sources { base, base_name: "evenkeel dev".to_owned(), ..Sources::default() };
    let loaded = settings::coordinator(args.config.clone(), flags, base)?;
    let ephemeral = loaded.config.ephemeral;
    let deadline = Duration::from_millis(loaded.config.shutdown_deadline_ms);
    let shutdown = signals::shutdown()?;
    let security = global.security.over(Security::default())?;
    let Some(coordinator) = service::start(loaded, &shutdown).await? else {
        eprintln!("evenkeel: stopped before it was ready");
        return Ok(Exit::Ok);
    };
    let own = Address::secured(&coordinator.grpc_url(), security.clone())?;

    let started = SystemTime::now();
    let draining = CancellationToken::new();
    let mut agents = start_agents(&args, &own, &security, &draining)?;
    tokio::select! {
        waited = wait_for_agents(args.agents, &own, started) => waited?,
        // It is taken apart below.
        () = shutdown.cancelled() => {}
    }
    eprint!("{}", banner(&args, &coordinator, &security, ephemeral));
    let mut told = JoinSet::new();
    if args.autoscale.is_some() {
        told.spawn(autoscale::tell(own, started));
    }
    args.service.announce(&coordinator, global)?;

    let ended = tokio::select! {
        () = shutdown.cancelled() => {
            eprintln!("evenkeel: stopping once running tasks are done; a second signal forces");
            Ok(())
        }
        () = coordinator.stopped() => Err(CliError::new(Exit::Error, "the coordinator stopped by itself")),
        Some(ended) = agents.join_next() => Err(agent_ended(ended)),
    };
    told.abort_all();
    draining.cancel();
    while let Some(drained) = agents.join_next().await {
        if let Ok(Err(error)) = drained {
            tracing::warn!("an agent did not drain: {error}");
        }
    }
    let stopped = service::stop(coordinator, deadline).await;
    ended.and(stopped)?;
    Ok(Exit::Ok)
}

fn start_agents(
    args: &DevArgs,
    own: &Address,
    security: &Security,
    draining: &CancellationToken,
) -> Result<JoinSet<Result<(), AgentError>>, CliError> {
    let limits = HostSampler::limits();
    let share = u64::from(args.agents.max(1));
    let mut agents = JoinSet::new();
    for n in 1..=args.agents {
        let mut config = AgentConfig {
            coordinator: own.url().to_owned(),
            security: security.clone(),
            id: Some(format!("dev-{n}")),
            slots: args.slots,
            // They share one machine; declared by each it would be promised several times over.
            cpu_millis: Some(limits.cpu_millis / share),
            memory_bytes: Some(limits.memory_bytes / share),
            drain_timeout_ms: quantity::millis(DRAIN_TIMEOUT),
            ..AgentConfig::default()
        };
        config.telemetry.otlp_endpoint = endpoint_from_environment();
        config.kinds.insert(COMMAND_KIND.to_owned(), ExecutorConfig::Programs(ProgramsConfig::new(["*"])));
        agents.spawn(agent::build(config)?.run(draining.clone().cancelled_owned()));
    }
    Ok(agents)
}

/// Gives the agents time to join.
///
/// # Errors
/// If the coordinator cannot be reached, which the agents cannot do then either.
async fn wait_for_agents(agents: u32, own: &Address, since: SystemTime) -> Result<(), CliError> {
    match tokio::time::timeout(JOIN_TIMEOUT, joined(agents, own, since)).await {
        // Who may be an agent need not be one who may look.
        Ok(Err(error)) if error.exit == Exit::Refused => {
            tracing::warn!("whether the agents have joined cannot be seen: {error}");
            Ok(())
        }
        Ok(joined) => joined,
        Err(_) => {
            let trust = if own.url().starts_with("https:") { " (with TLS they need --ca-file)" } else { "" };
            tracing::warn!("not all agents have joined yet{trust}; see `evenkeel agents list`");
            Ok(())
        }
    }
}

/// Done when all agents have joined, so that the first command of a script finds them.
async fn joined(agents: u32, own: &Address, since: SystemTime) -> Result<(), CliError> {
    let failed = |status| CliError::status("wait for the agents", &status);
    let mut clients = own.connect().await?;
    let types = [v1::ClusterEventType::AgentJoined, v1::ClusterEventType::AgentReturned].map(Into::into).to_vec();
    let request = v1::EventsRequest { follow: true, types, ..v1::EventsRequest::default() };
    let mut events = clients.cluster.events(request).await.map_err(failed)?.into_inner();
    let mut joined = HashSet::new();
    while joined.len() < agents as usize {
        let Some(event) = events.message().await.map_err(failed)? else { break };
        // The history may hold those of earlier runs.
        if event.at_unix_ms >= quantity::unix_ms(since) {
            joined.insert(event.agent_id);
        }
    }
    Ok(())
}

fn agent_ended(ended: Result<Result<(), AgentError>, tokio::task::JoinError>) -> CliError {
    match ended {
        Ok(Ok(())) => CliError::new(Exit::Error, "an agent ended unasked"),
        Ok(Err(error)) => agent::stopped(error),
        Err(panic) => CliError::new(Exit::Error, "an agent broke down").because(panic),
    }
}

/// What a person sees first.
fn banner(args: &DevArgs, coordinator: &RunningCoordinator, security: &Security, ephemeral: bool) -> String {
    let (grpc, config) = (coordinator.grpc_addr(), coordinator.config().now());
    let data = match ephemeral {
        true => "kept for this run only".to_owned(),
        false => coordinator.data_dir().display().to_string(),
    };
    // Commands find the default address by themselves.
    let mut option = match grpc == CoordinatorConfig::default().grpc && !coordinator.is_encrypted() {
        true => String::new(),
        false => format!(" --coordinator {}", coordinator.grpc_url()),
    };
    let files = [("--ca-file", &security.ca_file), ("--token-file", &security.token_file)];
    for (name, file) in files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?))) {
        option.push_str(&format!(" {name} {}", file.display()));
    }
    let whose = match grpc.ip().is_loopback() {
        true => "for this machine only",
        false => "for whoever may submit a task",
    };
    let scheme = |encrypted: bool| if encrypted { "https" } else { "http" };
    let agents = match args.autoscale {
        Some((min, max)) => format!("{min} to {max}, as the work needs"),
        None => args.agents.to_string(),
    };
    format!(
        "Evenkeel {version} is ready.\n\n  \
         gRPC    {grpc_scheme}://{grpc}\n  \
         HTTP    {http_scheme}://{http} (/healthz, /readyz, /metrics, /api/v1/status)\n  \
         agents  {agents}, which run any program: {whose}\n  \
         data    {data}\n\n\
         Try next:\n  \
         evenkeel{option} task submit --kind echo --payload hello --wait\n  \
         evenkeel{option} run --each '*' -- sha256sum {{}}\n\n\
         Ctrl-C stops it.\n",
        version = env!("CARGO_PKG_VERSION"),
        grpc_scheme = scheme(coordinator.is_encrypted()),
        http_scheme = scheme(config.tls.is_on_for_http()),
        http = coordinator.http_addr(),
    )
}
