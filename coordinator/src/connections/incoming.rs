//! The connections that a server takes on: accepted, and where the port speaks TLS, with their handshakes done.
//!
//! A handshake is some hundred microseconds of work and two ways through the network, and a peer may stall it at will. So each
//! is a task of its own, and only its end comes to the server. There are so many at a time; one more, and the oldest is given
//! up: it has had longer than any that is going to succeed. Rejected: to let the new one wait or go, with which some hundred
//! silent peers keep everybody out for as long as a handshake may take.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{Connection, Connections, Guarded, Peer};
use crate::{
    metrics::ClosedConnection,
    security::{
        PeerCertificate,
        tls::{FIRST_OF_TLS, InForce, in_the_open},
    },
};

/// Bytes that are looked at to see what a peer speaks that does not speak TLS.
const FIRST_BYTES: usize = 24;
/// A peer whose handshake failed may have sent more by then; were it not read, the system would throw away what it was told.
const LEFT_BYTES_MAX: u64 = 256 << 10;

/// The connections of a port that a server takes on.
pub struct Incoming {
    listener: TcpListener,
    connections: Connections,
    tls: Option<InForce>,
    handshakes: Handshakes,
    shaking: JoinSet<Option<Connection>>,
}

impl Incoming {
    /// Of this port; with TLS, if there is any.
    #[must_use]
    pub fn new(listener: TcpListener, connections: Connections, tls: Option<InForce>) -> Self {
        let handshakes = Handshakes::new(connections.limits().handshakes_max);
        Self { listener, connections, tls, handshakes, shaking: JoinSet::new() }
    }

    /// The connections of the port.
    #[must_use]
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The next one. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Connection {
        let Some(tls) = &self.tls else {
            return Connection::Plain(self.connections.accept(&self.listener).await);
        };
        loop {
            tokio::select! {
                guarded = self.connections.accept(&self.listener) => {
                    let acceptor = TlsAcceptor::from(tls.load_full());
                    let turn = self.handshakes.begin(&guarded);
                    self.shaking.spawn(shake_hands(guarded, acceptor, turn));
                }
                Some(done) = self.shaking.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }
}

async fn shake_hands(mut guarded: Guarded, acceptor: TlsAcceptor, turn: Turn) -> Option<Connection> {
    let peer = guarded.peer.clone();
    match guarded.peek(FIRST_BYTES).await {
        Ok(began) if began.is_empty() => return None,
        Ok(began) if began[0] != FIRST_OF_TLS => {
            tell(&mut guarded, &in_the_open(&began)).await;
            peer.close(ClosedConnection::Plaintext);
            tracing::debug!(from = %peer.address(), "a peer came without TLS");
            return None;
        }
        Ok(_) => {}
        Err(_) => return None,
    }
    match acceptor.accept(guarded).into_fallible().await {
        Ok(stream) => {
            drop(turn);
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            if let Some(certificate) = shown {
                peer.shows(PeerCertificate(certificate.as_ref().into()));
            }
            let connection = Connection::Encrypted { stream: Box::new(stream), received_bytes: 0 };
            connection.has_received(0);
            Some(connection)
        }
        Err((error, mut guarded)) => {
            // The alert that says why is written already.
            tell(&mut guarded, &BytesMut::new()).await;
            peer.close(ClosedConnection::Handshake);
            log(&peer, &error);
            None
        }
    }
}

/// Says something and waits until the peer has had it, or has no more time; the connection is watched like any other that has
/// not begun.
async fn tell(guarded: &mut Guarded, words: &[u8]) {
    let told = async {
        guarded.write_all(words).await?;
        guarded.shutdown().await?;
        tokio::io::copy(&mut guarded.take(LEFT_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whoever does not want to hear it is gone.
    let _ = told.await;
}

fn log(peer: &Peer, error: &io::Error) {
    let from = peer.address();
    // Those who only look whether a port is open are many, and say nothing.
    if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) {
        tracing::info!(%from, %error, "a TLS handshake failed");
    } else {
        tracing::debug!(%from, %error, "a TLS handshake was not finished");
    }
}

/// The handshakes of a port that are under way.
#[derive(Clone)]
struct Handshakes {
    most: usize,
    /// The oldest one first.
    under_way: Arc<Mutex<BTreeMap<u64, Peer>>>,
}

/// A handshake that is under way, until this is dropped.
struct Turn {
    id: u64,
    handshakes: Handshakes,
}

impl Handshakes {
    fn new(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// One more, in place of the oldest if there are as many as there may be.
    fn begin(&self, guarded: &Guarded) -> Turn {
        self.add(guarded.id, guarded.peer.clone())
    }

    fn add(&self, id: u64, peer: Peer) -> Turn {
        let mut under_way = self.lock();
        if under_way.len() >= self.most
            && let Some((_, oldest)) = under_way.pop_first()
        {
            oldest.close(ClosedConnection::HandshakeCrowded);
        }
        under_way.insert(id, peer);
        drop(under_way);
        Turn { id, handshakes: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_handshake_than_there_may_be_ends_the_oldest() {
        let handshakes = Handshakes::new(3);
        let peers: Vec<_> = (0..5).map(|_| Peer::unknown()).collect();
        let mut turns: Vec<_> = (0..3).map(|id| handshakes.add(id, peers[id as usize].clone())).collect();
        let closed = |peer: &Peer| peer.closed_for();
        assert!(peers.iter().all(|peer| closed(peer).is_none()));
        // The second one is done and makes room.
        drop(turns.remove(1));
        turns.push(handshakes.add(3, peers[3].clone()));
        assert!(peers.iter().all(|peer| closed(peer).is_none()));
        turns.push(handshakes.add(4, peers[4].clone()));
        assert_eq!(closed(&peers[0]), Some(ClosedConnection::HandshakeCrowded));
        assert!(peers[1..].iter().all(|peer| closed(peer).is_none()));
        drop(turns);
        assert!(handshakes.lock().is_empty());
    }
}
