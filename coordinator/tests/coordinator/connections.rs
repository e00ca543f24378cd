//! Connections that are too many, or that say too little too slowly; and others, which go on meanwhile.

use std::{fs, net::SocketAddr};

use evenkeel_coordinator::{Coordinator, config::Sources};
use evenkeel_proto::v1::{ReloadConfigRequest, admin_service_client::AdminServiceClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{World, config, soon, task};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame of settings, of which there are none; it has to be acknowledged.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A request after which the connection stays open.
const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
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

/// A time that no test takes, in milliseconds.
const EVER_MS: u64 = 600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_begin_in_time_is_closed() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("evenkeel.toml");
    let within = |ms: u64| fs::write(&file, format!("[limits]\ngreeting_timeout_ms = {ms}\n")).unwrap();
    // Whoever begins may take as long as this machine needs.
    within(EVER_MS);
    let loaded = Sources { base: config(), file: Some(file.clone()), ..Sources::default() }.load().unwrap();
    let world = World::of(soon(Coordinator::start(loaded)).await.expect("it starts")).await;
    let grpc = world.coordinator.grpc_addr();
    let mut agent = world.agent("a-1").await;
    let mut begun = dial(grpc, PREFACE).await;
    assert!(soon(begun.read(&mut [0; 64])).await.unwrap() > 0, "it has the server's settings");
    let silent = [dial(grpc, b"").await, dial(grpc, &PREFACE[..23]).await];
    assert_eq!(world.metric(&format!("{CLOSED}{{reason=\"silent\"}}")).await, 0.0);

    within(100);
    soon(AdminServiceClient::new(world.channel()).reload_config(ReloadConfigRequest::default())).await.unwrap();
    for stream in silent {
        closes(stream).await;
    }
    // One that came later is closed as well, so the time of those before it is over.
    closes(dial(grpc, b"").await).await;
    world.metric_becomes(&format!("{CLOSED}{{reason=\"silent\"}}"), 3.0).await;
    // Who has begun stays, however little it says.
    begun.write_all(&SETTINGS).await.unwrap();
    assert!(soon(begun.read(&mut [0; 64])).await.unwrap() > 0, "it is still answered");
    world.submit(task("echo", "in")).await;
    agent.work("out").await;
    assert_eq!(world.metric(&format!("{CLOSED}{{reason=\"silent\"}}")).await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_that_does_not_come_in_time_is_given_up() {
    let mut config = config();
    config.limits.greeting_timeout_ms = 300;
    let coordinator = soon(Coordinator::start(config)).await.expect("it starts");
    let http = coordinator.http_addr();
    closes(dial(http, b"").await).await;
    // A header now and then keeps nothing open: the time is that of all of them.
    let mut slow = dial(http, b"GET /healthz HTTP/1.1\r\n").await;
    let dribble = async { while slow.write_all(b"x-more: 1\r\n").await.is_ok() {} };
    soon(dribble).await;
    // Nor does a connection that has been of use once.
    closes(dial(http, HEALTHZ).await).await;
    // Others are answered, those of them that come in time; on a busy machine that is not each one.
    let answered = async || {
        let mut answer = String::new();
        let read = dial(http, HEALTHZ).await.read_to_string(&mut answer).await;
        read.is_ok() && answer.starts_with("HTTP/1.1 200")
    };
    soon(async { while !answered().await {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_endless_headers_is_refused() {
    let mut config = config();
    // Nothing but their length ends it.
    config.limits.greeting_timeout_ms = EVER_MS;
    let world = World::with(config).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_may_do_on_its_connection_is_said_as_it_begins() {
    let world = World::start().await;
    let mut stream = dial(world.coordinator.grpc_addr(), PREFACE).await;
    // The first frame is that of the settings (RFC 9113, 3.4 and 6.5): three bytes of length, and each a number and its value.
    let mut head = [0; 9];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "its type");
    let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    soon(stream.read_exact(&mut body)).await.unwrap();
    let setting = |number: u8| {
        let found = body.chunks(6).find(|setting| setting[..2] == [0, number]);
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    let (streams, window, frame, headers) = (setting(3), setting(4), setting(5), setting(6));
    assert_eq!((streams, window), (Some(1_024), Some(1 << 20)));
    assert_eq!((frame, headers), (Some(64 << 10), Some(16 << 10)));
}
