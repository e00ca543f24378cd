//! The resource manager fails, and everything else goes on.

use std::time::Duration;

use evenkeel_coordinator::actors::manager::ManagerPhase;
use evenkeel_core::{manager::Notice, model::ClusterEventKind};
use evenkeel_proto::v1;
use evenkeel_shared::Code;

use crate::support::{World, config, soon};

fn task() -> v1::TaskSpec {
    v1::TaskSpec { kind: "echo".into(), ..v1::TaskSpec::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_panics_is_given_up_and_begins_again_while_tasks_go_on() {
    let world = World::start().await;
    let manager = world.coordinator.manager().clone();
    let (said, about) = ("a fault of the test", "its state is broken");
    assert!(soon(manager.ask(|manager, _, _| manager.scaling.policy().name.clone())).await.is_ok());
    let failed = soon(manager.ask(move |_, _, _| -> () { panic!("{said}: {about}") })).await.unwrap_err();
    assert_eq!(failed.code, Code::Unavailable);
    assert!(failed.message.contains(said) && failed.retry_after.is_some(), "{failed}");
    assert!(matches!(manager.state().phase(), ManagerPhase::Failed { .. }));
    // Nothing of it is on the way of a task.
    let id = world.submit(task()).await;
    assert_eq!(world.get(&id).await.state(), v1::TaskState::Queued);
    assert!(world.http("/metrics").await.1.contains("evenkeel_manager_running 0"));
    let back = async {
        while manager.ask(|_, _, _| ()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(back).await;
    assert_eq!((manager.state().panics(), manager.state().phase()), (1, ManagerPhase::Running));
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
    let request =
        v1::EventsRequest { types: vec![v1::ClusterEventType::Scaling.into()], ..v1::EventsRequest::default() };
    let mut events = soon(world.cluster().events(request)).await.unwrap().into_inner();
    let event = soon(events.message()).await.unwrap().unwrap();
    assert_eq!(event.message, "as the test says");
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
