//! The one place that puts the program together, and takes it apart in order.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use evenkeel_core::{
    engine::{Engine, Settings},
    manager::ManagerRecovery,
    model::Recovery,
    routing::ClassLimit,
};
use futures_util::FutureExt as _;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    actors::{
        manager::ManagerState,
        publisher::{self, Publisher},
        system::{self, ActorThreads},
    },
    clock::Clock,
    config::{ConfigError, CoordinatorConfig, Loaded, live::LiveConfig},
    connections::{Connections, Incoming},
    failpoint::{self, BadFailpoints},
    grpc,
    health::serving::Serving,
    hindsight::Hindsight,
    http::{self, early::EarlyProbes},
    intake::Intake,
    listen::{listen, twice},
    metrics::ClosedConnections,
    security::{
        audit::Audit,
        gate::{Gate, GateError},
        tls::{Tls, TlsError},
    },
    services::cluster::Identity,
    start::StartPhases,
    store::{
        Store, StoreError,
        sqlite::{Durability, SqliteStore},
    },
    telemetry::Traces,
};

mod following;
mod panics;
mod parts;
mod retention;
mod running;
mod services;

pub use panics::end_process_on_panic;
use panics::end_process_when_an_actor_panics;
use parts::Parts;
use retention::retain;
pub use running::{RunningCoordinator, StopError};
use services::Behind;

/// The exit code of a process whose commit failed (`EX_IOERR`).
pub const EXIT_STORE_FAILED: i32 = 74;
/// The exit code of a process whose actor panicked (`EX_SOFTWARE`).
pub const EXIT_PANICKED: i32 = 70;

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Failpoints that make no sense, in a build that has them.
    #[error(transparent)]
    Failpoints(#[from] BadFailpoints),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address} (setting `{setting}`): {source}; is another coordinator running?")]
    Bind {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A store that cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tasks that this build cannot hold.
    #[error("the stored tasks cannot be taken up: {0}")]
    Recovery(#[from] ClassLimit),
    /// Who is known cannot be told.
    #[error(transparent)]
    Credentials(#[from] GateError),
    /// There are no certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nowhere to send spans.
    #[error(transparent)]
    Traces(#[from] evenkeel_shared::otlp::StartError),
    /// No threads.
    #[error("cannot start the threads of the coordinator: {0}")]
    Threads(io::Error),
}

/// A coordinator that can be started.
#[derive(Debug)]
pub struct Coordinator;

impl Coordinator {
    /// Starts a coordinator and returns once it takes work. Must be called on a tokio runtime with several threads.
    ///
    /// # Errors
    /// If a setting is wrong, an address is taken, or the store cannot be used. Nothing is left running.
    pub async fn start(config: impl Into<Loaded>) -> Result<RunningCoordinator, StartError> {
        let mut phases = StartPhases::begin();
        let loaded: Loaded = config.into();
        let config = &loaded.config;
        config.validate()?;
        failpoint::init()?;
        if config.abort_on_panic {
            end_process_when_an_actor_panics();
        }
        let tls = Tls::new(&config.tls)?;
        // The ports first: who holds them most likely holds the store as well, and the address names the mistake better.
        let grpc = bind("grpc", config.grpc)?;
        let http = bind("http", config.http)?;
        let (http, early) = early_probes(http, config, tls.as_ref())?;
        phases.end("listen");
        let clock = Clock::start();
        let (store, recovery, data_dir) = open_store(config, clock).await?;
        let live = LiveConfig::new(loaded, &recovery.declarations, recovery.incarnation, clock.now());
        let config = live.now();
        phases.end("store");
        early.is_at("recover");
        let coordinator_id = format!("c{}-{:08x}", recovery.incarnation, fastrand::u32(..));
        let traces = Traces::start(&config.telemetry, clock, &coordinator_id)?;
        traces.recovered(&recovery.tasks);
        let identity = Arc::new(identity(coordinator_id, &data_dir, &traces));
        let strategy = recovery.strategy.clone().unwrap_or_else(|| config.engine.strategy.clone());
        let manager = ManagerState::new(config.resources.enabled);
        let parts =
            Parts::new(clock, &config, &recovery, store.as_ref(), manager, traces).map_err(StartError::Threads)?;
        let for_manager = for_manager(&recovery);
        let engine = make_engine(clock, config.engine.settings(), recovery).await?;
        phases.end("recover");
        early.is_at("actors");
        let threads = ActorThreads::start().map_err(StartError::Threads)?;
        let snapshot = parts.snapshot.clone();
        let publisher = system::start(&threads.rest, publisher::MAILBOX_MAX, || Publisher::new(snapshot)).await;
        let dispatcher = parts.dispatcher();
        let writer = parts.start_writer(&threads, store, publisher.clone(), dispatcher.clone()).await;
        let actor = parts.start_coordinator(&threads, engine, writer.clone(), dispatcher).await;

        let intake = Intake::new(actor.clone(), parts.heartbeats.clone());
        let gateway = parts.gateway(intake);
        let (health, _) = tonic_health::server::health_reporter();
        let strategy = Arc::new(Mutex::new(strategy));
        let actuator = config.scaling.actuator.build(local_addr("grpc", &grpc)?, tls.is_some());
        let manager = parts.start_manager(&threads, &config, gateway.clone(), for_manager, Arc::clone(&actuator)).await;
        let hindsight = Hindsight {
            reads: parts.reads.clone(),
            manager: manager.clone(),
            clock,
            strategy: Arc::clone(&strategy),
            interval: Duration::from_millis(config.resources.look_back_interval_ms),
        };
        let audit = Audit::start(&config.audit, &data_dir);
        live.write_down_in(audit.clone());
        let gate = Gate::new(&config.auth, audit, &data_dir, &parts.metrics)?;
        gate.follow(&live);
        let (grpc_addr, http_addr) = (local_addr("grpc", &grpc)?, local_addr("http", &http)?);
        let (stop_servers, stopped) = (CancellationToken::new(), CancellationToken::new());
        let behind = Behind {
            gateway: gateway.clone(),
            publisher,
            identity,
            strategy,
            manager: manager.clone(),
            gate: gate.clone(),
            live: live.clone(),
        };
        let (services, api) = parts.services(&config, behind);
        parts.lifecycle.set_ready();
        Serving::now(&parts.lifecycle, &parts.board.now()).tell(&health).await;
        let (for_grpc, for_http) = parts.connections(&config);
        parts.follow(&live, gateway.clone(), &for_grpc, &for_http);
        let grpc = Incoming::new(grpc, for_grpc.clone(), tls.as_ref().map(Tls::grpc));
        let sampler = parts.sampler(gateway, for_grpc, &data_dir, health.clone());
        phases.end("actors");
        early.end().await;
        let http = Incoming::new(http, for_http, tls.as_ref().and_then(Tls::http));
        let serves_http = http::serve(http, api, stop_servers.clone()).map(Ok::<_, Infallible>);
        let servers = vec![
            server("gRPC", grpc::serve(grpc, services, health.clone(), gate.clone(), stop_servers.clone()), &stopped),
            server("HTTP", serves_http, &stopped),
        ];
        let certificates = tls.as_ref().map(|tls| tls.run(&live, &parts.metrics, &parts.board));
        let watchdog = parts.watchdog().map_err(StartError::Threads)?;
        phases.end("listen");
        tracing::info!(grpc = %grpc_addr, http = %http_addr, data = %data_dir.display(), "the coordinator is {phases}");
        parts.metrics.started(&phases);
        parts.board.started(phases);
        Ok(RunningCoordinator {
            grpc_addr,
            http_addr,
            data_dir,
            lifecycle: parts.lifecycle,
            board: parts.board,
            traces: parts.traces,
            pending: parts.pending,
            encrypted: tls.is_some(),
            _certificates: certificates,
            _watchdog: watchdog,
            _sampler: AbortOnDropHandle::new(tokio::spawn(sampler.run())),
            health,
            sessions: parts.sessions,
            manager,
            actuator,
            actor,
            audit: gate.audit().clone(),
            _gate: AbortOnDropHandle::new(tokio::spawn(gate.keep_watch())),
            _hindsight: AbortOnDropHandle::new(tokio::spawn(hindsight.run())),
            _retention: AbortOnDropHandle::new(tokio::spawn(retain(writer.clone(), clock, live.clone()))),
            _config_watch: AbortOnDropHandle::new(tokio::spawn(live.clone().keep_watch())),
            config: live,
            writer,
            stop_servers,
            stopped,
            servers,
            threads: Some(threads),
        })
    }
}

fn identity(coordinator_id: String, data_dir: &Path, traces: &Traces) -> Identity {
    Identity {
        coordinator_id,
        version: env!("CARGO_PKG_VERSION"),
        data_dir: data_dir.display().to_string(),
        traces: traces.active().is_some(),
    }
}

/// What the manager begins from.
fn for_manager(recovery: &Recovery) -> ManagerRecovery {
    ManagerRecovery {
        incarnation: recovery.incarnation,
        declarations: recovery.declarations.clone(),
        scaling: recovery.scaling.clone(),
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    listen(address).map_err(|source| StartError::Bind { setting, address, source })
}

/// Answers probes on this port until the coordinator can serve it itself.
fn early_probes(
    http: TcpListener,
    config: &CoordinatorConfig,
    tls: Option<&Tls>,
) -> Result<(TcpListener, EarlyProbes), StartError> {
    let cannot = |source| StartError::Bind { setting: "http", address: config.http, source };
    let (http, early) = twice(http).map_err(cannot)?;
    let (_, limits) = following::connection_limits(config);
    // Who is turned away so early is in no metric: there are none yet.
    let connections = Connections::new(limits, ClosedConnections::default());
    Ok((http, EarlyProbes::begin(Incoming::new(early, connections, tls.and_then(Tls::http)), "store")))
}

fn local_addr(setting: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Bind { setting, address: unknown, source })
}

async fn open_store(
    config: &CoordinatorConfig,
    clock: Clock,
) -> Result<(Box<dyn Store>, Recovery, PathBuf), StartError> {
    let (ephemeral, data_dir) = (config.ephemeral, config.data_dir.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let mut store =
            if ephemeral { SqliteStore::ephemeral()? } else { SqliteStore::open(&data_dir, Durability::Full)? };
        let recovery = store.claim(clock.now())?;
        let database = store.database_path();
        let data_dir = database.parent().map_or(data_dir, Path::to_path_buf);
        Ok::<_, StoreError>((Box::new(store) as Box<dyn Store>, recovery, data_dir))
    });
    let opened = opened.await.map_err(|error| StartError::Threads(io::Error::other(error)))??;
    tracing::info!(tasks = opened.1.tasks.len(), incarnation = opened.1.incarnation, "the store is recovered");
    Ok(opened)
}

/// Makes the engine off the async threads: with many tasks to recover that takes seconds.
async fn make_engine(clock: Clock, settings: Settings, recovery: Recovery) -> Result<Engine, StartError> {
    let made = tokio::task::spawn_blocking(move || Engine::new(clock.now(), settings, recovery));
    Ok(made.await.map_err(|error| StartError::Threads(io::Error::other(error)))??)
}

/// Runs a server, and says so when it ends.
fn server<E: std::fmt::Display + Send + 'static>(
    name: &'static str,
    serves: impl Future<Output = Result<(), E>> + Send + 'static,
    stopped: &CancellationToken,
) -> AbortOnDropHandle<()> {
    let stopped = stopped.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = serves.await {
            tracing::error!(%error, "the {name} server failed");
            stopped.cancel();
        }
    }))
}
