//! The connections of a port, and which of them are closed: a peer may hold what it uses, not what it sits on.
//!
//! The servers below bound what one connection may send, but not how many connections there are, how long one may say
//! nothing, or how long one may leave its answers unread. Those are bounded here, for both ports:
//!
//! - there are at most so many connections, and so many from one address; the next one is closed as it comes,
//! - a connection has to begin its protocol within a time (HTTP/2 asks for signs of life only from then on), its
//!   handshake included where the port speaks TLS,
//! - a peer has to take something of what is written to it within a time,
//! - and something of every answer that it asked for within a time ([`Reading`]), because the windows of HTTP/2 let a peer
//!   answer every ping and yet leave megabytes with the server, on each of a thousand streams,
//! - and has to end what it has begun to send within the same time ([`Sending`]), of which it may have so much under way.
//!
//! A round once in a while looks at all connections and closes those that are late. Timers of each connection were rejected:
//! they wake every idle agent's connection again and again for what almost never happens.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    beginnings::Beginnings,
    metrics::{ClosedConnection, ClosedConnections},
};

mod addresses;
mod connection;
mod guarded;
mod incoming;
mod peer;

use addresses::Addresses;
pub use connection::Connection;
pub use guarded::Guarded;
pub use incoming::Incoming;
pub use peer::{END_WITHIN, Peer, Reading, Sending};

/// Between two rounds: how exactly the times below are kept.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// When the system refuses a connection, for want of descriptors for example, so long nothing is accepted: trying again at
/// once would only burn the processor that is needed to end some.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bounds of the connections of one port.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub connections_max: usize,
    /// From one address.
    pub per_address_max: usize,
    /// Handshakes of TLS at a time, where the port speaks it.
    pub handshakes_max: usize,
    /// Whether it does.
    pub encrypted: bool,
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
    limits: ArcSwap<ConnectionLimits>,
    /// Asked with every read, and never changed.
    greeting_bytes: u64,
    closed: ClosedConnections,
    open: DashMap<u64, Peer>,
    addresses: Addresses,
    beginnings: Beginnings,
    last_id: AtomicU64,
    unfinished_bytes: Arc<AtomicUsize>,
}

impl Connections {
    /// No connections yet; those that are closed are counted here.
    #[must_use]
    pub fn new(limits: ConnectionLimits, closed: ClosedConnections) -> Self {
        Self(Arc::new(State {
            greeting_bytes: limits.greeting_bytes,
            limits: ArcSwap::from_pointee(limits),
            closed,
            open: DashMap::new(),
            addresses: Addresses::default(),
            beginnings: Beginnings::default(),
            last_id: AtomicU64::new(0),
            unfinished_bytes: Arc::default(),
        }))
    }

    /// Their bounds.
    #[must_use]
    pub fn limits(&self) -> Arc<ConnectionLimits> {
        self.0.limits.load_full()
    }

    /// Other bounds, for what comes and what is late from now on. Connections that are open stay, and the bytes of a greeting
    /// are what they were.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.0.limits.store(Arc::new(limits));
    }

    /// The next connection that there is room for.
    async fn accept(&self, listener: &TcpListener) -> Guarded {
        let mut refused = false;
        loop {
            self.0.beginnings.room().await;
            match listener.accept().await {
                Ok((stream, address)) => match self.admit(stream, address) {
                    Ok(guarded) => return guarded,
                    Err(reason) => self.0.closed.add(reason),
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

    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Result<Guarded, ClosedConnection> {
        let limits = self.0.limits.load();
        if self.0.open.len() >= limits.connections_max {
            return Err(ClosedConnection::TooMany);
        }
        let from = self.0.addresses.come(address.ip(), limits.per_address_max);
        let from = from.ok_or(ClosedConnection::TooManyFromAddress)?;
        // A connection that cannot be set so works as well, only later.
        let _ = stream.set_nodelay(true);
        let id = self.0.last_id.fetch_add(1, Ordering::Relaxed);
        let begins = limits.greeting_bytes > 0;
        let beginning = begins.then(|| self.0.beginnings.begin());
        let greets = begins || limits.encrypted;
        let peer = Peer::new(address, greets, beginning, Arc::clone(&self.0.unfinished_bytes));
        self.0.open.insert(id, peer.clone());
        let (encrypted, connections) = (limits.encrypted, self.clone());
        Ok(Guarded { stream, peer, received_bytes: 0, encrypted, id, connections, _from: from })
    }

    /// Closes those that are late, for ever.
    pub async fn keep_watch(&self) {
        let mut rounds = interval(ROUND_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let (now, limits) = (Instant::now(), self.0.limits.load_full());
            for peer in &self.0.open {
                if let Some(reason) = peer.late(now, &limits) {
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

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
