//! What the HTTP port says before the coordinator takes work.

use std::{net::SocketAddr, sync::mpsc};

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, RunningCoordinator, StartError};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::support::{config, get, soon};

/// A coordinator that has come to open its store, and goes no further before it is let.
struct Held {
    let_go: mpsc::Sender<()>,
    http: SocketAddr,
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
        let (let_go, held) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        loop {
            let mut config = config();
            config.http = free_address().await;
            change(&mut config);
            let http = config.http;
            let started = tokio::spawn(Coordinator::start(config));
            // Somebody else may have taken the port: then the start is over.
            while !started.is_finished() {
                if TcpStream::connect(http).await.is_ok() {
                    return Self { let_go, http, started };
                }
                tokio::task::yield_now().await;
            }
        }
    }
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
        let Held { let_go, http, started } = Held::start(|_| {}).await;
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
        let Held { let_go, http, started } = Held::start(|config| {
            config.ephemeral = false;
            config.data_dir = file.path().to_owned();
        })
        .await;
        assert_eq!(get(http, "/startupz").await.0, 503);
        let_go.send(()).unwrap();
        assert!(matches!(soon(started).await.unwrap(), Err(StartError::Store(_))));
        soon(async {
            while TcpStream::connect(http).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}
