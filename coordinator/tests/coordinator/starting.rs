//! What the ports say before the coordinator takes work, and how a start is given up.

use std::{net::SocketAddr, sync::mpsc};

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, RunningCoordinator, StartError};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{config, get, soon};

/// A coordinator that has come to open its store, and goes no further before it is let.
struct Held {
    let_go: mpsc::Sender<()>,
    grpc: SocketAddr,
    http: SocketAddr,
    told_to_stop: CancellationToken,
    started: JoinHandle<Result<RunningCoordinator, StartError>>,
}

/// The store is opened by a thread for what blocks, and the only one is busy.
fn runtime_with_one_thread_for_what_blocks() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap()
}

/// An address that was free a moment ago: it has to be known before the start is over.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

impl Held {
    async fn start(change: impl Fn(&mut CoordinatorConfig)) -> Self {
        let let_go = holds();
        loop {
            let mut config = config();
            config.grpc = free_address().await;
            config.http = free_address().await;
            change(&mut config);
            let (grpc, http, told_to_stop) = (config.grpc, config.http, CancellationToken::new());
            let told = told_to_stop.clone();
            let started = tokio::spawn(async move { Coordinator::start_unless(config, &told).await });
            // Somebody else may have taken a port: then the start is over.
            while !started.is_finished() {
                if TcpStream::connect(http).await.is_ok() {
                    return Self { let_go, grpc, http, told_to_stop, started };
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Nobody listens any more.
    async fn is_gone(&self) {
        soon(async {
            for port in [self.grpc, self.http] {
                while TcpStream::connect(port).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }
}

/// Keeps the next thread for what blocks busy, until it is let go or this is dropped.
fn holds() -> mpsc::Sender<()> {
    let (let_go, held) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    let_go
}

/// The whole answer to a request.
async fn asked(http: SocketAddr, request: &str) -> String {
    let mut stream = soon(TcpStream::connect(http)).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[test]
fn probes_are_answered_while_the_store_is_opened_and_nothing_else_is() {
    runtime_with_one_thread_for_what_blocks().block_on(async {
        let Held { let_go, http, started, .. } = Held::start(|_| {}).await;
        let starting = (503, "the coordinator is starting: store\n".to_owned());
        assert_eq!(get(http, "/startupz").await, starting);
        assert_eq!(get(http, "/readyz").await, starting);
        assert_eq!(get(http, "/healthz").await, (200, "ok\n".to_owned()), "a restart would only begin anew");
        let (code, whole) = get(http, "/readyz?verbose").await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!((code, &whole["phase"], &whole["started"]), (503, &"store".into(), &false.into()));
        for path in ["/metrics", "/api/v1/status", "/"] {
            let answer = asked(http, &format!("GET {path}")).await;
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
            assert!(answer.contains("\"detail\":\"the coordinator is starting: store\""), "{answer}");
        }
        assert!(asked(http, "POST /startupz").await.starts_with("HTTP/1.1 405 "));

        // Who has a connection from before is not answered by it for ever.
        let mut early = TcpStream::connect(http).await.unwrap();
        soon(early.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")).await.unwrap();
        assert!(soon(early.read(&mut [0; 1_024])).await.unwrap() > 0);
        let_go.send(()).unwrap();
        let coordinator = soon(started).await.unwrap().expect("it starts");
        assert_eq!(get(http, "/startupz").await.0, 200);
        assert_eq!(get(http, "/readyz").await.0, 200);
        assert_eq!(get(http, "/metrics").await.0, 200);
        assert_eq!(soon(early.read(&mut [0; 1_024])).await.unwrap(), 0, "it is closed");
        drop(coordinator);
    });
}

#[test]
fn a_start_that_fails_leaves_nobody_on_the_port() {
    runtime_with_one_thread_for_what_blocks().block_on(async {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut held = Held::start(|config| {
            config.ephemeral = false;
            config.data_dir = file.path().to_owned();
        })
        .await;
        assert_eq!(get(held.http, "/startupz").await.0, 503);
        held.let_go.send(()).unwrap();
        assert!(matches!(soon(&mut held.started).await.unwrap(), Err(StartError::Store(_))));
        held.is_gone().await;
    });
}

#[test]
fn a_start_is_given_up_at_once_whatever_it_is_at() {
    // With one thread for all else, the start has asked for its store by the time that anybody else sees its ports; so what is held
    // after that is held behind it.
    let runtime = Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for phase in ["store", "recover"] {
            let mut held = Held::start(|_| {}).await;
            // After the store the thread is busy again, so that nothing can be made of what was in it.
            let recovers = holds();
            if phase == "recover" {
                held.let_go.send(()).unwrap();
            }
            let expected = (503, format!("the coordinator is starting: {phase}\n"));
            soon(async {
                while get(held.http, "/readyz").await != expected {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            // Who watches its health holds it up as little as what it reads.
            let channel = Channel::from_shared(format!("http://{}", held.grpc)).unwrap().connect_lazy();
            let mut watched = soon(HealthClient::new(channel).watch(HealthCheckRequest::default())).await.unwrap();
            assert_eq!(soon(watched.get_mut().message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
            held.told_to_stop.cancel();
            let stopped = soon(&mut held.started).await.unwrap();
            assert!(matches!(stopped, Err(StartError::Stopped { phase: at }) if at == phase), "{phase}");
            assert_eq!(soon(watched.get_mut().message()).await.unwrap(), None, "nobody is left to tell of");
            held.is_gone().await;
            drop((held, recovers));
        }
    });
}
