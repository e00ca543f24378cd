//! Agents' sessions: who may have them, what fences them, and how they end.

use std::time::Duration;

use evenkeel_proto::v1::{
    self, AdminState, agent_message::Message as FromAgent, coordinator_message::Message as ToAgent,
};
use evenkeel_shared::Code;

use crate::support::{World, config, error_of, register, soon, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_of_the_same_process_fences_the_older_one_and_keeps_its_work() {
    let world = World::start().await;
    let mut old = world.agent("a-1").await;
    let id = world.submit(task("echo", "in")).await;
    let assignment = old.assignment().await;
    let held = vec![assignment.attempt.clone().unwrap()];
    let mut new = world.agent_with(v1::Register { held, ..register("a-1") }).await;
    assert!(new.welcome.session_epoch > old.welcome.session_epoch);
    assert_eq!(new.welcome.adopted, vec![assignment.attempt.clone().unwrap()]);
    assert_eq!(old.end().await.code, Code::Aborted);
    new.succeed(&assignment, "out").await;
    assert_eq!(new.ack().await, v1::ResultStatus::Recorded);
    assert_eq!(world.wait(&[&id]).await.finished[0].attempts_made, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_an_agent_that_dies_moves_on_and_its_late_result_is_stale() {
    let world = World::start().await;
    let mut first = world.agent("a-1").await;
    let id = world.submit(task("echo", "in")).await;
    let lost = first.assignment().await;
    drop(first);
    let mut second = world.agent("a-2").await;
    let moved = second.assignment().await;
    assert_eq!(moved.attempt.as_ref().unwrap().attempt, 2);

    let held = vec![lost.attempt.clone().unwrap()];
    let mut back = world.agent_with(v1::Register { held, ..register("a-1") }).await;
    assert_eq!(back.welcome.superseded, vec![lost.attempt.clone().unwrap()]);
    back.succeed(&lost, "late").await;
    assert_eq!(back.ack().await, v1::ResultStatus::Stale);
    second.succeed(&moved, "out").await;
    assert_eq!(second.ack().await, v1::ResultStatus::Recorded);
    assert_eq!(world.wait(&[&id]).await.finished[0].output, "out");
    assert_eq!(world.metric("evenkeel_bad_input_total{reason=\"stale_result\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_sent_twice_is_recorded_once_and_answered_twice() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    world.submit(task("echo", "in")).await;
    let assignment = agent.assignment().await;
    for _ in 0..2 {
        agent.succeed(&assignment, "out").await;
        assert_eq!(agent.ack().await, v1::ResultStatus::Recorded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_read_is_cut_off() {
    let mut config = config();
    config.limits.session_queue_max = 4;
    // Its work would go nowhere else, and would only fill the queue of the next session.
    config.engine.reconnect_grace_ms = 60_000;
    let world = World::with(config).await;
    let capacity = Some(v1::Resources { slots: 256, ..v1::Resources::default() });
    let deaf = world.agent_with(v1::Register { capacity, ..register("a-1") }).await;
    // More than the windows of its connection hold.
    let large = || v1::TaskSpec { payload: vec![0; 512 << 10].into(), ..task("echo", "") };
    for _ in 0..16 {
        let tasks = vec![large(); 8];
        soon(world.tasks().submit(v1::SubmitRequest { tasks })).await.expect("submissions go on");
    }
    world.metric_becomes("evenkeel_slow_consumers_total{stream=\"session\"}", 1.0).await;
    let error = deaf.end().await;
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("has not read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_agent_is_given_up() {
    let mut config = config();
    config.engine.lease.heartbeat_interval_ms = 50;
    let world = World::with(config).await;
    let mut agent = world.agent("a-1").await;
    assert_eq!(agent.welcome.heartbeat_interval_ms, 50);
    assert!(agent.hear().await.is_err(), "its session is ended");
    world.metric_becomes("evenkeel_leases_expired_total", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_read_back_what_they_have_changed() {
    let world = World::start().await;
    let mut agent = world.agent("a-1").await;
    let mut cluster = world.cluster();
    let agent_id = || "a-1".to_owned();
    let cordon = v1::CordonAgentRequest { agent_id: agent_id(), reason: "disk".into() };
    let cordoned = soon(cluster.cordon_agent(cordon)).await.unwrap().into_inner();
    assert_eq!(cordoned.admin_state(), AdminState::Cordoned);
    let waits = world.submit(task("echo", "in")).await;
    let resumed = soon(cluster.resume_agent(v1::ResumeAgentRequest { agent_id: agent_id() })).await.unwrap();
    assert_eq!(resumed.into_inner().admin_state(), AdminState::Active);
    agent.work("out").await;
    world.wait(&[&waits]).await;

    let drain = v1::DrainAgentRequest { agent_id: agent_id(), deadline_ms: 60_000, reason: "move".into() };
    let drained = soon(cluster.drain_agent(drain)).await.unwrap().into_inner();
    assert_eq!(drained.admin_state(), AdminState::Draining);
    match agent.hear().await.unwrap() {
        ToAgent::Drain(drain) => assert_eq!(drain.reason, "move"),
        other => panic!("no drain but {other:?}"),
    }
    let unknown = v1::CordonAgentRequest { agent_id: "nobody".into(), reason: String::new() };
    let error = error_of(&soon(cluster.cordon_agent(unknown)).await.unwrap_err());
    assert_eq!((error.code, error.resource), (Code::NotFound, Some(("agent", "nobody".into()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_listed_by_id_and_filtered() {
    let world = World::start().await;
    let mut agents = Vec::new();
    for (id, zone) in [("a-3", "eu"), ("a-1", "eu"), ("a-2", "us")] {
        let labels = [("zone".to_owned(), zone.to_owned())].into();
        agents.push(world.agent_with(v1::Register { labels, ..register(id) }).await);
    }
    let list = async |request: v1::ListAgentsRequest| {
        let page = soon(world.cluster().list_agents(request)).await.unwrap().into_inner();
        let ids: Vec<String> = page.agents.into_iter().map(|agent| agent.agent_id).collect();
        (ids, page.next_page_token)
    };
    world.metric_becomes("evenkeel_agents{health=\"healthy\"}", 3.0).await;
    let first = list(v1::ListAgentsRequest { page_size: 2, ..v1::ListAgentsRequest::default() }).await;
    assert_eq!(first, (vec!["a-1".into(), "a-2".into()], "a-2".into()));
    let rest = v1::ListAgentsRequest { page_token: first.1, ..v1::ListAgentsRequest::default() };
    assert_eq!(list(rest).await, (vec!["a-3".into()], String::new()));
    let zone = v1::LabelRule { key: "zone".into(), values: vec!["us".into()], ..v1::LabelRule::default() };
    let american = v1::ListAgentsRequest { labels: vec![zone], ..v1::ListAgentsRequest::default() };
    assert_eq!(list(american).await.0, ["a-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_is_swapped_under_queued_work() {
    let world = World::start().await;
    let queued = world.submit(task("echo", "in")).await;
    let mut cluster = world.cluster();
    let strategy = v1::strategy_config::Strategy::RoundRobin(v1::RoundRobin {});
    let wanted = v1::StrategyConfig { strategy: Some(strategy) };
    let set = v1::SetStrategyRequest { strategy: Some(wanted) };
    assert_eq!(soon(cluster.set_strategy(set)).await.unwrap().into_inner(), wanted);
    assert_eq!(soon(cluster.get_strategy(v1::GetStrategyRequest {})).await.unwrap().into_inner(), wanted);
    let mut agent = world.agent("a-1").await;
    agent.work("out").await;
    world.wait(&[&queued]).await;
    assert_eq!(world.get(&queued).await.attempts[0].decision.as_ref().unwrap().strategy, "round_robin");
    assert_eq!(soon(cluster.status(v1::StatusRequest {})).await.unwrap().into_inner().strategy, "round_robin");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_drains_gets_nothing_new() {
    let world = World::start().await;
    let drains = world.agent("a-1").await;
    drains.say(FromAgent::Draining(v1::Draining { reason: "update".into() })).await;
    let admin = vec![v1::ClusterEventType::AgentAdmin.into()];
    let request = v1::EventsRequest { follow: true, types: admin, ..v1::EventsRequest::default() };
    let mut events = soon(world.cluster().events(request)).await.unwrap().into_inner();
    assert!(soon(events.message()).await.unwrap().unwrap().message.contains("update"));
    let mut other = world.agent("a-2").await;
    world.submit(task("echo", "in")).await;
    other.work("out").await;
    drop(drains);
    let stop = world.coordinator.shutdown(Duration::from_secs(10));
    soon(stop).await.expect("a clean stop with agents connected");
}
