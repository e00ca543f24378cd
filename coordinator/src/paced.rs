//! Calls whose peers are watched: every answer tells [`Peer`] whether it is being taken, every request whether it comes to
//! its end.
//!
//! The server asks an answer for its next part once the window of its stream has let the part before go. So a part that was
//! handed over and is not followed by a question lies with the server because its reader does not read.
//!
//! What has come of a message is held until the rest has: up to 8 MiB on each of a thousand streams. A request that is one
//! message has to end in time; one that is a stream of messages has to end each message that it has begun.

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

use crate::connections::{Peer, Reading, Sending};

/// The calls whose requests are streams.
const STREAMING: [&str; 3] = ["/Session", "/SubmitStream", "/ServerReflectionInfo"];
/// A message of gRPC begins with a flag and its length.
const HEAD_BYTES: usize = 5;

/// A service whose calls are watched.
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
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return self.0.call(request).map(Box::new(|answered| answered));
        };
        let reading = peer.reading();
        let streaming = STREAMING.iter().any(|call| request.uri().path().ends_with(call));
        let messages = if streaming { Messages::Many(Message::default()) } else { Messages::One };
        let request = request.map(|body| {
            let mut sending = peer.sending();
            if !streaming {
                sending.begins();
            }
            Body::new(RequestBody { body, sending, messages })
        });
        self.0.call(request).map(Box::new(|answered| Ok(answered?.map(|body| Body::new(AnswerBody { body, reading })))))
    }
}

struct AnswerBody {
    body: Body,
    reading: Reading,
}

impl hyper::body::Body for AnswerBody {
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

struct RequestBody {
    body: Body,
    sending: Sending,
    messages: Messages,
}

/// What a request is made of.
enum Messages {
    One,
    Many(Message),
}

/// How far a message is.
#[derive(Default)]
struct Message {
    head: Vec<u8>,
    /// Bytes that are still to come, once the head is there.
    left: usize,
}

impl Message {
    /// Takes what has come; answers whether a message has begun that has not ended, and how many of these bytes are of it.
    fn take(&mut self, mut bytes: &[u8]) -> (bool, usize) {
        let mut unfinished = bytes.len();
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [_, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = u32::from_be_bytes(length) as usize;
                    self.head.clear();
                }
            }
            let body = bytes.len().min(self.left);
            self.left -= body;
            bytes = &bytes[body..];
            if self.left == 0 && self.head.is_empty() {
                unfinished = bytes.len();
            }
        }
        (self.left > 0 || !self.head.is_empty(), unfinished)
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
                let data = frame.data_ref().map_or(&[][..], |data| data);
                match &mut this.messages {
                    Messages::One => this.sending.holds(data.len()),
                    Messages::Many(message) => match message.take(data) {
                        (false, _) => this.sending.ends(),
                        (true, unfinished) => {
                            // Another one has begun within these bytes.
                            if unfinished < data.len() {
                                this.sending.ends();
                            }
                            this.sending.begins();
                            this.sending.holds(unfinished);
                        }
                    },
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
                let (unfinished, of_it) = message.take(bytes);
                seen += bytes.len();
                held = if !unfinished {
                    0
                } else if of_it < bytes.len() {
                    of_it
                } else {
                    held + of_it
                };
                let begun = if seen < 8 {
                    seen
                } else if seen < 13 {
                    seen - 8
                } else if seen < 318 {
                    seen - 13
                } else {
                    0
                };
                assert_eq!((unfinished, held), (begun > 0, begun), "{seen} bytes in pieces of {piece}");
            }
        }
    }
}
