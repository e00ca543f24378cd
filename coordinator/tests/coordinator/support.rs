//! A coordinator on free ports, clients of it, and an agent on a string.

use std::{collections::VecDeque, future::Future, net::SocketAddr, time::Duration};

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, RunningCoordinator};
use evenkeel_proto::v1::{
    self, agent_message::Message as FromAgent, agent_service_client::AgentServiceClient,
    cluster_service_client::ClusterServiceClient, coordinator_message::Message as ToAgent,
    task_service_client::TaskServiceClient,
};
use evenkeel_shared::{Error, wire::status::from_status};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// Nothing here takes so long unless it hangs.
const OVERALL: Duration = Duration::from_secs(30);

/// What comes of `future`, unless it hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(OVERALL, future).await.expect("it takes too long: it hangs")
}

/// The error that a status carries.
pub fn error_of(status: &Status) -> Error {
    from_status(status)
}

/// Settings for tests: free ports, nothing kept, and agents that need not send heartbeats.
pub fn config() -> CoordinatorConfig {
    let mut config = CoordinatorConfig {
        grpc: "127.0.0.1:0".parse().unwrap(),
        http: "127.0.0.1:0".parse().unwrap(),
        ephemeral: true,
        abort_on_panic: false,
        ..CoordinatorConfig::default()
    };
    config.engine.seed = Some(7);
    config.engine.lease.heartbeat_interval_ms = 60_000;
    config
}

/// A coordinator and a connection to it.
pub struct World {
    pub coordinator: RunningCoordinator,
    channel: Channel,
}

impl World {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: CoordinatorConfig) -> Self {
        Self::of(soon(Coordinator::start(config)).await.expect("it starts")).await
    }

    pub async fn of(coordinator: RunningCoordinator) -> Self {
        let channel = Self::connect(&coordinator).await;
        Self { coordinator, channel }
    }

    async fn connect(coordinator: &RunningCoordinator) -> Channel {
        let address = format!("http://{}", coordinator.grpc_addr());
        Channel::from_shared(address).unwrap().connect().await.expect("it answers")
    }

    pub async fn stop(self) {
        let Self { coordinator, channel } = self;
        drop(channel);
        soon(coordinator.shutdown(Duration::from_secs(10))).await.expect("a clean stop");
    }

    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Submits one task and returns its id.
    pub async fn submit(&self, task: v1::TaskSpec) -> String {
        let response = soon(self.tasks().submit(v1::SubmitRequest { tasks: vec![task] })).await.expect("accepted");
        response.into_inner().results[0].task_id.clone()
    }

    /// What submitting these tasks is refused with.
    pub async fn refused(&self, tasks: Vec<v1::TaskSpec>) -> Error {
        error_of(&soon(self.tasks().submit(v1::SubmitRequest { tasks })).await.expect_err("refused"))
    }

    pub async fn get(&self, task_id: &str) -> v1::Task {
        let request = v1::GetRequest { task_id: task_id.into(), include_payload: true, include_attempts: true };
        soon(self.tasks().get(request)).await.expect("it is known").into_inner().task.unwrap()
    }

    /// Waits for tasks, without a time limit of the server's.
    pub async fn wait(&self, ids: &[&str]) -> v1::WaitResponse {
        let task_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = v1::WaitRequest { task_ids, ..v1::WaitRequest::default() };
        soon(self.tasks().wait(request)).await.expect("they are known").into_inner()
    }

    /// An agent that has registered, on a connection of its own.
    pub async fn agent(&self, id: &str) -> FakeAgent {
        self.agent_with(register(id)).await
    }

    pub async fn agent_with(&self, register: v1::Register) -> FakeAgent {
        let mut agent = self.silent_agent().await;
        agent.say(FromAgent::Register(register)).await;
        agent.welcome().await;
        agent
    }

    /// An agent that has said nothing yet.
    pub async fn silent_agent(&self) -> FakeAgent {
        let channel = Self::connect(&self.coordinator).await;
        let (outbound, frames) = mpsc::channel(64);
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(8 << 20);
        let inbound = soon(client.session(ReceiverStream::new(frames))).await.expect("a session").into_inner();
        FakeAgent { outbound, inbound, said: VecDeque::new(), work: VecDeque::new(), welcome: v1::Welcome::default() }
    }

    /// The status code and body of an HTTP answer.
    pub async fn http(&self, path: &str) -> (u16, String) {
        get(self.coordinator.http_addr(), path).await
    }

    /// The value of a metric; 0 if it has not been counted.
    pub async fn metric(&self, name: &str) -> f64 {
        let (code, text) = self.http("/metrics").await;
        assert_eq!(code, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Waits until the metric has this value, as something that happens by itself brings about.
    pub async fn metric_becomes(&self, name: &str, value: f64) {
        soon(async {
            while self.metric(name).await != value {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// The status code and body of an HTTP answer.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = soon(TcpStream::connect(address)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (code, body.to_owned())
}

/// A task of this kind with a payload.
pub fn task(kind: &str, payload: &'static str) -> v1::TaskSpec {
    v1::TaskSpec { kind: kind.into(), payload: payload.into(), ..v1::TaskSpec::default() }
}

/// An agent of four slots that takes `echo`.
pub fn register(id: &str) -> v1::Register {
    v1::Register {
        agent_id: id.into(),
        instance_id: format!("{id}-1"),
        kinds: vec!["echo".into()],
        capacity: Some(v1::Resources { slots: 4, ..v1::Resources::default() }),
        prefetch_per_slot: Some(0),
        quota_keys: Vec::new(),
        ..v1::Register::default()
    }
}

/// An agent that does what the test says.
pub struct FakeAgent {
    outbound: mpsc::Sender<v1::AgentFrame>,
    inbound: Streaming<v1::CoordinatorFrame>,
    said: VecDeque<ToAgent>,
    /// Work that came while something else was awaited.
    work: VecDeque<v1::Assignment>,
    pub welcome: v1::Welcome,
}

impl FakeAgent {
    pub async fn say(&self, message: FromAgent) {
        self.say_all(vec![message]).await;
    }

    pub async fn say_all(&self, messages: Vec<FromAgent>) {
        let messages = messages.into_iter().map(|message| v1::AgentMessage { message: Some(message) }).collect();
        self.frame(v1::AgentFrame { messages }).await;
    }

    pub async fn frame(&self, frame: v1::AgentFrame) {
        soon(self.outbound.send(frame)).await.expect("the session is open");
    }

    /// Sends a frame; false once the session is over.
    pub async fn sends(&self, frame: v1::AgentFrame) -> bool {
        soon(self.outbound.send(frame)).await.is_ok()
    }

    /// The next thing it is told, or the error that the session ends with.
    pub async fn hear(&mut self) -> Result<ToAgent, Status> {
        loop {
            if let Some(message) = self.said.pop_front() {
                return Ok(message);
            }
            let frame = soon(self.inbound.message()).await?.ok_or_else(|| Status::ok("the session ended"))?;
            self.said.extend(frame.messages.into_iter().filter_map(|message| message.message));
        }
    }

    /// The error that the session ends with; what it is told before is passed over.
    pub async fn end(mut self) -> Error {
        loop {
            if let Err(status) = self.hear().await {
                return error_of(&status);
            }
        }
    }

    pub async fn welcome(&mut self) {
        match self.hear().await {
            Ok(ToAgent::Welcome(welcome)) => self.welcome = welcome,
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub async fn assignment(&mut self) -> v1::Assignment {
        if let Some(assignment) = self.work.pop_front() {
            return assignment;
        }
        match self.hear().await {
            Ok(ToAgent::Assignment(assignment)) => assignment,
            other => panic!("no assignment but {other:?}"),
        }
    }

    pub async fn started(&self, assignment: &v1::Assignment) {
        self.say(FromAgent::Started(v1::AttemptStarted { attempt: assignment.attempt.clone() })).await;
    }

    pub async fn succeed(&self, assignment: &v1::Assignment, output: &'static str) {
        let success = v1::attempt_result::Outcome::Success(v1::Success { output: output.into() });
        self.result(assignment, success).await;
    }

    pub async fn fail(&self, assignment: &v1::Assignment, class: v1::FailureClass, message: &str) {
        let failure = v1::Failure { class: class.into(), message: message.into(), exit_code: None };
        self.result(assignment, v1::attempt_result::Outcome::Failure(failure)).await;
    }

    pub async fn result(&self, assignment: &v1::Assignment, outcome: v1::attempt_result::Outcome) {
        let attempt = assignment.attempt.clone();
        self.say(FromAgent::Result(v1::AttemptResult { attempt, outcome: Some(outcome), run_us: 5, usage: None }))
            .await;
    }

    /// The answer to a result.
    pub async fn ack(&mut self) -> v1::ResultStatus {
        loop {
            match self.hear().await {
                Ok(ToAgent::ResultAck(ack)) => return ack.status(),
                Ok(ToAgent::Assignment(assignment)) => self.work.push_back(assignment),
                other => panic!("no acknowledgement but {other:?}"),
            }
        }
    }

    /// Takes one task, does it, and has it acknowledged.
    pub async fn work(&mut self, output: &'static str) {
        let assignment = self.assignment().await;
        self.started(&assignment).await;
        self.succeed(&assignment, output).await;
        assert_eq!(self.ack().await, v1::ResultStatus::Recorded);
    }
}
