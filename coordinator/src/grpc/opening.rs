//! What the gRPC port says before the coordinator is there, and how it is handed over.
//!
//! A probe that speaks gRPC alone finds its answer from the first moment on: `grpc.health.v1` says NOT_SERVING, and whoever
//! watches is told of the end of the start on the same stream. Every other call is for services that there is nothing yet to make
//! of. It waits for a moment, since most starts are shorter than what a client would do about an error, and is then refused with
//! UNAVAILABLE and a time to try again.
//!
//! The server and its connections are the same before and after: what a request meets is looked up when it comes. Rejected: a
//! server of its own that ends when the start is over, as the [HTTP port has](crate::http::early); agents hold one connection
//! for days, and a whole fleet that dialled during the start would be sent away to dial again just as it could be served. Rejected
//! too: to take no connection before the start is over; a probe cannot tell that from a process that hangs.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use evenkeel_shared::wire::status::to_status;
use futures_util::future::{BoxFuture, Either, ready};
use tokio::{
    sync::{Semaphore, SetOnce},
    time::timeout,
};
use tonic::{
    body::Body,
    codegen::{Service, http},
    service::Routes,
};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::foreign;
use crate::{connections::Peer, start::Phase};

/// How long a call waits for the end of the start. Longer than starts that have little to recover, so that a restart costs clients
/// a moment and no error; shorter than what clients give their calls, so that they hear the reason.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Calls that wait at a time, of all peers; the next ones are refused at once. Each holds its headers, 16 KiB at the most; what
/// is sent of its body stays within the windows of its connection.
const WAITING_MAX: usize = 4_096;
/// Paths of the one service that answers from the beginning.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The services of the port, once they are there. Clones are of the same port.
#[derive(Clone)]
pub struct Opening(Arc<State>);

struct State {
    routes: SetOnce<Routes>,
    health: HealthServer<HealthService>,
    phase: Phase,
    waiting: Semaphore,
    wait_max: Duration,
}

type Answered = Result<http::Response<Body>, Infallible>;

impl Opening {
    /// A port that says nothing but how its services are: what `health` is told. Other calls wait for so long.
    #[must_use]
    pub fn new(health: &HealthReporter, phase: Phase, wait_max: Duration) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
        let waiting = Semaphore::new(WAITING_MAX);
        Self(Arc::new(State { routes: SetOnce::new(), health, phase, waiting, wait_max }))
    }

    /// From here on these answer every call, and those that wait before all. Once; another time changes nothing.
    pub fn open(&self, routes: Routes) {
        if self.0.routes.set(routes).is_err() {
            tracing::error!("the gRPC port was opened twice; this is a defect");
        }
    }

    async fn early(self, request: http::Request<Body>) -> Answered {
        // Or it would count among those that have said nothing yet, of which there are only so many at a time.
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.begun();
        }
        if request.uri().path().starts_with(HEALTH) {
            return self.0.health.clone().call(request).await;
        }
        match self.opened().await {
            Some(mut routes) => routes.call(request).await,
            None => Ok(to_status(&self.0.phase.refusal()).into_http()),
        }
    }

    /// The services, if they are there in time and there is room to wait for them.
    async fn opened(&self) -> Option<Routes> {
        let _turn = self.0.waiting.try_acquire().ok()?;
        timeout(self.0.wait_max, self.0.routes.wait()).await.ok().cloned()
    }
}

impl Service<http::Request<Body>> for Opening {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<<Routes as Service<http::Request<Body>>>::Future, BoxFuture<'static, Answered>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if !foreign::speaks_grpc(request.headers()) {
            return Either::Right(Box::pin(ready(Ok(foreign::refusal()))));
        }
        match self.0.routes.get() {
            Some(routes) => Either::Left(routes.clone().call(request)),
            None => Either::Right(Box::pin(self.clone().early(request))),
        }
    }
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
