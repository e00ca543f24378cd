//! What the HTTP port says before the coordinator is there: probes alone.
//!
//! A start with a million tasks in the store takes seconds. An orchestrator that finds nobody listening meanwhile cannot tell
//! it from a process that hangs; with these answers it sees which phase is under way, and that a restart would only begin it anew.
//! Everything else is refused with UNAVAILABLE: there is nothing yet to make an answer of.
//!
//! The gRPC port listens from the start on as well, and takes no connection before it can serve it: whoever dials waits, and
//! is served first.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, Uri},
    response::Response,
    routing::get,
};
use evenkeel_shared::{Code, Error};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{answer, nothing_but_get, probes, problem::Problem, until_answered};
use crate::{connections::Incoming, lifecycle::STARTING_RETRY_AFTER};

/// The phase of the start that is under way.
type Phase = Arc<ArcSwap<&'static str>>;

/// Answers probes until it is ended or dropped.
#[derive(Debug)]
pub struct EarlyProbes {
    phase: Phase,
    stop: CancellationToken,
    accepts: AbortOnDropHandle<()>,
}

impl EarlyProbes {
    /// Answers on this port from here on.
    #[must_use]
    pub fn begin(incoming: Incoming, phase: &'static str) -> Self {
        let (phase, stop) = (Arc::new(ArcSwap::from_pointee(phase)), CancellationToken::new());
        let (router, stopped) = (router(Arc::clone(&phase)), stop.clone());
        let connections = incoming.connections().clone();
        let accepts = AbortOnDropHandle::new(tokio::spawn(async move {
            let answering = answer(incoming, router, &stopped).await;
            // The start does not wait for whoever takes his time to ask.
            tokio::spawn(until_answered(answering, connections));
        }));
        Self { phase, stop, accepts }
    }

    /// The start has come to this phase.
    pub fn is_at(&self, phase: &'static str) {
        self.phase.store(Arc::new(phase));
    }

    /// Takes no connection any more once this is done: the next one is somebody else's.
    pub async fn end(self) {
        self.stop.cancel();
        // If it panicked it has ended too.
        let _ = self.accepts.await;
    }
}

fn router(phase: Phase) -> Router {
    Router::new()
        .route("/startupz", get(starting))
        .route("/readyz", get(starting))
        .route("/healthz", get(alive))
        .method_not_allowed_fallback(nothing_but_get)
        .fallback(not_yet)
        .with_state(phase)
}

fn problem(phase: &Phase) -> String {
    format!("the coordinator is starting: {}", phase.load())
}

async fn starting(State(phase): State<Phase>, uri: Uri) -> Response {
    said(&phase, &uri, Some(problem(&phase)))
}

/// A restart would not help.
async fn alive(State(phase): State<Phase>, uri: Uri) -> Response {
    said(&phase, &uri, None)
}

fn said(phase: &Phase, uri: &Uri, problem: Option<String>) -> Response {
    probes::said(uri, problem, |problem| {
        json!({
            "ok": problem.is_none(),
            "problem": problem,
            "live": true,
            "ready": false,
            "started": false,
            "phase": **phase.load(),
            "components": [],
        })
    })
}

async fn not_yet(State(phase): State<Phase>, request: Request<Body>) -> Response {
    let error = Error { retry_after: Some(STARTING_RETRY_AFTER), ..Error::new(Code::Unavailable, problem(&phase)) };
    Problem::from(error).answer(request.uri().path())
}
