//! A connection as the servers see it, with TLS or without.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{Guarded, Peer};

/// A connection that a server takes on.
pub enum Connection {
    /// As it comes.
    Plain(Guarded),
    /// Through TLS.
    Encrypted {
        /// The connection.
        stream: Box<TlsStream<Guarded>>,
        /// Bytes of what was encrypted, until the peer has greeted.
        received_bytes: u64,
    },
}

impl Connection {
    /// The other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.guarded().peer
    }

    fn guarded(&self) -> &Guarded {
        match self {
            Self::Plain(guarded) => guarded,
            Self::Encrypted { stream, .. } => stream.get_ref().0,
        }
    }

    /// The peer has sent so many bytes in all.
    pub(super) fn has_received(&self, bytes: u64) {
        let guarded = self.guarded();
        if bytes >= guarded.connections.0.greeting_bytes {
            guarded.peer.greeted();
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer().clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match &mut *self {
            Self::Plain(guarded) => Pin::new(guarded).poll_read(cx, buffer),
            Self::Encrypted { stream, received_bytes } => {
                let read = Pin::new(&mut **stream).poll_read(cx, buffer);
                *received_bytes += (buffer.filled().len() - before) as u64;
                let bytes = *received_bytes;
                self.has_received(bytes);
                read
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(guarded) => Pin::new(guarded).poll_write(cx, bytes),
            Self::Encrypted { stream, .. } => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(guarded) => Pin::new(guarded).poll_write_vectored(cx, slices),
            Self::Encrypted { stream, .. } => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(guarded) => guarded.is_write_vectored(),
            Self::Encrypted { stream, .. } => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(guarded) => Pin::new(guarded).poll_flush(cx),
            Self::Encrypted { stream, .. } => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(guarded) => Pin::new(guarded).poll_shutdown(cx),
            Self::Encrypted { stream, .. } => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
