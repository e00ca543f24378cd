//! The gRPC server, and every limit of it, set on purpose.

use std::{convert::Infallible, time::Duration};

use evenkeel_proto::{
    FILE_DESCRIPTOR_SET,
    externalscaler::external_scaler_server::ExternalScalerServer,
    v1::{
        admin_service_server::AdminServiceServer, agent_service_server::AgentServiceServer,
        cluster_service_server::ClusterServiceServer, resource_service_server::ResourceServiceServer,
        task_service_server::TaskServiceServer,
    },
};
use evenkeel_shared::{limits::MESSAGE_BYTES_MAX, wire::status::DETAILS_DESCRIPTOR_SET};
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Error, Server},
};
use tonic_health::server::HealthReporter;

use crate::{
    connections::Incoming,
    ending::Ending,
    metrics::calls::Calls,
    paced::Paced,
    security::{Gate, Secured},
    services::{admin::Admin, agent::Agents, cluster::Cluster, keda::Keda, resource::Resources, task::Tasks},
};

mod foreign;
pub mod opening;

use opening::Opening;

/// Streams on one connection: an agent has one; a client that multiplexes its waits has many.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// Window of one stream: one large payload in flight without waiting for an update.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Window of a connection: what one peer may make the server hold that nobody has read yet. A thousand agents that are
/// held back hold 4 GiB at the very worst; in practice they send a few hundred bytes at a time.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Frames of HTTP/2: large enough that a payload is not cut into hundreds, small enough to interleave.
const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Headers of one request: metadata and a token.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// A connection that is silent for so long is asked whether it lives,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// and given up if it does not answer: a peer behind a dead network is noticed although it never closes.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a peer opened and reset before they were accepted: the rapid-reset attack (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 64;
/// Streams reset by this server that a peer may provoke on one connection before the connection is closed.
const LOCAL_RESETS_MAX: usize = 1_024;

/// A request with the text of a configuration file in it.
const CONFIG_BYTES_MAX: usize = 300 << 10;

/// The preface of HTTP/2: what a peer says first. Signs of life are asked for from then on.
pub const GREETING_BYTES: u64 = 24;

/// What is served.
pub struct Services {
    /// For agents.
    pub agents: Agents,
    /// For clients.
    pub tasks: Tasks,
    /// For operators.
    pub cluster: Cluster,
    /// For operators, about resources.
    pub resources: Resources,
    /// For operators, about the coordinator itself.
    pub admin: Admin,
    /// For KEDA.
    pub keda: Keda,
}

/// Serves until it is told to stop, and then until the streams have ended.
///
/// # Errors
/// If the listener fails.
pub async fn serve(incoming: Incoming, opening: Opening, stop: CancellationToken) -> Result<(), Error> {
    let watched = incoming.connections().clone();
    let incoming = stream::unfold(incoming, async |mut incoming| {
        let connection = incoming.next().await;
        Some((Ok::<_, Infallible>(connection), incoming))
    });
    tokio::select! {
        served = server().serve_with_incoming_shutdown(opening, incoming, stop.cancelled()) => served,
        () = watched.keep_watch() => Ok(()),
    }
}

/// What is served once the coordinator is there.
#[must_use]
pub fn routes(services: Services, health: HealthReporter, gate: &Gate, stop: &CancellationToken) -> Routes {
    let calls = services.cluster.metrics.calls().clone();
    let agents = AgentServiceServer::new(services.agents)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let tasks = TaskServiceServer::new(services.tasks)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // Operators send names and settings, but lists of the fleet are long.
    let cluster = ClusterServiceServer::new(services.cluster)
        .max_decoding_message_size(64 << 10)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let resources = ResourceServiceServer::new(services.resources)
        .max_decoding_message_size(64 << 10)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // A configuration file may be checked before it is put in place.
    let admin = AdminServiceServer::new(services.admin)
        .max_decoding_message_size(CONFIG_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // KEDA sends the name of what it scales, with its settings.
    let keda = ExternalScalerServer::new(services.keda)
        .max_decoding_message_size(64 << 10)
        .max_encoding_message_size(64 << 10);
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(health),
    );
    let gate = (gate, &calls);
    let mut routes = Routes::builder();
    routes.add_service(asked(agents, gate)).add_service(asked(tasks, gate)).add_service(asked(cluster, gate));
    routes.add_service(asked(resources, gate)).add_service(asked(admin, gate)).add_service(asked(keda, gate));
    routes.add_service(asked(health, gate));
    add_reflection(&mut routes, gate, stop);
    routes.routes().prepare()
}

fn server() -> Server {
    // The limits are on each connection; a limit over all of them would let one busy client lock the agents out. Calls have
    // no timeout of the server's, because sessions, watches and waits are meant to last.
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
}

/// A service as peers reach it: each is watched, and nobody gets past the gate.
fn asked<S>(service: S, (gate, calls): (&Gate, &Calls)) -> Paced<Secured<S>> {
    Paced::new(Secured::new(service, gate.clone()), calls)
}

/// Reflection in both versions: older tools know only the alpha. It tells of the details of errors too: no service names their
/// types, so that a tool would show their bytes.
fn add_reflection(routes: &mut tonic::service::RoutesBuilder, gate: (&Gate, &Calls), stop: &CancellationToken) {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(DETAILS_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(alpha)) => {
            let (v1, alpha) = (Ending::new(v1, stop.clone()), Ending::new(alpha, stop.clone()));
            routes.add_service(asked(v1, gate)).add_service(asked(alpha, gate));
        }
        // The descriptors are made by this build; without them only tools that explore the interface are lost.
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "server reflection is off"),
    }
}
