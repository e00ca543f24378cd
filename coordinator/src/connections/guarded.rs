//! A connection as the servers see it: bytes, with an account of what the peer does.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::transport::server::Connected;

use super::{Connections, peer::Peer};

/// A connection that is counted and closed when it is late.
pub struct Guarded {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) received_bytes: u64,
    pub(super) id: u64,
    pub(super) connections: Connections,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.peer.begun();
        self.connections.0.open.remove(&self.id);
        if let Some(reason) = self.peer.closed_for() {
            self.connections.0.metrics.connection_closed(reason);
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
            self.peer.greeted();
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
