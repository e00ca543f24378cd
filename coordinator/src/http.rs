//! The HTTP port: whether the process lives and takes work, its metrics, and under `/api/v1` what the gRPC services offer, as
//! JSON.
//!
//! There is one definition of the interface, the services' descriptors. A [table](routes) says which address is which call;
//! requests and answers are turned from and to JSON by the descriptors, the calls go through the [same services](calls), and
//! the [document](openapi) that describes it all is made of the same. Rejected: handlers of its own for each address, with types
//! and a document of their own; they said less, and other things, than the calls beside them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use evenkeel_shared::{Code, Error};
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    connections::Connections,
    services::{admin::Admin, cluster::Cluster, resource::Resources, task::Tasks},
};

mod bodies;
mod calls;
mod interface;
mod openapi;
mod origin;
mod paths;
mod problem;
mod reading;
mod rest;
mod routes;
mod showing;

use calls::Calls;
use problem::Problem;
use rest::Rest;

/// The engine's loop turns four times a second at least. Silent for so long it hangs, and the process is better restarted.
const LOOP_SILENT_MAX: Duration = Duration::from_secs(10);
/// Headers of one request: what browsers and proxies send, twice over.
const HEADERS_MAX: usize = 64;
/// Bytes of an address and its headers, and of what is read of a body at a time; bodies have [bounds of their own](routes).
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Connections at a time: probes, scrapers, and people with dashboards.
pub const CONNECTIONS_MAX: usize = 1_024;
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
    /// Names under which the port is asked, beside addresses and names of this machine's network.
    pub names: Vec<String>,
}

/// Serves until it is told to stop, and then until what was asked is answered.
pub async fn serve(listener: TcpListener, connections: Connections, api: Api, stop: CancellationToken) {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // From the connection, or from the request before it: slow ones hold a descriptor each.
        .header_read_timeout(connections.limits().greeting_within)
        .max_headers(HEADERS_MAX)
        .max_buf_size(REQUEST_BYTES_MAX);
    let service = TowerToHyperService::new(router(api));
    let graceful = GracefulShutdown::new();
    let accept = async {
        loop {
            let (connection, _) = connections.accept(&listener).await;
            let served = http1.serve_connection(TokioIo::new(connection), service.clone());
            // What is wrong with one connection is its peer's affair.
            tokio::spawn(graceful.watch(served).map(drop));
        }
    };
    tokio::select! {
        () = accept => {}
        () = connections.keep_watch() => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = connections.keep_watch() => {}
    }
}

fn router(api: Api) -> Router {
    let metrics = api.cluster.metrics.clone();
    let calls = Calls::new(api.tasks, api.cluster.clone(), api.resources, api.admin);
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(openmetrics))
        .with_state(Arc::new(api.cluster));
    let router = match Rest::new(calls, api.names, metrics) {
        Ok(rest) => router.route("/api/v1/{*path}", any(async move |request| rest.answer(request).await)),
        // The table and the descriptors are of this build, and a test reads them; the probes do without.
        Err(error) => {
            tracing::error!(%error, "there is no REST interface");
            router
        }
    };
    router.method_not_allowed_fallback(only_get).fallback(nothing_here)
}

type Shared = State<Arc<Cluster>>;

async fn nothing_here(request: Request<Body>) -> Response {
    Problem::from(Error::new(Code::NotFound, "there is nothing here; see /api/v1/openapi.json"))
        .answer(request.uri().path())
}

async fn only_get(request: Request<Body>) -> Response {
    Problem::other_method(request.method().as_str(), &[routes::Verb::Get]).answer(request.uri().path())
}

async fn healthz(State(cluster): Shared) -> Response {
    let gateway = &cluster.gateway;
    let silent = gateway.clock.now().since(gateway.lifecycle.loop_seen_at());
    // On a full disk the loop may have to wait for room, and a restart would help nobody.
    if silent > LOOP_SILENT_MAX && !gateway.lifecycle.store_is_full() {
        let what = format!("the engine's loop has not turned for {silent:?}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, what).into_response();
    }
    "ok\n".into_response()
}

async fn readyz(State(cluster): Shared) -> Response {
    match cluster.gateway.lifecycle.check_writable() {
        Ok(()) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn openmetrics(State(cluster): Shared, request: Request<Body>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match cluster.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => {
            let what = "the metrics could not be written";
            Problem::from(Error::new(Code::Internal, what)).answer(request.uri().path())
        }
    }
}
