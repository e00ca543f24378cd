//! Real processes for tests: coordinators and agents, on free ports and in directories of their own.
//!
//! Nothing here sleeps to let something happen, and every wait has an end.

#![allow(dead_code, unused_imports, reason = "every test program uses another part of it")]

#[path = "../patience/mod.rs"]
mod patience;
#[path = "../program/mod.rs"]
mod program;

use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use evenkeel_proto::v1::{
    self, ClusterEvent, EventsRequest, SubmitRequest, Task, TaskFinished, TaskSpec, TaskState,
    cluster_service_client::ClusterServiceClient, task_service_client::TaskServiceClient,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
pub use patience::{PATIENCE as WAIT_MAX, until_some as until};
use tempfile::TempDir;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

/// `evenkeel` with these arguments, and none of the caller's settings.
pub fn evenkeel<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = program::evenkeel();
    command.args(args).stdin(Stdio::null());
    command
}

/// A running `evenkeel`, killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Kept open, so that it can go on writing.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it with its stderr in the file `log`.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        Self { child, log, _stdout: None }
    }

    /// The line that it prints when it is ready.
    pub fn ready(&mut self) -> serde_json::Value {
        let stdout = self.child.stdout.take().unwrap();
        let said = tokio::task::block_in_place(|| patience::first_line(stdout));
        let (line, stdout) = said.unwrap_or_else(|| panic!("it is not ready; its log:\n{}", self.log()));
        self._stdout = Some(stdout);
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("`{line}` is not ready; its log:\n{}", self.log()))
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// SIGKILL: no chance to say or write anything more.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::task::block_in_place(|| patience::ended(&mut self.child));
        ended.unwrap_or_else(|| panic!("it did not end; its log:\n{}", self.log()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// A coordinator and its directory.
pub struct Coordinator {
    process: Process,
    grpc: String,
    // Dropped last: the process writes into it.
    directory: TempDir,
}

impl Coordinator {
    /// Starts one on free ports, with a store of its own.
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (process, grpc) = Self::launch(directory.path(), "127.0.0.1:0").await;
        Self { process, grpc, directory }
    }

    /// Starts it again at the same address, on the same store.
    pub async fn restart(&mut self) {
        let (process, grpc) = Self::launch(self.directory.path(), &self.grpc).await;
        assert_eq!(grpc, self.grpc);
        self.process = process;
    }

    async fn launch(directory: &Path, grpc: &str) -> (Process, String) {
        let mut command = evenkeel(["coordinator", "-o", "jsonl", "--grpc", grpc, "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(directory.join("data"));
        let mut process = Process::start(command, directory.join("coordinator.log"));
        let grpc = process.ready()["grpc"].as_str().unwrap().to_owned();
        (process, grpc)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// An agent with this name, as many slots, and more arguments.
    pub async fn agent(&self, id: &str, slots: u32, args: &[&str]) -> Process {
        let slots_text = slots.to_string();
        let mut command = evenkeel(["agent", "--coordinator", &self.url(), "--id", id, "--slots", &slots_text]);
        command.args(args);
        let mut joins = self.clients().events_of(id, v1::ClusterEventType::AgentJoined).await;
        let process = Process::start(command, self.directory.path().join(format!("{id}.log")));
        let joined = tokio::time::timeout(WAIT_MAX, joins.message()).await;
        let joined = joined.unwrap_or_else(|_| panic!("{id} has not joined; its log:\n{}", process.log()));
        joined.unwrap().expect("the coordinator goes on");
        process
    }

    /// Clients of it; they find it again after a restart.
    pub fn clients(&self) -> Clients {
        let channel = Endpoint::from_shared(self.url()).unwrap().connect_lazy();
        Clients { tasks: TaskServiceClient::new(channel.clone()), cluster: ClusterServiceClient::new(channel) }
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.directory.path().join("scratch");
        fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Clients of a coordinator, and shorthand for what tests do often.
#[derive(Clone)]
pub struct Clients {
    pub tasks: TaskServiceClient<Channel>,
    pub cluster: ClusterServiceClient<Channel>,
}

impl Clients {
    /// Submits tasks that have to be accepted; their ids.
    pub async fn submit(&mut self, tasks: Vec<TaskSpec>) -> Vec<String> {
        let response = self.tasks.submit(SubmitRequest { tasks }).await.unwrap().into_inner();
        let id = |result: v1::SubmitResult| {
            assert_eq!(result.error, None);
            result.task_id
        };
        response.results.into_iter().map(id).collect()
    }

    /// Submits one task.
    pub async fn submit_one(&mut self, task: TaskSpec) -> String {
        self.submit(vec![task]).await.remove(0)
    }

    /// Waits until all are over; how they ended, in the order asked.
    pub async fn wait(&mut self, task_ids: &[String]) -> Vec<TaskFinished> {
        let timeout_ms = WAIT_MAX.as_millis() as u64;
        let request = v1::WaitRequest { task_ids: task_ids.to_vec(), timeout_ms, any: false };
        let response = self.tasks.wait(request).await.unwrap().into_inner();
        assert_eq!(response.pending_task_ids, Vec::<String>::new(), "still pending");
        assert_eq!(response.finished.len(), task_ids.len());
        response.finished
    }

    pub async fn get(&mut self, task_id: &str) -> Task {
        let request = v1::GetRequest { task_id: task_id.into(), include_payload: false, include_attempts: true };
        self.tasks.get(request).await.unwrap().into_inner().task.unwrap()
    }

    /// Waits until the task is in this state: looks, and looks again whenever something has happened to it.
    pub async fn reach(&mut self, task_id: &str, state: TaskState) -> Task {
        let request = v1::WatchRequest { task_ids: vec![task_id.into()], ..v1::WatchRequest::default() };
        let mut events = self.tasks.watch(request).await.unwrap().into_inner();
        let reached = async {
            loop {
                let task = self.get(task_id).await;
                if task.state() == state {
                    return task;
                }
                let event = events.message().await.unwrap();
                assert!(event.is_some(), "the task is over before it is {}: {task:?}", state.as_str_name());
            }
        };
        let reached = tokio::time::timeout(WAIT_MAX, reached).await;
        reached.unwrap_or_else(|_| panic!("the task does not become {}", state.as_str_name()))
    }

    /// The agent, if the coordinator knows it.
    pub async fn agent(&mut self, agent_id: &str) -> Option<v1::Agent> {
        let request = v1::DescribeAgentRequest { agent_id: agent_id.into() };
        self.cluster.describe_agent(request).await.ok().map(tonic::Response::into_inner)
    }

    /// Events of this kind about an agent: those that were, and those to come.
    pub async fn events_of(&mut self, agent_id: &str, of: v1::ClusterEventType) -> Streaming<ClusterEvent> {
        let agent_id = agent_id.to_owned();
        let request = EventsRequest { follow: true, agent_id, types: vec![of.into()], ..EventsRequest::default() };
        self.cluster.events(request).await.unwrap().into_inner()
    }

    pub async fn cancel(&mut self, task_id: &str) -> TaskState {
        let request = v1::CancelRequest { task_id: task_id.into(), reason: "the test says so".into() };
        self.tasks.cancel(request).await.unwrap().into_inner().state()
    }

    pub async fn status(&mut self) -> v1::ClusterStatus {
        self.cluster.status(v1::StatusRequest {}).await.unwrap().into_inner()
    }

    /// Waits until so many tasks have succeeded since the coordinator started.
    pub async fn succeeded(&self, count: u64) {
        until(&format!("{count} tasks have succeeded"), || {
            let mut clients = self.clone();
            async move { (clients.status().await.tasks_succeeded >= count).then_some(()) }
        })
        .await;
    }
}

/// A task that waits for so long.
pub fn sleep_task(time: Duration) -> TaskSpec {
    let payload = time.as_millis().to_string().into();
    TaskSpec { kind: "sleep".into(), payload, ..TaskSpec::default() }
}

/// A task that runs a shell script; its agent needs `--allow sh`.
pub fn shell_task(script: &str) -> TaskSpec {
    let payload = serde_json::json!({ "program": "sh", "args": ["-c", script] }).to_string().into();
    TaskSpec { kind: "command".into(), payload, ..TaskSpec::default() }
}

/// Tasks that run until they are let go; their agent needs `--allow sh`.
pub struct Held(PathBuf);

impl Held {
    pub fn new(coordinator: &Coordinator) -> Self {
        let file = coordinator.scratch().join("held");
        fs::write(&file, "").unwrap();
        Self(file)
    }

    pub fn task(&self) -> TaskSpec {
        // What outlives a killed agent ends at the latest when the directory is removed.
        shell_task(&format!("while [ -e {} ]; do sleep 0.05; done", self.0.display()))
    }

    pub fn go(self) {
        fs::remove_file(self.0).unwrap();
    }
}

/// Asserts that all succeeded.
pub fn assert_succeeded(finished: &[TaskFinished]) {
    for end in finished {
        assert_eq!(end.state(), TaskState::Succeeded, "{end:?}");
    }
}
