//! The connections of a port, and which of them are closed: a peer may hold what it uses, not what it sits on.
//!
//! The servers below bound what one connection may send, but not how many connections there are, how long one may say
//! nothing, or how long one may leave its answers unread. Those are bounded here, for both ports:
//!
//! - there are at most so many connections; the next one is closed as it comes,
//! - a connection has to begin its protocol within a time (HTTP/2 asks for signs of life only from then on),
//! - a peer has to take something of what is written to it within a time,
//! - and something of every answer that it asked for within a time ([`Reading`]), because the windows of HTTP/2 let a peer
//!   answer every ping and yet leave megabytes with the server, on each of a thousand streams,
//! - and has to end what it has begun to send within the same time ([`Sending`]), of which it may have so much under way.
//!
//! A round once in a while looks at all connections and closes those that are late. Timers of each connection were rejected:
//! they wake every idle agent's connection again and again for what almost never happens.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use dashmap::DashMap;
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tonic::transport::server::Connected;

use crate::{
    beginnings::{Beginning, Beginnings},
    metrics::{ClosedConnection, Metrics},
};

/// Between two rounds: how exactly the times below are kept.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// When the system refuses a connection, for want of descriptors for example, so long nothing is accepted: trying again at
/// once would only burn the processor that is needed to end some.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

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

/// Bounds of the connections of one port.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Bytes that a peer has to have sent for its protocol to have begun.
    pub greeting_bytes: u64,
    /// Within this time.
    pub greeting_within: Duration,
    /// A peer that takes nothing of what is written, or of an answer, for so long is given up.
    pub unread_max: Duration,
}

/// The open connections of a port. Clones share them.
#[derive(Clone)]
pub struct Connections(Arc<State>);

struct State {
    limits: ConnectionLimits,
    metrics: Metrics,
    open: DashMap<u64, Peer>,
    beginnings: Beginnings,
    last_id: AtomicU64,
    unfinished_bytes: Arc<AtomicUsize>,
}

/// The other end of a connection. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    since: Instant,
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

impl Connections {
    /// No connections yet.
    #[must_use]
    pub fn new(limits: ConnectionLimits, metrics: Metrics) -> Self {
        Self(Arc::new(State {
            limits,
            metrics,
            open: DashMap::new(),
            beginnings: Beginnings::default(),
            last_id: AtomicU64::new(0),
            unfinished_bytes: Arc::default(),
        }))
    }

    /// Their bounds.
    #[must_use]
    pub fn limits(&self) -> &ConnectionLimits {
        &self.0.limits
    }

    /// The next connection that there is room for.
    pub async fn accept(&self, listener: &TcpListener) -> (Guarded, SocketAddr) {
        let mut refused = false;
        loop {
            self.0.beginnings.room().await;
            match listener.accept().await {
                Ok((stream, address)) => match self.admit(stream) {
                    Some(guarded) => return (guarded, address),
                    None => self.0.metrics.connection_closed(ClosedConnection::TooMany),
                },
                // The peer has given up before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::error!(%error, "connections cannot be accepted; the limit of open files may be too low");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream) -> Option<Guarded> {
        if self.0.open.len() >= self.0.limits.connections_max {
            return None;
        }
        // A connection that cannot be set so works as well, only later.
        let _ = stream.set_nodelay(true);
        let id = self.0.last_id.fetch_add(1, Ordering::Relaxed);
        let greets = self.0.limits.greeting_bytes > 0;
        let peer = Peer(Arc::new(PeerState {
            since: Instant::now(),
            greeted: AtomicBool::new(!greets),
            beginning: greets.then(|| self.0.beginnings.begin()),
            blocked: Since::default(),
            unread: Mutex::default(),
            unfinished: Mutex::default(),
            unfinished_bytes: AtomicUsize::new(0),
            unfinished_bytes_total: Arc::clone(&self.0.unfinished_bytes),
            last_call: AtomicU64::new(0),
            closed_for: OnceLock::new(),
            task: AtomicWaker::new(),
        }));
        self.0.open.insert(id, peer.clone());
        Some(Guarded { stream, peer, received_bytes: 0, id, connections: self.clone() })
    }

    /// Closes those that are late, for ever.
    pub async fn keep_watch(&self) {
        let mut rounds = interval(ROUND_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let now = Instant::now();
            for peer in &self.0.open {
                if let Some(reason) = peer.late(now, &self.0.limits) {
                    peer.close(reason);
                }
            }
        }
    }

    /// Open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.open.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.open.is_empty()
    }
}

impl Peer {
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

    /// It has begun, or is gone.
    fn begun(&self) {
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
    fn late(&self, now: Instant, limits: &ConnectionLimits) -> Option<ClosedConnection> {
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

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.0.task.register(cx.waker());
        match self.0.closed_for.get() {
            None => Ok(()),
            Some(reason) => Err(io::Error::new(io::ErrorKind::TimedOut, reason.name())),
        }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
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

/// A connection that is counted and closed when it is late.
pub struct Guarded {
    stream: TcpStream,
    peer: Peer,
    received_bytes: u64,
    id: u64,
    connections: Connections,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.peer.begun();
        self.connections.0.open.remove(&self.id);
        if let Some(reason) = self.peer.0.closed_for.get() {
            self.connections.0.metrics.connection_closed(*reason);
        }
    }
}

impl Connected for Guarded {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.peer.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.received_bytes += (buffer.filled().len() - before) as u64;
        if self.received_bytes >= self.connections.0.limits.greeting_bytes {
            self.peer.0.greeted.store(true, Ordering::Relaxed);
            if let Some(beginning) = &self.peer.0.beginning {
                beginning.greeted();
            }
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.peer.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.peer.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.peer.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.peer.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
