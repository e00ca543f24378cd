//! Calls that last for as long as their clients send: a stop ends them.
//!
//! The coordinator's own services end their streams themselves, with words for it. Reflection is somebody else's, and a tool that
//! explores the interface keeps its stream open for hours; the server would wait for it until the stop cuts everything off. So
//! its request ends when the stop comes, and its answer follows.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

/// A service whose requests end with a stop.
#[derive(Clone, Debug)]
pub struct Ending<S> {
    service: S,
    stop: CancellationToken,
}

impl<S> Ending<S> {
    /// Ends the requests to this service once that is cancelled.
    pub const fn new(service: S, stop: CancellationToken) -> Self {
        Self { service, stop }
    }
}

impl<S: NamedService> NamedService for Ending<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Ending<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let stopped = Box::pin(self.stop.clone().cancelled_owned());
        self.service.call(request.map(|body| Body::new(UntilStop { body, stopped })))
    }
}

struct UntilStop {
    body: Body,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl hyper::body::Body for UntilStop {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
