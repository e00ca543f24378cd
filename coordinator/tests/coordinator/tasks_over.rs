//! What is asked about tasks: lists, explanations, and driving them again.

use evenkeel_proto::v1::{self, FailureClass, TaskState};
use evenkeel_shared::Code;

use crate::support::{World, register, soon, task};

async fn list(world: &World, request: v1::ListRequest) -> v1::ListResponse {
    soon(world.tasks().list(request)).await.unwrap().into_inner()
}

fn ids(response: &v1::ListResponse) -> Vec<String> {
    response.tasks.iter().map(|task| task.task_id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_over_durable_and_ephemeral_tasks_newest_first() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for n in 0..7 {
        let delivery = if n % 3 == 0 { v1::Delivery::Ephemeral } else { v1::Delivery::Durable };
        expected.push(world.submit(v1::TaskSpec { delivery: delivery.into(), ..task("echo", "in") }).await);
    }
    // Within a millisecond ids are in no order.
    expected.sort_unstable();
    expected.reverse();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = list(&world, v1::ListRequest { page_size: 3, page_token, ..v1::ListRequest::default() }).await;
        seen.extend(ids(&page));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_by_what_tasks_are_doing_now() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let running = world.submit(task("echo", "1")).await;
    let queued = world.submit(v1::TaskSpec { tenant: "acme".into(), ..task("other", "2") }).await;
    let assignment = agent.assignment().await;
    agent.started(&assignment).await;
    world.metric_becomes("evenkeel_tasks_running", 1.0).await;
    let of = |state: TaskState| v1::ListRequest { states: vec![state.into()], ..v1::ListRequest::default() };
    assert_eq!(ids(&list(&world, of(TaskState::Running)).await), std::slice::from_ref(&running));
    assert_eq!(ids(&list(&world, of(TaskState::Assigned)).await), [""; 0]);
    assert_eq!(ids(&list(&world, of(TaskState::Queued)).await), std::slice::from_ref(&queued));
    let tenant = v1::ListRequest { tenant: "acme".into(), ..v1::ListRequest::default() };
    assert_eq!(ids(&list(&world, tenant).await), [queued]);
    let on_agent = v1::ListRequest { agent_id: "a-1".into(), ..v1::ListRequest::default() };
    assert_eq!(ids(&list(&world, on_agent).await), [running]);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_what_is_missing_and_later_what_was_decided() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let explain = async |id: &str| {
        let request = v1::ExplainRequest { task_id: id.into(), candidates_max: 0 };
        soon(world.tasks().explain(request)).await.unwrap().into_inner()
    };
    let homeless = world.submit(task("unknown-kind", "in")).await;
    let why = explain(&homeless).await;
    assert_eq!((why.state(), why.agents_considered), (TaskState::Queued, 1));
    assert!(!why.candidates[0].eligible && !why.candidates[0].refusal.is_empty(), "{why:?}");
    assert!(!why.waiting_for.is_empty() && !why.summary.is_empty());

    let done = world.submit(task("echo", "in")).await;
    agent.work("out").await;
    world.wait(&[&done]).await;
    let why = explain(&done).await;
    assert_eq!((why.state(), why.attempts.len()), (TaskState::Succeeded, 1));
    assert!(why.summary.contains("a-1"), "{}", why.summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_driven_again_once_as_a_new_task() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let keyed = v1::TaskSpec { idempotency_key: "k".into(), ..task("echo", "in") };
    let failed = world.submit(keyed).await;
    let assignment = agent.assignment().await;
    agent.fail(&assignment, FailureClass::NonRetryable, "broken").await;
    assert_eq!(world.wait(&[&failed]).await.finished[0].state(), TaskState::Failed);

    let redrive =
        async |request: v1::RedriveRequest| soon(world.tasks().redrive(request)).await.unwrap().into_inner().redriven;
    let by_state = v1::RedriveRequest { state: TaskState::Failed.into(), ..v1::RedriveRequest::default() };
    let redriven = redrive(by_state.clone()).await;
    assert_eq!((redriven.len(), redriven[0].task_id.as_str()), (1, failed.as_str()));
    let new = redriven[0].new_task_id.clone();
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    agent.work("out").await;
    assert_eq!(world.wait(&[&new]).await.finished[0].output, "out");
    assert_eq!(world.get(&new).await.redrive_of, failed);
    assert_eq!(world.get(&failed).await.redriven_as, new);

    assert!(redrive(by_state).await.is_empty(), "it has been driven again");
    let named = v1::RedriveRequest { task_ids: vec![failed, new], ..v1::RedriveRequest::default() };
    for refused in redrive(named).await {
        assert_eq!(refused.error.unwrap().code, Code::FailedPrecondition.grpc());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_without_room_are_explained_too() {
    let world = World::start().await;
    let capacity = Some(v1::Resources { slots: 1, ..v1::Resources::default() });
    let mut agent = world.agent_with(v1::Register { capacity, ..register("a-1") }).await;
    world.submit(task("echo", "1")).await;
    agent.assignment().await;
    let waits = world.submit(task("echo", "2")).await;
    let request = v1::ExplainRequest { task_id: waits, candidates_max: 10 };
    let why = soon(world.tasks().explain(request)).await.unwrap().into_inner();
    assert_eq!(why.refused_by_reason.values().sum::<u32>(), 1);
    assert!(!why.candidates[0].eligible);
}
