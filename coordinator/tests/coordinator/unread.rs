//! Peers that ask and do not read: they are cut off, disconnected, and what was kept for them is let go.

use std::future::pending;

use evenkeel_proto::v1::{
    self, agent_message::Message as FromAgent, agent_service_client::AgentServiceClient,
    task_service_client::TaskServiceClient,
};
use evenkeel_shared::Code;
use prost::Message as _;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::{Channel, Endpoint};

use crate::{
    raw::RawCodec,
    support::{FakeAgent, World, config, error_of, register, soon, task},
};

const UNREAD: &str = "evenkeel_connections_closed_total{reason=\"unread\"}";
const MIB: usize = 1 << 20;

/// A connection of its own, whose windows are small: what is not read stays with the server.
async fn narrow(world: &World) -> Channel {
    let address = format!("http://{}", world.coordinator.grpc_addr());
    let endpoint = Endpoint::from_shared(address).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(64 << 10);
    soon(endpoint.connect()).await.unwrap()
}

fn large_output() -> v1::attempt_result::Outcome {
    v1::attempt_result::Outcome::Success(v1::Success { output: vec![7; MIB].into() })
}

/// Takes so many tasks and answers each with the largest output.
async fn answer_largely(agent: &mut FakeAgent, tasks: usize) {
    for _ in 0..tasks {
        let assignment = agent.assignment().await;
        agent.result(&assignment, large_output()).await;
        assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    }
}

/// A stream of submissions with results, none of which is read.
async fn submit_and_do_not_read(
    channel: Channel,
    tasks: usize,
) -> (mpsc::Sender<v1::SubmitStreamRequest>, tonic::Streaming<v1::SubmitStreamResponse>) {
    let (requests, stream) = mpsc::channel(16);
    let mut client = TaskServiceClient::new(channel).max_decoding_message_size(16 << 20);
    let responses = soon(client.submit_stream(ReceiverStream::new(stream))).await.unwrap().into_inner();
    let tasks = vec![task("echo", ""); tasks];
    requests.send(v1::SubmitStreamRequest { batch_id: 1, tasks, want_results: true }).await.unwrap();
    (requests, responses)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_results_pile_up_is_cut_off_and_disconnected() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    // More than the stream may hold, and the connection.
    let (_requests, mut responses) = submit_and_do_not_read(narrow(&world).await, 180).await;
    answer_largely(&mut agent, 180).await;
    world.metric_becomes("evenkeel_slow_consumers_total{stream=\"results\"}", 1.0).await;
    // It may take the end of its stream; it does not, so that the connection is closed.
    world.metric_becomes(UNREAD, 1.0).await;
    let ended = soon(async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    });
    assert!(ended.await.is_err(), "the stream broke before its end");
    // Others go on, on their own connections.
    let id = world.submit(task("echo", "in")).await;
    agent.work("out").await;
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_the_end_of_its_stream_is_told_why() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let (_requests, mut responses) = submit_and_do_not_read(narrow(&world).await, 180).await;
    // No more than it takes: from then on the client has a few seconds to take the end.
    tokio::select! {
        () = world.metric_becomes("evenkeel_slow_consumers_total{stream=\"results\"}", 1.0) => {}
        () = async { answer_largely(&mut agent, 180).await; pending().await } => {}
    }
    let error = soon(async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended well"),
                Err(status) => break error_of(&status),
            }
        }
    });
    let error = error.await;
    assert_eq!(error.code, Code::ResourceExhausted, "{error}");
    assert!(error.message.contains("Wait"), "{error}");
    assert_eq!(world.metric(UNREAD).await, 0.0, "it reads, and keeps its connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_within_the_bounds_that_are_not_read_end_the_connection_too() {
    let mut config = config();
    config.limits.unread_timeout_ms = 1_000;
    let world = World::with(config).await;
    let mut agent = world.agent("a-1").await;
    let (_requests, _responses) = submit_and_do_not_read(narrow(&world).await, 2).await;
    answer_largely(&mut agent, 2).await;
    world.metric_becomes(UNREAD, 1.0).await;
    assert_eq!(world.metric("evenkeel_slow_consumers_total{stream=\"results\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_ends_the_connection() {
    let mut config = config();
    config.limits.unread_timeout_ms = 500;
    let world = World::with(config).await;
    let mut client = tonic::client::Grpc::new(narrow(&world).await);
    soon(client.ready()).await.unwrap();
    // One whole message, and then neither another nor an end.
    let message = v1::SubmitRequest { tasks: vec![task("echo", "in")] }.encode_to_vec();
    let messages = StreamExt::chain(tokio_stream::once(message.into()), tokio_stream::pending());
    let path = "/evenkeel.v1.TaskService/Submit".parse().unwrap();
    assert!(soon(client.streaming(tonic::Request::new(messages), path, RawCodec)).await.is_err());
    world.metric_becomes("evenkeel_connections_closed_total{reason=\"unfinished\"}", 1.0).await;
    let listed = soon(world.tasks().list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert!(listed.tasks.is_empty(), "half a request is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_nothing_to_read_is_left_alone() {
    let mut config = config();
    config.limits.unread_timeout_ms = 300;
    config.limits.greeting_timeout_ms = 1_500;
    let world = World::with(config).await;
    let mut agent = world.agent("a-1").await;
    let watch = v1::WatchRequest::default();
    let mut events = soon(world.tasks().watch(watch)).await.unwrap().into_inner();
    let (requests, stream) = mpsc::channel(1);
    let mut results = soon(world.tasks().submit_stream(ReceiverStream::new(stream))).await.unwrap().into_inner();
    // When a later connection that says nothing is closed, several times the bound have passed.
    let _silent = soon(TcpStream::connect(world.coordinator.grpc_addr())).await.unwrap();
    world.metric_becomes("evenkeel_connections_closed_total{reason=\"silent\"}", 1.0).await;
    for reason in ["unread", "unfinished"] {
        let closed = format!("evenkeel_connections_closed_total{{reason=\"{reason}\"}}");
        assert_eq!(world.metric(&closed).await, 0.0, "{reason}");
    }
    drop(requests);
    assert!(soon(results.message()).await.unwrap().is_none());
    world.submit(task("echo", "in")).await;
    agent.work("out").await;
    assert!(soon(events.message()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_reads_is_cut_off_and_disconnected() {
    let mut config = config();
    // Room for several submissions: the first ones have to get as far as the connection, which then holds them.
    config.limits.session_queue_max = 16;
    config.engine.reconnect_grace_ms = 60_000;
    let world = World::with(config).await;
    let (outbound, frames) = mpsc::channel(4);
    let capacity = Some(v1::Resources { slots: 256, ..v1::Resources::default() });
    let message = Some(FromAgent::Register(v1::Register { capacity, ..register("deaf") }));
    outbound.send(v1::AgentFrame { messages: vec![v1::AgentMessage { message }] }).await.unwrap();
    let mut client = AgentServiceClient::new(narrow(&world).await);
    let _never_read = soon(client.session(ReceiverStream::new(frames))).await.unwrap();
    world.metric_becomes("evenkeel_agents{health=\"healthy\"}", 1.0).await;
    let tasks = vec![v1::TaskSpec { payload: vec![0; MIB].into(), ..task("echo", "") }; 6];
    for _ in 0..6 {
        soon(world.tasks().submit(v1::SubmitRequest { tasks: tasks.clone() })).await.expect("submissions go on");
    }
    world.metric_becomes("evenkeel_slow_consumers_total{stream=\"session\"}", 1.0).await;
    world.metric_becomes(UNREAD, 1.0).await;
    // The connection is gone, and with it the sending half, whatever the agent still has to say.
    soon(outbound.closed()).await;
    assert_eq!(world.metric("evenkeel_sessions").await, 0.0);
}
