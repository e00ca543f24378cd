//! The last step of the start: from actors that work to ports that serve.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use evenkeel_shared::StrategyConfig;
use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::{
    StartError,
    early::{Early, EarlyGrpc},
    parts::Parts,
    retention::retain,
    running::{RunningCoordinator, Upkeep},
    server,
    services::Behind,
    working::Working,
};
use crate::{
    config::live::LiveConfig,
    connections::{Connections, Incoming},
    grpc,
    health::{sampler::Sampler, serving::Serving},
    hindsight::Hindsight,
    http,
    security::{gate::Gate, tls::Tls},
    services::cluster::Identity,
    start::StartPhases,
};

/// A coordinator that works, and that nobody can reach yet.
pub(super) struct Ready {
    pub(super) parts: Parts,
    pub(super) working: Working,
    pub(super) live: LiveConfig,
    pub(super) gate: Gate,
    /// The strategy in force.
    pub(super) strategy: Arc<Mutex<StrategyConfig>>,
    pub(super) identity: Arc<Identity>,
    pub(super) tls: Option<Tls>,
    pub(super) data_dir: PathBuf,
}

impl Ready {
    /// Opens the ports.
    ///
    /// # Errors
    /// If the system gives no thread to the watchdog.
    pub(super) async fn open(self, early: Early, mut phases: StartPhases) -> Result<RunningCoordinator, StartError> {
        let Early { health, grpc, grpc_addr, http_addr, probes, http, stop_servers, stopped, .. } = early;
        let EarlyGrpc { connections: for_grpc, opening, server: grpc_server, unless_started } = grpc;
        let parts = &self.parts;
        let (services, api) = parts.services(&self.live.now(), self.behind());
        // Before changes of the settings are followed: one that is on probation is watched over by who is ready alone.
        parts.lifecycle.set_ready();
        let for_http = self.follow(&for_grpc);
        let sampler = parts.sampler(self.working.gateway.clone(), for_grpc, &self.data_dir, health.clone());
        phases.end("actors");
        probes.end().await;
        opening.open(grpc::routes(services, health.clone(), &self.gate, &stop_servers));
        Serving::now(&parts.lifecycle, &parts.board.now()).tell(&health).await;
        unless_started.started();
        let http = Incoming::new(http, for_http, self.tls.as_ref().and_then(Tls::http));
        let serves_http = http::serve(http, api, stop_servers.clone()).map(Ok::<_, Infallible>);
        let servers = vec![grpc_server, server("HTTP", serves_http, &stopped)];
        let upkeep = self.upkeep(sampler)?;
        phases.end("listen");
        let data_dir = self.data_dir;
        tracing::info!(grpc = %grpc_addr, http = %http_addr, data = %data_dir.display(), "the coordinator is {phases}");
        parts.metrics.started(&phases);
        parts.board.started(phases);
        let (Working { threads, writer, actor, manager, actuator, .. }, parts) = (self.working, self.parts);
        Ok(RunningCoordinator {
            grpc_addr,
            http_addr,
            data_dir,
            lifecycle: parts.lifecycle,
            board: parts.board,
            traces: parts.traces,
            pending: parts.pending,
            sessions: parts.sessions,
            encrypted: self.tls.is_some(),
            audit: self.gate.audit().clone(),
            config: self.live,
            _upkeep: upkeep,
            health,
            manager,
            actuator,
            actor,
            writer,
            stop_servers,
            stopped,
            servers,
            threads: Some(threads),
        })
    }

    /// What services need beside the parts.
    fn behind(&self) -> Behind {
        Behind {
            gateway: self.working.gateway.clone(),
            publisher: self.working.publisher.clone(),
            identity: Arc::clone(&self.identity),
            strategy: Arc::clone(&self.strategy),
            manager: self.working.manager.clone(),
            gate: self.gate.clone(),
            live: self.live.clone(),
        }
    }

    /// From here on changes of the settings reach the parts and both ports; the connections of the HTTP port.
    fn follow(&self, for_grpc: &Connections) -> Connections {
        let for_http = self.parts.connections(&self.live.now(), for_grpc);
        self.parts.follow(&self.live, self.working.gateway.clone(), for_grpc, &for_http);
        for_http
    }

    /// Begins what goes on beside.
    fn upkeep(&self, sampler: Sampler) -> Result<Upkeep, StartError> {
        let (parts, live) = (&self.parts, &self.live);
        let hindsight = Hindsight {
            reads: parts.look_back.clone(),
            manager: self.working.manager.clone(),
            clock: parts.clock,
            strategy: Arc::clone(&self.strategy),
            interval: Duration::from_millis(live.now().resources.look_back_interval_ms),
        };
        let retention = retain(self.working.writer.clone(), parts.clock, live.clone());
        Ok(Upkeep {
            _watchdog: parts.watchdog().map_err(StartError::Threads)?,
            _certificates: self.tls.as_ref().map(|tls| tls.run(live, &parts.metrics, &parts.board)),
            _tasks: [
                AbortOnDropHandle::new(tokio::spawn(sampler.run())),
                AbortOnDropHandle::new(tokio::spawn(self.gate.clone().keep_watch())),
                AbortOnDropHandle::new(tokio::spawn(hindsight.run())),
                AbortOnDropHandle::new(tokio::spawn(retention)),
                AbortOnDropHandle::new(tokio::spawn(live.clone().keep_watch())),
            ],
        })
    }
}
