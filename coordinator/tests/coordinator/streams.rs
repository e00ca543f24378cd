//! Submissions on a stream.

use evenkeel_proto::v1;
use evenkeel_shared::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::{World, soon, task};

struct Client {
    requests: mpsc::Sender<v1::SubmitStreamRequest>,
    responses: Streaming<v1::SubmitStreamResponse>,
}

impl Client {
    async fn open(world: &World) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let responses = soon(world.tasks().submit_stream(ReceiverStream::new(stream))).await.unwrap().into_inner();
        Self { requests, responses }
    }

    async fn submit(&self, batch_id: u64, tasks: Vec<v1::TaskSpec>) {
        self.requests.send(v1::SubmitStreamRequest { batch_id, tasks, want_results: true }).await.unwrap();
    }

    async fn next(&mut self) -> v1::SubmitStreamResponse {
        soon(self.responses.message()).await.unwrap().expect("it goes on")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_in_order_and_results_follow_on_the_same_stream() {
    let world = World::start().await;
    let mut client = Client::open(&world).await;
    for batch in 1..=3 {
        client.submit(batch, vec![task("echo", "in"), task("not a kind", "")]).await;
    }
    let mut accepted = Vec::new();
    for expected in 1..=3 {
        let batch = client.next().await.batch.expect("an answer, as no agent is there");
        assert_eq!(batch.batch_id, expected);
        accepted.push(batch.results[0].task_id.clone());
        assert_eq!(batch.results[1].error.as_ref().unwrap().field, "tasks[1].kind");
    }
    let mut agent = world.agent("a-1").await;
    for _ in 0..3 {
        agent.work("out").await;
    }
    let mut finished = Vec::new();
    while finished.len() < 3 {
        finished.extend(client.next().await.finished.into_iter().map(|finished| finished.task_id));
    }
    accepted.sort_unstable();
    finished.sort_unstable();
    assert_eq!(finished, accepted);
    // The client ends the stream, has had everything, and so does the server.
    drop(client.requests);
    assert!(soon(client.responses.message()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_task_that_was_over_before_comes_as_well() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let keyed = v1::TaskSpec { idempotency_key: "k".into(), ..task("echo", "in") };
    let id = world.submit(keyed.clone()).await;
    agent.work("out").await;
    world.wait(&[&id]).await;
    let mut client = Client::open(&world).await;
    client.submit(1, vec![keyed.clone(), keyed]).await;
    let batch = client.next().await.batch.unwrap();
    assert!(batch.results.iter().all(|result| result.duplicate && result.task_id == id));
    assert_eq!(client.next().await.finished[0].output, "out");
    drop(client.requests);
    assert!(soon(client.responses.message()).await.unwrap().is_none(), "the same task is one result");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_wrong_as_a_whole_does_not_end_the_stream() {
    let world = World::start().await;
    let mut client = Client::open(&world).await;
    client.submit(1, Vec::new()).await;
    client.submit(2, vec![task("echo", "in")]).await;
    let first = client.next().await.batch.unwrap();
    assert_eq!((first.batch_id, first.results[0].error.as_ref().unwrap().code), (1, Code::InvalidArgument.grpc()));
    assert!(client.next().await.batch.unwrap().results[0].error.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_and_waits_and_says_so() {
    let world = World::start().await;
    let id = world.submit(task("echo", "in")).await;
    let mut client = Client::open(&world).await;
    client.submit(1, vec![task("echo", "in")]).await;
    client.next().await;
    let mut tasks = world.tasks();
    let request = v1::WaitRequest { task_ids: vec![id.clone()], ..v1::WaitRequest::default() };
    let mut waits = Box::pin(tasks.wait(request));
    tokio::select! {
        biased;
        ended = &mut waits => panic!("nobody has taken the task: {ended:?}"),
        // Requests of a connection arrive in order: what follows the wait is answered once the wait is there.
        _ = world.get(&id) => {}
    }
    let ((), ended, waited) = tokio::join!(world.stop(), soon(client.responses.message()), soon(waits));
    for status in [ended.unwrap_err(), waited.unwrap_err()] {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    }
}
