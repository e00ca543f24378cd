//! The one place that puts the program together, and takes it apart in order.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use actix::Addr;
use evenkeel_core::{
    engine::{Engine, Settings},
    manager::ManagerRecovery,
    model::{ClusterEvent, Recovery},
    routing::ClassLimit,
};
use evenkeel_shared::EventPosition;
use futures_util::FutureExt as _;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Mutex, Semaphore},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic_health::server::HealthReporter;

use crate::{
    actors::{
        coordinator::CoordinatorActor,
        manager::{self, Caches, ManagerActor, ManagerHandle, ManagerParts, ManagerState},
        publisher::{self, Publisher},
        store_writer::{self, Prune, StoreWriter},
        system::{self, ActorThreads},
    },
    actuators::Actuator,
    clock::Clock,
    config::{ConfigError, CoordinatorConfig, Loaded, live::LiveConfig},
    connections::{Connections, Incoming},
    directory::{Directory, KeptLimits},
    failpoint::{self, BadFailpoints},
    gateway::Gateway,
    grpc,
    health::{
        Board,
        sampler::Sampler,
        serving::Serving,
        watchdog::{self, Watchdog},
    },
    heartbeats::Heartbeats,
    hindsight::Hindsight,
    http,
    hub::{Hub, HubLimits},
    intake::{self, Intake},
    lifecycle::Lifecycle,
    listen::listen,
    metrics::Metrics,
    pending::Pending,
    profile::Profiler,
    reads::Reads,
    release::{Dispatcher, LOOK_UPS_ASKING_MAX, LOOK_UPS_MAX, Spare, WatchedEvent},
    security::{
        audit::Audit,
        gate::{Gate, GateError},
        tls::{Tls, TlsError},
    },
    services::{
        admin::Admin,
        agent::Agents,
        cluster::{Cluster, Identity},
        keda::Keda,
        redrive::Redrives,
        resource::Resources,
        submit_stream,
        task::Tasks,
    },
    sessions::Sessions,
    snapshot::Snapshot,
    start::StartPhases,
    store::{
        Retention, Store, StoreError,
        sqlite::{Durability, SqliteStore},
    },
    telemetry::Traces,
    waiters::Waiters,
};

mod following;
mod running;

pub use running::{RunningCoordinator, StopError};

/// The exit code of a process whose commit failed (`EX_IOERR`).
pub const EXIT_STORE_FAILED: i32 = 74;
/// The exit code of a process whose actor panicked (`EX_SOFTWARE`).
pub const EXIT_PANICKED: i32 = 70;
/// Bits of a position in the history below the incarnation.
const POSITION_BITS: u32 = 40;
/// Between two rounds of removing what is kept no longer.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Tasks, and rows of each other kind, removed in one transaction, so that removing holds up commits for some milliseconds
/// only.
const PRUNE_ROWS_MAX: usize = 500;

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

/// Everything that is shared between the actors and the services.
struct Parts {
    clock: Clock,
    lifecycle: Lifecycle,
    snapshot: Snapshot,
    directory: Directory,
    sessions: Sessions,
    waiters: Waiters,
    pending: Pending,
    heartbeats: Heartbeats,
    reads: Reads,
    metrics: Metrics,
    board: Board,
    traces: Traces,
    task_hub: Hub<WatchedEvent>,
    cluster_hub: Hub<ClusterEvent>,
}

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
        phases.end("listen");
        let clock = Clock::start();
        let (store, recovery, data_dir) = open_store(config, clock).await?;
        let live = LiveConfig::new(loaded, &recovery.declarations, clock.now());
        let config = live.now();
        phases.end("store");
        let coordinator_id = format!("c{}-{:08x}", recovery.incarnation, fastrand::u32(..));
        let traces = Traces::start(&config.telemetry, clock, &coordinator_id)?;
        traces.recovered(&recovery.tasks);
        let identity = Arc::new(Identity {
            coordinator_id,
            version: env!("CARGO_PKG_VERSION"),
            data_dir: data_dir.display().to_string(),
            traces: traces.active().is_some(),
        });
        let strategy = recovery.strategy.clone().unwrap_or_else(|| config.engine.strategy.clone());
        let manager = ManagerState::new(config.resources.enabled);
        let parts =
            Parts::new(clock, &config, &recovery, store.as_ref(), manager, traces).map_err(StartError::Threads)?;
        let for_manager = ManagerRecovery {
            incarnation: recovery.incarnation,
            declarations: recovery.declarations.clone(),
            scaling: recovery.scaling.clone(),
        };
        let engine = make_engine(clock, config.engine.settings(), recovery).await?;
        phases.end("recover");
        let threads = ActorThreads::start().map_err(StartError::Threads)?;
        let snapshot = parts.snapshot.clone();
        let publisher = system::start(&threads.rest, publisher::MAILBOX_MAX, || Publisher::new(snapshot)).await;
        let dispatcher = parts.dispatcher();
        let writer = parts.start_writer(&threads, store, publisher.clone(), dispatcher.clone()).await;
        let actor = parts.start_coordinator(&threads, engine, writer.clone(), dispatcher).await;

        let intake = Intake::new(actor.clone(), parts.heartbeats.clone());
        let gateway = parts.gateway(intake);
        let (health, _) = tonic_health::server::health_reporter();
        let tasks = Tasks {
            gateway: gateway.clone(),
            hub: parts.task_hub.clone(),
            redrives: Redrives::default(),
            metrics: parts.metrics.clone(),
            submit_streams: Arc::new(Semaphore::new(submit_stream::STREAMS_MAX)),
        };
        let strategy = Arc::new(Mutex::new(strategy));
        let cluster = Cluster {
            gateway: gateway.clone(),
            snapshot: parts.snapshot.clone(),
            publisher,
            hub: parts.cluster_hub.clone(),
            identity: Arc::clone(&identity),
            strategy: Arc::clone(&strategy),
            metrics: parts.metrics.clone(),
        };
        let actuator = config.scaling.actuator.build(local_addr("grpc", &grpc)?, tls.is_some());
        let manager = parts.start_manager(&threads, &config, gateway.clone(), for_manager, Arc::clone(&actuator)).await;
        let hindsight =
            Hindsight { reads: parts.reads.clone(), manager: manager.clone(), clock, strategy: Arc::clone(&strategy) };
        let asked = manager.clone();
        let resources = Resources {
            gateway: gateway.clone(),
            snapshot: parts.snapshot.clone(),
            manager,
            strategy,
            metrics: parts.metrics.clone(),
        };
        let audit = Audit::start(&config.audit, &data_dir);
        let gate = Gate::new(&config.auth, audit, &data_dir, &parts.metrics)?;
        gate.follow(&live);
        let admin = Admin {
            gate: gate.clone(),
            gateway: gateway.clone(),
            metrics: parts.metrics.clone(),
            board: parts.board.clone(),
            profiler: Profiler::default(),
            config: live.clone(),
        };
        let (sessions, for_sampler) = (parts.sessions.clone(), gateway.clone());
        let gateway_for_config = gateway.clone();
        let agents = Agents {
            gateway,
            sessions: sessions.clone(),
            identity,
            metrics: parts.metrics.clone(),
            register_within: Duration::from_millis(config.limits.greeting_timeout_ms),
        };
        let (grpc_addr, http_addr) = (local_addr("grpc", &grpc)?, local_addr("http", &http)?);
        let (stop_servers, stopped) = (CancellationToken::new(), CancellationToken::new());
        let api = http::Api {
            tasks: tasks.clone(),
            cluster: cluster.clone(),
            resources: resources.clone(),
            admin: admin.clone(),
            gate: gate.clone(),
            names: live.subscribe(),
        };
        parts.lifecycle.set_ready();
        Serving::now(&parts.lifecycle, &parts.board.now()).tell(&health).await;
        let keda = Keda::new(parts.metrics.manager().clone(), parts.lifecycle.clone());
        let services = grpc::Services { agents, tasks, cluster, resources, admin, keda };
        let (for_grpc, for_http) = parts.connections(&config);
        parts.follow(&live, gateway_for_config, &for_grpc, &for_http);
        let grpc = Incoming::new(grpc, for_grpc.clone(), tls.as_ref().map(Tls::grpc));
        let sampler = parts.sampler(for_sampler, for_grpc, &data_dir, health.clone());
        phases.end("actors");
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
            sessions,
            manager: asked,
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

impl Parts {
    fn new(
        clock: Clock,
        config: &CoordinatorConfig,
        recovery: &Recovery,
        store: &dyn Store,
        manager: ManagerState,
        traces: Traces,
    ) -> io::Result<Self> {
        let limits = &config.limits;
        let kept = KeptLimits { tasks: limits.ephemeral_kept_max, bytes: limits.ephemeral_kept_bytes_max };
        let hub = HubLimits {
            ring: limits.recent_events_max,
            queue: limits.watcher_queue_max,
            watchers: limits.watchers_max,
        };
        // What earlier incarnations said is in the store alone.
        let start = EventPosition(recovery.incarnation << POSITION_BITS);
        let snapshot = Snapshot::default();
        let directory = Directory::new(&recovery.tasks, kept);
        let sessions = Sessions::new(recovery.incarnation, limits.session_queue_max);
        let metrics = Metrics::new(snapshot.clone(), directory.clone(), sessions.clone(), manager);
        traces.show(&metrics);
        Ok(Self {
            clock,
            lifecycle: Lifecycle::default(),
            snapshot,
            directory,
            sessions,
            waiters: Waiters::default(),
            pending: Pending::default(),
            heartbeats: Heartbeats::new(clock),
            reads: Reads::start(store.reader())?,
            metrics,
            board: Board::new(config.health.clone()),
            traces,
            task_hub: Hub::new(start, hub),
            cluster_hub: Hub::new(start, hub),
        })
    }

    async fn start_writer(
        &self,
        threads: &ActorThreads,
        store: Box<dyn Store>,
        publisher: Addr<Publisher>,
        dispatcher: Dispatcher,
    ) -> Addr<StoreWriter> {
        let lifecycle = self.lifecycle.clone();
        let on_fatal: store_writer::OnFatal = Arc::new(|_| std::process::exit(EXIT_STORE_FAILED));
        let make = move || StoreWriter::new(store, dispatcher, publisher, lifecycle, on_fatal);
        system::start(&threads.store, store_writer::MAILBOX_MAX, make).await
    }

    fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            pending: self.pending.clone(),
            sessions: self.sessions.clone(),
            directory: self.directory.clone(),
            waiters: self.waiters.clone(),
            task_hub: self.task_hub.clone(),
            cluster_hub: self.cluster_hub.clone(),
            reads: self.reads.clone(),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            look_up_turns: Arc::new(Semaphore::new(LOOK_UPS_ASKING_MAX)),
            metrics: self.metrics.clone(),
            runtime: Handle::current(),
            spare: Spare::default(),
            traces: self.traces.clone(),
        }
    }

    async fn start_coordinator(
        &self,
        threads: &ActorThreads,
        engine: Engine,
        writer: Addr<StoreWriter>,
        dispatcher: Dispatcher,
    ) -> Addr<CoordinatorActor> {
        let (clock, lifecycle, heartbeats) = (self.clock, self.lifecycle.clone(), self.heartbeats.clone());
        let make = move || CoordinatorActor::new(engine, clock, lifecycle, writer, dispatcher, heartbeats);
        system::start(&threads.engine, intake::MAILBOX_MAX, make).await
    }

    async fn start_manager(
        &self,
        threads: &ActorThreads,
        config: &CoordinatorConfig,
        gateway: Gateway,
        recovery: ManagerRecovery,
        actuator: Arc<dyn Actuator>,
    ) -> ManagerHandle {
        let state = self.metrics.manager().clone();
        let actor = if config.resources.enabled {
            let parts = ManagerParts {
                gateway: gateway.clone(),
                snapshot: self.snapshot.clone(),
                metrics: self.metrics.clone(),
                caches: self.caches(),
                state: state.clone(),
                settings: config.manager_settings(),
                recovery,
                actuator,
                runtime: Handle::current(),
            };
            Some(system::start(&threads.manager, manager::MAILBOX_MAX, || ManagerActor::new(parts)).await)
        } else {
            None
        };
        ManagerHandle::new(actor, state, gateway)
    }

    /// The coordinator's caches, for the manager to show.
    fn caches(&self) -> Caches {
        let (directory, tasks, cluster) = (self.directory.clone(), self.task_hub.clone(), self.cluster_hub.clone());
        Arc::new(move || {
            vec![directory.cache(), tasks.cache("recent_task_events"), cluster.cache("recent_cluster_events")]
        })
    }

    /// Looks at the parts.
    fn sampler(
        &self,
        gateway: Gateway,
        connections: Connections,
        data_dir: &Path,
        reporter: HealthReporter,
    ) -> Sampler {
        Sampler {
            board: self.board.clone(),
            gateway,
            snapshot: self.snapshot.clone(),
            sessions: self.sessions.clone(),
            connections,
            manager: self.metrics.manager().clone(),
            metrics: self.metrics.clone(),
            data_dir: data_dir.to_path_buf(),
            reporter,
        }
    }

    /// Ends the process if the engine's loop is stuck.
    fn watchdog(&self) -> io::Result<Watchdog> {
        let (board, lifecycle, pending) = (self.board.clone(), self.lifecycle.clone(), self.pending.clone());
        // None of it takes a lock that the loop may hold.
        let what_is_known = move || {
            let turns = lifecycle.loop_turns();
            let parts: Vec<_> =
                board.now().components.iter().map(|of| (of.component.name(), of.level.name())).collect();
            format!("it had turned {turns} times, {} requests were made; parts: {parts:?}", pending.made())
        };
        Watchdog::start(self.lifecycle.clone(), self.board.clone(), watchdog::end_process(what_is_known))
    }

    /// The connections of the gRPC port and of the HTTP port.
    fn connections(&self, config: &CoordinatorConfig) -> (Connections, Connections) {
        let (grpc, http) = following::connection_limits(config);
        (Connections::new(grpc, self.metrics.clone()), Connections::new(http, self.metrics.clone()))
    }

    fn gateway(&self, intake: Intake) -> Gateway {
        Gateway {
            intake,
            pending: self.pending.clone(),
            directory: self.directory.clone(),
            waiters: self.waiters.clone(),
            reads: self.reads.clone(),
            clock: self.clock,
            lifecycle: self.lifecycle.clone(),
            traces: self.traces.clone(),
        }
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    listen(address).map_err(|source| StartError::Bind { setting, address, source })
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

/// Removes what is kept no longer, a little at a time.
async fn retain(writer: Addr<StoreWriter>, clock: Clock, config: LiveConfig) {
    let mut rounds = interval(PRUNE_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let retention = config.now().store.retention();
        let retention = Retention { tasks: failpoint::retention(retention.tasks), ..retention };
        let expiry = retention.at(clock.now());
        loop {
            match writer.send(Prune { expiry, limit: PRUNE_ROWS_MAX }).await {
                Ok(Ok(pruned)) if pruned.more => tokio::task::yield_now().await,
                Ok(Ok(_)) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "what is past its time could not be removed; the next round tries again");
                    break;
                }
                Err(_) => return,
            }
        }
    }
}

/// Ends the process when anything in it panics that nobody is there to catch: for a process that runs nothing but a
/// coordinator, where going on without a part is worse than starting again from the store.
pub fn end_process_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if !system::expects_panics() {
                std::process::exit(EXIT_PANICKED);
            }
        }));
    });
}

/// An actor that panics leaves its mailbox closed for ever, so the process ends and starts again from the store. Other
/// threads may run what is not the coordinator's, such as executors of agents in the same process.
fn end_process_when_an_actor_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if system::is_actor_thread() && !system::expects_panics() {
                std::process::exit(EXIT_PANICKED);
            }
        }));
    });
}
