//! Input that makes no sense: each case gets a typed error that names what is wrong, changes nothing, and is counted.

use std::collections::HashMap;

use evenkeel_proto::v1::{
    self, admin_service_client::AdminServiceClient, agent_message::Message as FromAgent,
    resource_service_client::ResourceServiceClient,
};
use evenkeel_shared::Code;

use crate::support::{World, error_of, register, soon, task};

const TASKS: &str = "evenkeel_bad_input_total{reason=\"invalid_task\"}";
const REQUESTS: &str = "evenkeel_bad_input_total{reason=\"invalid_request\"}";
const FRAMES: &str = "evenkeel_bad_input_total{reason=\"invalid_frame\"}";

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_make_no_sense_are_refused_by_field() {
    let world = World::start().await;
    let rule = |key: &str, operator| v1::LabelRule { key: key.into(), operator, ..v1::LabelRule::default() };
    let required = |rule| {
        let requirements = v1::Requirements { required: vec![rule], ..v1::Requirements::default() };
        v1::TaskSpec { requirements: Some(requirements), ..task("echo", "in") }
    };
    let slots = v1::Resources { slots: 5_000, ..v1::Resources::default() };
    let impossible = v1::Requirements { resources: Some(slots), ..v1::Requirements::default() };
    let retry = v1::RetryPolicy { multiplier: f64::NAN, ..v1::RetryPolicy::default() };
    let cases = [
        (task("", "in"), "tasks[0].kind"),
        (task("no spaces", "in"), "tasks[0].kind"),
        (v1::TaskSpec { payload: vec![0; (1 << 20) + 1].into(), ..task("echo", "") }, "tasks[0].payload"),
        (v1::TaskSpec { priority: Some(10), ..task("echo", "in") }, "tasks[0].priority"),
        (v1::TaskSpec { deadline_unix_ms: 1, ..task("echo", "in") }, "tasks[0].deadline_unix_ms"),
        (v1::TaskSpec { deadline_unix_ms: -1, ..task("echo", "in") }, "tasks[0].deadline_unix_ms"),
        (v1::TaskSpec { delivery: 9, ..task("echo", "in") }, "tasks[0].delivery"),
        (v1::TaskSpec { retry: Some(retry), ..task("echo", "in") }, "tasks[0].retry.multiplier"),
        (v1::TaskSpec { queue_timeout_ms: u64::MAX, ..task("echo", "in") }, "tasks[0].queue_timeout_ms"),
        (required(rule("bad key", 0)), "tasks[0].requirements.required[0].key"),
        (required(rule("key", 99)), "tasks[0].requirements.required[0].operator"),
        (
            v1::TaskSpec { requirements: Some(impossible), ..task("echo", "in") },
            "tasks[0].requirements.resources.slots",
        ),
    ];
    let count = cases.len();
    for (spec, field) in cases {
        let error = world.refused(vec![spec]).await;
        let fields: Vec<&str> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((error.code, fields.as_slice()), (Code::InvalidArgument, [field].as_slice()), "{error}");
    }
    assert_eq!(world.metric(TASKS).await, count as f64);
    let listed = soon(world.tasks().list(v1::ListRequest::default())).await.unwrap().into_inner();
    assert!(listed.tasks.is_empty(), "something was accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused_by_field() {
    let world = World::start().await;
    let (mut tasks, mut cluster) = (world.tasks(), world.cluster());
    let list = |request: v1::ListRequest| request;
    let cases = [
        (soon(tasks.submit(v1::SubmitRequest::default())).await.unwrap_err(), "tasks"),
        (soon(tasks.submit(v1::SubmitRequest { tasks: vec![task("echo", ""); 1_001] })).await.unwrap_err(), "tasks"),
        (soon(tasks.get(v1::GetRequest { task_id: "x".into(), ..Default::default() })).await.unwrap_err(), "task_id"),
        (soon(tasks.wait(v1::WaitRequest::default())).await.unwrap_err(), "task_ids"),
        (
            soon(tasks.wait(v1::WaitRequest { task_ids: vec!["x".into()], ..Default::default() })).await.unwrap_err(),
            "task_ids[0]",
        ),
        (
            soon(tasks.list(list(v1::ListRequest { states: vec![77], ..Default::default() }))).await.unwrap_err(),
            "states[0]",
        ),
        (
            soon(tasks.list(list(v1::ListRequest { page_size: 1_001, ..Default::default() }))).await.unwrap_err(),
            "page_size",
        ),
        (
            soon(tasks.list(list(v1::ListRequest { page_token: "x".into(), ..Default::default() }))).await.unwrap_err(),
            "page_token",
        ),
        (soon(tasks.redrive(v1::RedriveRequest::default())).await.unwrap_err(), "state"),
        (
            soon(tasks.watch(v1::WatchRequest { kind: "no spaces".into(), ..Default::default() })).await.unwrap_err(),
            "kind",
        ),
        (soon(cluster.describe_agent(v1::DescribeAgentRequest::default())).await.unwrap_err(), "agent_id"),
        (
            soon(cluster.list_agents(v1::ListAgentsRequest { health: vec![9], ..Default::default() }))
                .await
                .unwrap_err(),
            "health[0]",
        ),
        (
            soon(cluster.events(v1::EventsRequest { types: vec![99], ..Default::default() })).await.unwrap_err(),
            "types[0]",
        ),
        (soon(cluster.set_strategy(v1::SetStrategyRequest::default())).await.unwrap_err(), "strategy.strategy"),
    ];
    let count = cases.len();
    for (status, field) in cases {
        let error = error_of(&status);
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        assert_eq!(error.violations[0].field, field, "{error}");
    }
    assert_eq!(world.metric(REQUESTS).await, count as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_end_the_session_and_change_nothing() {
    let world = World::start().await;
    let load = |cpu_share| FromAgent::Heartbeat(v1::Heartbeat { cpu_share, ..v1::Heartbeat::default() });
    let attempt = v1::AttemptRef { task_id: "x".into(), attempt: 1, assignment_id: 1 };
    let real = v1::AttemptRef { task_id: "01890000-0000-7000-8000-000000000000".into(), ..attempt.clone() };
    let progress =
        v1::AttemptProgress { attempt: Some(real.clone()), fraction: f64::NAN, note: String::new(), usage: None };
    let empty = v1::AttemptResult { attempt: Some(real), outcome: None, run_us: 0, usage: None };
    let cases = [
        (load(f64::NAN), "messages[1].heartbeat.cpu_share"),
        (load(-0.5), "messages[1].heartbeat.cpu_share"),
        (load(f64::INFINITY), "messages[1].heartbeat.cpu_share"),
        (FromAgent::Started(v1::AttemptStarted { attempt: None }), "messages[1].started.attempt"),
        (FromAgent::Started(v1::AttemptStarted { attempt: Some(attempt) }), "messages[1].started.attempt.task_id"),
        (FromAgent::Progress(progress), "messages[1].progress.fraction"),
        (FromAgent::Result(empty), "messages[1].result.outcome"),
    ];
    let count = cases.len();
    for (n, (message, field)) in cases.into_iter().enumerate() {
        let agent = world.agent(&format!("a-{n}")).await;
        // What comes before it in the frame makes sense, and must not take effect either.
        agent.say_all(vec![FromAgent::Draining(v1::Draining::default()), message]).await;
        let error = agent.end().await;
        assert_eq!((error.code, error.violations[0].field.as_str()), (Code::InvalidArgument, field), "{error}");
    }
    assert_eq!(world.metric(FRAMES).await, count as f64);
    world.metric_becomes("evenkeel_agents{health=\"lost\"}", count as f64).await;
    let listed = soon(world.cluster().list_agents(v1::ListAgentsRequest::default())).await.unwrap().into_inner();
    assert!(listed.agents.iter().all(|agent| agent.admin_state() == v1::AdminState::Active));
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let labels: HashMap<String, String> = [("bad key".to_owned(), String::new())].into();
    let cases = [
        (v1::Register { agent_id: String::new(), ..register("a") }, "messages[0].register.agent_id"),
        (v1::Register { kinds: Vec::new(), ..register("a") }, "messages[0].register.kinds"),
        (v1::Register { capacity: None, ..register("a") }, "messages[0].register.capacity.slots"),
        (v1::Register { tier: 16, ..register("a") }, "messages[0].register.tier"),
        (v1::Register { labels, ..register("a") }, "messages[0].register.labels"),
    ];
    for (register, field) in cases {
        let agent = world.silent_agent().await;
        agent.say(FromAgent::Register(register)).await;
        let error = agent.end().await;
        assert_eq!((error.code, error.violations[0].field.as_str()), (Code::InvalidArgument, field), "{error}");
    }
    assert!(
        soon(world.cluster().list_agents(v1::ListAgentsRequest::default()))
            .await
            .unwrap()
            .into_inner()
            .agents
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_comes_first_and_once() {
    let world = World::start().await;
    let early = world.silent_agent().await;
    early.say(FromAgent::Heartbeat(v1::Heartbeat::default())).await;
    assert_eq!(early.end().await.code, Code::FailedPrecondition);
    let twice = world.agent("a-1").await;
    twice.say(FromAgent::Register(register("a-1"))).await;
    assert_eq!(twice.end().await.code, Code::FailedPrecondition);
    let nothing = world.agent("a-2").await;
    nothing.frame(v1::AgentFrame { messages: vec![v1::AgentMessage { message: None }] }).await;
    assert_eq!(nothing.end().await.violations[0].field, "messages[0]");
    assert_eq!(world.metric("evenkeel_bad_input_total{reason=\"not_registered\"}").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_take_the_id_of_another() {
    let world = World::start().await;
    let mut owner = world.agent("a-1").await;
    let thief = world.silent_agent().await;
    thief.say(FromAgent::Register(v1::Register { instance_id: "other".into(), ..register("a-1") })).await;
    assert_eq!(thief.end().await.code, Code::AlreadyExists);
    assert_eq!(world.metric("evenkeel_bad_input_total{reason=\"agent_id_taken\"}").await, 1.0);
    world.submit(task("echo", "in")).await;
    owner.work("out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_for_a_task_that_the_agent_does_not_hold_changes_nothing() {
    let world = World::start().await;
    let mut holder = world.agent("a-1").await;
    let id = world.submit(task("echo", "in")).await;
    let assignment = holder.assignment().await;
    let mut other = world.agent("a-2").await;
    other.succeed(&assignment, "stolen").await;
    assert_eq!(other.ack().await, v1::ResultStatus::Stale);
    holder.succeed(&assignment, "out").await;
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
    assert_eq!(world.metric("evenkeel_bad_input_total{reason=\"stale_result\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_so_large_at_most() {
    let world = World::start().await;
    let large = |kib: usize| "#".repeat(kib << 10);
    let mut resources = ResourceServiceClient::new(world.channel());
    let mut admin = AdminServiceClient::new(world.channel());
    let describe = v1::DescribeAgentRequest { agent_id: large(64) };
    let limit = v1::PutLimitRequest { reason: large(64), ..v1::PutLimitRequest::default() };
    let check = |kib: usize| v1::CheckConfigRequest { text: large(kib) };
    for (what, status) in [
        ("the fleet", soon(world.cluster().describe_agent(describe)).await.unwrap_err()),
        ("resources", soon(resources.put_limit(limit)).await.unwrap_err()),
        ("the coordinator", soon(admin.check_config(check(301))).await.unwrap_err()),
    ] {
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{what}: {status}");
    }
    // As large as a configuration file may be.
    soon(admin.check_config(check(256))).await.unwrap();
    let mut long = tonic::Request::new(v1::StatusRequest {});
    long.metadata_mut().insert("x-more", "x".repeat(20 << 10).parse().unwrap());
    assert!(soon(world.cluster().status(long)).await.is_err(), "headers are bounded too");
    soon(world.cluster().status(v1::StatusRequest {})).await.unwrap();
}
