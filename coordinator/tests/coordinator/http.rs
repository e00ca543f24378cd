//! The HTTP port, health and reflection.

use prost::Message as _;
use serde_json::Value;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{World, soon, task};

async fn json(world: &World, path: &str) -> (u16, Value) {
    let (code, body) = world.http(path).await;
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_answer() {
    let world = World::start().await;
    assert_eq!(world.http("/healthz").await.0, 200);
    assert_eq!(world.http("/readyz").await.0, 200);
    world.submit(task("echo", "in")).await;
    world.metric_becomes("evenkeel_tasks_accepted_total", 1.0).await;
    world.metric_becomes("evenkeel_tasks_queued", 1.0).await;
    assert!(world.http("/metrics").await.1.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_and_the_tasks_are_there_as_json() {
    let world = World::start().await;
    let mut agent = world.agent("a/1").await;
    let id = world.submit(task("echo", "in")).await;
    agent.work("out").await;
    world.wait(&[&id]).await;
    world.metric_becomes("evenkeel_tasks_succeeded_total", 1.0).await;

    let (code, status) = json(&world, "/api/v1/status").await;
    assert_eq!((code, &status["tasks_succeeded"], &status["ready"]), (200, &1.into(), &true.into()));
    assert_eq!(json(&world, "/api/v1/agents").await.1["agents"][0]["agent_id"], "a/1");
    assert_eq!(json(&world, "/api/v1/agents/a/1").await.1["health"], "healthy");
    let (_, tasks) = json(&world, "/api/v1/tasks?states=succeeded").await;
    assert_eq!(tasks["tasks"][0]["task_id"], id.as_str());
    let (_, shown) = json(&world, &format!("/api/v1/tasks/{id}?include_attempts=true")).await;
    assert_eq!((&shown["output_text"], &shown["attempts"][0]["end"]), (&"out".into(), &"succeeded".into()));
    let (_, events) = json(&world, "/api/v1/events").await;
    let types: Vec<&Value> = events["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert!(types.contains(&&"agent_joined".into()), "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_tools_find_health_and_reflection() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.channel());
    for service in ["", "evenkeel.v1.TaskService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = soon(health.check(request)).await.unwrap().into_inner();
        assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
    let answer = reflected(&world, MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"evenkeel.v1.TaskService") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_tools_can_read_the_details_of_errors() {
    let world = World::start().await;
    for detail in ["BadRequest", "RetryInfo", "ResourceInfo", "Status"] {
        let symbol = MessageRequest::FileContainingSymbol(format!("google.rpc.{detail}"));
        let answer = reflected(&world, symbol).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{detail}: {answer:?}") };
        let asked: Vec<_> = files.file_descriptor_proto.iter().map(|file| imports(file)).collect();
        for import in asked.into_iter().flatten() {
            let answer = reflected(&world, MessageRequest::FileByFilename(import.clone())).await;
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{import}: {answer:?}");
        }
    }
}

/// What reflection answers to one question.
async fn reflected(world: &World, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut reflection = ServerReflectionClient::new(world.channel());
    let answers = soon(reflection.server_reflection_info(tokio_stream::once(request))).await.unwrap();
    let answer = soon(answers.into_inner().message()).await.unwrap().unwrap();
    answer.message_response.unwrap()
}

/// The files that a file needs.
fn imports(file: &[u8]) -> Vec<String> {
    prost_reflect::prost_types::FileDescriptorProto::decode(file).unwrap().dependency
}
