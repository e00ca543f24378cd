//! Credentials that come, go and are too fast.

use evenkeel_proto::v1::{
    self, admin_service_client::AdminServiceClient, cluster_service_client::ClusterServiceClient,
    task_service_client::TaskServiceClient,
};
use evenkeel_shared::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Credentials, Keyed, keyed, tenants::Session};
use crate::support::{World, error_of, register, soon, task};

fn tasks(world: &World, id: &str) -> TaskServiceClient<Keyed> {
    TaskServiceClient::new(keyed(world, id))
}

async fn revoke(world: &World, id: &str) -> u32 {
    let mut admin = AdminServiceClient::new(keyed(world, "admin"));
    let request = v1::RevokeCredentialRequest { id: id.into(), reason: "stolen".into() };
    soon(admin.revoke_credential(request)).await.unwrap().into_inner().streams_ended
}

/// The error that a stream ends with.
async fn end_of<T>(mut stream: Streaming<T>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => return status,
        }
    }
}

/// A stream of each sort.
struct Streams {
    session: Session,
    submissions: (mpsc::Sender<v1::SubmitStreamRequest>, Streaming<v1::SubmitStreamResponse>),
    watch: Streaming<v1::TaskEvent>,
    events: Streaming<v1::ClusterEvent>,
}

impl Streams {
    async fn open(world: &World) -> Self {
        let mut session = Session::open(world, "agent", register("a-1")).await;
        session.hear().await.unwrap();
        let (to, requests) = mpsc::channel(4);
        let responses = soon(tasks(world, "client").submit_stream(ReceiverStream::new(requests))).await.unwrap();
        let watch = soon(tasks(world, "client").watch(v1::WatchRequest::default())).await.unwrap().into_inner();
        let mut cluster = ClusterServiceClient::new(keyed(world, "viewer"));
        let follow = v1::EventsRequest { follow: true, ..Default::default() };
        let events = soon(cluster.events(follow)).await.unwrap().into_inner();
        Self { session, submissions: (to, responses.into_inner()), watch, events }
    }

    async fn all_end_unauthenticated(self) {
        assert_eq!(self.session.end().await.code, Code::Unauthenticated);
        for (what, status) in [
            ("submissions", end_of(self.submissions.1).await),
            ("watch", end_of(self.watch).await),
            ("events", end_of(self.events).await),
        ] {
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{what}: {status}");
        }
    }
}

async fn is_refused(world: &World, id: &str) {
    let status = soon(tasks(world, id).list(v1::ListRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_revokes_ends_every_stream_of_the_credential() {
    let world = Credentials::usual().world().await;
    let streams = Streams::open(&world).await;
    assert_eq!(revoke(&world, "agent").await, 1);
    assert_eq!(revoke(&world, "client").await, 2);
    assert_eq!(revoke(&world, "viewer").await, 1);
    streams.all_end_unauthenticated().await;
    is_refused(&world, "client").await;
    is_refused(&world, "viewer").await;
    // What others do goes on.
    soon(tasks(&world, "admin").list(v1::ListRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_ends_them_too() {
    let mut credentials = Credentials::usual();
    let world = credentials.world().await;
    let streams = Streams::open(&world).await;
    credentials.text = String::new();
    let credentials = credentials.with("admin", "root", "admin", "");
    streams.all_end_unauthenticated().await;
    is_refused(&world, "client").await;
    soon(tasks(&world, "admin").list(v1::ListRequest::default())).await.unwrap();
    drop(credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_ends_with_its_credential() {
    let world = Credentials::usual().world().await;
    let mut client = tasks(&world, "client");
    let task = v1::ExecuteRequest { task: Some(task("echo", "")), ..Default::default() };
    let executed = tokio::spawn(async move { client.execute(task).await });
    // It waits once its task is there.
    let mut admin = tasks(&world, "admin");
    soon(async {
        while admin.list(v1::ListRequest::default()).await.unwrap().into_inner().tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    revoke(&world, "client").await;
    assert_eq!(soon(executed).await.unwrap().unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_ends_its_streams() {
    let soon_over = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    let more = format!("expires = {}", humantime::format_rfc3339_millis(soon_over));
    let credentials = Credentials::usual().with("short", "app", "client", &more);
    let world = credentials.world().await;
    // On a machine that is so slow that it is over before it begins, it is refused for the same reason.
    match soon(tasks(&world, "short").watch(v1::WatchRequest::default())).await {
        Ok(watch) => assert_eq!(end_of(watch.into_inner()).await.code(), tonic::Code::Unauthenticated),
        Err(status) => assert_eq!(status.code(), tonic::Code::Unauthenticated),
    }
    is_refused(&world, "short").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_remembers_what_was_revoked() {
    let credentials = Credentials::usual();
    let data = tempfile::tempdir().unwrap();
    let mut config = credentials.config();
    config.ephemeral = false;
    config.data_dir = data.path().to_owned();
    let world = World::with(config.clone()).await;
    revoke(&world, "client").await;
    world.stop().await;
    let world = World::with(config).await;
    is_refused(&world, "client").await;
    soon(tasks(&world, "admin").list(v1::ListRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_changed_without_a_gap() {
    let mut credentials = Credentials::usual();
    let world = credentials.world().await;
    let watch = soon(tasks(&world, "client").watch(v1::WatchRequest::default())).await.unwrap().into_inner();
    credentials = credentials.with("client-2", "app", "client", "");
    // The new one is good as soon as the file is read; the old one is all the while.
    soon(async {
        while tasks(&world, "client-2").list(v1::ListRequest::default()).await.is_err() {
            soon(tasks(&world, "client").list(v1::ListRequest::default())).await.unwrap();
        }
    })
    .await;
    credentials.change("id = \"client\"", "id = \"client\"\nrevoked = true");
    assert_eq!(end_of(watch).await.code(), tonic::Code::Unauthenticated);
    is_refused(&world, "client").await;
    soon(tasks(&world, "client-2").list(v1::ListRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_makes_no_sense_changes_nothing() {
    let mut credentials = Credentials::usual();
    let world = credentials.world().await;
    let good = credentials.text.clone();
    credentials.change("[[credential]]", "[[nonsense]]");
    credentials.text = good;
    let credentials = credentials.with("late", "late", "client", "");
    // By the time that a good file is in force the bad one was looked at, or passed over.
    soon(async {
        while tasks(&world, "late").list(v1::ListRequest::default()).await.is_err() {
            soon(tasks(&world, "client").list(v1::ListRequest::default())).await.unwrap();
        }
    })
    .await;
    drop(credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_fast_is_told_when_to_come_again() {
    let credentials = Credentials::usual().with("same", "app", "client", "");
    let mut config = credentials.config();
    (config.auth.client_calls_per_s, config.auth.client_calls_burst) = (1, 5);
    let world = World::with(config).await;
    let mut refused = None;
    for _ in 0..1_000 {
        if let Err(status) = soon(tasks(&world, "client").list(v1::ListRequest::default())).await {
            refused = Some(status);
            break;
        }
    }
    let error = error_of(&refused.expect("a thousand calls are within five at once and one a second"));
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.retry_after.is_some_and(|after| after <= std::time::Duration::from_secs(1)));
    // Others have a rate of their own; another token of the same name has not.
    soon(tasks(&world, "viewer").list(v1::ListRequest::default())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_before_anything_is_written() {
    let credentials = Credentials::usual();
    let mut config = credentials.config();
    (config.auth.client_tasks_per_s, config.auth.client_tasks_burst) = (1, 100);
    let world = World::with(config).await;
    let batch = || v1::SubmitRequest { tasks: vec![task("echo", ""); 100] };
    let mut client = tasks(&world, "client");
    let mut accepted = 0;
    let error = loop {
        match soon(client.submit(batch())).await {
            Ok(_) => accepted += 100,
            Err(status) => break error_of(&status),
        }
    };
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.retry_after.is_some());
    let (to, requests) = mpsc::channel(4);
    let mut stream = soon(client.submit_stream(ReceiverStream::new(requests))).await.unwrap().into_inner();
    to.send(v1::SubmitStreamRequest { batch_id: 1, tasks: batch().tasks, want_results: false }).await.unwrap();
    let answer = soon(stream.message()).await.unwrap().unwrap().batch.unwrap();
    let error = answer.results[0].error.as_ref().unwrap();
    assert_eq!(error.code, Code::ResourceExhausted.grpc());
    let mut cluster = ClusterServiceClient::new(keyed(&world, "viewer"));
    soon(async {
        while soon(cluster.status(v1::StatusRequest {})).await.unwrap().into_inner().tasks_accepted < accepted {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let status = soon(cluster.status(v1::StatusRequest {})).await.unwrap().into_inner();
    assert_eq!(status.tasks_accepted, accepted);
}
