//! Frames of an honest agent that come twice, in another order, or again on a later session: they change nothing.

use evenkeel_proto::v1::{self, agent_message::Message as FromAgent};

use crate::support::{FakeAgent, World, register, soon, task};

const TASKS: usize = 40;

/// All that an agent says of an attempt.
fn story(assignment: &v1::Assignment) -> Vec<FromAgent> {
    let attempt = || assignment.attempt.clone();
    let outcome = Some(v1::attempt_result::Outcome::Success(v1::Success { output: assignment.payload.clone() }));
    vec![
        FromAgent::Started(v1::AttemptStarted { attempt: attempt() }),
        FromAgent::Progress(v1::AttemptProgress {
            attempt: attempt(),
            fraction: 0.5,
            note: "half".into(),
            usage: None,
        }),
        FromAgent::Result(v1::AttemptResult { attempt: attempt(), outcome, run_us: 5, usage: None }),
    ]
}

fn many_slots(id: &str) -> v1::Register {
    let capacity = Some(v1::Resources { slots: TASKS as u32, ..v1::Resources::default() });
    v1::Register { capacity, ..register(id) }
}

/// Submits tasks, each with another payload, and has the agent told of them.
async fn assign(world: &World, agent: &mut FakeAgent) -> (Vec<String>, Vec<v1::Assignment>) {
    let payload = |n: usize| v1::TaskSpec { payload: format!("{n}").into(), ..task("echo", "") };
    let tasks = (0..TASKS).map(payload).collect();
    let submitted = soon(world.tasks().submit(v1::SubmitRequest { tasks })).await.unwrap().into_inner();
    let ids = submitted.results.into_iter().map(|result| result.task_id).collect();
    let mut assignments = Vec::new();
    while assignments.len() < TASKS {
        assignments.push(agent.assignment().await);
    }
    (ids, assignments)
}

/// Every task succeeded once, at the first attempt, with its own payload as its output.
async fn nothing_changed(world: &World, ids: &[String]) {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let finished = world.wait(&ids).await.finished;
    assert_eq!(finished.len(), TASKS);
    for finished in &finished {
        let task = world.get(&finished.task_id).await;
        assert_eq!(task.state(), v1::TaskState::Succeeded);
        assert_eq!(task.attempts.len(), 1);
        assert_eq!(task.output, task.spec.as_ref().unwrap().payload);
    }
    assert_eq!(world.metric("evenkeel_tasks_succeeded_total").await, TASKS as f64);
    assert_eq!(world.metric("evenkeel_assignments_total").await, TASKS as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_twice_change_nothing() {
    let world = World::start().await;
    let mut agent = world.agent_with(many_slots("a-1")).await;
    let (ids, assignments) = assign(&world, &mut agent).await;
    for assignment in &assignments {
        for message in story(assignment) {
            agent.say(message.clone()).await;
            agent.say_all(vec![message.clone(), message]).await;
        }
    }
    for _ in 0..3 * TASKS {
        assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    }
    nothing_changed(&world, &ids).await;
    assert_eq!(world.metric("evenkeel_results_repeated_total").await, 2.0 * TASKS as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_in_any_order_change_nothing() {
    for seed in 0..4 {
        let world = World::start().await;
        let mut agent = world.agent_with(many_slots("a-1")).await;
        let (ids, assignments) = assign(&world, &mut agent).await;
        let mut messages: Vec<FromAgent> = assignments.iter().flat_map(story).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut messages);
        for message in messages {
            agent.say(message).await;
        }
        for _ in 0..TASKS {
            assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
        }
        nothing_changed(&world, &ids).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_sent_again_on_a_later_session_change_nothing() {
    let world = World::start().await;
    let mut agent = world.agent_with(many_slots("a-1")).await;
    let (ids, assignments) = assign(&world, &mut agent).await;
    let all: Vec<FromAgent> = assignments.iter().flat_map(story).collect();
    agent.say_all(all.clone()).await;
    for _ in 0..TASKS {
        assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    }
    drop(agent);
    // The agent that it was says it all again, and so does another one that has listened: a result that is recorded is
    // answered so, to whoever sends it.
    for id in ["a-1", "eavesdropper"] {
        let mut later = world.agent_with(many_slots(id)).await;
        later.say_all(all.clone()).await;
        for _ in 0..TASKS {
            assert_eq!(later.ack().await, v1::ResultStatus::Recorded);
        }
    }
    nothing_changed(&world, &ids).await;
}
