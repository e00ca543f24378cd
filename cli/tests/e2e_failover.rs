//! Agents and coordinators that are killed: no accepted task is lost, and none is run again without need.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{collections::HashMap, fs, process::Stdio, time::Duration};

use evenkeel_proto::v1::{AttemptEnd, ClusterEventType, EventsRequest, SubmitRequest, TaskState};
use support::{Clients, Coordinator, Held, assert_succeeded, evenkeel, shell_task, sleep_task, until};

const LONG: Duration = Duration::from_secs(600);

/// The tasks that run on an agent.
async fn running_on(clients: &mut Clients, ids: &[String], agent_id: &str) -> Vec<String> {
    let mut running = Vec::new();
    for id in ids {
        let task = clients.get(id).await;
        if task.state() == TaskState::Running && task.agent_id == agent_id {
            running.push(id.clone());
        }
    }
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_killed_agent_move_on() {
    let coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let mut doomed = coordinator.agent("doomed", 2, &["--allow", "sh"]).await;
    let _survivor = coordinator.agent("survivor", 4, &["--allow", "sh"]).await;

    let held = Held::new(&coordinator);
    let ids = clients.submit(vec![held.task(); 30]).await;
    let hit = until("both slots of the doomed agent are in use", || {
        let (mut clients, ids) = (clients.clone(), &ids);
        async move { Some(running_on(&mut clients, ids, "doomed").await).filter(|running| running.len() == 2) }
    })
    .await;
    doomed.kill();
    held.go();

    assert_succeeded(&clients.wait(&ids).await);
    for id in hit {
        let task = clients.get(&id).await;
        let ends: Vec<_> = task.attempts.iter().map(|attempt| (attempt.agent_id.as_str(), attempt.end())).collect();
        assert_eq!(ends, [("doomed", AttemptEnd::AgentLost), ("survivor", AttemptEnd::Succeeded)]);
        assert_eq!(task.crashes, 1);
    }
    let failovers = EventsRequest { types: vec![ClusterEventType::AgentLost.into()], ..EventsRequest::default() };
    let mut events = clients.cluster.events(failovers).await.unwrap().into_inner();
    let lost = events.message().await.unwrap().unwrap();
    assert_eq!(lost.agent_id, "doomed");
}

/// Each script writes a line when it starts, so a second execution would show.
#[tokio::test(flavor = "multi_thread")]
async fn running_attempts_are_adopted_by_a_restarted_coordinator() {
    let mut coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let _agent = coordinator.agent("a", 3, &["--allow", "sh"]).await;
    let (starts, gate) = (coordinator.scratch().join("starts"), coordinator.scratch().join("gate"));
    let script = format!(
        "echo $EVENKEEL_TASK_ID >> {}; until [ -e {} ]; do sleep 0.05; done; echo done",
        starts.display(),
        gate.display()
    );
    // Three run, one is prefetched or queued.
    let ids = clients.submit(vec![shell_task(&script); 4]).await;
    for id in &ids[..3] {
        clients.reach(id, TaskState::Running).await;
    }

    coordinator.kill();
    coordinator.restart().await;
    until("the agent is back", || {
        let mut clients = clients.clone();
        async move { clients.agent("a").await.filter(|agent| agent.running_tasks == 3) }
    })
    .await;
    fs::write(&gate, "").unwrap();

    let finished = clients.wait(&ids).await;
    assert_succeeded(&finished);
    assert!(finished.iter().all(|end| end.attempts_made == 1 && end.output == "done\n"), "{finished:?}");
    let mut executions = HashMap::new();
    for id in fs::read_to_string(&starts).unwrap().lines() {
        *executions.entry(id.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(executions, ids.into_iter().map(|id| (id, 1)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_task_survives_a_coordinator_killed_under_load() {
    let mut coordinator = Coordinator::start().await;
    let clients = coordinator.clients();
    let _first = coordinator.agent("a", 4, &[]).await;
    let _second = coordinator.agent("b", 4, &[]).await;

    // Submits until the coordinator is gone; what was answered is what counts.
    let mut submitting = clients.clone();
    let load = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        while let Ok(response) =
            submitting.tasks.submit(SubmitRequest { tasks: vec![sleep_task(Duration::from_millis(5)); 10] }).await
        {
            acknowledged.extend(response.into_inner().results.into_iter().map(|result| result.task_id));
        }
        acknowledged
    });
    clients.succeeded(100).await;
    coordinator.kill();
    let acknowledged = load.await.unwrap();
    assert!(acknowledged.len() >= 100, "{} acknowledged", acknowledged.len());
    coordinator.restart().await;

    let mut clients = coordinator.clients();
    for ids in acknowledged.chunks(10_000) {
        assert_succeeded(&clients.wait(ids).await);
    }
}

/// The load harness keeps books on both sides: what was accepted, and what was executed.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_twice_under_load_loses_nothing_and_runs_nothing_again() {
    const TASKS: u64 = 6_000;
    let mut coordinator = Coordinator::start().await;
    let mut load = evenkeel(["--coordinator", &coordinator.url(), "-o", "json", "loadtest", "run", "--agents", "30"]);
    load.args(["--slots", "2", "--tasks", &TASKS.to_string(), "--task-time", "exp:20ms", "--batch", "20"]);
    let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..2 {
        // The count begins anew with each start.
        coordinator.clients().succeeded(TASKS / 4).await;
        coordinator.kill();
        coordinator.restart().await;
    }
    let output = load.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |field: &str| report[field].as_u64().unwrap();
    assert_eq!((count("accepted"), count("completed")), (TASKS, TASKS));
    assert_eq!((count("lost"), count("duplicated"), count("executions_extra")), (0, 0, 0), "{report}");
    assert!(count("reconnects") >= 2, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_coordinator_ends_in_order_and_keeps_what_waits() {
    let mut coordinator = Coordinator::start().await;
    let mut clients = coordinator.clients();
    let waiting = clients.submit(vec![sleep_task(LONG); 5]).await;
    assert!(coordinator.terminate().await.success());
    coordinator.restart().await;
    for id in &waiting {
        assert_eq!(clients.get(id).await.state(), TaskState::Queued);
    }
}
