//! What there is before the coordinator: both ports, which answer probes and say to all others that it is starting.

use std::{io, net::SocketAddr};

use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic_health::server::HealthReporter;

use super::{StartError, following, server};
use crate::{
    config::CoordinatorConfig,
    connections::{Connections, Incoming},
    grpc::{
        self,
        opening::{Opening, WAIT_MAX},
    },
    health::serving::Serving,
    http::early::EarlyProbes,
    listen::{listen, twice},
    metrics::ClosedConnections,
    security::tls::Tls,
    start::Phase,
};

/// The ports of a coordinator that starts. Dropped, they are closed.
pub(super) struct Early {
    pub(super) phase: Phase,
    pub(super) health: HealthReporter,
    /// Connections that were closed, for the metrics that are to come.
    pub(super) closed: ClosedConnections,
    pub(super) grpc: EarlyGrpc,
    pub(super) grpc_addr: SocketAddr,
    pub(super) http_addr: SocketAddr,
    pub(super) probes: EarlyProbes,
    /// The port of the probes, for who serves it after them.
    pub(super) http: TcpListener,
    pub(super) stop_servers: CancellationToken,
    pub(super) stopped: CancellationToken,
}

/// The server of the gRPC port, which is the same from the beginning on.
pub(super) struct EarlyGrpc {
    pub(super) connections: Connections,
    pub(super) opening: Opening,
    pub(super) server: AbortOnDropHandle<()>,
    /// What ends its connections, if the coordinator does not come.
    pub(super) unless_started: Abandon,
}

/// Ends who is connected, when it is dropped.
pub(super) struct Abandon(Option<(CancellationToken, HealthReporter)>);

impl Abandon {
    /// The coordinator is there, and sees to that itself.
    pub(super) fn started(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some((stop, health)) = self.0.take() else { return };
        stop.cancel();
        // Or whoever watches its health would keep his connection for as long as he likes.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Serving::end(health));
        }
    }
}

impl Early {
    /// Listens on both ports, and answers.
    ///
    /// # Errors
    /// If an address is taken.
    pub(super) async fn begin(config: &CoordinatorConfig, tls: Option<&Tls>) -> Result<Self, StartError> {
        // The ports first: who holds them most likely holds the store as well, and the address names the mistake better.
        let grpc = bind("grpc", config.grpc)?;
        let http = bind("http", config.http)?;
        let (grpc_addr, http_addr) = (local_addr("grpc", &grpc)?, local_addr("http", &http)?);
        let phase = Phase::new("store");
        let (stop_servers, stopped) = (CancellationToken::new(), CancellationToken::new());
        let closed = ClosedConnections::default();
        let (for_grpc, for_http) = following::connection_limits(config);

        let health = HealthReporter::new();
        Serving::default().tell(&health).await;
        let connections = Connections::new(for_grpc, closed.clone());
        let opening = Opening::new(&health, phase.clone(), WAIT_MAX);
        let incoming = Incoming::new(grpc, connections.clone(), tls.map(Tls::grpc));
        let server = server("gRPC", grpc::serve(incoming, opening.clone(), stop_servers.clone()), &stopped);
        let unless_started = Abandon(Some((stop_servers.clone(), health.clone())));
        let grpc = EarlyGrpc { connections, opening, server, unless_started };

        let cannot = |source| StartError::Bind { setting: "http", address: config.http, source };
        let (http, early) = twice(http).map_err(cannot)?;
        let connections = Connections::new(for_http, closed.clone());
        let probes = EarlyProbes::begin(Incoming::new(early, connections, tls.and_then(Tls::http)), phase.clone());
        Ok(Self { phase, health, closed, grpc, grpc_addr, http_addr, probes, http, stop_servers, stopped })
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    listen(address).map_err(|source| StartError::Bind { setting, address, source })
}

fn local_addr(setting: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let failed = |source: io::Error| StartError::Bind { setting, address: unknown, source };
    listener.local_addr().map_err(failed)
}
