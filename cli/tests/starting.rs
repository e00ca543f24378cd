//! What agents, clients, probes and operators meet while a coordinator takes up its store, with real processes.
//!
//! The start is held where it reads the log of the database: there is a pipe in its place, which nobody writes to. So it takes as
//! long as the test wants it to, on any machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::Output,
};

use evenkeel_proto::v1::{self, task_service_client::TaskServiceClient};
use evenkeel_shared::{Code, wire::status::from_status};
use nix::{
    fcntl::OFlag,
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use support::{Process, WAIT_MAX, evenkeel, until};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// A coordinator that has come to the log of its database, and goes no further.
struct Held {
    process: Process,
    grpc: SocketAddr,
    directory: TempDir,
}

/// Ports that were free a moment ago: they have to be known before the start is over.
fn free_addresses() -> [SocketAddr; 2] {
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|port| port.local_addr().unwrap())
}

/// The whole answer of a probe; `None`: nobody answers.
fn probed(http: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Held {
    /// `evenkeel coordinator`, or `dev`.
    async fn start(service: &str) -> Self {
        loop {
            let directory = TempDir::new().unwrap();
            let [grpc, http] = free_addresses();
            let data = directory.path().join("data");
            std::fs::create_dir(&data).unwrap();
            mkfifo(&data.join("evenkeel.db-wal"), Mode::S_IRWXU).unwrap();
            let mut command = evenkeel([service, "-o", "jsonl", "--grpc", &grpc.to_string()]);
            command.args(["--http", &http.to_string(), "--data-dir"]).arg(&data);
            let process = Process::start(command, directory.path().join("log"));
            let starts = until("the start is under way", || async {
                // Somebody else may have taken a port.
                let taken = process.log().contains("cannot listen on");
                let starts =
                    || probed(http, "/readyz")?.ends_with("the coordinator is starting: store\n").then_some(true);
                if taken { Some(false) } else { starts() }
            });
            if starts.await {
                return Self { process, grpc, directory };
            }
        }
    }

    fn pipe(&self) -> PathBuf {
        self.directory.path().join("data/evenkeel.db-wal")
    }

    /// The start goes on: the log is at its end, and no more in the way.
    async fn go_on(&mut self) {
        let pipe = self.pipe();
        let writes: File = until("the coordinator reads its log", || async {
            OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).ok()
        })
        .await;
        std::fs::remove_file(&pipe).unwrap();
        drop(writes);
        self.process.ready();
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy()
    }

    fn run(&self, args: &[&str]) -> Output {
        evenkeel(["--coordinator", &format!("http://{}", self.grpc)]).args(args).output().unwrap()
    }

    /// A command's exit code, and what it said on stderr.
    fn check(&self, args: &[&str], code: i32, said: &str) {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.expect("it takes too long: it hangs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_start_is_at_once_and_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut held = Held::start("coordinator").await;
        held.process.signal(signal);
        // The start itself would not end before its log does.
        assert_eq!(held.process.ended().await.code(), Some(0), "{signal}: {}", held.process.log());
        let log = held.process.log();
        assert!(log.contains("told to stop while it was starting (store); nothing had been accepted"), "{log}");

        // What is there is what was there: the next start finds no fault with it.
        std::fs::remove_file(held.pipe()).unwrap();
        let mut command = evenkeel(["coordinator", "-o", "jsonl", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(held.directory.path().join("data"));
        let mut next = Process::start(command, held.directory.path().join("next.log"));
        next.ready();
        assert_eq!(next.terminate().await.code(), Some(0), "{}", next.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_by_grpc_during_the_start_and_services_after_it_on_the_same_connection() {
    let mut held = Held::start("coordinator").await;
    let channel = held.channel();
    let mut health = HealthClient::new(channel.clone());
    let mut status = async |service: &str| {
        soon(health.check(HealthCheckRequest { service: service.into() })).await.unwrap().into_inner().status()
    };
    for service in ["", "evenkeel.v1.AgentService", "evenkeel.v1.TaskService"] {
        assert_eq!(status(service).await, ServingStatus::NotServing, "`{service}`");
    }
    let mut health = HealthClient::new(channel.clone());
    let mut watched = soon(health.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    let mut told = async || soon(watched.message()).await.unwrap().expect("the stream goes on").status();
    assert_eq!(told().await, ServingStatus::NotServing);
    let mut tasks = TaskServiceClient::new(channel);
    let refused = from_status(&soon(tasks.list(v1::ListRequest::default())).await.unwrap_err());
    assert_eq!((refused.code, refused.message.as_str()), (Code::Unavailable, "the coordinator is starting: store"));
    assert!(refused.retry_after.is_some(), "{refused:?}");

    held.go_on().await;
    assert_eq!(told().await, ServingStatus::Serving, "on the stream from before");
    soon(tasks.list(v1::ListRequest::default())).await.expect("on the connection from before");
    assert_eq!(held.process.terminate().await.code(), Some(0), "{}", held.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_container_probes_say_that_it_starts() {
    let mut held = Held::start("coordinator").await;
    let probe = ["healthcheck", "--timeout", "60s"];
    let of_tasks = ["--service", "evenkeel.v1.TaskService"];
    held.check(&probe, 1, "takes no calls now");
    held.check(&[&probe[..], &of_tasks].concat(), 1, "takes no calls now");
    held.check(&[&probe[..], &["--live"]].concat(), 0, "");
    held.check(&["status"], 3, "the coordinator is starting: store");
    held.go_on().await;
    // Told a moment after the services are there.
    until("it is healthy", || async { held.run(&probe).status.success().then_some(()) }).await;
    held.check(&["status"], 0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_during_the_start_joins_after_it() {
    let mut held = Held::start("coordinator").await;
    let url = format!("http://{}", held.grpc);
    let command = evenkeel(["--coordinator", &url, "agent", "--id", "early", "--slots", "1"]);
    let mut agent = Process::start(command, held.directory.path().join("agent.log"));
    held.go_on().await;
    until("the agent joins", || async {
        let output = held.run(&["agents", "list", "-o", "json"]);
        String::from_utf8_lossy(&output.stdout).contains("early").then_some(())
    })
    .await;
    assert_eq!(agent.terminate().await.code(), Some(0), "{}", agent.log());
    assert_eq!(held.process.terminate().await.code(), Some(0), "{}", held.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_stops_at_once_during_its_start_too() {
    let mut held = Held::start("dev").await;
    assert_eq!(held.process.terminate().await.code(), Some(0), "{}", held.process.log());
    assert!(held.process.log().contains("stopped before it was ready"), "{}", held.process.log());
}
