//! The one place that puts the program together, and takes it apart in order.

use std::{convert::Infallible, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use evenkeel_core::{manager::ManagerRecovery, model::Recovery, routing::ClassLimit};
use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    actors::{
        manager::ManagerState,
        publisher::{self, Publisher},
        system::{self, ActorThreads},
    },
    clock::Clock,
    config::{ConfigError, Loaded, live::LiveConfig},
    connections::Incoming,
    failpoint::{self, BadFailpoints},
    grpc,
    health::serving::Serving,
    hindsight::Hindsight,
    http,
    intake::Intake,
    security::{
        audit::Audit,
        gate::{Gate, GateError},
        tls::{Tls, TlsError},
    },
    services::cluster::Identity,
    start::StartPhases,
    store::StoreError,
    telemetry::Traces,
};

mod early;
mod following;
mod panics;
mod parts;
mod retention;
mod running;
mod services;
mod taking_up;

use early::{Early, EarlyGrpc};
pub use panics::end_process_on_panic;
use panics::end_process_when_an_actor_panics;
use parts::{Found, Parts};
use retention::retain;
pub use running::{RunningCoordinator, StopError};
use services::Behind;
use taking_up::{Opened, open_store, take_up};

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
    /// The process was told to stop.
    #[error("told to stop while it was starting ({phase}); nothing had been accepted, and what is stored is as it was")]
    Stopped {
        /// The phase of the start.
        phase: &'static str,
    },
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
        Self::start_unless(config, &CancellationToken::new()).await
    }

    /// The same, for as long as it is not `told_to_stop`. Once the store is taken up the rest of the start is short, and goes to its
    /// end: then a coordinator runs that can be stopped in order.
    ///
    /// # Errors
    /// As for [`Self::start`], and [`StartError::Stopped`]. What reads the store then ends with what it reads, or with the process;
    /// nothing else is left running.
    pub async fn start_unless(
        config: impl Into<Loaded>,
        told_to_stop: &CancellationToken,
    ) -> Result<RunningCoordinator, StartError> {
        let mut phases = StartPhases::begin();
        let loaded: Loaded = config.into();
        let config = &loaded.config;
        config.validate()?;
        failpoint::init()?;
        if config.abort_on_panic {
            end_process_when_an_actor_panics();
        }
        let tls = Tls::new(&config.tls)?;
        let early = Early::begin(config, tls.as_ref()).await?;
        let phase = &early.phase;
        phases.end("listen");
        let clock = Clock::start();
        let Opened { store, recovery, data_dir } = open_store(config, clock, told_to_stop, phase).await?;
        let live = LiveConfig::new(loaded, &recovery.declarations, recovery.incarnation, clock.now());
        let config = live.now();
        phases.end("store");
        phase.is_at("recover");
        let incarnation = recovery.incarnation;
        let coordinator_id = format!("c{incarnation}-{:08x}", fastrand::u32(..));
        let traces = Traces::start(&config.telemetry, clock, &coordinator_id)?;
        let identity = Arc::new(identity(coordinator_id, &data_dir, &traces));
        let strategy = recovery.strategy.clone().unwrap_or_else(|| config.engine.strategy.clone());
        let for_manager = for_manager(&recovery);
        let (directory, engine) = take_up(&config, clock, recovery, &traces, told_to_stop, phase).await?;
        let found = Found { incarnation, directory, reader: store.reader(), closed: early.closed.clone(), traces };
        let manager = ManagerState::new(config.resources.enabled);
        let parts = Parts::new(clock, &config, found, manager).map_err(StartError::Threads)?;
        phases.end("recover");
        phase.is_at("actors");
        let threads = ActorThreads::start().map_err(StartError::Threads)?;
        let snapshot = parts.snapshot.clone();
        let publisher = system::start(&threads.rest, publisher::MAILBOX_MAX, || Publisher::new(snapshot)).await;
        let dispatcher = parts.dispatcher();
        let writer = parts.start_writer(&threads, store, publisher.clone(), dispatcher.clone()).await;
        let actor = parts.start_coordinator(&threads, engine, writer.clone(), dispatcher).await;

        let intake = Intake::new(actor.clone(), parts.heartbeats.clone());
        let gateway = parts.gateway(intake);
        let strategy = Arc::new(Mutex::new(strategy));
        let Early { health, grpc, grpc_addr, http_addr, probes, http, stop_servers, stopped, .. } = early;
        let EarlyGrpc { connections: for_grpc, opening, server: grpc_server, unless_started } = grpc;
        let actuator = config.scaling.actuator.build(grpc_addr, tls.is_some());
        let manager = parts.start_manager(&threads, &config, gateway.clone(), for_manager, Arc::clone(&actuator)).await;
        let hindsight = Hindsight {
            reads: parts.look_back.clone(),
            manager: manager.clone(),
            clock,
            strategy: Arc::clone(&strategy),
            interval: Duration::from_millis(config.resources.look_back_interval_ms),
        };
        let audit = Audit::start(&config.audit, &data_dir);
        live.write_down_in(audit.clone());
        let gate = Gate::new(&config.auth, audit, &data_dir, &parts.metrics)?;
        gate.follow(&live);
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
        // Before changes of the settings are followed: one that is on probation is watched over by who is ready alone.
        parts.lifecycle.set_ready();
        let for_http = parts.connections(&config, &for_grpc);
        parts.follow(&live, gateway.clone(), &for_grpc, &for_http);
        let sampler = parts.sampler(gateway, for_grpc, &data_dir, health.clone());
        phases.end("actors");
        probes.end().await;
        opening.open(grpc::routes(services, health.clone(), &gate, &stop_servers));
        Serving::now(&parts.lifecycle, &parts.board.now()).tell(&health).await;
        unless_started.started();
        let http = Incoming::new(http, for_http, tls.as_ref().and_then(Tls::http));
        let serves_http = http::serve(http, api, stop_servers.clone()).map(Ok::<_, Infallible>);
        let servers = vec![grpc_server, server("HTTP", serves_http, &stopped)];
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
