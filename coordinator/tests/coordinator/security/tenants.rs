//! What a client may submit and see, and what an agent may be.

use evenkeel_proto::v1::{
    self, admin_service_client::AdminServiceClient, agent_message::Message as FromAgent,
    agent_service_client::AgentServiceClient, cluster_service_client::ClusterServiceClient,
    task_service_client::TaskServiceClient,
};
use evenkeel_shared::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Credentials, Keyed, keyed};
use crate::{
    rest::Ask,
    support::{World, error_of, register, soon, task},
};

fn tasks(world: &World, id: &str) -> TaskServiceClient<Keyed> {
    TaskServiceClient::new(keyed(world, id))
}

/// Two tenants with a client each (`ek_red`, `ek_blue`), and the usual ones.
fn two_tenants() -> Credentials {
    Credentials::usual().with("red", "red", "client", "tenant = \"red\"").with(
        "blue",
        "blue",
        "client",
        "tenant = \"blue\"",
    )
}

async fn submit(tasks: &mut TaskServiceClient<Keyed>, spec: v1::TaskSpec) -> Result<String, Status> {
    let answer = soon(tasks.submit(v1::SubmitRequest { tasks: vec![spec] })).await?;
    Ok(answer.into_inner().results[0].task_id.clone())
}

fn of_tenant(tenant: &str) -> v1::TaskSpec {
    v1::TaskSpec { tenant: tenant.into(), ..task("echo", "secret") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_submits_for_its_tenant_alone() {
    let world = two_tenants().world().await;
    let mut red = tasks(&world, "red");
    let id = submit(&mut red, task("echo", "")).await.unwrap();
    let shown = soon(red.get(v1::GetRequest { task_id: id, ..v1::GetRequest::default() })).await.unwrap().into_inner();
    assert_eq!(shown.task.unwrap().spec.unwrap().tenant, "red");
    submit(&mut red, of_tenant("red")).await.unwrap();
    let error = submit(&mut red, of_tenant("blue")).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::PermissionDenied);
    // Of several each has its own answer.
    let both = v1::SubmitRequest { tasks: vec![of_tenant("blue"), of_tenant("")] };
    let answers = soon(red.submit(both)).await.unwrap().into_inner().results;
    assert_eq!(answers[0].error.as_ref().unwrap().code, Code::PermissionDenied.grpc());
    assert!(answers[1].error.is_none());
    // Who is bound to no tenant submits for any.
    submit(&mut tasks(&world, "client"), of_tenant("blue")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_another_tenant_are_not_there() {
    let world = two_tenants().world().await;
    let (mut red, mut blue) = (tasks(&world, "red"), tasks(&world, "blue"));
    let id = submit(&mut red, task("echo", "secret")).await.unwrap();
    let ids = vec![id.clone()];
    let unknown = "01890000-0000-7000-8000-000000000000";
    let get = |id: &str| v1::GetRequest { task_id: id.into(), ..v1::GetRequest::default() };
    let status = soon(blue.get(get(&id))).await.unwrap_err();
    let expected = soon(blue.get(get(unknown))).await.unwrap_err();
    assert_eq!(status.message().replace(&id, ""), expected.message().replace(unknown, ""), "it sounds different");
    let refusals = [
        status,
        soon(blue.wait(v1::WaitRequest { task_ids: ids.clone(), ..Default::default() })).await.unwrap_err(),
        soon(blue.watch(v1::WatchRequest { task_ids: ids.clone(), ..Default::default() })).await.unwrap_err(),
        soon(blue.cancel(v1::CancelRequest { task_id: id.clone(), ..Default::default() })).await.unwrap_err(),
        soon(blue.explain(v1::ExplainRequest { task_id: id.clone(), ..Default::default() })).await.unwrap_err(),
    ];
    for (i, status) in refusals.into_iter().enumerate() {
        assert_eq!(status.code(), tonic::Code::NotFound, "{i}: {status}");
    }
    let listed = soon(blue.list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.tasks, []);
    let named = v1::ListRequest { tenant: "red".into(), ..Default::default() };
    assert_eq!(soon(blue.list(named)).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let redriven = soon(blue.redrive(v1::RedriveRequest { task_ids: ids, ..Default::default() })).await.unwrap();
    let answer = &redriven.into_inner().redriven[0];
    assert_eq!(answer.error.as_ref().unwrap().code, Code::NotFound.grpc());
    // It is still there, and was not cancelled.
    let shown = soon(red.get(get(&id))).await.unwrap().into_inner().task.unwrap();
    assert_eq!(shown.state(), v1::TaskState::Queued);
    assert_eq!(soon(red.list(v1::ListRequest::default())).await.unwrap().into_inner().tasks.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_submit_is_for_ones_own_tenant() {
    let world = two_tenants().world().await;
    let mut red = tasks(&world, "red");
    let (to, batches) = mpsc::channel(4);
    let mut answers = soon(red.submit_stream(ReceiverStream::new(batches))).await.unwrap().into_inner();
    let batch = vec![of_tenant("blue"), of_tenant("")];
    to.send(v1::SubmitStreamRequest { batch_id: 1, tasks: batch, want_results: false }).await.unwrap();
    let results = soon(answers.message()).await.unwrap().unwrap().batch.unwrap().results;
    assert_eq!(results[0].error.as_ref().map(|error| error.code), Some(Code::PermissionDenied.grpc()));
    let get = v1::GetRequest { task_id: results[1].task_id.clone(), ..v1::GetRequest::default() };
    let shown = soon(red.get(get)).await.unwrap().into_inner().task.unwrap();
    assert_eq!(shown.spec.unwrap().tenant, "red");
    let execute = v1::ExecuteRequest { task: Some(of_tenant("blue")), ..v1::ExecuteRequest::default() };
    assert_eq!(soon(red.execute(execute)).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let tenant_of_blue = soon(tasks(&world, "blue").list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert_eq!(tenant_of_blue.tasks, [], "something was submitted for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_drives_again_what_is_of_its_tenant_alone() {
    let world = two_tenants().world().await;
    let (mut red, mut blue) = (tasks(&world, "red"), tasks(&world, "blue"));
    for client in [&mut red, &mut blue] {
        let task_id = submit(client, task("echo", "")).await.unwrap();
        soon(client.cancel(v1::CancelRequest { task_id, ..Default::default() })).await.unwrap();
    }
    let cancelled = |tenant: &str| v1::RedriveRequest {
        state: v1::TaskState::Cancelled.into(),
        tenant: tenant.into(),
        ..v1::RedriveRequest::default()
    };
    assert_eq!(soon(blue.redrive(cancelled("red"))).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let redriven = soon(blue.redrive(cancelled(""))).await.unwrap().into_inner().redriven;
    let [own] = &redriven[..] else { panic!("{redriven:?}") };
    assert_eq!(own.error, None);
    let listed = soon(red.list(v1::ListRequest::default())).await.unwrap().into_inner().tasks;
    assert_eq!(listed.len(), 1, "that of the other was driven again as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_kept_in_memory_alone_are_those_of_a_tenant_too() {
    let world = two_tenants().world().await;
    let (mut red, mut blue) = (tasks(&world, "red"), tasks(&world, "blue"));
    let ephemeral = v1::TaskSpec { delivery: v1::Delivery::Ephemeral.into(), ..task("echo", "secret") };
    let task_id = submit(&mut red, ephemeral).await.unwrap();
    assert_eq!(soon(red.list(v1::ListRequest::default())).await.unwrap().into_inner().tasks.len(), 1);
    assert_eq!(soon(blue.list(v1::ListRequest::default())).await.unwrap().into_inner().tasks, []);
    let get = v1::GetRequest { task_id, ..v1::GetRequest::default() };
    assert_eq!(soon(blue.get(get)).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_tenant_is_a_key_of_ones_own() {
    let world = two_tenants().world().await;
    let keyed_task = || v1::TaskSpec { idempotency_key: "order-1".into(), ..task("echo", "") };
    let red = submit(&mut tasks(&world, "red"), keyed_task()).await.unwrap();
    let other = v1::TaskSpec { payload: "other".into(), ..keyed_task() };
    let blue = submit(&mut tasks(&world, "blue"), other).await.unwrap();
    assert_ne!(red, blue);
    assert_eq!(submit(&mut tasks(&world, "red"), keyed_task()).await.unwrap(), red);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_ones_own_tasks() {
    let world = two_tenants().world().await;
    let mut watched =
        soon(tasks(&world, "blue").watch(v1::WatchRequest { after_position: Some(0), ..Default::default() }))
            .await
            .unwrap()
            .into_inner();
    submit(&mut tasks(&world, "red"), task("echo", "")).await.unwrap();
    let own = submit(&mut tasks(&world, "blue"), task("echo", "")).await.unwrap();
    let event = soon(watched.message()).await.unwrap().unwrap();
    assert_eq!(event.task_id, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_of_all_tenants_is_not_for_those_of_one() {
    let credentials = two_tenants().with("watcher", "watcher", "viewer", "tenant = \"red\"");
    let world = credentials.world().await;
    let mut cluster = ClusterServiceClient::new(keyed(&world, "watcher"));
    let status = soon(cluster.status(v1::StatusRequest {})).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    let metrics = Ask::new("GET", "/metrics").header("authorization", "Bearer ek_watcher");
    assert_eq!(metrics.of(&world).await.status, 403);
    soon(tasks(&world, "watcher").list(v1::ListRequest::default())).await.unwrap();
    let mut admin = AdminServiceClient::new(keyed(&world, "watcher"));
    let who = soon(admin.who_am_i(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!(who.tenant, "red");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_neither_payload_nor_output() {
    let world = two_tenants().world().await;
    let mut client = tasks(&world, "client");
    let id = submit(&mut client, task("echo", "secret")).await.unwrap();
    let mut agent = Session::open(&world, "agent", register("a-1")).await;
    agent.work("output").await;
    let waited = v1::WaitRequest { task_ids: vec![id.clone()], ..Default::default() };
    assert_eq!(soon(client.wait(waited)).await.unwrap().into_inner().finished[0].output, "output");
    let get = v1::GetRequest { task_id: id, include_payload: true, include_attempts: true };
    let shown = soon(client.get(get.clone())).await.unwrap().into_inner().task.unwrap();
    assert_eq!((&shown.output[..], &shown.spec.unwrap().payload[..]), (&b"output"[..], &b"secret"[..]));
    let shown = soon(tasks(&world, "viewer").get(get)).await.unwrap().into_inner().task.unwrap();
    assert_eq!((shown.output.len(), shown.spec.unwrap().payload.len()), (0, 0));
    assert_eq!(shown.attempts.len(), 1);
}

/// An agent with a token.
pub struct Session {
    to: mpsc::Sender<v1::AgentFrame>,
    from: tonic::Streaming<v1::CoordinatorFrame>,
}

impl Session {
    pub async fn open(world: &World, id: &str, register: v1::Register) -> Self {
        let (to, frames) = mpsc::channel(16);
        let mut client = AgentServiceClient::new(keyed(world, id));
        let from = soon(client.session(ReceiverStream::new(frames))).await.unwrap().into_inner();
        let session = Self { to, from };
        session.say(FromAgent::Register(register)).await;
        session
    }

    pub async fn say(&self, message: FromAgent) {
        let messages = vec![v1::AgentMessage { message: Some(message) }];
        self.to.send(v1::AgentFrame { messages }).await.unwrap();
    }

    pub async fn hear(&mut self) -> Result<v1::CoordinatorFrame, Status> {
        soon(self.from.message()).await?.ok_or_else(|| Status::ok("the session ended"))
    }

    /// The next task that it is given.
    async fn assignment(&mut self) -> v1::Assignment {
        loop {
            for message in self.hear().await.unwrap().messages {
                if let Some(v1::coordinator_message::Message::Assignment(given)) = message.message {
                    return given;
                }
            }
        }
    }

    async fn work(&mut self, output: &'static str) {
        let given = self.assignment().await;
        self.succeed(&given, output).await;
    }

    async fn succeed(&self, given: &v1::Assignment, output: &'static str) {
        let outcome = Some(v1::attempt_result::Outcome::Success(v1::Success { output: output.into() }));
        let attempt = given.attempt.clone();
        self.say(FromAgent::Result(v1::AttemptResult { attempt, outcome, run_us: 5, usage: None })).await;
    }

    /// The error that it ends with.
    pub async fn end(mut self) -> evenkeel_shared::Error {
        loop {
            if let Err(status) = self.hear().await {
                return error_of(&status);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_what_its_credential_says_and_nothing_else() {
    let grant = "[credential.agent]\nids = [\"web-*\", \"db\"]\nslots_max = 4\nlabels = [\"zone=eu\", \"gpu\"]";
    let credentials = Credentials::usual().with("fleet", "fleet", "agent", grant);
    let world = credentials.world().await;
    let labelled = |labels: &[(&str, &str)]| v1::Register {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..register("web-1")
    };
    let large = v1::Resources { slots: 5, ..Default::default() };
    for (what, register) in [
        ("another id", register("a-1")),
        ("the pattern itself less a letter", register("web")),
        ("more slots", v1::Register { capacity: Some(large), ..register("web-1") }),
        ("another zone", labelled(&[("zone", "us")])),
        ("a label that is not there", labelled(&[("gpu", "a100"), ("rack", "7")])),
    ] {
        let error = Session::open(&world, "fleet", register).await.end().await;
        assert_eq!(error.code, Code::PermissionDenied, "{what}: {error}");
    }
    let mut viewer = ClusterServiceClient::new(keyed(&world, "viewer"));
    let agents = soon(viewer.list_agents(v1::ListAgentsRequest::default())).await.unwrap().into_inner().agents;
    assert_eq!(agents, [], "a refused agent has left something behind");
    for id in ["web-1", "web-", "db"] {
        let mut agent = Session::open(&world, "fleet", register(id)).await;
        agent.hear().await.unwrap();
    }
    let mut agent = Session::open(&world, "fleet", labelled(&[("zone", "eu"), ("gpu", "a100")])).await;
    // The one before is fenced or not; a word of either sort means that it was let in.
    let _ = agent.hear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_touches_its_own_assignments_alone() {
    let credentials = Credentials::usual().with("other", "a-2", "agent", "");
    let world = credentials.world().await;
    let mut owner = Session::open(&world, "agent", register("a-1")).await;
    owner.hear().await.unwrap();
    let mut client = tasks(&world, "client");
    let id = submit(&mut client, task("echo", "")).await.unwrap();
    let given = owner.assignment().await;
    // Another agent knows all there is to know of the assignment, and says that it is done.
    let mut thief = Session::open(&world, "other", register("a-2")).await;
    thief.hear().await.unwrap();
    thief.succeed(&given, "stolen").await;
    let answer = thief.hear().await.unwrap().messages.remove(0).message.unwrap();
    let v1::coordinator_message::Message::ResultAck(ack) = answer else { panic!("no answer but {answer:?}") };
    assert_eq!(ack.status(), v1::ResultStatus::Stale);
    owner.succeed(&given, "earned").await;
    let waited = v1::WaitRequest { task_ids: vec![id], ..Default::default() };
    assert_eq!(soon(client.wait(waited)).await.unwrap().into_inner().finished[0].output, "earned");
}
