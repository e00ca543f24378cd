//! What the HTTP port says before the coordinator is there: probes alone.
//!
//! A start with a million tasks in the store takes seconds. An orchestrator that finds nobody listening meanwhile cannot tell
//! it from a process that hangs; with these answers it sees which phase is under way, and that a restart would only begin it anew.
//! Everything else is refused with UNAVAILABLE: there is nothing yet to make an answer of.
//!
//! The gRPC port answers [likewise](crate::grpc::opening).

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, Uri},
    response::Response,
    routing::get,
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{answer, nothing_but_get, probes, problem::Problem, until_answered};
use crate::{connections::Incoming, start::Phase};

/// Answers probes until it is ended or dropped.
#[derive(Debug)]
pub struct EarlyProbes {
    stop: CancellationToken,
    accepts: AbortOnDropHandle<()>,
}

impl EarlyProbes {
    /// Answers on this port from here on.
    #[must_use]
    pub fn begin(incoming: Incoming, phase: Phase) -> Self {
        let stop = CancellationToken::new();
        let (router, stopped) = (router(phase), stop.clone());
        let connections = incoming.connections().clone();
        let accepts = AbortOnDropHandle::new(tokio::spawn(async move {
            let answering = answer(incoming, router, &stopped).await;
            // The start does not wait for whoever takes his time to ask.
            tokio::spawn(until_answered(answering, connections));
        }));
        Self { stop, accepts }
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

async fn starting(State(phase): State<Phase>, uri: Uri) -> Response {
    said(&phase, &uri, Some(phase.to_string()))
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
            "phase": phase.name(),
            "components": [],
        })
    })
}

async fn not_yet(State(phase): State<Phase>, request: Request<Body>) -> Response {
    Problem::from(phase.refusal()).answer(request.uri().path())
}
