//! Calls whose peers are watched: every answer tells [`Peer`] whether it is being taken, every request whether it comes to
//! its end.
//!
//! The server asks an answer for its next part once the window of its stream has let the part before go. So a part that was
//! handed over and is not followed by a question lies with the server because its reader does not read.
//!
//! A message takes the memory that its head asks for as soon as the head is there, and until its end: five bytes hold 8 MiB,
//! on each of a thousand streams. So what is under way is bounded by what it says of its length. And a request that is one
//! message has to end in time; one that is a stream of messages has to end each message that it has begun.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use evenkeel_shared::{Error, TraceContext, wire::status::to_status};
use futures_util::{FutureExt as _, future::Map};
use hyper::body::{Frame, SizeHint};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{
    connections::{Peer, Reading, Sending},
    metrics::calls::{CallUnderWay, Calls},
    telemetry::place_of,
};

/// The calls whose requests are streams.
const STREAMING: [&str; 3] = ["/Session", "/SubmitStream", "/ServerReflectionInfo"];
/// When a request that found no room may come again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// A message of gRPC begins with a flag and its length.
const HEAD_BYTES: usize = 5;

/// A service whose calls are watched and counted.
#[derive(Clone, Debug)]
pub struct Paced<S> {
    service: S,
    calls: Calls,
}

impl<S> Paced<S> {
    /// Watches the calls of a service, and counts them here.
    pub fn new(service: S, calls: &Calls) -> Self {
        Self { service, calls: calls.clone() }
    }
}

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
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let call = self.calls.begin(request.uri().path());
        if let Some(trace) = call.as_ref().and_then(CallUnderWay::trace) {
            if let Some(from) = place_of(request.headers()).filter(TraceContext::is_sampled) {
                trace.is(from.trace);
            }
            request.extensions_mut().insert(trace.clone());
        }
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return self.service.call(request).map(Box::new(|answered| answered));
        };
        let reading = peer.reading();
        let streaming = STREAMING.iter().any(|call| request.uri().path().ends_with(call));
        let request = request.map(|body| {
            let mut sending = peer.sending();
            if !streaming {
                sending.begins();
            }
            Body::new(RequestBody { body, sending, streaming, message: Message::default() })
        });
        self.service.call(request).map(Box::new(|answered| {
            let answer = answered?;
            let mut call = call;
            // An answer that has its status in its head has no other.
            ended(&mut call, answer.headers());
            Ok(answer.map(|body| Body::new(AnswerBody { body, reading, call })))
        }))
    }
}

/// The call has ended if its status is among these.
fn ended(call: &mut Option<CallUnderWay>, headers: &http::HeaderMap) {
    if let (Some(under_way), Some(status)) = (call.as_mut(), headers.get("grpc-status")) {
        under_way.ends(Code::from_bytes(status.as_bytes()));
        *call = None;
    }
}

struct AnswerBody {
    body: Body,
    reading: Reading,
    /// Until its status has gone out.
    call: Option<CallUnderWay>,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.reading.asked();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.reading.handed_over();
            if let Some(trailers) = frame.trailers_ref() {
                ended(&mut self.call, trailers);
            }
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

struct RequestBody {
    body: Body,
    sending: Sending,
    streaming: bool,
    message: Message,
}

/// How far the messages of a request are.
#[derive(Default)]
struct Message {
    head: Vec<u8>,
    /// Bytes that are still to come, once the head is there.
    left: usize,
}

/// What has come of a message.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    /// A message has begun that has not ended.
    unfinished: bool,
    /// It began within these bytes.
    fresh: bool,
    /// It said within these bytes that it is so long.
    declared: usize,
}

impl Message {
    fn take(&mut self, mut bytes: &[u8]) -> Taken {
        let mut taken = Taken::default();
        while !bytes.is_empty() {
            if self.left == 0 {
                taken.fresh |= self.head.is_empty();
                taken.declared = 0;
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [_, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = u32::from_be_bytes(length) as usize;
                    taken.declared = self.left;
                    self.head.clear();
                }
            }
            let body = bytes.len().min(self.left);
            self.left -= body;
            bytes = &bytes[body..];
        }
        taken.unfinished = self.left > 0 || !self.head.is_empty();
        taken
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = this.message.take(frame.data_ref().map_or(&[][..], |data| data));
                if this.streaming && (taken.fresh || !taken.unfinished) {
                    this.sending.ends();
                }
                if taken.unfinished || !this.streaming {
                    this.sending.begins();
                    // Its place in memory is made as soon as it says how long it is.
                    if !this.sending.holds(taken.declared) {
                        let what = "messages that are under way hold as many bytes as they may; try again";
                        return Poll::Ready(Some(Err(to_status(&Error::exhausted(what, RETRY_AFTER)))));
                    }
                }
            }
            Poll::Ready(_) => this.sending.ends(),
            Poll::Pending => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Three messages, of 3, 0 and 300 bytes.
    fn wire() -> Vec<u8> {
        [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 1, 44], &[7; 300]].concat()
    }

    #[test]
    fn however_they_are_cut_messages_end_where_they_end() {
        for piece in 1..wire().len() {
            let (mut message, mut held, mut seen) = (Message::default(), 0, 0);
            for bytes in wire().chunks(piece) {
                let taken = message.take(bytes);
                seen += bytes.len();
                held = if taken.fresh { taken.declared } else { held + taken.declared };
                let (begun, length) = match seen {
                    0..8 => (seen, 3),
                    8..13 => (seen - 8, 0),
                    13..318 => (seen - 13, 300),
                    _ => (0, 0),
                };
                assert_eq!(taken.unfinished, begun > 0, "{seen} bytes in pieces of {piece}");
                if begun > 0 {
                    assert_eq!(held, if begun < HEAD_BYTES { 0 } else { length }, "{seen} bytes in pieces of {piece}");
                }
            }
        }
    }
}
