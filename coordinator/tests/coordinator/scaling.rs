//! Policies, overrides and their history over gRPC, with nothing that carries decisions out.

use evenkeel_proto::v1::{self, resource_service_client::ResourceServiceClient};
use evenkeel_shared::Code;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::support::{World, config, error_of, soon};

/// A coordinator that keeps what it is told, and decides from its first second on.
async fn world(dir: &TempDir) -> World {
    let mut config = config();
    (config.ephemeral, config.data_dir) = (false, dir.path().join("data"));
    config.scaling.quiet_ms = Some(1);
    World::with(config).await
}

fn resources(world: &World) -> ResourceServiceClient<Channel> {
    ResourceServiceClient::new(world.channel())
}

async fn put(world: &World, policy: v1::ScalingPolicy, reason: &str) -> Result<v1::PutScalingPolicyResponse, Code> {
    let request = v1::PutScalingPolicyRequest { policy: Some(policy), reason: reason.into() };
    let put = soon(resources(world).put_scaling_policy(request)).await;
    put.map(tonic::Response::into_inner).map_err(|status| error_of(&status).code)
}

fn batch(agents_max: u32) -> v1::ScalingPolicy {
    v1::ScalingPolicy { template: "batch-cost-optimised".into(), agents_max, ..v1::ScalingPolicy::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_checked_versioned_and_survives_a_restart() {
    let dir = TempDir::new().unwrap();
    let world1 = world(&dir).await;
    let first = put(&world1, batch(7), "to begin with").await.unwrap().policy.unwrap();
    assert_eq!((first.version, first.agents_max, first.scale_up_percent), (1, 7, 80));
    let close = v1::ScalingPolicy { scale_down_percent: 79, ..batch(8) };
    let second = put(&world1, close, "closer").await.unwrap();
    assert_eq!(second.policy.unwrap().version, 2);
    assert_eq!(second.advice[0].field, "scale_down_percent");
    assert_eq!(put(&world1, v1::ScalingPolicy { agents_min: 9, ..batch(8) }, "").await, Err(Code::InvalidArgument));
    world1.stop().await;

    let world2 = world(&dir).await;
    let mut resources = resources(&world2);
    let policy = soon(resources.get_scaling_policy(v1::GetScalingPolicyRequest {})).await.unwrap().into_inner();
    assert_eq!((policy.version, policy.agents_max), (2, 8));
    let request = v1::ListScalingPolicyVersionsRequest { limit: 0 };
    let versions = soon(resources.list_scaling_policy_versions(request)).await.unwrap().into_inner().versions;
    let listed: Vec<_> = versions.iter().map(|it| (it.policy.as_ref().unwrap().version, it.reason.as_str())).collect();
    assert_eq!(listed, [(2, "closer"), (1, "to begin with")]);
    assert_eq!(put(&world2, batch(9), "on").await.unwrap().policy.unwrap().version, 3);
    world2.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_policy_is_said_and_nothing_stored() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir).await;
    let mut resources = resources(&world);
    let mut check = async |policy: v1::ScalingPolicy| {
        let request = v1::ValidateScalingPolicyRequest { policy: Some(policy) };
        let answer = soon(resources.validate_scaling_policy(request)).await.unwrap().into_inner();
        (answer.valid, answer.advice.into_iter().map(|it| it.field).collect::<Vec<_>>())
    };
    assert_eq!(check(batch(5)).await, (true, vec![]));
    assert_eq!(check(v1::ScalingPolicy { agents_min: 6, ..batch(5) }).await, (false, vec!["agents_min".to_owned()]));
    let unknown = v1::ScalingPolicy { template: "web".into(), ..batch(5) };
    assert_eq!(check(unknown).await, (false, vec!["template".to_owned()]));
    let templates = soon(self::resources(&world).list_scaling_templates(v1::ListScalingTemplatesRequest {})).await;
    for template in templates.unwrap().into_inner().templates {
        assert_eq!(check(template.policy.unwrap()).await, (true, vec![]), "{}", template.name);
    }
    let request = v1::ListScalingPolicyVersionsRequest { limit: 0 };
    let versions = soon(self::resources(&world).list_scaling_policy_versions(request)).await.unwrap().into_inner();
    assert_eq!(versions.versions, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_advised_recorded_and_taken_back() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir).await;
    put(&world, batch(7), "").await.unwrap();
    let mut resources = resources(&world);
    let fixed = |agents, duration_ms, reason: &str| v1::SetScalingOverrideRequest {
        agents,
        duration_ms,
        reason: reason.into(),
    };
    for (request, field) in [
        (fixed(3, 60_000, " "), "reason"),
        (fixed(3, 0, "a test"), "duration_ms"),
        (fixed(100_001, 60_000, "a test"), "agents"),
    ] {
        let error = error_of(&soon(resources.set_scaling_override(request)).await.unwrap_err());
        assert_eq!((error.code, error.violations[0].field.as_str()), (Code::InvalidArgument, field));
    }
    let watched =
        v1::EventsRequest { follow: true, types: vec![v1::ClusterEventType::Scaling.into()], ..Default::default() };
    let mut said = soon(world.cluster().events(watched)).await.unwrap().into_inner();
    let scaling = soon(resources.set_scaling_override(fixed(3, 60_000, "a test"))).await.unwrap().into_inner();
    assert_eq!(scaling.r#override.unwrap().agents, 3);
    // Within a turn or two it is decided, said, and recorded with its reason.
    while !soon(said.message()).await.unwrap().unwrap().message.contains("the fleet should go from 0 to 3 agents") {}
    let request = v1::ListScalingEventsRequest::default();
    let events = soon(resources.list_scaling_events(request)).await.unwrap().into_inner().events;
    let event = events.into_iter().next().unwrap();
    assert_eq!((event.action(), event.agents_before, event.agents_after), (v1::ScalingAction::Up, 0, 3));
    assert_eq!((event.outcome.as_str(), event.actuator.as_str(), event.policy_version), ("advised", "advise", 1));
    assert_eq!(event.reasons, ["an operator has fixed the number: a test"]);
    let request = v1::ClearScalingOverrideRequest { reason: "done".into() };
    let scaling = soon(resources.clear_scaling_override(request)).await.unwrap().into_inner();
    assert_eq!(scaling.r#override, None);
    let bad = v1::ListScalingEventsRequest { page_token: "nonsense".into(), ..Default::default() };
    assert_eq!(
        error_of(&soon(resources.list_scaling_events(bad)).await.unwrap_err()).violations[0].field,
        "page_token"
    );
    world.stop().await;
}
