//! The HTTP port: whether the process lives and takes work, its metrics, and what it knows, as read-only JSON.
//!
//! It answers from published values and from the store's readers, so that a probe or a dashboard costs the engine nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use evenkeel_proto::v1::{self, task_service_server::TaskService as _};
use evenkeel_shared::{
    AgentId, Code, Error, EventPosition, TaskState, Violation,
    wire::{enums, status::from_status},
};
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::{
    connections::Connections,
    services::{cluster::Cluster, task::Tasks, task_list, view},
    store::ClusterEventFilter,
};

mod shapes;

/// The engine's loop turns four times a second at least. Silent for so long it hangs, and the process is better restarted.
const LOOP_SILENT_MAX: Duration = Duration::from_secs(10);
/// Headers of one request: what browsers and proxies send, twice over.
const HEADERS_MAX: usize = 64;
/// Bytes of a request: an address and its headers; there is no body in any.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Connections at a time: probes, scrapers, and people with dashboards.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Events of the fleet in one answer.
const EVENTS_MAX: usize = 500;

/// What the answers are made of.
#[derive(Clone)]
pub struct Api {
    /// For tasks.
    pub tasks: Tasks,
    /// For the fleet.
    pub cluster: Cluster,
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
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/agents", get(agents))
        // Ids of agents may have slashes in them.
        .route("/api/v1/agents/{*id}", get(agent))
        .route("/api/v1/tasks", get(tasks))
        .route("/api/v1/tasks/{id}", get(task))
        .route("/api/v1/events", get(events))
        .fallback(|| async { Refused(Error::new(Code::NotFound, "there is nothing here; see /api/v1/status")) })
        .with_state(Arc::new(api))
}

type Shared = State<Arc<Api>>;
/// Settings in the address, or what is wrong with them.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// An error as an answer.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        Self(violation.into())
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(Error::new(Code::InvalidArgument, rejection.body_text()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(shapes::error(&self.0))).into_response()
    }
}

async fn healthz(State(api): Shared) -> Response {
    let gateway = &api.cluster.gateway;
    let silent = gateway.clock.now().since(gateway.lifecycle.loop_seen_at());
    // On a full disk the loop may have to wait for room, and a restart would help nobody.
    if silent > LOOP_SILENT_MAX && !gateway.lifecycle.store_is_full() {
        let what = format!("the engine's loop has not turned for {silent:?}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, what).into_response();
    }
    "ok\n".into_response()
}

async fn readyz(State(api): Shared) -> Response {
    match api.cluster.gateway.lifecycle.check_writable() {
        Ok(()) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(api): Shared) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match api.cluster.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => Refused(Error::new(Code::Internal, "the metrics could not be written")).into_response(),
    }
}

async fn status(State(api): Shared) -> Json<Value> {
    Json(shapes::status(&api.cluster.status_now()))
}

/// A page of agents.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AgentsQuery {
    kind: String,
    page_size: u32,
    page_token: String,
}

async fn agents(State(api): Shared, query: Asked<AgentsQuery>) -> Result<Json<Value>, Refused> {
    let Query(AgentsQuery { kind, page_size, page_token }) = query?;
    let request = v1::ListAgentsRequest { kind, page_size, page_token, ..v1::ListAgentsRequest::default() };
    let page = api.cluster.agents(request)?;
    let agents: Vec<Value> = page.agents.iter().map(shapes::agent).collect();
    Ok(Json(json!({ "agents": agents, "next_page_token": page.next_page_token })))
}

async fn agent(State(api): Shared, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    Ok(Json(shapes::agent(&api.cluster.agent(&id)?)))
}

/// A page of tasks.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TasksQuery {
    state: String,
    tenant: String,
    kind: String,
    agent_id: String,
    page_size: u32,
    page_token: String,
}

async fn tasks(State(api): Shared, query: Asked<TasksQuery>) -> Result<Json<Value>, Refused> {
    let Query(TasksQuery { state, tenant, kind, agent_id, page_size, page_token }) = query?;
    let mut states = Vec::new();
    if !state.is_empty() {
        let unknown = || Violation::new("state", format!("there is no state `{state}`"));
        let state = TaskState::named(&state).ok_or_else(unknown)?;
        states.push(enums::to_task_state(state).into());
    }
    let request =
        v1::ListRequest { states, tenant, kind, agent_id, page_size, page_token, ..v1::ListRequest::default() };
    let page = task_list::list(&api.tasks.gateway, request).await?;
    let tasks: Vec<Value> = page.tasks.iter().map(shapes::task).collect();
    Ok(Json(json!({ "tasks": tasks, "next_page_token": page.next_page_token })))
}

async fn task(State(api): Shared, Path(task_id): Path<String>) -> Result<Json<Value>, Refused> {
    let request = v1::GetRequest { task_id, include_payload: false, include_attempts: true };
    let answer = api.tasks.get(Request::new(request)).await.map_err(|status| from_status(&status))?;
    let task = answer.into_inner().task.unwrap_or_default();
    Ok(Json(shapes::task(&task)))
}

/// Events of the fleet after a position.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    after: u64,
    agent_id: String,
}

async fn events(State(api): Shared, query: Asked<EventsQuery>) -> Result<Json<Value>, Refused> {
    let Query(query) = query?;
    let agent = if query.agent_id.is_empty() { None } else { Some(AgentId::new(&query.agent_id)?) };
    let filter = ClusterEventFilter { agent, ..ClusterEventFilter::default() };
    let after = EventPosition(query.after);
    let read = api.cluster.gateway.reads.ask(move |store| store.cluster_events(&filter, after, EVENTS_MAX));
    let events: Vec<Value> = read.await?.iter().map(view::cluster_event).map(|e| shapes::cluster_event(&e)).collect();
    Ok(Json(json!({ "events": events })))
}
