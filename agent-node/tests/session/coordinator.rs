//! A coordinator that does what a test tells it to.

use std::{net::SocketAddr, time::Duration};

use evenkeel_proto::v1::{
    self,
    agent_message::Message as FromAgent,
    agent_service_server::{AgentService, AgentServiceServer},
    coordinator_message::Message as ToAgent,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Longest wait for anything; reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Sessions come to the test, which answers them.
struct Service {
    dialled: mpsc::Sender<Dialled>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        let dialled = Dialled { frames: request.into_inner(), answers };
        self.dialled.send(dialled).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A stream that an agent has opened.
struct Dialled {
    frames: Streaming<v1::AgentFrame>,
    answers: mpsc::Sender<Result<v1::CoordinatorFrame, Status>>,
}

/// The fake coordinator.
pub struct Coordinator {
    pub url: String,
    dialled: mpsc::Receiver<Dialled>,
    server: JoinHandle<()>,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, dialled) = mpsc::channel(8);
        let service = AgentServiceServer::new(Service { dialled: sender });
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url, dialled, server }
    }

    /// The next session, before it is answered, and what the agent registered with.
    pub async fn registering(&mut self) -> (Session, v1::Register) {
        let dialled = patiently(self.dialled.recv()).await.expect("the service is there");
        let mut session = Session { frames: dialled.frames, answers: dialled.answers, read: Vec::new() };
        match session.next().await {
            Some(FromAgent::Register(register)) => (session, register),
            other => panic!("a session began with {other:?}"),
        }
    }

    /// The next session, welcomed.
    pub async fn session(&mut self) -> Session {
        let (session, _) = self.registering().await;
        session.welcome(&[]).await;
        session
    }
}

/// The coordinator's end of a session.
pub struct Session {
    frames: Streaming<v1::AgentFrame>,
    answers: mpsc::Sender<Result<v1::CoordinatorFrame, Status>>,
    /// Messages of the last frame that nobody has asked for yet, last one first.
    read: Vec<FromAgent>,
}

impl Session {
    /// The agent's next message; `None` at the end of the session.
    async fn next(&mut self) -> Option<FromAgent> {
        while self.read.is_empty() {
            let frame = patiently(self.frames.message()).await.ok().flatten()?;
            self.read = frame.messages.into_iter().rev().filter_map(|message| message.message).collect();
        }
        self.read.pop()
    }

    /// The agent's next message that `wanted` takes; others are passed over.
    pub async fn until<T>(&mut self, wanted: impl Fn(FromAgent) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the agent ended the session");
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    /// The next result.
    pub async fn result(&mut self) -> v1::AttemptResult {
        self.until(|message| if let FromAgent::Result(result) = message { Some(result) } else { None }).await
    }

    /// The attempt that starts next.
    pub async fn started(&mut self) -> v1::AttemptRef {
        self.until(|message| if let FromAgent::Started(started) = message { started.attempt } else { None }).await
    }

    /// Waits for the agent to end the session; what it says before is dropped.
    pub async fn ended(mut self) {
        while self.next().await.is_some() {}
    }

    pub async fn send(&self, message: ToAgent) {
        let message = v1::CoordinatorMessage { message: Some(message) };
        self.answers.send(Ok(v1::CoordinatorFrame { messages: vec![message] })).await.unwrap();
    }

    /// Answers the registration.
    pub async fn welcome(&self, superseded: &[v1::AttemptRef]) {
        self.send(ToAgent::Welcome(v1::Welcome {
            session_epoch: 1,
            heartbeat_interval_ms: 20,
            session_timeout_ms: 10_000,
            output_max_bytes: 1 << 20,
            superseded: superseded.to_vec(),
            ..v1::Welcome::default()
        }))
        .await;
    }

    pub async fn assign(&self, attempt: v1::AttemptRef, kind: &str, payload: &'static str) {
        self.send(ToAgent::Assignment(v1::Assignment {
            attempt: Some(attempt),
            kind: kind.into(),
            payload: payload.into(),
            timeout_ms: 60_000,
            ..v1::Assignment::default()
        }))
        .await;
    }

    pub async fn acknowledge(&self, attempt: v1::AttemptRef) {
        let status = v1::ResultStatus::Recorded.into();
        self.send(ToAgent::ResultAck(v1::ResultAck { attempt: Some(attempt), status })).await;
    }

    /// Ends the session with an error.
    pub async fn refuse(self, status: Status) {
        self.answers.send(Err(status)).await.unwrap();
    }
}

/// The first attempt at the task of this number.
pub fn attempt(number: u64) -> v1::AttemptRef {
    v1::AttemptRef { task_id: format!("00000000-0000-7000-8000-{number:012x}"), attempt: 1, assignment_id: number }
}

/// Waits, but not for ever.
pub async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen in time")
}
