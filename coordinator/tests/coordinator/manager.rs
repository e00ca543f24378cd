//! The resource manager fails, and everything else goes on.

use evenkeel_coordinator::actors::manager::ManagerPhase;
use evenkeel_core::model::{ClusterEventKind, Notice};
use evenkeel_proto::v1;
use evenkeel_shared::Code;
use tonic::Streaming;

use crate::support::{World, config, soon};

fn task() -> v1::TaskSpec {
    v1::TaskSpec { kind: "echo".into(), ..v1::TaskSpec::default() }
}

/// Events of this kind: those that were, and those to come.
async fn events(world: &World, of: v1::ClusterEventType) -> Streaming<v1::ClusterEvent> {
    let request = v1::EventsRequest { follow: true, types: vec![of.into()], ..v1::EventsRequest::default() };
    soon(world.cluster().events(request)).await.unwrap().into_inner()
}

/// Waits until an event says this.
async fn heard(events: &mut Streaming<v1::ClusterEvent>, words: &str) {
    while !soon(events.message()).await.unwrap().expect("the stream goes on").message.contains(words) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_panics_is_given_up_and_begins_again_while_tasks_go_on() {
    let world = World::start().await;
    let manager = world.coordinator.manager().clone();
    let (said, about) = ("a fault of the test", "its state is broken");
    let mut events = events(&world, v1::ClusterEventType::Coordinator).await;
    assert!(soon(manager.ask(|manager, _, _| manager.scaling.policy().name.clone())).await.is_ok());
    let failed = soon(manager.ask(move |_, _, _| -> () { panic!("{said}: {about}") })).await.unwrap_err();
    assert_eq!(failed.code, Code::Unavailable);
    assert!(failed.message.contains(said) && failed.retry_after.is_some(), "{failed}");
    // Only while it rests, which this machine may sleep through.
    let metrics = world.http("/metrics").await.1;
    let rests = matches!(manager.state().phase(), ManagerPhase::Failed { .. });
    assert!(metrics.contains("evenkeel_manager_running 0") || !rests, "{metrics}");
    heard(&mut events, "the resource manager failed").await;
    // Nothing of it is on the way of a task.
    let id = world.submit(task()).await;
    assert_eq!(world.get(&id).await.state(), v1::TaskState::Queued);
    heard(&mut events, "the resource manager is back").await;
    assert_eq!(soon(manager.ask(|_, _, _| 7)).await, Ok(7));
    assert_eq!((manager.state().panics(), manager.state().phase()), (1, ManagerPhase::Running));
    assert_eq!(world.metric("evenkeel_manager_running").await, 1.0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_question_says_is_stored_before_it_is_answered() {
    let world = World::start().await;
    let told = world.coordinator.manager().ask(|_, _, out| {
        out.notices.push(Notice::new(ClusterEventKind::Scaling, "as the test says"));
        7
    });
    assert_eq!(soon(told).await, Ok(7));
    heard(&mut events(&world, v1::ClusterEventType::Scaling).await, "as the test says").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_manager_tasks_go_and_questions_say_how_to_have_one() {
    let mut config = config();
    config.resources.enabled = false;
    let world = World::with(config).await;
    let refused = soon(world.coordinator.manager().ask(|_, _, _| ())).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("[resources]"), "{refused}");
    world.submit(task()).await;
    world.stop().await;
}
