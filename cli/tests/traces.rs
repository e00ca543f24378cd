//! Traces end to end: real processes, and a collector written for the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "another part of it is for other tests")]
#[path = "../../shared/src/otlp/receiver.rs"]
mod receiver;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use evenkeel_proto::v1::{
    self, TaskSpec, TaskState, cluster_service_client::ClusterServiceClient, task_service_client::TaskServiceClient,
};
use evenkeel_shared::{AttemptNumber, TaskId, trace::SpanId};
use receiver::{Manner, Received, Receiver};
use support::{Process, WAIT_MAX, evenkeel, shell_task, sleep_task, until};
use tempfile::TempDir;
use tonic::transport::Endpoint;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A coordinator that sends its spans somewhere.
struct Traced {
    coordinator: Process,
    grpc: String,
    http: String,
    collector: String,
    directory: TempDir,
}

/// `evenkeel` with a collector, or none.
fn traced(collector: &str, args: &[&str]) -> Command {
    let mut command = evenkeel(args);
    for name in [ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "TRACEPARENT", "TRACESTATE"] {
        command.env_remove(name);
    }
    if !collector.is_empty() {
        command.env(ENDPOINT, collector);
    }
    command
}

impl Traced {
    /// With these settings in the section `telemetry`.
    async fn start(collector: &str, telemetry: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("evenkeel.toml"), format!("[telemetry]\n{telemetry}\n")).unwrap();
        let (coordinator, grpc, http) = launch(directory.path(), collector, "127.0.0.1:0").await;
        Self { coordinator, grpc, http, collector: collector.to_owned(), directory }
    }

    /// Again, at the same address, on the same store.
    async fn restart(&mut self) {
        let (coordinator, grpc, http) = launch(self.directory.path(), &self.collector, &self.grpc).await;
        (self.coordinator, self.grpc, self.http) = (coordinator, grpc, http);
    }

    async fn agent(&self, id: &str) -> Process {
        let url = format!("http://{}", self.grpc);
        let args = ["agent", "--coordinator", &url, "--id", id, "--slots", "1", "--kind", "sleep", "--allow", "sh"];
        let process = Process::start(traced(&self.collector, &args), self.directory.path().join(format!("{id}.log")));
        until(&format!("agent {id} has a session"), || {
            let mut clients = self.clients();
            async move { clients.agent(id).await.filter(|agent| agent.health() == v1::Health::Healthy) }
        })
        .await;
        process
    }

    fn clients(&self) -> support::Clients {
        let channel = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy();
        support::Clients { tasks: TaskServiceClient::new(channel.clone()), cluster: ClusterServiceClient::new(channel) }
    }

    /// Runs the command line against it, at that place in a trace.
    async fn command(&self, parent: &str, args: &[&str]) -> Output {
        let mut command = traced(&self.collector, args);
        command.env("EVENKEEL_COORDINATOR", format!("http://{}", self.grpc)).env("TRACEPARENT", parent);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A number of `/metrics`.
    async fn metric(&self, name: &str) -> Option<f64> {
        let url = self.http.clone();
        let text = tokio::task::spawn_blocking(move || get(&url, "/metrics")).await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok())
    }
}

fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

/// Asks by HTTP/1.0; what it answers.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

async fn launch(directory: &Path, collector: &str, grpc: &str) -> (Process, String, String) {
    let ready = directory.join("ready.json");
    let _ = fs::remove_file(&ready);
    let mut command = traced(collector, &["coordinator", "--grpc", grpc, "--http", "127.0.0.1:0"]);
    command.arg("--config").arg(directory.join("evenkeel.toml"));
    command.arg("--data-dir").arg(directory.join("data")).arg("--ready-file").arg(&ready);
    let process = Process::start(command, directory.join("coordinator.log"));
    let said = until("the coordinator is ready", || {
        let text = fs::read(&ready).unwrap_or_default();
        async move { serde_json::from_slice::<serde_json::Value>(&text).ok() }
    })
    .await;
    let address = |name: &str| said[name].as_str().unwrap().to_owned();
    (process, address("grpc"), address("http"))
}

/// The spans of one trace, by their ids.
struct Trace(BTreeMap<String, Received>);

impl Trace {
    fn of(spans: &[Received], trace: &str) -> Self {
        Self(spans.iter().filter(|span| span.trace == trace).map(|span| (span.id.clone(), span.clone())).collect())
    }

    fn all(&self, name: &str) -> Vec<&Received> {
        let mut named: Vec<_> = self.0.values().filter(|span| span.name == name).collect();
        named.sort_by_key(|span| span.start_ns);
        named
    }

    fn one(&self, name: &str) -> &Received {
        let named = self.all(name);
        assert_eq!(named.len(), 1, "spans named {name} in {:?}", self.names());
        named[0]
    }

    fn names(&self) -> Vec<&str> {
        self.0.values().map(|span| span.name.as_str()).collect()
    }

    /// The span above; that of whoever started the client is in no program of ours.
    fn parent(&self, span: &Received) -> Option<&Received> {
        self.0.get(&span.parent)
    }

    /// From every span one comes up to the same first one, which hangs at `root`.
    fn check_connected(&self, root: &str) {
        for span in self.0.values() {
            let mut top = span;
            let mut seen = BTreeSet::new();
            while let Some(parent) = self.parent(top) {
                assert!(seen.insert(&top.id), "{} is above itself", top.name);
                top = parent;
            }
            assert_eq!(top.parent, root, "{} of {} hangs at nothing", top.name, top.service);
        }
    }
}

/// Trace and span of each transaction.
fn transactions(spans: &[Received]) -> BTreeSet<(String, String)> {
    let transactions = spans.iter().filter(|span| span.name == "transaction");
    transactions.map(|span| (span.trace.clone(), span.id.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_is_one_trace_from_the_client_to_the_program_that_it_runs() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let traced = Traced::start(&receiver.endpoint(), "sample_ratio = 0.0").await;
    let mut agent = traced.agent("a1").await;
    let script = r#"{"program":"sh","args":["-c","echo nonsense > \"$EVENKEEL_REPORT\"; printf %s \"$TRACEPARENT\""]}"#;
    let submit = ["task", "submit", "--kind", "command", "--payload", script, "--wait", "--raw"];
    let printed = traced.command(PARENT, &submit).await;
    // What is sent last is the agent's word on the result, and the coordinator's on the whole.
    let wanted = ["submit", "accept", "task", "queue", "attempt", "decide", "dispatch", "execute", "report"];
    let spans = receiver
        .until(|spans| {
            let of_trace: Vec<_> = spans.iter().filter(|span| span.trace == TRACE).collect();
            // A transaction is told of once all that it carried has been said.
            let is_whole = |span: &&Received| span.name != "commit" || transactions(spans).contains(&span.links[0]);
            wanted.iter().all(|name| of_trace.iter().any(|span| span.name == *name)) && of_trace.iter().all(is_whole)
        })
        .await;
    let trace = Trace::of(&spans, TRACE);
    trace.check_connected("00f067aa0ba902b7");

    let parents: BTreeMap<_, _> = wanted
        .iter()
        .map(|name| (*name, trace.parent(trace.one(name)).map_or("", |parent| parent.name.as_str())))
        .collect();
    let expected = [
        ("submit", ""),
        ("accept", "submit"),
        ("task", "accept"),
        ("queue", "task"),
        ("attempt", "task"),
        ("decide", "attempt"),
        ("dispatch", "attempt"),
        ("execute", "attempt"),
        ("report", "attempt"),
    ];
    assert_eq!(parents, BTreeMap::from(expected));
    let services: BTreeSet<_> = trace.0.values().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["evenkeel-agent", "evenkeel-cli", "evenkeel-coordinator"]));

    // Causes before effects, by one clock: that of the coordinator, and that of the machine for the others.
    let (accept, task, queue) = (trace.one("accept"), trace.one("task"), trace.one("queue"));
    let (attempt, dispatch, execute) = (trace.one("attempt"), trace.one("dispatch"), trace.one("execute"));
    assert!(accept.start_ns <= task.start_ns && task.start_ns <= queue.start_ns);
    assert!(queue.end_ns <= attempt.start_ns && attempt.start_ns <= dispatch.start_ns);
    assert!(attempt.end_ns <= task.end_ns && dispatch.end_ns <= attempt.end_ns);
    assert!(execute.end_ns <= trace.one("report").end_ns);
    // On disk three times: accepted, assigned, over. Each of these links to its transaction, which is a trace of its own.
    let commits = trace.all("commit");
    assert_eq!(commits.len(), 3);
    for commit in commits {
        assert!(transactions(&spans).contains(&commit.links[0]), "{:?} is no transaction", commit.links);
    }

    let execute_is = |name: &str| execute.attributes.get(name).map(String::as_str);
    assert_eq!(
        (execute_is("evenkeel.executor"), execute_is("evenkeel.outcome")),
        (Some("programs"), Some("succeeded"))
    );
    assert_eq!(trace.one("decide").attributes["evenkeel.agent.id"], "a1");
    assert_eq!(trace.one("task").attributes["evenkeel.task.state"], "succeeded");
    let told = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(told.trim(), format!("00-{TRACE}-{}-01", execute.id), "the program is told where it is");
    assert!(agent.terminate().await.success());
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("report is ignored")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(TRACE) && line.contains(&execute.id), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_after_a_killed_agent_links_to_the_one_before_across_a_restart_too() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let mut traced = Traced::start(&receiver.endpoint(), "sample_ratio = 0.0").await;
    let mut first = traced.agent("first").await;
    let task = TaskSpec { traceparent: PARENT.into(), ..sleep_task(Duration::from_secs(3_600)) };
    let id = traced.clients().submit_one(task).await;
    traced.clients().reach(&id, TaskState::Running).await;
    first.kill();
    let _second = traced.agent("second").await;
    until("the second attempt runs", || {
        let (mut clients, id) = (traced.clients(), id.clone());
        async move {
            let task = clients.get(&id).await;
            (task.attempts_made == 2 && task.state() == TaskState::Running).then_some(())
        }
    })
    .await;
    // The coordinator dies with the attempt open, and the next one tells of its end.
    traced.coordinator.kill();
    traced.restart().await;
    until("the agent is back", || {
        let mut clients = traced.clients();
        async move { clients.agent("second").await.filter(|agent| agent.health() == v1::Health::Healthy) }
    })
    .await;
    traced.clients().cancel(&id).await;
    let ended = |spans: &[Received], attempt: &str| {
        spans.iter().any(|span| span.name == "attempt" && span.attributes["evenkeel.attempt"] == attempt)
    };
    let spans = receiver
        .until(|spans| ended(spans, "2") && spans.iter().any(|span| span.trace == TRACE && span.name == "task"))
        .await;
    let trace = Trace::of(&spans, TRACE);
    let attempts = trace.all("attempt");
    // The first attempt's span may have died with the coordinator that had it; its id has not.
    let [.., second] = attempts.as_slice() else { panic!("no attempt in {:?}", trace.names()) };
    assert_eq!(second.attributes["evenkeel.agent.id"], "second");
    let (linked_trace, linked) = &second.links[0];
    assert_eq!(linked_trace, TRACE);
    let id: TaskId = id.parse().unwrap();
    let first = SpanId::of_attempt(id, AttemptNumber(1));
    assert_eq!(*linked, first.to_string());
    if let [first, _] = attempts.as_slice() {
        assert_eq!(
            (first.id.as_str(), first.attributes["evenkeel.attempt.end"].as_str()),
            (linked.as_str(), "agent_lost")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_where_its_call_says_by_grpc_and_by_rest() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let traced = Traced::start(&receiver.endpoint(), "sample_ratio = 0.0").await;
    let mut request = tonic::Request::new(v1::SubmitRequest { tasks: vec![sleep_task(Duration::ZERO)] });
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    let answer = traced.clients().tasks.submit(request).await.unwrap().into_inner();
    let by_grpc = traced.clients().get(&answer.results[0].task_id).await.spec.unwrap().traceparent;
    let body = r#"{"tasks":[{"kind":"sleep"}]}"#;
    let head = format!(
        "POST /api/v1/tasks HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\ntraceparent: {PARENT}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let url = traced.http.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&url, &head)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let spans = receiver.until(|spans| spans.iter().filter(|span| span.name == "accept").count() == 2).await;
    let trace = Trace::of(&spans, TRACE);
    for accept in trace.all("accept") {
        assert_eq!((accept.parent.as_str(), accept.attributes["rpc.method"].as_str()), ("00f067aa0ba902b7", "Submit"));
    }
    // What is kept of the task is the span that took it in.
    assert!(trace.all("accept").iter().any(|accept| by_grpc == format!("00-{TRACE}-{}-01", accept.id)), "{by_grpc}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_leaves_no_trace_and_is_passed_on_as_such() {
    let receiver = Receiver::start(Manner::Takes).await.unwrap();
    let traced = Traced::start(&receiver.endpoint(), "sample_ratio = 0.0").await;
    let mut agent = traced.agent("a1").await;
    let unsampled = format!("{}0", &PARENT[..PARENT.len() - 1]);
    let script = "printf %s \"$TRACEPARENT\"";
    let told = TaskSpec { traceparent: unsampled.clone(), ..shell_task(script) };
    let ids = traced.clients().submit(vec![told, shell_task(script), sleep_task(Duration::ZERO)]).await;
    let finished = traced.clients().wait(&ids).await;
    support::assert_succeeded(&finished);
    assert_eq!(finished[0].output, unsampled.as_bytes());
    assert_eq!(finished[1].output, b"".as_slice());
    // All that is ever told is told by the time that both have ended.
    assert!(agent.terminate().await.success());
    let mut coordinator = traced.coordinator;
    assert!(coordinator.terminate().await.success());
    let of_tasks: Vec<_> = receiver
        .spans()
        .into_iter()
        .filter(|span| !["transaction", "heartbeats", "register"].contains(&span.name.as_str()))
        .collect();
    assert!(of_tasks.is_empty(), "{of_tasks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_neither_tasks_nor_time() {
    let receiver = Receiver::start(Manner::Hangs).await.unwrap();
    let settings = "sample_ratio = 1.0\ntraced_per_s_max = 100000\nqueue_spans_max = 16\nexport_timeout_ms = 60000";
    let traced = Traced::start(&receiver.endpoint(), settings).await;
    let _agent = traced.agent("a1").await;
    let ids = traced.clients().submit(vec![sleep_task(Duration::ZERO); 100]).await;
    support::assert_succeeded(&traced.clients().wait(&ids).await);
    let dropped = until("dropped spans are counted", || async {
        traced.metric("evenkeel_trace_spans_dropped_total").await.filter(|dropped| *dropped > 0.0)
    })
    .await;
    assert!(dropped > 100.0, "{dropped} of some 800");
    let mut coordinator = traced.coordinator;
    let begun = Instant::now();
    assert!(coordinator.terminate().await.success());
    // It waits for the collector for two seconds; had it waited for an answer, it would be a minute.
    assert!(begun.elapsed() < WAIT_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_tasks_go_on_and_what_fails_is_counted() {
    let traced = Traced::start("http://127.0.0.1:1", "sample_ratio = 1.0").await;
    let _agent = traced.agent("a1").await;
    let id = traced.clients().submit_one(sleep_task(Duration::ZERO)).await;
    support::assert_succeeded(&traced.clients().wait(&[id]).await);
    until("failed spans are counted", || async {
        traced.metric("evenkeel_trace_spans_failed_total").await.filter(|failed| *failed > 0.0)
    })
    .await;
    assert!(traced.coordinator.log().contains("spans cannot be sent"));
}
