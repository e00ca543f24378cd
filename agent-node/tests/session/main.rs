//! An agent against a fake coordinator: registration, resumption, acknowledgement, cancellation, drain and fencing.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

mod coordinator;

use std::{sync::Arc, time::Duration};

use coordinator::{Coordinator, Session, attempt, patiently};
use evenkeel_agent::{
    Agent, AgentBuilder, AgentError,
    executors::Echo,
    sampler::{HostLoad, Sampler},
};
use evenkeel_proto::v1::{
    self, FailureClass, agent_message::Message as FromAgent, attempt_result::Outcome,
    coordinator_message::Message as ToAgent,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A machine at rest.
struct Idle;

impl Sampler for Idle {
    fn load(&self) -> HostLoad {
        HostLoad { cpu_share: 0.25, ..HostLoad::default() }
    }
}

/// An agent that runs, with the means to let its work go on and to make it leave.
struct Running {
    agent: JoinHandle<Result<(), AgentError>>,
    /// Tasks of the kind `held` end, with their payload, as permits come in.
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Running {
    /// An agent of one slot; `describe` says more.
    fn start(coordinator: &Coordinator, describe: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let of_kind = Arc::clone(&permits);
        let builder = Agent::builder(&coordinator.url)
            .id("a-1")
            .slots(1)
            .label("zone", "eu")
            .sampler(Arc::new(Idle))
            .kind("echo", Echo)
            .kind_fn("panic", |_| async { panic!("no such luck") })
            .kind_fn("progress", |task| async move {
                task.progress(0.5, "half way");
                task.cancelled().cancelled().await;
                Ok(task.payload)
            })
            .kind_fn("held", move |task| {
                let permits = Arc::clone(&of_kind);
                async move {
                    permits.acquire().await?.forget();
                    Ok(task.payload)
                }
            });
        let shutdown = CancellationToken::new();
        let agent = tokio::spawn(describe(builder).run(shutdown.clone().cancelled_owned()));
        Self { agent, permits, shutdown }
    }

    /// What the agent ended with.
    async fn ended(self) -> Result<(), AgentError> {
        patiently(self.agent).await.unwrap()
    }
}

async fn one_slot() -> (Coordinator, Running) {
    let coordinator = Coordinator::start().await;
    let agent = Running::start(&coordinator, |builder| builder);
    (coordinator, agent)
}

fn check_success(result: v1::AttemptResult, of: u64, output: &'static str) {
    assert_eq!(result.attempt, Some(attempt(of)));
    assert_eq!(result.outcome, Some(Outcome::Success(v1::Success { output: output.into() })));
}

fn check_failure(result: v1::AttemptResult, of: u64, class: FailureClass, message: &str) {
    assert_eq!(result.attempt, Some(attempt(of)));
    match result.outcome {
        Some(Outcome::Failure(failure)) => {
            assert_eq!(failure.class(), class, "{}", failure.message);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn an_agent_registers_and_beats() {
    let (mut coordinator, _agent) = one_slot().await;
    let (mut session, register) = coordinator.registering().await;
    assert_eq!((register.agent_id.as_str(), register.capacity.map(|c| c.slots)), ("a-1", Some(1)));
    assert_eq!(register.kinds, ["echo", "held", "panic", "progress"]);
    assert_eq!(register.labels["zone"], "eu");
    assert!(!register.instance_id.is_empty() && register.held.is_empty());
    session.welcome(&[]).await;
    for _ in 0..3 {
        let beat = session.until(|m| if let FromAgent::Heartbeat(beat) = m { Some(beat) } else { None }).await;
        assert_eq!((beat.cpu_share, beat.running_tasks), (0.25, 0));
    }
}

#[tokio::test]
async fn work_is_started_and_its_result_reported() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "echo", "hello").await;
    assert_eq!(session.started().await, attempt(1));
    check_success(session.result().await, 1, "hello");
}

#[tokio::test]
async fn work_ahead_waits_for_the_slot_and_more_is_handed_back() {
    let (mut coordinator, agent) = one_slot().await;
    let mut session = coordinator.session().await;
    for number in 1..=3 {
        session.assign(attempt(number), "held", "x").await;
    }
    let third = session.result().await;
    assert_eq!(third.attempt, Some(attempt(3)));
    assert!(matches!(third.outcome, Some(Outcome::HandedBack(_))));
    agent.permits.add_permits(1);
    check_success(session.result().await, 1, "x");
    assert_eq!(session.started().await, attempt(2));
}

#[tokio::test]
async fn what_the_agent_cannot_do_is_rejected() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "unheard-of", "").await;
    check_failure(session.result().await, 1, FailureClass::Rejected, "unheard-of");
    let resources = Some(v1::Resources { slots: 2, ..v1::Resources::default() });
    let work = v1::Assignment {
        attempt: Some(attempt(2)),
        kind: "echo".into(),
        resources,
        timeout_ms: 1,
        ..v1::Assignment::default()
    };
    session.send(ToAgent::Assignment(work)).await;
    check_failure(session.result().await, 2, FailureClass::Rejected, "2 slots");
}

#[tokio::test]
async fn a_panic_fails_the_attempt_and_not_the_agent() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "panic", "").await;
    check_failure(session.result().await, 1, FailureClass::Retryable, "no such luck");
    session.assign(attempt(2), "echo", "still here").await;
    check_success(session.result().await, 2, "still here");
}

#[tokio::test]
async fn an_attempt_that_outlives_its_time_is_stopped() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    let work = v1::Assignment {
        attempt: Some(attempt(1)),
        kind: "progress".into(),
        timeout_ms: 5,
        ..v1::Assignment::default()
    };
    session.send(ToAgent::Assignment(work)).await;
    check_failure(session.result().await, 1, FailureClass::Timeout, "5 ms");
}

#[tokio::test]
async fn progress_is_reported() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "progress", "").await;
    let progress = session.until(|m| if let FromAgent::Progress(progress) = m { Some(progress) } else { None }).await;
    assert_eq!((progress.attempt, progress.fraction, progress.note.as_str()), (Some(attempt(1)), 0.5, "half way"));
}

#[tokio::test]
async fn cancelling_stops_what_runs_and_removes_what_waits() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "progress", "").await;
    session.assign(attempt(2), "echo", "").await;
    assert_eq!(session.started().await, attempt(1));
    for number in [2, 1] {
        let cancel = v1::CancelAttempt { attempt: Some(attempt(number)), reason: "test".into() };
        session.send(ToAgent::Cancel(cancel)).await;
        let result = session.result().await;
        assert_eq!(result.attempt, Some(attempt(number)));
        assert_eq!(result.outcome, Some(Outcome::Cancelled(v1::Cancelled {})));
    }
}

#[tokio::test]
async fn work_assigned_again_while_its_result_is_on_the_way_does_not_run_again() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "echo", "once").await;
    check_success(session.result().await, 1, "once");
    session.assign(attempt(1), "echo", "once").await;
    session.assign(attempt(2), "echo", "other").await;
    check_success(session.result().await, 2, "other");
}

/// Ends the session as a network failure would, and gives the next one with its registration.
async fn broken(session: Session, coordinator: &mut Coordinator) -> (Session, v1::Register) {
    session.refuse(Status::unavailable("test")).await;
    coordinator.registering().await
}

#[tokio::test]
async fn an_agent_resumes_what_it_runs_after_a_broken_session() {
    let (mut coordinator, agent) = one_slot().await;
    let (mut session, first) = coordinator.registering().await;
    session.welcome(&[]).await;
    session.assign(attempt(1), "held", "kept").await;
    session.assign(attempt(2), "echo", "ahead").await;
    session.started().await;
    let (mut session, second) = broken(session, &mut coordinator).await;
    assert_eq!(second.held, [attempt(2), attempt(1)]);
    assert_eq!(second.instance_id, first.instance_id);
    session.welcome(&[]).await;
    assert_eq!(session.started().await, attempt(1));
    agent.permits.add_permits(1);
    check_success(session.result().await, 1, "kept");
    check_success(session.result().await, 2, "ahead");
}

#[tokio::test]
async fn a_result_is_sent_again_until_it_is_acknowledged() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "echo", "once").await;
    check_success(session.result().await, 1, "once");
    let (mut session, register) = broken(session, &mut coordinator).await;
    assert_eq!(register.held, [attempt(1)]);
    session.welcome(&[]).await;
    check_success(session.result().await, 1, "once");
    session.acknowledge(attempt(1)).await;
    // The next result shows that the acknowledgement before it was read.
    session.assign(attempt(2), "echo", "").await;
    session.result().await;
    session.acknowledge(attempt(2)).await;
    session.assign(attempt(3), "echo", "").await;
    session.result().await;
    let (_session, register) = broken(session, &mut coordinator).await;
    assert_eq!(register.held, [attempt(3)]);
}

#[tokio::test]
async fn superseded_attempts_are_stopped_and_forgotten() {
    let (mut coordinator, _agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "progress", "").await;
    session.started().await;
    let (mut session, _) = broken(session, &mut coordinator).await;
    session.welcome(&[attempt(1)]).await;
    // It is told to stop, and then its slot is free; the first result is not its own.
    session.assign(attempt(2), "echo", "next").await;
    check_success(session.result().await, 2, "next");
    let (_session, register) = broken(session, &mut coordinator).await;
    assert_eq!(register.held, [attempt(2)]);
}

#[tokio::test]
async fn nothing_new_starts_while_too_much_is_unacknowledged() {
    let coordinator = &mut Coordinator::start().await;
    let _agent = Running::start(coordinator, |builder| builder.prefetch_per_slot(0));
    let mut session = coordinator.session().await;
    for number in 1..=2 {
        session.assign(attempt(number), "echo", "").await;
        session.result().await;
    }
    // Two results per slot are kept: the third task has to wait for an acknowledgement.
    session.assign(attempt(3), "echo", "third").await;
    session.assign(attempt(4), "echo", "").await;
    let fourth = session.result().await;
    assert!(matches!(fourth.outcome, Some(Outcome::HandedBack(_))), "{fourth:?}");
    for number in [1, 2, 4] {
        session.acknowledge(attempt(number)).await;
    }
    check_success(session.result().await, 3, "third");
}

#[tokio::test]
async fn on_shutdown_an_agent_hands_back_finishes_and_goes() {
    let (mut coordinator, agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "held", "done").await;
    session.assign(attempt(2), "echo", "").await;
    session.started().await;
    agent.shutdown.cancel();
    session.until(|m| matches!(m, FromAgent::Draining(_)).then_some(())).await;
    let second = session.result().await;
    assert_eq!(second.attempt, Some(attempt(2)));
    assert!(matches!(second.outcome, Some(Outcome::HandedBack(_))));
    session.send(ToAgent::Drain(v1::Drain::default())).await;
    session.assign(attempt(3), "echo", "too late").await;
    assert!(matches!(session.result().await.outcome, Some(Outcome::HandedBack(_))));
    agent.permits.add_permits(1);
    check_success(session.result().await, 1, "done");
    for number in 1..=3 {
        session.acknowledge(attempt(number)).await;
    }
    session.ended().await;
    assert_eq!(agent.ended().await, Ok(()));
}

#[tokio::test]
async fn what_outlives_the_drain_timeout_is_stopped_and_retried_elsewhere() {
    let coordinator = &mut Coordinator::start().await;
    let agent = Running::start(coordinator, |builder| builder.drain_timeout(Duration::ZERO));
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "progress", "").await;
    session.started().await;
    agent.shutdown.cancel();
    check_failure(session.result().await, 1, FailureClass::Retryable, "shut down");
    session.acknowledge(attempt(1)).await;
    session.ended().await;
    assert_eq!(agent.ended().await, Ok(()));
}

#[tokio::test]
async fn drained_by_the_coordinator_an_agent_stays_and_may_be_used_again() {
    let (mut coordinator, agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "held", "done").await;
    session.assign(attempt(2), "echo", "").await;
    session.started().await;
    session.send(ToAgent::Drain(v1::Drain::default())).await;
    assert!(matches!(session.result().await.outcome, Some(Outcome::HandedBack(_))));
    agent.permits.add_permits(1);
    check_success(session.result().await, 1, "done");
    session.assign(attempt(3), "echo", "resumed").await;
    check_success(session.result().await, 3, "resumed");
}

#[tokio::test]
async fn an_agent_fenced_by_a_newer_session_stops_with_all_that_it_runs() {
    let (mut coordinator, agent) = one_slot().await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "held", "").await;
    session.started().await;
    let permits = Arc::clone(&agent.permits);
    session.refuse(Status::aborted("epoch 2 is there")).await;
    let error = agent.ended().await.unwrap_err();
    assert!(
        matches!(&error, AgentError::Fenced { agent, message } if agent.as_str() == "a-1" && message == "epoch 2 is there")
    );
    assert_eq!(Arc::strong_count(&permits), 1, "an attempt outlived its agent");
}

#[tokio::test]
async fn an_agent_whose_id_is_taken_tries_again() {
    let (mut coordinator, _agent) = one_slot().await;
    let (session, _) = coordinator.registering().await;
    session.refuse(Status::already_exists("a-1 is here")).await;
    let mut session = coordinator.session().await;
    session.assign(attempt(1), "echo", "at last").await;
    check_success(session.result().await, 1, "at last");
}

#[tokio::test]
async fn a_registration_refused_for_good_ends_the_agent() {
    let (mut coordinator, agent) = one_slot().await;
    let (session, _) = coordinator.registering().await;
    session.refuse(Status::invalid_argument("labels: too many")).await;
    assert!(matches!(agent.ended().await, Err(AgentError::Refused { code: tonic::Code::InvalidArgument, .. })));
}

#[tokio::test]
async fn an_agent_without_a_coordinator_can_leave() {
    let coordinator = Coordinator::start().await;
    let agent = Running::start(&coordinator, |builder| builder);
    drop(coordinator);
    agent.shutdown.cancel();
    assert_eq!(agent.ended().await, Ok(()));
}
