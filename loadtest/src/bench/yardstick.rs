//! The yardstick: what a router of tasks costs that does nothing but route, written in an afternoon with tonic.
//!
//! Agents dial it and keep one stream each. A task goes to the next agent in turn; there is no queue of its own, no store, no
//! profile of agents, no retry, and a task whose agent goes is lost. What is left is the price of gRPC on this machine, which
//! no coordinator on the same stack can be below by much. The messages are as long as Evenkeel's ([`messages`]), so that
//! neither side wins by saying less about a task. It batches what is there to be batched and plays no other tricks.
//!
//! The service is written by hand in [`service`]: it has three methods, which is less than a build step for them.

pub(super) mod messages;
mod router;
mod service;

use std::io;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use self::{router::Router, service::YardstickServer};

/// Windows of HTTP/2, as the coordinator has them: the default of 64 KiB would hold back large batches.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Serves on this socket until it is told to stop.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    use futures_util::StreamExt as _;
    let incoming = TcpListenerStream::new(listener).map(|accepted| {
        accepted.inspect(|connection| {
            // A connection that cannot be set so works as well, only later.
            let _ = connection.set_nodelay(true);
        })
    });
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(YardstickServer::new(Router::default()))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
        .map_err(io::Error::other)
}
