//! An agent that says too much, takes too much or comes too often: an honest agent and its client go on as if it were not there.

use evenkeel_proto::v1::{self, agent_message::Message as FromAgent, coordinator_message::Message as ToAgent};
use evenkeel_shared::{Code, limits};

use crate::{
    hostile_agent::{beside_an_honest_agent, success, victim},
    support::{World, config, error_of, register, task},
};

#[tokio::test(flavor = "multi_thread")]
async fn endless_heartbeats_and_progress_hold_up_nobody() {
    let world = World::start().await;
    let (victim, id, assignment) = victim(&world).await;
    let messages = |n: usize| {
        let note = "x".repeat(10_000);
        let attempt = assignment.attempt.clone();
        let progress =
            FromAgent::Progress(v1::AttemptProgress { attempt, fraction: n as f64 / 1e6, note, usage: None });
        let beat = FromAgent::Heartbeat(v1::Heartbeat { cpu_share: (n % 2) as f64, ..v1::Heartbeat::default() });
        [beat, progress, FromAgent::Started(v1::AttemptStarted { attempt: assignment.attempt.clone() })]
    };
    let floods = async {
        for n in 0..200 {
            victim.say_all((0..50).flat_map(|m| messages(50 * n + m)).collect()).await;
        }
    };
    beside_an_honest_agent(&world, floods).await;
    assert_eq!(world.get(&id).await.state(), v1::TaskState::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_results_of_unknown_attempts_are_stale_and_hold_up_nobody() {
    let world = World::start().await;
    const RESULTS: u64 = 4_000;
    let unknown =
        |n: u64| v1::AttemptRef { task_id: format!("01890000-0000-7000-8000-{n:012x}"), attempt: 1, assignment_id: n };
    beside_an_honest_agent(&world, async {
        let mut hostile = world.agent_with(v1::Register { kinds: vec!["none".into()], ..register("hostile") }).await;
        for from in (0..RESULTS).step_by(500) {
            hostile.say_all((from..from + 500).map(|n| success(unknown(n), "x")).collect()).await;
        }
        for _ in 0..RESULTS {
            assert_eq!(hostile.ack().await, v1::ResultStatus::Stale);
        }
    })
    .await;
}

/// What is more than an agent can hold is tested beside the dispatcher; here, who is faster decides whether it comes to that.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_results_in_a_flood_are_answered_or_end_the_session() {
    const FRAMES: usize = 8;
    const FRAME_RESULTS: usize = 8_000;
    let world = World::start().await;
    let unknown = |n: usize| v1::AttemptRef {
        task_id: format!("01890000-0000-7000-8000-{n:012x}"),
        attempt: 1,
        assignment_id: n as u64,
    };
    beside_an_honest_agent(&world, async {
        let mut hostile = world.agent_with(v1::Register { kinds: vec!["none".into()], ..register("hostile") }).await;
        for from in (0..FRAMES).map(|frame| frame * FRAME_RESULTS) {
            let messages = (from..from + FRAME_RESULTS)
                .map(|n| v1::AgentMessage { message: Some(success(unknown(n), "x")) })
                .collect();
            if !hostile.sends(v1::AgentFrame { messages }).await {
                break;
            }
        }
        for _ in 0..FRAMES * FRAME_RESULTS {
            match hostile.hear().await {
                Ok(ToAgent::ResultAck(ack)) => assert_eq!(ack.status(), v1::ResultStatus::Stale),
                Ok(other) => panic!("no answer to a result: {other:?}"),
                Err(status) => {
                    assert_eq!(error_of(&status).code, Code::ResourceExhausted, "{status:?}");
                    return;
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_with_too_many_messages_ends_the_session() {
    let world = World::start().await;
    beside_an_honest_agent(&world, async {
        let hostile = world.agent("hostile").await;
        let beat = || FromAgent::Heartbeat(v1::Heartbeat::default());
        hostile.say_all((0..=2 * limits::SLOTS_MAX).map(|_| beat()).collect()).await;
        let error = hostile.end().await;
        assert_eq!((error.code, error.violations[0].field.as_str()), (Code::InvalidArgument, "messages"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_and_goes_holds_up_nobody() {
    let mut config = config();
    config.engine.reconnect_grace_ms = 0;
    let world = World::with(config).await;
    beside_an_honest_agent(&world, async {
        for _ in 0..50 {
            let flaps = world.agent("flaps").await;
            flaps.say(FromAgent::Draining(v1::Draining { reason: "x".repeat(100_000) })).await;
        }
    })
    .await;
    world.metric_becomes("evenkeel_sessions", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_taken_and_never_done_comes_back() {
    let mut config = config();
    config.engine.attempt_timeout_ms = 200;
    let world = World::with(config).await;
    let mut lazy = world.agent("lazy").await;
    let retry = v1::RetryPolicy { max_attempts: 2, ..v1::RetryPolicy::default() };
    let id = world.submit(v1::TaskSpec { retry: Some(retry), ..task("echo", "in") }).await;
    let taken = lazy.assignment().await;
    lazy.started(&taken).await;
    let mut diligent = world.agent("diligent").await;
    beside_an_honest_agent(&world, async {
        // The attempt is called off, and given to the other one: the place on the lazy agent is still taken.
        match lazy.hear().await.unwrap() {
            ToAgent::Cancel(cancel) => assert_eq!(cancel.attempt, taken.attempt),
            other => panic!("no cancellation but {other:?}"),
        }
        diligent.work("out").await;
    })
    .await;
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
    lazy.succeed(&taken, "late").await;
    assert_eq!(lazy.ack().await, v1::ResultStatus::Stale);
}
