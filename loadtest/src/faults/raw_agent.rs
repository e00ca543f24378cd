//! An agent that says what a fault wants it to say, in the words of the protocol: the honest one would not lie.

use std::time::Duration;

use evenkeel_proto::v1::{
    self, agent_message::Message as FromAgent, agent_service_client::AgentServiceClient,
    coordinator_message::Message as ToAgent,
};
use evenkeel_shared::limits::MESSAGE_BYTES_MAX;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{client::CALL_MAX, lab::FaultError};

/// Frames that wait for the connection.
const FRAMES_MAX: usize = 64;
/// Windows of a connection on which nothing is read: what is not read stays with the coordinator.
const NARROW_WINDOW_BYTES: u32 = 64 << 10;

/// A connection of its own, with small windows.
///
/// # Errors
/// If there is none.
pub async fn narrow(url: &str) -> Result<Channel, FaultError> {
    let failed = |error: tonic::transport::Error| FaultError::Other(format!("cannot dial {url}: {error}"));
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(failed)?;
    let endpoint = endpoint.initial_stream_window_size(NARROW_WINDOW_BYTES);
    let endpoint = endpoint.initial_connection_window_size(NARROW_WINDOW_BYTES).connect_timeout(CALL_MAX);
    endpoint.connect().await.map_err(failed)
}

/// A session that has registered.
pub struct RawAgent {
    outbound: mpsc::Sender<v1::AgentFrame>,
    inbound: Streaming<v1::CoordinatorFrame>,
    said: Vec<ToAgent>,
}

/// An agent of so many slots for tasks of this kind.
pub fn register(id: &str, instance: &str, kind: &str, slots: u32) -> v1::Register {
    v1::Register {
        agent_id: id.into(),
        instance_id: instance.into(),
        kinds: vec![kind.into()],
        capacity: Some(v1::Resources { slots, ..v1::Resources::default() }),
        prefetch_per_slot: Some(0),
        quota_keys: Vec::new(),
        ..v1::Register::default()
    }
}

impl RawAgent {
    /// Opens a session on this connection and registers. It does not wait for the welcome.
    ///
    /// # Errors
    /// If there is no session.
    pub async fn open(channel: Channel, register: v1::Register) -> Result<Self, FaultError> {
        let (outbound, frames) = mpsc::channel(FRAMES_MAX);
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(2 * MESSAGE_BYTES_MAX);
        let opened = timeout(CALL_MAX, client.session(ReceiverStream::new(frames))).await;
        let opened = opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("no session in time")));
        let inbound = opened.map_err(FaultError::call("Session"))?.into_inner();
        let mut agent = Self { outbound, inbound, said: Vec::new() };
        agent.say(vec![FromAgent::Register(register)]).await;
        Ok(agent)
    }

    /// Says this in one frame; false once the session is over.
    pub async fn say(&mut self, messages: Vec<FromAgent>) -> bool {
        let messages = messages.into_iter().map(|message| v1::AgentMessage { message: Some(message) }).collect();
        matches!(timeout(CALL_MAX, self.outbound.send(v1::AgentFrame { messages })).await, Ok(Ok(())))
    }

    /// The next thing that it is told; or the code that its session ended with, and DEADLINE_EXCEEDED if neither comes.
    ///
    /// # Errors
    /// How the session ended.
    pub async fn hear(&mut self) -> Result<ToAgent, Code> {
        loop {
            if let Some(message) = self.said.pop() {
                return Ok(message);
            }
            let frame = match timeout(CALL_MAX, self.inbound.message()).await {
                Ok(Ok(Some(frame))) => frame,
                Ok(Ok(None)) => return Err(Code::Ok),
                Ok(Err(status)) => return Err(status.code()),
                Err(_) => return Err(Code::DeadlineExceeded),
            };
            self.said.extend(frame.messages.into_iter().rev().filter_map(|message| message.message));
        }
    }

    /// What its session ends with, whatever it is told before.
    pub async fn end(&mut self) -> Code {
        loop {
            if let Err(code) = self.hear().await {
                return code;
            }
        }
    }

    /// The answer to a result; `None` if the session ends instead.
    pub async fn ack(&mut self) -> Option<v1::ResultStatus> {
        loop {
            match self.hear().await {
                Ok(ToAgent::ResultAck(ack)) => return Some(ack.status()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits until the coordinator closes the connection without a word being read.
    ///
    /// # Errors
    /// [`FaultError::Never`] after `max`.
    pub async fn is_disconnected(&self, max: Duration) -> Result<(), FaultError> {
        let what = || "the coordinator closes the connection".to_owned();
        timeout(max, self.outbound.closed()).await.map_err(|_| FaultError::Never { what: what(), waited: max })
    }
}

/// The result of an attempt: it succeeded with this output.
pub fn success(attempt: v1::AttemptRef, output: impl Into<bytes::Bytes>) -> FromAgent {
    let outcome = Some(v1::attempt_result::Outcome::Success(v1::Success { output: output.into() }));
    FromAgent::Result(v1::AttemptResult { attempt: Some(attempt), outcome, run_us: 1, usage: None })
}
