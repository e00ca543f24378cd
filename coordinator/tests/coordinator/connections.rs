//! Connections that are too many, or that say too little too slowly; and others, which go on meanwhile.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{World, config, soon, task};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const CLOSED: &str = "evenkeel_connections_closed_total";

async fn dial(address: SocketAddr, said: &[u8]) -> TcpStream {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

/// Reads until the other side closes.
async fn closes(mut stream: TcpStream) {
    let mut received = [0; 4_096];
    while matches!(soon(stream.read(&mut received)).await, Ok(count) if count > 0) {}
}

async fn hasty_world() -> World {
    let mut config = config();
    config.limits.greeting_timeout_ms = 300;
    World::with(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_begin_in_time_is_closed() {
    let world = hasty_world().await;
    let grpc = world.coordinator.grpc_addr();
    closes(dial(grpc, b"").await).await;
    closes(dial(grpc, &PREFACE[..23]).await).await;
    world.metric_becomes(&format!("{CLOSED}{{reason=\"silent\"}}"), 2.0).await;
    // Who has begun stays, however little it says.
    let mut agent = world.agent("a-1").await;
    let begun = dial(grpc, PREFACE).await;
    // A silent one that came later is closed, so the time of this one is over too.
    closes(dial(grpc, b"").await).await;
    world.metric_becomes(&format!("{CLOSED}{{reason=\"silent\"}}"), 3.0).await;
    let mut peek = [0; 64];
    assert!(soon(begun.peek(&mut peek)).await.unwrap() > 0, "it has the server's settings, and no end");
    world.submit(task("echo", "in")).await;
    agent.work("out").await;
    assert_eq!(world.metric(&format!("{CLOSED}{{reason=\"silent\"}}")).await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_that_does_not_come_in_time_is_given_up() {
    let world = hasty_world().await;
    let http = world.coordinator.http_addr();
    closes(dial(http, b"").await).await;
    // A header now and then keeps nothing open: the time is that of all of them.
    let mut slow = dial(http, b"GET /healthz HTTP/1.1\r\n").await;
    let dribble = async { while slow.write_all(b"x-more: 1\r\n").await.is_ok() {} };
    soon(dribble).await;
    // Nor does a connection that has been of use once.
    closes(dial(http, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await).await;
    assert_eq!(world.http("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_endless_headers_is_refused() {
    let world = World::start().await;
    let mut stream = dial(world.coordinator.http_addr(), b"GET /healthz HTTP/1.1\r\n").await;
    let line = [b"x: ".as_slice(), &[b'a'; 1_024], b"\r\n"].concat();
    for _ in 0..64 {
        if stream.write_all(&line).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    // It is answered, and closed while it still sends: the answer may be lost on the way.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(world.http("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_so_many_and_so_long_at_most() {
    let world = World::start().await;
    let ask = async |headers: &[u8]| {
        let begin = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        let mut stream = dial(world.coordinator.http_addr(), begin).await;
        // It may be refused, and closed, before all of it is there.
        let _ = stream.write_all(&[headers, b"\r\n"].concat()).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).chars().take(12).collect::<String>()
    };
    // With the two that it begins with, 64.
    assert_eq!(ask(&b"x: 1\r\n".repeat(62)).await, "HTTP/1.1 200");
    assert_ne!(ask(&b"x: 1\r\n".repeat(63)).await, "HTTP/1.1 200");
    let long = |kib: usize| [b"x: ".as_slice(), &vec![b'a'; kib << 10], b"\r\n"].concat();
    assert_eq!(ask(&long(12)).await, "HTTP/1.1 200");
    assert_ne!(ask(&long(20)).await, "HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_connections_are_closed_and_those_that_are_there_go_on() {
    let mut config = config();
    config.limits.connections_max = 4;
    let world = World::with(config).await;
    let mut agent = world.agent("a-1").await;
    let grpc = world.coordinator.grpc_addr();
    let others = [dial(grpc, PREFACE).await, dial(grpc, PREFACE).await];
    closes(dial(grpc, PREFACE).await).await;
    world.metric_becomes(&format!("{CLOSED}{{reason=\"too_many\"}}"), 1.0).await;
    world.submit(task("echo", "in")).await;
    agent.work("out").await;
    drop(others);
    // Until the coordinator has seen that they are gone, a new one may still be refused.
    soon(async {
        loop {
            let mut stream = dial(grpc, PREFACE).await;
            if stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {
                break;
            }
        }
    })
    .await;
}
