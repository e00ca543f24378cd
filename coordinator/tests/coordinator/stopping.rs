//! A stop, stage by stage, as agents, clients and probes see it, and what is said of it in the end.

use std::{net::TcpListener, time::Duration};

use evenkeel_coordinator::stop::{Ended, Stage};
use evenkeel_proto::v1;
use evenkeel_shared::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::support::{World, config, error_of, soon, task};

/// No stage needs so long.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_and_the_report_says_what_each_stage_did() {
    let world = World::start().await;
    let agent = world.agent("a").await;
    let request = v1::WatchRequest::default();
    let mut watch = soon(world.tasks().watch(request)).await.unwrap().into_inner();
    let asked = HealthCheckRequest { service: "evenkeel.v1.TaskService".into() };
    let mut health = soon(HealthClient::new(world.channel()).watch(asked)).await.unwrap().into_inner();
    assert_eq!(soon(health.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    // A tool that explores the interface asks, and leaves its stream open.
    let (questions, explores) = mpsc::channel(1);
    let question = MessageRequest::ListServices(String::new());
    let question = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    questions.send(question).await.unwrap();
    let mut explorer = ServerReflectionClient::new(world.channel());
    let answers = soon(explorer.server_reflection_info(ReceiverStream::new(explores))).await.unwrap();
    let mut answers = answers.into_inner();
    assert!(soon(answers.message()).await.unwrap().is_some());
    let report = soon(world.coordinator.stop(DEADLINE)).await;
    assert!(report.is_clean(), "{report}");
    let stages: Vec<_> = report.stages.iter().map(|stage| stage.stage).collect();
    assert!(stages.is_sorted() && stages.first() == Some(&Stage::Announce), "{stages:?}");
    assert_eq!(stages.last(), Some(&Stage::Telemetry));
    let note = |of: Stage| report.stages.iter().find(|stage| stage.stage == of).unwrap().note.as_str();
    assert_eq!(note(Stage::Streams), "1 session");
    // Those who have a stream are told that it was not their fault, and when to come back.
    for ended in [agent.end().await, error_of(&soon(watch.message()).await.unwrap_err())] {
        assert_eq!(ended.code, Code::Unavailable, "{ended}");
        assert!(ended.retry_after.is_some(), "{ended}");
    }
    // It may be told twice, and ends without a word: that is nobody's fault either.
    let mut told = 0;
    while let Some(status) = soon(health.message()).await.unwrap() {
        assert_eq!(status.status(), ServingStatus::NotServing);
        told += 1;
    }
    assert!(told > 0);
    assert!(soon(answers.message()).await.unwrap().is_none());
    drop(questions);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_announced_probes_fail_and_work_is_taken() {
    let mut config = config();
    // It lasts for as long as the test does.
    config.health.stop_announce_ms = 600_000;
    let world = World::with(config).await;
    let (http, channel) = (world.coordinator.http_addr(), world.channel());
    let mut tasks = world.tasks();
    let stop = tokio::spawn(world.coordinator.stop(Duration::from_secs(2_000)));
    let mut health = HealthClient::new(channel);
    soon(async {
        while crate::support::get(http, "/readyz").await.0 == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (code, why) = crate::support::get(http, "/readyz").await;
    assert_eq!((code, why.as_str()), (503, "the coordinator is about to stop\n"));
    assert_eq!(crate::support::get(http, "/healthz").await.0, 200);
    // Told a moment after.
    soon(async {
        while soon(health.check(HealthCheckRequest::default())).await.unwrap().into_inner().status()
            == ServingStatus::Serving
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(tasks.submit(v1::SubmitRequest { tasks: vec![task("echo", "in")] })).await.expect("it is taken");
    stop.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_has_no_time_says_what_was_cut_off_and_is_not_clean() {
    let mut config = config();
    config.health.stop_announce_ms = 600_000;
    let world = World::with(config).await;
    let report = soon(world.coordinator.stop(Duration::from_millis(1))).await;
    assert!(!report.is_clean(), "{report}");
    assert_eq!(report.stages[0].ended, Ended::Late);
    assert!(report.to_string().contains("announce ") && report.to_string().contains("(CUT OFF"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_nobody_took_are_counted_as_lost_and_spoil_no_stop() {
    // It takes connections, and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.telemetry.otlp_endpoint = Some(format!("http://{}", collector.local_addr().unwrap()));
    config.telemetry.sample_ratio = 1.0;
    config.telemetry.export_timeout_ms = 60_000;
    let world = World::with(config).await;
    let mut agent = world.agent("a").await;
    let id = world.submit(task("echo", "in")).await;
    agent.work("out").await;
    world.wait(&[&id]).await;
    let report = soon(world.coordinator.stop(DEADLINE)).await;
    assert!(report.is_clean(), "{report}");
    let note = &report.stages.last().unwrap().note;
    assert!(note.ends_with(" spans lost"), "{note}");
}
