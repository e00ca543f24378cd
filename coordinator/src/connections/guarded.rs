//! A connection as the servers see it: bytes, with an account of what the peer does.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::poll_fn;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::transport::server::Connected;

use super::{Connections, addresses::FromAddress, peer::Peer};

/// A connection that is counted and closed when it is late.
pub struct Guarded {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) received_bytes: u64,
    /// What is received here is not yet what the server reads.
    pub(super) encrypted: bool,
    pub(super) id: u64,
    pub(super) connections: Connections,
    pub(super) _from: FromAddress,
}

impl Guarded {
    /// The first bytes that the peer has sent, so many at the most; they are read again afterwards. None: it is gone.
    pub(super) async fn peek(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let peeked = poll_fn(|cx| {
            self.peer.check(cx)?;
            self.stream.poll_peek(cx, &mut ReadBuf::new(&mut bytes))
        });
        let length = peeked.await?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.peer.begun();
        self.connections.0.open.remove(&self.id);
        if let Some(reason) = self.peer.closed_for() {
            self.connections.0.closed.add(reason);
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
        if self.received_bytes >= self.connections.0.greeting_bytes {
            if self.encrypted {
                self.peer.speaks();
            } else {
                self.peer.greeted();
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
