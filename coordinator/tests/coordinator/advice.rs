//! Advice applied and undone over gRPC, and read over REST: what was found is put there by the test, all else is as it is.

use evenkeel_core::{
    advice::{Action, AdviceKind, Finding},
    sizing::SizedResource,
};
use evenkeel_proto::v1::{self, RecommendationState as State, resource_service_client::ResourceServiceClient};
use evenkeel_shared::{AgentId, Code, Error, Kind, StrategyConfig};
use serde_json::Value;
use tonic::transport::Channel;

use crate::support::{World, error_of, soon};

/// A coordinator to which this was found.
async fn advised(id: &str, action: Action) -> World {
    let world = World::start().await;
    found(&world, id, action).await;
    world
}

async fn found(world: &World, id: &str, action: Action) {
    let finding = Finding {
        id: id.to_owned(),
        kind: AdviceKind::Performance,
        title: "it could be better".to_owned(),
        evidence: vec!["the test says so".to_owned()],
        expected_effect: "a test that passes".to_owned(),
        confidence: 0.75,
        action,
    };
    let told = world.coordinator.manager().ask(move |manager, now, out| manager.advisor.found(now, vec![finding], out));
    soon(told).await.unwrap();
}

fn resources(world: &World) -> ResourceServiceClient<Channel> {
    ResourceServiceClient::new(world.channel())
}

fn of(id: &str) -> v1::RecommendationRequest {
    v1::RecommendationRequest { id: id.into(), reason: "a test".into() }
}

async fn apply(world: &World, id: &str) -> Result<State, Error> {
    let answer = soon(resources(world).apply_recommendation(of(id))).await;
    answer.map(|advice| advice.into_inner().state()).map_err(|status| error_of(&status))
}

async fn undo(world: &World, id: &str) -> Result<State, Error> {
    let answer = soon(resources(world).undo_recommendation(of(id))).await;
    answer.map(|advice| advice.into_inner().state()).map_err(|status| error_of(&status))
}

async fn strategy(world: &World) -> String {
    let answer = soon(world.cluster().get_strategy(v1::GetStrategyRequest {})).await.unwrap().into_inner();
    evenkeel_shared::wire::strategy::strategy(answer).unwrap().name().to_owned()
}

fn named(name: &str) -> StrategyConfig {
    StrategyConfig::named(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_is_set_and_the_one_before_is_back_unless_somebody_set_another() {
    let world = advised("s", Action::Strategy(named("weighted"))).await;
    let before = strategy(&world).await;
    assert_eq!(apply(&world, "s").await, Ok(State::Applied));
    assert_eq!(strategy(&world).await, "weighted");
    assert_eq!(apply(&world, "s").await.unwrap_err().code, Code::FailedPrecondition, "it is applied already");
    assert_eq!(undo(&world, "s").await, Ok(State::Open));
    assert_eq!(strategy(&world).await, before);
    assert_eq!(undo(&world, "s").await.unwrap_err().code, Code::FailedPrecondition, "it is undone already");

    assert_eq!(apply(&world, "s").await, Ok(State::Applied));
    let strategy_now = Some(evenkeel_shared::wire::strategy::to_strategy(&named("random")));
    soon(world.cluster().set_strategy(v1::SetStrategyRequest { strategy: strategy_now })).await.unwrap();
    let refused = undo(&world, "s").await.unwrap_err();
    assert_eq!((refused.code, strategy(&world).await.as_str()), (Code::FailedPrecondition, "random"), "{refused}");
    world.stop().await;
}

async fn put_limit(world: &World, concurrency_max: u32) {
    let scope = Some(v1::LimitScope { kind: "echo".into(), ..v1::LimitScope::default() });
    let limit = v1::Limit { name: "few".into(), scope, concurrency_max, ..v1::Limit::default() };
    soon(resources(world).put_limit(v1::PutLimitRequest { limit: Some(limit), reason: String::new() })).await.unwrap();
}

async fn limit(world: &World) -> Vec<u32> {
    let limits = soon(resources(world).list_limits(v1::ListLimitsRequest::default())).await.unwrap().into_inner();
    limits.limits.into_iter().map(|limit| limit.concurrency_max).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_raised_and_put_back_unless_somebody_changed_it() {
    let world = advised("l", Action::LimitConcurrency { name: "few".into(), concurrency_max: 6 }).await;
    assert_eq!(apply(&world, "l").await.unwrap_err().code, Code::NotFound, "there is no such limit");
    put_limit(&world, 4).await;
    assert_eq!((apply(&world, "l").await, limit(&world).await), (Ok(State::Applied), vec![6]));
    assert_eq!((undo(&world, "l").await, limit(&world).await), (Ok(State::Open), vec![4]));
    assert_eq!(apply(&world, "l").await, Ok(State::Applied));
    put_limit(&world, 9).await;
    let refused = undo(&world, "l").await.unwrap_err();
    assert_eq!((refused.code, limit(&world).await), (Code::FailedPrecondition, vec![9]), "{refused}");
    world.stop().await;
}

async fn drained(world: &World) -> Vec<String> {
    let request = v1::ListAgentsRequest::default();
    let agents = soon(world.cluster().list_agents(request)).await.unwrap().into_inner().agents;
    let drained = agents.into_iter().filter(|agent| agent.admin_state() == v1::AdminState::Draining);
    drained.map(|agent| agent.agent_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_drained_if_enough_stay_and_resumed_at_once() {
    let agents = ["a-1", "a-2", "gone"].map(|id| AgentId::new(id).unwrap()).to_vec();
    let world = advised("d", Action::Drain(agents)).await;
    assert_eq!(apply(&world, "d").await.unwrap_err().code, Code::FailedPrecondition, "nobody is there");
    let _agents = (world.agent("a-1").await, world.agent("a-2").await);
    let refused = apply(&world, "d").await.unwrap_err();
    assert!(refused.message.contains("no agent would take tasks of kind"), "{refused}");
    let _stays = world.agent("a-3").await;
    for _ in 0..10 {
        // No pause between them: what is published may lag behind, and is not what is asked.
        assert_eq!(apply(&world, "d").await, Ok(State::Applied));
        assert_eq!(undo(&world, "d").await, Ok(State::Open));
    }
    let resume = v1::ResumeAgentRequest { agent_id: "a-3".into() };
    let last = soon(world.cluster().resume_agent(resume)).await.unwrap().into_inner();
    assert_eq!(last.admin_state(), v1::AdminState::Active);
    assert_eq!(drained(&world).await, Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recommendation_is_read_over_rest_by_its_id_slashes_and_all() {
    let id = "right-size:memory:team/train";
    let world = advised(id, Action::Tell("ask for less".to_owned())).await;
    for path in
        [format!("/api/v1/recommendations/{id}"), "/api/v1/recommendations/right-size%3Amemory%3Ateam%2Ftrain".into()]
    {
        let (status, body) = world.http(&path).await;
        let shown: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &shown["id"], &shown["applicable"]), (200, &id.into(), &false.into()), "{path}");
        assert_eq!((&shown["state"], &shown["confidence"]), (&"open".into(), &0.75.into()));
    }
    let (status, body) = world.http("/api/v1/recommendations/nothing").await;
    assert!(status == 404 && body.contains("there is no recommendation `nothing`"), "{body}");
    // As many as there can be: the one in question is not on a first page of the usual size.
    let told = world.coordinator.manager().ask(|manager, now, out| {
        for number in 0..150 {
            let id = format!("x{number:03}");
            let finding = Finding {
                id: id.clone(),
                kind: AdviceKind::Cost,
                title: String::new(),
                evidence: Vec::new(),
                expected_effect: String::new(),
                confidence: 0.5,
                action: Action::PolicyPredictive,
            };
            manager.advisor.found(now, vec![finding], out);
            manager.advisor.dismissed(&id, now, "", out).unwrap();
        }
    });
    soon(told).await.unwrap();
    for number in ["000", "149"] {
        assert_eq!(world.http(&format!("/api/v1/recommendations/x{number}")).await.0, 200, "x{number}");
    }
    world.stop().await;
}

/// The one request size: thousandths of a core, and MiB.
async fn size(world: &World) -> Option<(u64, u64)> {
    let listed = soon(resources(world).list_request_sizes(v1::ListRequestSizesRequest::default())).await.unwrap();
    listed.into_inner().sizes.first().map(|size| (size.cpu_millis, size.memory_bytes >> 20))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_put_and_what_it_said_before_is_back_unless_somebody_changed_it() {
    let kind = Kind::new("echo").unwrap();
    let world = advised("z", Action::Size { kind, resource: SizedResource::MemoryBytes, amount: 64 << 20 }).await;
    assert_eq!((apply(&world, "z").await, size(&world).await), (Ok(State::Applied), Some((0, 64))));
    assert_eq!((undo(&world, "z").await, size(&world).await), (Ok(State::Open), None));
    let put = async |memory_mib: u64| {
        let size = v1::RequestSize { kind: "echo".into(), cpu_millis: 500, memory_bytes: memory_mib << 20, version: 0 };
        let request = v1::PutRequestSizeRequest { size: Some(size), reason: String::new() };
        soon(resources(&world).put_request_size(request)).await.unwrap();
    };
    put(32).await;
    assert_eq!((apply(&world, "z").await, size(&world).await), (Ok(State::Applied), Some((500, 64))));
    assert_eq!((undo(&world, "z").await, size(&world).await), (Ok(State::Open), Some((500, 32))));
    assert_eq!(apply(&world, "z").await, Ok(State::Applied));
    put(96).await;
    let refused = undo(&world, "z").await.unwrap_err();
    assert_eq!((refused.code, size(&world).await), (Code::FailedPrecondition, Some((500, 96))), "{refused}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dismissed_is_listed_as_that_and_not_applied() {
    let world = advised("s", Action::Strategy(named("weighted"))).await;
    let listed = async |state: State, kind: v1::RecommendationKind| -> Vec<String> {
        let request = v1::ListRecommendationsRequest { state: state.into(), kind: kind.into(), ..Default::default() };
        let answer = soon(resources(&world).list_recommendations(request)).await.unwrap().into_inner();
        answer.recommendations.into_iter().map(|advice| advice.id).collect()
    };
    let any = v1::RecommendationKind::Unspecified;
    assert_eq!(listed(State::Open, any).await, ["s"]);
    let dismissed = soon(resources(&world).dismiss_recommendation(of("s"))).await.unwrap().into_inner();
    assert_eq!(dismissed.state(), State::Dismissed);
    assert_eq!(listed(State::Open, any).await, [""; 0]);
    assert_eq!(listed(State::Dismissed, v1::RecommendationKind::Performance).await, ["s"]);
    assert_eq!(listed(State::Dismissed, v1::RecommendationKind::Cost).await, [""; 0]);
    assert_eq!(apply(&world, "s").await.unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(undo(&world, "s").await.unwrap_err().code, Code::FailedPrecondition);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_applied_is_open_as_before() {
    let kind = Kind::new("echo").unwrap();
    let world = advised("z", Action::Size { kind, resource: SizedResource::MemoryBytes, amount: 1 << 50 }).await;
    let _agent = world.agent("a-1").await;
    for _ in 0..2 {
        let refused = apply(&world, "z").await.unwrap_err();
        assert!(refused.message.contains("no agent that takes tasks of kind `echo`"), "{refused}");
    }
    assert_eq!(undo(&world, "z").await.unwrap_err().code, Code::FailedPrecondition, "it was not applied");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_somebody_took_out_of_work_meanwhile_is_not_resumed() {
    let world = advised("d", Action::Drain(vec![AgentId::new("a-1").unwrap()])).await;
    let _agents = (world.agent("a-1").await, world.agent("a-2").await);
    assert_eq!(apply(&world, "d").await, Ok(State::Applied));
    let cordon = v1::CordonAgentRequest { agent_id: "a-1".into(), ..v1::CordonAgentRequest::default() };
    soon(world.cluster().cordon_agent(cordon)).await.unwrap();
    assert_eq!(undo(&world, "d").await, Ok(State::Open));
    // What is published may lag behind.
    let state = soon(async {
        loop {
            let describe = v1::DescribeAgentRequest { agent_id: "a-1".into() };
            let agent = world.cluster().describe_agent(describe).await.unwrap().into_inner();
            if agent.admin_state() != v1::AdminState::Draining {
                return agent.admin_state();
            }
        }
    });
    assert_eq!(state.await, v1::AdminState::Cordoned);
    world.stop().await;
}
