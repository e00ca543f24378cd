//! The stream to the coordinator: dialling, registering, and what its end means.
//!
//! A session is opened as a whole (connection, stream, registration, welcome) or not at all, so that the rest of the agent
//! knows two states only: there is one, or there is none.

use std::time::Duration;

use evenkeel_proto::v1::{self, agent_message::Message, agent_service_client::AgentServiceClient, coordinator_message};
use evenkeel_shared::{
    dial::{DialError, Way, explain},
    limits::MESSAGE_BYTES_MAX,
};
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Endpoint};
use tracing::debug;

use crate::machine::{ProtocolError, Verdict};

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the welcome: a coordinator that starts may have a store to recover and a whole fleet to greet, and
/// dialling again would only add to its work. A dead one is found by the keepalive.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that is silent for so long is asked for a sign of life,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// and given up when none comes for so long: a dead path is found well within 20 s, and a coordinator that is merely
/// overloaded answers in time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames between the agent and the stream. While they are stuck, what comes next is gathered into larger ones.
const FRAMES_QUEUED_MAX: usize = 4;
/// Flow-control windows: two of the largest messages, so that one that is being read does not hold up the next.
const WINDOW_BYTES: u32 = 2 * MESSAGE_BYTES_MAX as u32;
/// Longest wait for the coordinator to end its half of a stream that the agent has ended.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no session, or no more.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] DialError),
    /// The coordinator ended the stream, or it broke.
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Status),
    /// No answer.
    #[error("no welcome within {} s", WELCOME_TIMEOUT.as_secs())]
    Silent,
    /// The coordinator says what the protocol does not allow.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The coordinator ended the stream without an error.
    #[error("the coordinator closed the session")]
    Closed,
}

impl SessionError {
    /// What it means for the agent.
    pub fn verdict(&self) -> Verdict {
        let Self::Status(status) = self else { return Verdict::Retry };
        Verdict::of(status.code())
    }

    /// The coordinator's words.
    pub fn message(&self) -> String {
        let what = match self {
            Self::Status(status) => status.message().to_owned(),
            other => other.to_string(),
        };
        match explain(self) {
            Some(words) => format!("{what}: {words}"),
            None => what,
        }
    }
}

/// How a coordinator at this address is dialled.
pub(crate) fn endpoint(way: &Way) -> Result<Endpoint, DialError> {
    Ok(way
        .endpoint()?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// A live session.
pub(crate) struct Session {
    frames_out: mpsc::Sender<v1::AgentFrame>,
    frames_in: Streaming<v1::CoordinatorFrame>,
}

/// A session that has begun.
pub(crate) struct Opened {
    pub session: Session,
    pub welcome: v1::Welcome,
    /// What came in one frame with the welcome.
    pub rest: Vec<v1::CoordinatorMessage>,
}

/// Something happened on a session.
pub(crate) enum SessionEvent {
    /// The coordinator spoke.
    Frame(v1::CoordinatorFrame),
    /// A frame may be sent.
    Writable,
    /// It is over.
    Ended(SessionError),
}

/// Opens a session.
pub(crate) async fn open(way: Way, register: v1::Register) -> Result<Opened, SessionError> {
    let channel = way.connect(&endpoint(&way)?).await?;
    let mut client = AgentServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (frames_out, frames) = mpsc::channel(FRAMES_QUEUED_MAX);
    let first = v1::AgentMessage { message: Some(Message::Register(register)) };
    // The channel is empty and open: its receiver is right here.
    frames_out.try_send(v1::AgentFrame { messages: vec![first] }).map_err(|_| SessionError::Closed)?;
    let welcomed = async {
        let mut frames_in = client.session(ReceiverStream::new(frames)).await?.into_inner();
        let frame = frames_in.message().await?.ok_or(SessionError::Closed)?;
        Ok::<_, SessionError>((frames_in, frame))
    };
    let (frames_in, frame) = timeout(WELCOME_TIMEOUT, welcomed).await.map_err(|_| SessionError::Silent)??;
    let mut messages = frame.messages.into_iter();
    let Some(coordinator_message::Message::Welcome(welcome)) = messages.next().and_then(|first| first.message) else {
        return Err(ProtocolError("its first message is not a welcome".into()).into());
    };
    let session = Session { frames_out, frames_in };
    Ok(Opened { session, welcome, rest: messages.collect() })
}

impl Session {
    /// The next thing that happens. Nothing is lost if the future is dropped.
    pub async fn next(&mut self, wants_to_write: bool) -> SessionEvent {
        tokio::select! {
            frame = self.frames_in.message() => match frame {
                Ok(Some(frame)) => SessionEvent::Frame(frame),
                Ok(None) => SessionEvent::Ended(SessionError::Closed),
                Err(status) => SessionEvent::Ended(status.into()),
            },
            // A closed channel shows in `frames_in` too, with the reason; until then there is no use in writing.
            Ok(_) = self.frames_out.reserve(), if wants_to_write => SessionEvent::Writable,
        }
    }

    /// Sends what `next_frame` gives, as far as there is room.
    pub fn write(&self, mut next_frame: impl FnMut() -> Option<v1::AgentFrame>) {
        while let Ok(room) = self.frames_out.try_reserve() {
            match next_frame() {
                Some(frame) => room.send(frame),
                None => return,
            }
        }
    }

    /// Ends the session in order: what was written still arrives.
    pub async fn close(self) {
        let Self { frames_out, mut frames_in } = self;
        drop(frames_out);
        let ended = async { while let Ok(Some(_)) = frames_in.message().await {} };
        if timeout(GOODBYE_TIMEOUT, ended).await.is_err() {
            debug!("the coordinator did not end its half of the session in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn statuses_decide_whether_to_dial_again() {
        let check = |code, verdict| assert_eq!(SessionError::from(Status::new(code, "")).verdict(), verdict);
        check(Code::Unavailable, Verdict::Retry);
        check(Code::Internal, Verdict::Retry);
        check(Code::AlreadyExists, Verdict::IdTaken);
        check(Code::Aborted, Verdict::Fenced);
        check(Code::InvalidArgument, Verdict::Refused(Code::InvalidArgument));
        assert_eq!(SessionError::Silent.verdict(), Verdict::Retry);
    }
}
