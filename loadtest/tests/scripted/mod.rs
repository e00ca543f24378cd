//! A coordinator that keeps no promise it is not told to keep: as little as the harness needs, and one fault on request.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use evenkeel_proto::v1::{
    self, Assignment, AttemptRef, AttemptResult, CoordinatorFrame, CoordinatorMessage, ItemError, ResultAck,
    ResultStatus, SubmitResult, SubmitStreamRequest, SubmitStreamResponse, TaskFinished, TaskSpec, TaskState, Welcome,
    agent_message::Message, agent_service_server::AgentServiceServer, attempt_result::Outcome,
    cluster_service_server::ClusterServiceServer, coordinator_message::Message as Order,
    task_service_server::TaskServiceServer,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Code, Status, transport::Server};

mod absent;
mod services;

/// Waiting tasks that one agent is given at its registration: no more than it may hold beside what it has.
const WAITING_TAKEN_MAX: usize = 8;

/// What it does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Accepts a task and forgets it.
    Forgets,
    /// The same, and it answers no question about any task.
    ForgetsAndIsSilent,
    /// Says of a task a second time how it ended, and something else.
    EndsTwice,
    /// Gives a task to two agents and records both results.
    RecordsTwice,
    /// Sends a task the output of another one.
    MixesUp,
    /// Accepts a batch and breaks the stream before it says so.
    BreaksStream,
    /// Puts a task off, as if its queue was full.
    PutsOff,
    /// Refuses a task for good.
    Refuses,
    /// Ends a task and keeps it to itself until it is asked.
    KeepsSilent,
    /// Ends the sessions of all agents while they work, and has work for them when they are back.
    DropsAgents,
}

type Client = mpsc::UnboundedSender<Result<SubmitStreamResponse, Status>>;
type Agent = mpsc::UnboundedSender<Result<CoordinatorFrame, Status>>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Entry {
    spec: TaskSpec,
    client: Client,
    finished: Option<TaskFinished>,
}

#[derive(Default)]
struct State {
    ids: HashMap<String, String>,
    tasks: HashMap<String, Entry>,
    agents: Vec<(String, Agent)>,
    /// Tasks for the next agent that registers.
    waiting: Vec<String>,
    assignments: u64,
    results: u64,
}

/// The scripted coordinator.
#[derive(Clone)]
pub struct Scripted {
    fault: Arc<Mutex<Option<Fault>>>,
    state: Arc<Mutex<State>>,
}

/// Serves one with this fault; its address.
pub async fn serve(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let scripted = Scripted { fault: Arc::new(Mutex::new(Some(fault))), state: Arc::default() };
    let server = Server::builder()
        .add_service(AgentServiceServer::new(scripted.clone()))
        .add_service(TaskServiceServer::new(scripted.clone()))
        .add_service(ClusterServiceServer::new(scripted));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

impl Scripted {
    /// Whether this fault is to be made now; it is made once.
    fn commits(&self, fault: Fault) -> bool {
        self.fault.lock().unwrap().take_if(|planned| *planned == fault).is_some()
    }

    /// Whether questions about tasks go unanswered.
    fn is_silent(&self) -> bool {
        *self.fault.lock().unwrap() == Some(Fault::ForgetsAndIsSilent)
    }

    fn submitted(&self, client: &Client, request: SubmitStreamRequest) {
        let breaks = self.commits(Fault::BreaksStream);
        let results = request.tasks.into_iter().map(|spec| self.accept(client, spec)).collect();
        let batch = Some(v1::SubmitBatch { batch_id: request.batch_id, results });
        let answer = Ok(SubmitStreamResponse { batch, finished: Vec::new() });
        client.send(if breaks { Err(Status::unavailable("broken as planned")) } else { answer }).ok();
    }

    fn accept(&self, client: &Client, spec: TaskSpec) -> SubmitResult {
        for (fault, code) in [(Fault::PutsOff, Code::ResourceExhausted), (Fault::Refuses, Code::InvalidArgument)] {
            if self.commits(fault) {
                let error = ItemError { code: code.into(), message: "as planned".into(), ..ItemError::default() };
                return SubmitResult { error: Some(error), ..SubmitResult::default() };
            }
        }
        let mut state = self.state.lock().unwrap();
        if let Some(id) = state.ids.get(&spec.idempotency_key).cloned() {
            return SubmitResult { task_id: id, duplicate: true, error: None };
        }
        let number = state.ids.len() as u128;
        let task_id = evenkeel_shared::TaskId::from_u128(number + 1).to_string();
        state.ids.insert(spec.idempotency_key.clone(), task_id.clone());
        state.tasks.insert(task_id.clone(), Entry { spec, client: client.clone(), finished: None });
        if number == 0 && *self.fault.lock().unwrap() == Some(Fault::DropsAgents) {
            state.waiting.push(task_id.clone());
            return SubmitResult { task_id, duplicate: false, error: None };
        }
        let times = if self.commits(Fault::RecordsTwice) { 2 } else { 1 };
        let forgets = self.commits(Fault::Forgets) || number == 0 && self.is_silent();
        for _ in 0..if forgets { 0 } else { times } {
            state.assign(&task_id);
        }
        SubmitResult { task_id, duplicate: false, error: None }
    }

    fn heard(&self, agent_id: &str, agent: &Agent, message: Message) {
        match message {
            Message::Result(result) => self.result(agent_id, agent, result),
            Message::Register(_) => unreachable!("registered once, by the session"),
            _ => {}
        }
    }

    fn result(&self, agent_id: &str, agent: &Agent, result: AttemptResult) {
        let mut state = self.state.lock().unwrap();
        state.results += 1;
        if state.results > 10 && self.commits(Fault::DropsAgents) {
            for (_, agent) in state.agents.drain(..) {
                agent.send(Err(Status::unavailable("dropped as planned"))).ok();
            }
        }
        let attempt = result.attempt.unwrap();
        let ack = ResultAck { attempt: Some(attempt.clone()), status: ResultStatus::Recorded.into() };
        agent.send(Ok(frame(Order::ResultAck(ack)))).ok();
        let Some(Outcome::Success(success)) = result.outcome else {
            panic!("an agent of the harness did not succeed: {:?}", result.outcome);
        };
        let entry = state.tasks.get_mut(&attempt.task_id).unwrap();
        if entry.finished.is_some() {
            return;
        }
        let mut finished = TaskFinished {
            task_id: attempt.task_id,
            state: TaskState::Succeeded.into(),
            output: success.output,
            attempts_made: attempt.attempt,
            agent_id: agent_id.to_owned(),
            ..TaskFinished::default()
        };
        if self.commits(Fault::MixesUp) {
            finished.output = "another's".into();
        }
        entry.finished = Some(finished.clone());
        let mut notices = vec![finished.clone()];
        if self.commits(Fault::EndsTwice) {
            notices.push(TaskFinished { attempts_made: 2, ..finished });
        }
        if !self.commits(Fault::KeepsSilent) {
            entry.client.send(Ok(SubmitStreamResponse { batch: None, finished: notices })).ok();
        }
    }

    /// Welcomes the agent, and gives it in the same frame some of what has waited.
    fn registered(&self, register: v1::Register, agent: Agent) {
        let mut state = self.state.lock().unwrap();
        let welcome = Welcome { heartbeat_interval_ms: 1_000, adopted: register.held, ..Welcome::default() };
        let mut frame = frame(Order::Welcome(welcome));
        let taken = state.waiting.len().min(WAITING_TAKEN_MAX);
        for task_id in state.waiting.drain(..taken).collect::<Vec<_>>() {
            let assignment = state.assignment(&task_id);
            frame.messages.push(CoordinatorMessage { message: Some(Order::Assignment(assignment)) });
        }
        agent.send(Ok(frame)).ok();
        state.agents.push((register.agent_id, agent));
    }
}

impl State {
    /// To each agent in its turn.
    fn assign(&mut self, task_id: &str) {
        if self.agents.is_empty() {
            self.waiting.push(task_id.to_owned());
            return;
        }
        let assignment = self.assignment(task_id);
        let turn = self.assignments as usize % self.agents.len();
        self.agents[turn].1.send(Ok(frame(Order::Assignment(assignment)))).ok();
    }

    fn assignment(&mut self, task_id: &str) -> Assignment {
        self.assignments += 1;
        let spec = &self.tasks[task_id].spec;
        let attempt = AttemptRef { task_id: task_id.into(), attempt: 1, assignment_id: self.assignments };
        Assignment {
            attempt: Some(attempt),
            kind: spec.kind.clone(),
            payload: spec.payload.clone(),
            idempotency_key: spec.idempotency_key.clone(),
            ..Assignment::default()
        }
    }
}

fn frame(order: Order) -> CoordinatorFrame {
    CoordinatorFrame { messages: vec![CoordinatorMessage { message: Some(order) }] }
}
