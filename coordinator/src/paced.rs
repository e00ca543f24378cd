//! Answers whose readers are watched: a service whose every answer tells [`Peer`] whether it is being taken.
//!
//! The server asks an answer for its next part once the window of its stream has let the part before go. So a part that was
//! handed over and is not followed by a question lies with the server because its reader does not read.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::Map};
use hyper::body::{Frame, SizeHint};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::connections::{Peer, Reading};

/// A service whose answers are watched.
#[derive(Clone, Debug)]
pub struct Paced<S>(pub S);

impl<S: NamedService> NamedService for Paced<S> {
    const NAME: &'static str = S::NAME;
}

type Answered = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Paced<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Map<S::Future, Box<dyn FnOnce(Answered) -> Answered + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let reading = request.extensions().get().map(Peer::reading);
        self.0.call(request).map(Box::new(|answered| {
            let response = answered?;
            Ok(match reading {
                None => response,
                Some(reading) => response.map(|body| Body::new(PacedBody { body, reading })),
            })
        }))
    }
}

struct PacedBody {
    body: Body,
    reading: Reading,
}

impl hyper::body::Body for PacedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.reading.asked();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = frame {
            self.reading.handed_over();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
