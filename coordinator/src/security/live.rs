//! What is under way in the name of a credential, and its end.
//!
//! Every call holds a place in its credential's [`Live`], and its request and its answer are wrapped so that both end as soon as
//! the credential does: revoked, expired, or gone from its file. The answer ends with UNAUTHENTICATED in its trailers. A peer
//! that does not read cannot be told so, because nothing more is asked of an answer whose window is full; after
//! [`END_WITHIN`] its connection is closed.

use std::{
    collections::HashMap,
    future::Future as _,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use super::{Caller, gate::Turn};
use crate::{
    connections::{END_WITHIN, Peer},
    metrics::ClosedConnection,
};

/// One credential, as long as it is the same.
#[derive(Debug)]
pub struct Live {
    /// Who shows it.
    pub caller: Arc<Caller>,
    /// When it ends, in milliseconds since 1970; `None`: never.
    pub expires_unix_ms: Option<i64>,
    last_used_unix_ms: AtomicI64,
    ended: CancellationToken,
    calls: Mutex<HashMap<u64, Option<Peer>>>,
}

impl Live {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(caller: Arc<Caller>, expires_unix_ms: Option<i64>) -> Self {
        Self {
            caller,
            expires_unix_ms,
            last_used_unix_ms: AtomicI64::new(0),
            ended: CancellationToken::new(),
            calls: Mutex::default(),
        }
    }

    /// Whether it is over at this time.
    #[must_use]
    pub fn is_expired(&self, now_unix_ms: i64) -> bool {
        self.expires_unix_ms.is_some_and(|end| end <= now_unix_ms)
    }

    /// Calls that are under way.
    #[must_use]
    pub fn open(&self) -> usize {
        self.calls().len()
    }

    /// When it was shown last, in milliseconds since 1970; 0: never.
    #[must_use]
    pub fn last_used_unix_ms(&self) -> i64 {
        self.last_used_unix_ms.load(Ordering::Relaxed)
    }

    /// Ends all that is under way, and returns how many calls that is.
    pub fn end(self: &Arc<Self>) -> usize {
        // Before they hear of it: they end at once.
        let open = self.open();
        self.ended.cancel();
        if open > 0 || self.open() > 0 {
            let live = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(END_WITHIN).await;
                for peer in live.calls().values().flatten() {
                    peer.close(ClosedConnection::Revoked);
                }
            });
        }
        open
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Option<Peer>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's place in each credential that was shown for it; given back when dropped.
#[derive(Debug)]
pub struct Call {
    id: u64,
    lives: Vec<Arc<Live>>,
    turn: Option<Turn>,
}

impl Call {
    /// A call in the name of these.
    #[must_use]
    pub fn begin(lives: Vec<Arc<Live>>, peer: Option<&Peer>, now_unix_ms: i64) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        for live in &lives {
            live.calls().insert(id, peer.cloned());
            live.last_used_unix_ms.store(now_unix_ms, Ordering::Relaxed);
        }
        Self { id, lives, turn: None }
    }

    /// Counts among its client's calls for as long as it lasts, what follows as a stream included.
    pub fn hold(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// Done once one of the credentials is over.
    #[must_use]
    pub fn ended(&self) -> Ended {
        Ended(self.lives.iter().map(|live| Box::pin(live.ended.clone().cancelled_owned())).collect())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for live in &self.lives {
            live.calls().remove(&self.id);
        }
    }
}

/// Waits for the end of credentials.
pub struct Ended(Vec<Pin<Box<WaitForCancellationFutureOwned>>>);

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.iter_mut().any(|one| one.as_mut().poll(cx).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a call ends with whose credential is over.
#[must_use]
pub fn no_longer() -> Status {
    Status::unauthenticated("the credentials are no longer accepted")
}

/// A request or an answer that ends with its credential.
pub struct Held {
    /// `None`: it has ended.
    body: Option<Body>,
    ended: Ended,
    is_answer: bool,
    /// Its place lasts as long as this.
    _call: Arc<Call>,
}

impl Held {
    /// What the caller sends.
    #[must_use]
    pub fn request(body: Body, call: &Arc<Call>) -> Body {
        Body::new(Self { body: Some(body), ended: call.ended(), is_answer: false, _call: Arc::clone(call) })
    }

    /// What the caller is sent.
    #[must_use]
    pub fn answer(body: Body, call: &Arc<Call>) -> Body {
        Body::new(Self { body: Some(body), ended: call.ended(), is_answer: true, _call: Arc::clone(call) })
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if Pin::new(&mut this.ended).poll(cx).is_ready() {
            this.body = None;
            let status = no_longer();
            if !this.is_answer {
                return Poll::Ready(Some(Err(status)));
            }
            let mut trailers = tonic::codegen::http::HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
