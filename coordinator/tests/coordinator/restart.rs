//! What survives the end of a coordinator.

use evenkeel_coordinator::{Coordinator, CoordinatorConfig, StartError};
use evenkeel_proto::v1::{self, TaskState};
use tempfile::TempDir;

use crate::support::{FakeAgent, World, config, register, soon, task};

fn durable(dir: &TempDir) -> CoordinatorConfig {
    CoordinatorConfig { ephemeral: false, data_dir: dir.path().join("data"), ..config() }
}

async fn holding(world: &World, assignment: &v1::Assignment) -> FakeAgent {
    let held = vec![assignment.attempt.clone().unwrap()];
    world.agent_with(v1::Register { held, ..register("a-1") }).await
}

/// Submits one task of each fate, ends the coordinator by `end`, and looks at them in the next one.
async fn survives(end: impl AsyncFnOnce(World)) {
    let dir = TempDir::new().unwrap();
    let world = World::with(durable(&dir)).await;
    let mut agent = world.agent("a-1").await;
    let done = world.submit(task("echo", "1")).await;
    let first = agent.assignment().await;
    agent.succeed(&first, "out").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    let running = world.submit(task("echo", "2")).await;
    let second = agent.assignment().await;
    agent.started(&second).await;
    let keyed = v1::TaskSpec { idempotency_key: "k".into(), ..task("other", "3") };
    let queued = world.submit(keyed.clone()).await;
    end(world).await;

    let world = World::with(durable(&dir)).await;
    assert_eq!(world.get(&done).await.output, "out");
    assert_eq!(world.get(&queued).await.state(), TaskState::Queued);
    assert_eq!(world.submit(keyed).await, queued, "keys survive");
    let mut agent = holding(&world, &second).await;
    assert_eq!(agent.welcome.adopted, vec![second.attempt.clone().unwrap()]);
    agent.succeed(&second, "out").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    let finished = world.wait(&[&running]).await.finished;
    assert_eq!((finished[0].state(), finished[0].attempts_made), (TaskState::Succeeded, 1));
    // A result whose acknowledgement was lost with the old coordinator: only the store knows it.
    agent.succeed(&first, "out").await;
    assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_a_clean_stop() {
    survives(async |world| world.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_a_sudden_end() {
    survives(async |world| {
        // As far as one process can lose itself: nothing is flushed, released or said.
        soon(tokio::task::spawn_blocking(move || drop(world))).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_on_the_same_data_is_refused() {
    let dir = TempDir::new().unwrap();
    let world = World::with(durable(&dir)).await;
    let refused = soon(Coordinator::start(durable(&dir))).await.err().expect("refused");
    assert!(matches!(refused, StartError::Store(_)), "{refused}");
    assert!(refused.to_string().contains("in use"), "{refused}");
    world.stop().await;
    World::with(durable(&dir)).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let world = World::start().await;
    let grpc = world.coordinator.grpc_addr();
    let refused = soon(Coordinator::start(CoordinatorConfig { grpc, ..config() })).await.err().expect("refused");
    assert!(refused.to_string().contains(&grpc.to_string()), "{refused}");
}
