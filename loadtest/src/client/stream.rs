//! One SubmitStream.

use std::{future::pending, time::Duration};

use evenkeel_proto::v1::{SubmitStreamRequest, SubmitStreamResponse, task_service_client::TaskServiceClient};
use evenkeel_shared::dial::Channel;
use tokio::{
    sync::mpsc::{self, OwnedPermit, error::SendError},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Batches that wait for the connection: enough to keep it busy, and few, because tasks in them are in flight already.
const REQUESTS_MAX: usize = 4;
/// Longest wait for the stream's opening.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// Both ways of a stream.
pub(crate) struct Stream {
    pub requests: mpsc::Sender<SubmitStreamRequest>,
    responses: Streaming<SubmitStreamResponse>,
}

impl Stream {
    /// Opens a stream with the first batch on it.
    pub(crate) async fn open(
        calls: &mut TaskServiceClient<Channel>,
        first: SubmitStreamRequest,
    ) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(REQUESTS_MAX);
        requests.send(first).await.map_err(|_| Status::unavailable("the stream is gone"))?;
        let opened = timeout(OPEN_MAX, calls.submit_stream(ReceiverStream::new(sent))).await;
        let late = |_| Status::deadline_exceeded(format!("no stream within {} s", OPEN_MAX.as_secs()));
        Ok(Self { requests, responses: opened.map_err(late)??.into_inner() })
    }
}

/// The next response; never, where there is no stream.
pub(crate) async fn response(stream: &mut Option<Stream>) -> Result<SubmitStreamResponse, Status> {
    match stream {
        Some(stream) => {
            let response = stream.responses.message().await?;
            response.ok_or_else(|| Status::unavailable("the coordinator ended the stream"))
        }
        None => pending().await,
    }
}

/// Room for one more batch; never, where nothing is to be sent.
pub(crate) async fn room(
    requests: Option<mpsc::Sender<SubmitStreamRequest>>,
) -> Result<OwnedPermit<SubmitStreamRequest>, SendError<()>> {
    match requests {
        Some(requests) => requests.reserve_owned().await,
        None => pending().await,
    }
}
