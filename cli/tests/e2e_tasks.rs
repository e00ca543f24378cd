//! What can be asked of a task and of the fleet while it works: drain, cancel, timeouts, another strategy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use evenkeel_proto::v1::{
    self, AdminState, AttemptEnd, FailureClass, RetryPolicy, SetStrategyRequest, TaskSpec, TaskState,
};
use evenkeel_shared::{StrategyConfig, wire::strategy::to_strategy};
use nix::sys::signal::Signal;
use support::{Coordinator, Held, WAIT_MAX, assert_succeeded, shell_task, sleep_task};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_agent_finishes_what_it_runs_and_gets_nothing_new() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _drained = coordinator.agent("drained", 1, &["--allow", "sh"]).await;
    let held = Held::new(&coordinator);
    let before = clients.submit_one(held.task()).await;
    clients.reach(&before, TaskState::Running).await;

    let request = v1::DrainAgentRequest { agent_id: "drained".into(), deadline_ms: 60_000, reason: "test".into() };
    let agent = clients.cluster.drain_agent(request).await.unwrap().into_inner();
    assert_eq!(agent.admin_state(), AdminState::Draining);
    let _other = coordinator.agent("other", 1, &[]).await;
    let after = clients.submit(vec![sleep_task(Duration::from_millis(1)); 10]).await;
    let finished = clients.wait(&after).await;
    assert_succeeded(&finished);
    assert!(finished.iter().all(|end| end.agent_id == "other"), "{finished:?}");

    held.go();
    let finished = clients.wait(&[before]).await;
    assert_succeeded(&finished);
    assert_eq!((finished[0].agent_id.as_str(), finished[0].attempts_made), ("drained", 1));

    let request = v1::ResumeAgentRequest { agent_id: "drained".into() };
    let agent = clients.cluster.resume_agent(request).await.unwrap().into_inner();
    assert_eq!(agent.admin_state(), AdminState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_told_to_stop_finishes_what_it_runs() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let mut leaving = coordinator.agent("leaving", 1, &["--allow", "sh"]).await;
    let held = Held::new(&coordinator);
    let id = clients.submit_one(held.task()).await;
    clients.reach(&id, TaskState::Running).await;
    let mut says = clients.events_of("leaving", v1::ClusterEventType::AgentAdmin).await;
    leaving.signal(Signal::SIGTERM);
    let drains = tokio::time::timeout(WAIT_MAX, says.message()).await.expect("it says that it leaves");
    assert!(drains.unwrap().is_some());
    held.go();
    assert!(leaving.ended().await.success(), "{}", leaving.log());
    let finished = clients.wait(&[id]).await;
    assert_succeeded(&finished);
    assert_eq!((finished[0].agent_id.as_str(), finished[0].attempts_made), ("leaving", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_ends_and_frees_its_slot() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _agent = coordinator.agent("a", 1, &["--allow", "sh"]).await;
    let running = clients.submit_one(shell_task("sleep 600")).await;
    let queued = clients.submit(vec![sleep_task(LONG); 3]).await;
    clients.reach(&running, TaskState::Running).await;

    for id in queued.iter().chain([&running]) {
        assert_eq!(clients.cancel(id).await, TaskState::Cancelled);
    }
    let next = clients.submit_one(sleep_task(Duration::from_millis(1))).await;
    assert_succeeded(&clients.wait(&[next]).await);
    let task = clients.get(&running).await;
    assert_eq!((task.state(), task.attempts[0].end()), (TaskState::Cancelled, AttemptEnd::Cancelled));
    // What is over stays as it is.
    assert_eq!(clients.cancel(&running).await, TaskState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_ended_and_tried_again() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _agent = coordinator.agent("a", 1, &[]).await;
    let retry = RetryPolicy { max_attempts: 2, initial_backoff_ms: 1, ..RetryPolicy::default() };
    let task = TaskSpec { attempt_timeout_ms: 200, retry: Some(retry), ..sleep_task(LONG) };
    let id = clients.submit_one(task).await;
    let finished = clients.wait(std::slice::from_ref(&id)).await.remove(0);
    assert_eq!((finished.state(), finished.attempts_made), (TaskState::Failed, 2));
    assert_eq!(finished.failure.unwrap().class(), FailureClass::Timeout);
    let ends: Vec<_> = clients.get(&id).await.attempts.iter().map(v1::Attempt::end).collect();
    assert_eq!(ends, [AttemptEnd::TimedOut, AttemptEnd::TimedOut]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_takes_expires_and_says_what_is_missing() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _agent = coordinator.agent("a", 1, &[]).await;
    let unknown = TaskSpec { kind: "unheard-of".into(), ..TaskSpec::default() };
    let waiting = clients.submit_one(unknown.clone()).await;
    let request = v1::ExplainRequest { task_id: waiting.clone(), candidates_max: 0 };
    let explanation = clients.tasks.explain(request).await.unwrap().into_inner();
    assert_eq!(explanation.state(), TaskState::Queued);
    assert!(explanation.waiting_for.contains("unheard-of"), "{explanation:?}");

    let expiring = clients.submit_one(TaskSpec { queue_timeout_ms: 200, ..unknown }).await;
    let finished = clients.wait(&[expiring]).await.remove(0);
    assert_eq!((finished.state(), finished.attempts_made), (TaskState::Expired, 0));
    assert_eq!(clients.get(&waiting).await.state(), TaskState::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn strategies_swapped_under_load_lose_nothing() {
    const ROUNDS: usize = 5;
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _first = coordinator.agent("a", 4, &[]).await;
    let _second = coordinator.agent("b", 2, &["--tier", "1"]).await;
    let mut ids = Vec::new();
    for name in std::iter::repeat_n(StrategyConfig::NAMES, ROUNDS).flatten() {
        ids.extend(clients.submit(vec![sleep_task(Duration::from_millis(2)); 20]).await);
        let strategy = to_strategy(&StrategyConfig::named(name).unwrap());
        let answer = clients.cluster.set_strategy(SetStrategyRequest { strategy: Some(strategy) }).await.unwrap();
        assert_eq!(answer.into_inner(), strategy);
    }
    let finished = clients.wait(&ids).await;
    assert_succeeded(&finished);
    assert!(finished.iter().all(|end| end.attempts_made == 1));
    let used: std::collections::BTreeSet<_> = finished.iter().map(|end| end.agent_id.as_str()).collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}
