//! Watching tasks and the fleet.

use evenkeel_proto::v1::{self, ClusterEventType, TaskEventType, agent_message::Message as FromAgent};
use tonic::Streaming;

use crate::support::{World, soon, task};

async fn types_until_finished(events: &mut Streaming<v1::TaskEvent>) -> Vec<TaskEventType> {
    let mut types = Vec::new();
    let mut position = 0;
    while types.last() != Some(&TaskEventType::Finished) {
        let event = soon(events.message()).await.unwrap().expect("it goes on");
        assert!(event.position > position, "positions grow");
        position = event.position;
        types.push(event.r#type());
    }
    types
}

async fn watch(world: &World, request: v1::WatchRequest) -> Streaming<v1::TaskEvent> {
    soon(world.tasks().watch(request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_task_is_watched_from_its_beginning_to_its_end() {
    let world = World::start().await;
    let id = world.submit(task("echo", "in")).await;
    let mut live = watch(&world, v1::WatchRequest { task_ids: vec![id.clone()], ..Default::default() }).await;
    assert_eq!(soon(live.message()).await.unwrap().unwrap().r#type(), TaskEventType::Accepted);
    let mut agent = world.agent("a-1").await;
    let assignment = agent.assignment().await;
    agent.started(&assignment).await;
    let attempt = assignment.attempt.clone();
    agent
        .say(FromAgent::Progress(v1::AttemptProgress { attempt, fraction: 0.5, note: "half".into(), usage: None }))
        .await;
    let mut assigned = soon(live.message()).await.unwrap().unwrap();
    assert_eq!((assigned.r#type(), assigned.agent_id.as_str()), (TaskEventType::Assigned, "a-1"));
    while assigned.r#type() != TaskEventType::Progress {
        assigned = soon(live.message()).await.unwrap().unwrap();
    }
    assert_eq!((assigned.progress, assigned.message.as_str()), (0.5, "half"));
    let shown = world.get(&id).await;
    assert_eq!((shown.progress, shown.progress_note.as_str()), (0.5, "half"));
    agent.succeed(&assignment, "out").await;
    types_until_finished(&mut live).await;

    // Who comes late sees the same, and can resume in the middle.
    let request = v1::WatchRequest { task_ids: vec![id], ..Default::default() };
    let all = types_until_finished(&mut watch(&world, request.clone()).await).await;
    assert_eq!(all.first(), Some(&TaskEventType::Accepted));
    let after_position = Some(assigned.position);
    let rest = types_until_finished(&mut watch(&world, v1::WatchRequest { after_position, ..request }).await).await;
    assert!(all.ends_with(&rest) && rest.len() < all.len(), "{rest:?} of {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_is_over_ends_and_one_of_what_is_not_known_is_refused() {
    let world = World::start().await;
    let id = world.submit(task("echo", "in")).await;
    let mut agent = world.agent("a-1").await;
    agent.work("out").await;
    let request = v1::WatchRequest { task_ids: vec![id], ..Default::default() };
    types_until_finished(&mut watch(&world, request.clone()).await).await;
    let mut over = watch(&world, v1::WatchRequest { after_position: Some(u64::MAX), ..request }).await;
    assert_eq!(soon(over.message()).await.unwrap(), None, "nothing can come");

    let unknown =
        v1::WatchRequest { task_ids: vec!["00000000-0000-7000-8000-000000000000".into()], ..Default::default() };
    let refusal = soon(world.tasks().watch(unknown)).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_kind_sees_that_kind_only() {
    let world = World::start().await;
    let mut events = watch(&world, v1::WatchRequest { kind: "echo".into(), ..Default::default() }).await;
    world.submit(task("other", "1")).await;
    let wanted = world.submit(task("echo", "2")).await;
    let mut agent = world.agent("a-1").await;
    agent.work("out").await;
    let mut types = Vec::new();
    while types.last() != Some(&TaskEventType::Finished) {
        let event = soon(events.message()).await.unwrap().unwrap();
        assert_eq!(event.task_id, wanted);
        types.push(event.r#type());
    }
    assert_eq!(types.first(), Some(&TaskEventType::Accepted));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_watched_from_the_beginning_and_by_type() {
    let world = World::start().await;
    drop(world.agent("a-1").await);
    let follow = v1::EventsRequest { follow: true, agent_id: "a-1".into(), ..Default::default() };
    let mut events = soon(world.cluster().events(follow)).await.unwrap().into_inner();
    let mut types = Vec::new();
    while !types.contains(&ClusterEventType::AgentLost) {
        types.push(soon(events.message()).await.unwrap().unwrap().r#type());
    }
    assert_eq!(types.first(), Some(&ClusterEventType::AgentJoined));
    let wanted = v1::EventsRequest { types: vec![ClusterEventType::AgentLost.into()], ..Default::default() };
    let mut kept = soon(world.cluster().events(wanted)).await.unwrap().into_inner();
    assert_eq!(soon(kept.message()).await.unwrap().unwrap().agent_id, "a-1");
    assert!(soon(kept.message()).await.unwrap().is_none(), "without `follow` it ends");
}
