//! What is known of the other end of a connection: whether it has begun, and what it leaves unread or unfinished.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use futures_util::task::AtomicWaker;
use tokio::time::{Instant, timeout};

use super::ConnectionLimits;
use crate::{beginnings::Beginning, metrics::ClosedConnection, security::PeerCertificate};

/// How long a peer may take to hear why its stream ended. It holds the stream's memory until then, and is one that does
/// not read or whose stream is over in any case.
pub const END_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of unfinished messages on one connection: a few of the largest ones side by side, and thousands of usual ones.
const UNFINISHED_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// The same on all connections of a port: as many bytes as submissions may hold that wait for their answer.
const UNFINISHED_BYTES_TOTAL_MAX: usize = 256 << 20;
/// So many bytes a connection may have under way although all together have too many: a few peers with large messages must
/// not keep everybody else's usual ones out. Far below what its window of HTTP/2 lets it send in any case.
const UNFINISHED_BYTES_ALWAYS: usize = 64 << 10;

/// The other end of a connection. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    since: Instant,
    address: SocketAddr,
    /// Of which it was shown that it has the key.
    certificate: OnceLock<PeerCertificate>,
    greeted: AtomicBool,
    /// Until its first call, where its protocol has to begin at all.
    beginning: Option<Arc<Beginning>>,
    /// Since when it takes nothing of what is written.
    blocked: Since,
    /// Answers that have begun, and since when it takes nothing of them.
    unread: Mutex<HashMap<u64, Arc<Since>>>,
    /// Messages that have begun and have not ended, and since when.
    unfinished: Mutex<HashMap<u64, Instant>>,
    /// Bytes that they ask for,
    unfinished_bytes: AtomicUsize,
    /// and those of all peers.
    unfinished_bytes_total: Arc<AtomicUsize>,
    last_call: AtomicU64,
    closed_for: OnceLock<ClosedConnection>,
    /// Whoever reads or writes the connection; one task does both.
    task: AtomicWaker,
}

/// Since when something has been so, if it is so: a time after the connection's beginning. Told with every frame, so it is
/// a number, and no lock.
#[derive(Debug, Default)]
struct Since(AtomicU64);

impl Since {
    /// It is so now; `began` is the connection's beginning.
    fn set(&self, began: Instant) {
        self.0.store(Self::number(began), Ordering::Relaxed);
    }

    /// It is so now, if it was not so before.
    fn set_if_unset(&self, began: Instant) {
        if self.0.load(Ordering::Relaxed) == 0 {
            self.set(began);
        }
    }

    /// It is not so.
    fn unset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self, began: Instant) -> Option<Instant> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros > 0).then(|| began + Duration::from_micros(micros))
    }

    fn number(began: Instant) -> u64 {
        u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Peer {
    /// A peer that has just come. `greets`: it has to say something first. `beginning`: of one that counts until its first
    /// call.
    pub(super) fn new(
        address: SocketAddr,
        greets: bool,
        beginning: Option<Arc<Beginning>>,
        unfinished_bytes_total: Arc<AtomicUsize>,
    ) -> Self {
        Self(Arc::new(PeerState {
            since: Instant::now(),
            address,
            certificate: OnceLock::new(),
            greeted: AtomicBool::new(!greets),
            beginning,
            blocked: Since::default(),
            unread: Mutex::default(),
            unfinished: Mutex::default(),
            unfinished_bytes: AtomicUsize::new(0),
            unfinished_bytes_total,
            last_call: AtomicU64::new(0),
            closed_for: OnceLock::new(),
            task: AtomicWaker::new(),
        }))
    }

    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 1)), true, None, Arc::default())
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The certificate that it has shown. It is of an authority that is trusted with clients, was valid when the connection
    /// was made, and the peer has its key.
    #[must_use]
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        self.0.certificate.get()
    }

    pub(super) fn shows(&self, certificate: PeerCertificate) {
        // A handshake is made once, and nothing changes it afterwards.
        let _ = self.0.certificate.set(certificate);
    }

    /// Closes the connection unless the peer has taken the end of its stream in time.
    pub async fn takes_end(&self, taken: impl Future<Output = ()>) {
        if timeout(END_WITHIN, taken).await.is_err() {
            self.close(ClosedConnection::Unread);
        }
    }

    /// Closes the connection with all that is on it.
    pub fn close(&self, reason: ClosedConnection) {
        if self.0.closed_for.set(reason).is_ok() {
            self.0.task.wake();
        }
    }

    /// Why it is closed, if it is.
    pub(crate) fn closed_for(&self) -> Option<ClosedConnection> {
        self.0.closed_for.get().copied()
    }

    /// It has begun to speak: what there is to do with it is work of this machine.
    pub(super) fn speaks(&self) {
        if let Some(beginning) = &self.0.beginning {
            beginning.greeted();
        }
    }

    /// It has sent what it has to send first.
    pub(super) fn greeted(&self) {
        self.0.greeted.store(true, Ordering::Relaxed);
        self.speaks();
    }

    /// It has begun, or is gone.
    pub fn begun(&self) {
        if let Some(beginning) = &self.0.beginning {
            beginning.end();
        }
    }

    /// An answer has begun.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.begun();
        let reading = Reading {
            peer: self.clone(),
            answer: self.0.last_call.fetch_add(1, Ordering::Relaxed),
            unread: Arc::default(),
        };
        locked(&self.0.unread).insert(reading.answer, Arc::clone(&reading.unread));
        reading
    }

    /// A request has begun.
    #[must_use]
    pub fn sending(&self) -> Sending {
        Sending {
            peer: self.clone(),
            request: self.0.last_call.fetch_add(1, Ordering::Relaxed),
            bytes: 0,
            begun: false,
        }
    }

    /// What it is to be closed for, if anything.
    pub(super) fn late(&self, now: Instant, limits: &ConnectionLimits) -> Option<ClosedConnection> {
        let over = |since: Instant, time| now.saturating_duration_since(since) > time;
        if !self.0.greeted.load(Ordering::Relaxed) && over(self.0.since, limits.greeting_within) {
            return Some(ClosedConnection::Silent);
        }
        let late = |since: &Since| since.get(self.0.since).is_some_and(|since| over(since, limits.unread_max));
        if late(&self.0.blocked) || locked(&self.0.unread).values().any(|since| late(since)) {
            return Some(ClosedConnection::Unread);
        }
        let unfinished = locked(&self.0.unfinished).values().any(|since| over(*since, limits.unread_max));
        unfinished.then_some(ClosedConnection::Unfinished)
    }

    pub(crate) fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.0.task.register(cx.waker());
        match self.0.closed_for.get() {
            None => Ok(()),
            Some(reason) => Err(io::Error::new(io::ErrorKind::TimedOut, reason.name())),
        }
    }

    pub(super) fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.0.blocked.unset();
        } else {
            self.0.blocked.set_if_unset(self.0.since);
        }
        written
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the peer takes what it asked for, of one answer. Dropped when the answer is over.
#[derive(Debug)]
pub struct Reading {
    peer: Peer,
    answer: u64,
    unread: Arc<Since>,
}

impl Reading {
    /// A part was handed over; until the next one is asked for, the peer has not taken it.
    pub fn handed_over(&self) {
        self.unread.set(self.peer.0.since);
    }

    /// The next part is asked for.
    pub fn asked(&self) {
        self.unread.unset();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        locked(&self.peer.0.unread).remove(&self.answer);
    }
}

/// Whether the peer ends what it has begun to send, of one request. Dropped when the request is over.
#[derive(Debug)]
pub struct Sending {
    peer: Peer,
    request: u64,
    bytes: usize,
    begun: bool,
}

impl Sending {
    /// A message has begun, now or before.
    pub fn begins(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            locked(&self.peer.0.unfinished).insert(self.request, Instant::now());
        }
    }

    /// It asks for so many bytes. False if there is no room for them.
    #[must_use]
    pub fn holds(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        self.bytes += bytes;
        let held = self.peer.0.unfinished_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.peer.0.unfinished_bytes_total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = held <= UNFINISHED_BYTES_MAX && total <= UNFINISHED_BYTES_TOTAL_MAX;
        has_room || held <= UNFINISHED_BYTES_ALWAYS
    }

    /// It has ended.
    pub fn ends(&mut self) {
        if std::mem::take(&mut self.begun) {
            locked(&self.peer.0.unfinished).remove(&self.request);
        }
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        self.peer.0.unfinished_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.peer.0.unfinished_bytes_total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.ends();
    }
}
