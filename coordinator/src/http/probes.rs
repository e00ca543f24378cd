//! What orchestrators ask, and scrapers.
//!
//! - `/startupz`: the start is over. Fails once only, at the beginning.
//! - `/healthz`: restarting the process would not help. Fails only if the engine's loop is stuck: all else passes by itself, and a
//!   restart would cost every agent its session.
//! - `/readyz`: work is taken. Fails on a full disk, in a stop, and while a part that is needed is unhealthy.
//!
//! Each answers in one line, and with `?verbose` with all parts, as JSON.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use evenkeel_shared::{Code, Error, Violation};
use serde_json::{Value, json};

use super::problem::Problem;
use crate::{health::serving::Serving, metrics::Form, profile, services::admin::Admin};

/// The routes.
pub fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/startupz", get(startupz))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/pprof/profile", get(cpu_profile))
        .with_state(admin)
}

async fn startupz(State(admin): State<Admin>, uri: Uri) -> Response {
    let problem = (!admin.gateway.lifecycle.has_started()).then(|| "the coordinator is starting".to_owned());
    answer(&admin, &uri, problem)
}

async fn healthz(State(admin): State<Admin>, uri: Uri) -> Response {
    answer(&admin, &uri, not_live(&admin))
}

async fn readyz(State(admin): State<Admin>, uri: Uri) -> Response {
    answer(&admin, &uri, not_ready(&admin))
}

/// Why only a restart helps.
pub fn not_live(admin: &Admin) -> Option<String> {
    let silent = admin.gateway.lifecycle.loop_silent();
    let stuck = silent >= Duration::from_millis(admin.board.settings().stuck_ms);
    stuck.then(|| format!("the engine's loop has not turned for {silent:?}"))
}

/// Why no work is taken.
pub fn not_ready(admin: &Admin) -> Option<String> {
    let lifecycle = &admin.gateway.lifecycle;
    if let Err(error) = lifecycle.check_writable() {
        return Some(error.to_string());
    }
    let assessment = admin.board.now();
    if Serving::now(lifecycle, &assessment).is_ready() {
        return None;
    }
    Some(assessment.hindrance().unwrap_or_else(|| "the coordinator is about to stop".to_owned()))
}

fn answer(admin: &Admin, uri: &Uri, problem: Option<String>) -> Response {
    said(uri, problem, |problem| whole(admin, problem))
}

/// The answer of a probe: its line, or if the request wants that, everything.
pub fn said(uri: &Uri, problem: Option<String>, whole: impl FnOnce(Option<String>) -> Value) -> Response {
    let code = if problem.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose =
        uri.query().is_some_and(|query| query.split('&').any(|word| word == "verbose" || word == "verbose=true"));
    if verbose {
        return (code, Json(whole(problem))).into_response();
    }
    (code, problem.map_or_else(|| "ok\n".to_owned(), |problem| format!("{problem}\n"))).into_response()
}

/// All that is known.
fn whole(admin: &Admin, problem: Option<String>) -> Value {
    let assessment = admin.board.now();
    let components: Vec<Value> = assessment
        .components
        .iter()
        .map(|state| {
            json!({
                "name": state.component.name(),
                "status": state.level.name(),
                "needed": state.component.is_needed(),
                "since_unix_ms": state.since.unix_millis(),
                "reasons": state.reasons,
                "measurements": state.measurements.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    json!({
        "ok": problem.is_none(),
        "problem": problem,
        "live": not_live(admin).is_none(),
        "ready": not_ready(admin).is_none(),
        "started": admin.gateway.lifecycle.has_started(),
        "components": components,
    })
}

/// A CPU profile of `seconds` (10 if nothing is said); the table of access lets admins alone ask for it.
async fn cpu_profile(State(admin): State<Admin>, request: Request<Body>) -> Response {
    const SECONDS: u64 = 10;
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = profile::Form::accepted(accept);
    let asked = request.uri().query().and_then(|query| query.split('&').find_map(|word| word.strip_prefix("seconds=")));
    let seconds = match asked.map(str::parse::<u64>) {
        None => Ok(SECONDS),
        Some(Ok(seconds)) => Ok(seconds),
        Some(Err(_)) => Err(Violation::new("seconds", "is no whole number").into()),
    };
    let made = match seconds {
        Ok(seconds) => admin.profiler.profile(seconds).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(profile) => ([(header::CONTENT_TYPE, form.content_type())], profile.written(form)).into_response(),
        Err(error) => Problem::from(error).answer(request.uri().path()),
    }
}

async fn metrics(State(admin): State<Admin>, request: Request<Body>) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match admin.metrics.expose(Form::accepted(accept)) {
        Ok(exposition) => ([(header::CONTENT_TYPE, exposition.content_type)], exposition.body).into_response(),
        Err(_) => {
            let what = "the metrics could not be written";
            Problem::from(Error::new(Code::Internal, what)).answer(request.uri().path())
        }
    }
}
