//! The HTTP port: whether the process lives and takes work, its metrics, and under `/api/v1` what the gRPC services offer, as
//! JSON.
//!
//! There is one definition of the interface, the services' descriptors. A [table](routes) says which address is which call;
//! requests and answers are turned from and to JSON by the descriptors, the calls go through the [same services](calls), and
//! the [document](openapi) that describes it all is made of the same. Rejected: handlers of its own for each address, with types
//! and a document of their own; they said less, and other things, than the calls beside them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::Request,
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::any,
};
use evenkeel_shared::{Code, Error};
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::CoordinatorConfig,
    connections::{Connections, Incoming, Peer},
    security::Gate,
    services::{admin::Admin, cluster::Cluster, resource::Resources, task::Tasks},
};

mod bodies;
mod calls;
pub mod early;
mod interface;
mod openapi;
mod origin;
mod paths;
pub mod probes;
mod problem;
mod reading;
mod rest;
mod routes;
mod showing;

use calls::Calls;
use problem::Problem;
use rest::Rest;

/// Headers of one request: what browsers and proxies send, twice over.
const HEADERS_MAX: usize = 64;
/// Bytes of an address and its headers, and of what is read of a body at a time; bodies have [bounds of their own](routes).
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Connections at a time: probes, scrapers, and people with dashboards.
pub const CONNECTIONS_MAX: usize = 1_024;
/// From one address: a proxy before the port is one, and must not need all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// What the answers are made of.
#[derive(Clone)]
pub struct Api {
    /// For tasks.
    pub tasks: Tasks,
    /// For the fleet.
    pub cluster: Cluster,
    /// For what it may use, how large it should be, and what it costs.
    pub resources: Resources,
    /// For the coordinator itself.
    pub admin: Admin,
    /// Who may ask.
    pub gate: Gate,
    /// The settings: the names under which the port is asked, beside addresses and names of this machine's network.
    pub names: watch::Receiver<Arc<CoordinatorConfig>>,
}

/// Serves until it is told to stop, and then until what was asked is answered.
pub async fn serve(incoming: Incoming, api: Api, stop: CancellationToken) {
    let connections = incoming.connections().clone();
    let answering = answer(incoming, router(api), &stop).await;
    until_answered(answering, connections).await;
}

/// Takes connections on until it is told to stop. Gives those that are still open.
async fn answer(mut incoming: Incoming, router: Router, stop: &CancellationToken) -> GracefulShutdown {
    let connections = incoming.connections().clone();
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // From the connection, or from the request before it: slow ones hold a descriptor each.
        .header_read_timeout(connections.limits().greeting_within)
        .max_headers(HEADERS_MAX)
        .max_buf_size(REQUEST_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let graceful = GracefulShutdown::new();
    let accept = async {
        loop {
            let connection = incoming.next().await;
            let service = OfPeer { peer: connection.peer().clone(), service: service.clone() };
            let served = http1.serve_connection(TokioIo::new(connection), service);
            // What is wrong with one connection is its peer's affair.
            tokio::spawn(graceful.watch(served).map(drop));
        }
    };
    tokio::select! {
        () = accept => {}
        () = connections.keep_watch() => {}
        () = stop.cancelled() => {}
    }
    graceful
}

/// Ends connections as soon as what they were asked is answered.
async fn until_answered(answering: GracefulShutdown, connections: Connections) {
    tokio::select! {
        () = answering.shutdown() => {}
        () = connections.keep_watch() => {}
    }
}

/// Tells a service who asks.
struct OfPeer<S> {
    peer: Peer,
    service: S,
}

impl<S, B> hyper::service::Service<Request<B>> for OfPeer<S>
where
    S: hyper::service::Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.service.call(request)
    }
}

fn router(api: Api) -> Router {
    let metrics = api.cluster.metrics.clone();
    let calls = Calls::new(api.tasks, api.cluster, api.resources, api.admin.clone(), api.gate.clone());
    let router = probes::routes(api.admin.clone());
    let router = match Rest::new(calls, api.names, metrics) {
        Ok(rest) => router.route("/api/v1/{*path}", any(async move |request| rest.answer(request).await)),
        // The table and the descriptors are of this build, and a test reads them; the probes do without.
        Err(error) => {
            tracing::error!(%error, "there is no REST interface");
            router
        }
    };
    // Only what has a route is asked about: what has none is nothing to anybody.
    let router = router.route_layer(from_fn_with_state(api.gate, may_use));
    router.method_not_allowed_fallback(nothing_but_get).fallback(nothing_here)
}

/// Lets a request on to its route, or not; those that are calls are asked about as calls.
async fn may_use(State(gate): State<Gate>, request: Request<Body>, next: Next) -> Response {
    match gate.check_route(request.uri().path(), request.headers(), request.extensions()) {
        Ok(()) => next.run(request).await,
        Err(error) => Problem::from(error).answer(request.uri().path()),
    }
}

async fn nothing_here(request: Request<Body>) -> Response {
    Problem::from(Error::new(Code::NotFound, "there is nothing here; see /api/v1/openapi.json"))
        .answer(request.uri().path())
}

async fn nothing_but_get(request: Request<Body>) -> Response {
    Problem::other_method(request.method().as_str(), &[routes::Verb::Get]).answer(request.uri().path())
}
