//! What the actors and the services share, and how each actor is started with it.

use std::{io, path::Path, sync::Arc};

use actix::Addr;
use evenkeel_core::{engine::Engine, manager::ManagerRecovery, model::ClusterEvent};
use evenkeel_shared::EventPosition;
use tokio::{runtime::Handle, sync::Semaphore};
use tonic_health::server::HealthReporter;

use super::{EXIT_STORE_FAILED, following};
use crate::{
    actors::{
        coordinator::CoordinatorActor,
        manager::{self, Caches, ManagerActor, ManagerHandle, ManagerParts, ManagerState},
        publisher::Publisher,
        store_writer::{self, StoreWriter},
        system::{self, ActorThreads},
    },
    actuators::Actuator,
    clock::Clock,
    config::CoordinatorConfig,
    connections::Connections,
    directory::Directory,
    gateway::Gateway,
    health::{
        Board,
        sampler::Sampler,
        watchdog::{self, Watchdog},
    },
    heartbeats::Heartbeats,
    hub::{Hub, HubLimits},
    intake::{self, Intake},
    lifecycle::Lifecycle,
    metrics::{ClosedConnections, Metrics},
    pending::Pending,
    reads::Reads,
    release::{Dispatcher, LOOK_UPS_ASKING_MAX, LOOK_UPS_MAX, Spare, WatchedEvent},
    sessions::Sessions,
    snapshot::Snapshot,
    store::{Store, StoreReader},
    telemetry::Traces,
    waiters::Waiters,
};

/// Bits of a position in the history below the incarnation.
const POSITION_BITS: u32 = 40;

/// Everything that is shared between the actors and the services.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) lifecycle: Lifecycle,
    pub(super) snapshot: Snapshot,
    pub(super) directory: Directory,
    pub(super) sessions: Sessions,
    pub(super) waiters: Waiters,
    pub(super) pending: Pending,
    pub(super) heartbeats: Heartbeats,
    pub(super) reads: Reads,
    /// For whoever looks back, alone.
    pub(super) look_back: Reads,
    pub(super) metrics: Metrics,
    pub(super) board: Board,
    pub(super) traces: Traces,
    pub(super) task_hub: Hub<WatchedEvent>,
    pub(super) cluster_hub: Hub<ClusterEvent>,
}

/// What is there before the parts.
pub(super) struct Found {
    pub(super) incarnation: u64,
    /// Of the tasks that were recovered.
    pub(super) directory: Directory,
    pub(super) reader: Arc<dyn StoreReader>,
    pub(super) closed: ClosedConnections,
    pub(super) traces: Traces,
}

impl Parts {
    pub(super) fn new(
        clock: Clock,
        config: &CoordinatorConfig,
        found: Found,
        manager: ManagerState,
    ) -> io::Result<Self> {
        let Found { incarnation, directory, reader, closed, traces } = found;
        let limits = &config.limits;
        let hub = HubLimits {
            ring: limits.recent_events_max,
            queue: limits.watcher_queue_max,
            watchers: limits.watchers_max,
        };
        // What earlier incarnations said is in the store alone.
        let start = EventPosition(incarnation << POSITION_BITS);
        let snapshot = Snapshot::default();
        let sessions = Sessions::new(incarnation, limits.session_queue_max);
        let metrics = Metrics::after(closed, snapshot.clone(), directory.clone(), sessions.clone(), manager);
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
            reads: Reads::start(&reader)?,
            look_back: Reads::alone("look-back", &reader)?,
            metrics,
            board: Board::new(config.health.clone()),
            traces,
            task_hub: Hub::new(start, hub),
            cluster_hub: Hub::new(start, hub),
        })
    }

    pub(super) async fn start_writer(
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

    pub(super) fn dispatcher(&self) -> Dispatcher {
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

    pub(super) async fn start_coordinator(
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

    pub(super) async fn start_manager(
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
    pub(super) fn caches(&self) -> Caches {
        let (directory, tasks, cluster) = (self.directory.clone(), self.task_hub.clone(), self.cluster_hub.clone());
        Arc::new(move || {
            vec![directory.cache(), tasks.cache("recent_task_events"), cluster.cache("recent_cluster_events")]
        })
    }

    /// Looks at the parts.
    pub(super) fn sampler(
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
    pub(super) fn watchdog(&self) -> io::Result<Watchdog> {
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

    /// The connections of the HTTP port; those of the gRPC port have come since the start, and are bounded as is set now.
    pub(super) fn connections(&self, config: &CoordinatorConfig, for_grpc: &Connections) -> Connections {
        let (grpc, http) = following::connection_limits(config);
        for_grpc.set_limits(grpc);
        Connections::new(http, self.metrics.connections_closed())
    }

    pub(super) fn gateway(&self, intake: Intake) -> Gateway {
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
