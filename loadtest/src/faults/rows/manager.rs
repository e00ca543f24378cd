//! The resource manager fails, again and again, and nobody's task knows of it.

use std::time::Duration;

use evenkeel_proto::v1::{
    GetScalingRequest, Limit, LimitScope, ListLimitsRequest, PutLimitRequest, PutScalingPolicyRequest, ScalingPolicy,
    resource_service_client::ResourceServiceClient,
};
use futures_util::FutureExt as _;
use tonic::{Code, transport::Channel};

use super::{
    super::{
        Fault, Lab, Seen,
        cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
        judge::{SETTLE_MAX, judge},
        lab::{FaultError, until},
        load::{Load, LoadOptions, task},
    },
    crashpoints::failpoints,
};

/// It rests for 5 s after the first panic: so it has failed again by then.
const FAILS_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Attempts at a time, of the 16 that the agents have slots for.
const AT_A_TIME: u32 = 3;
/// Tasks that end while it is down, before it is looked how things are.
const TASKS: u64 = 500;
const POLICY_MAX: u32 = 17;

/// Each look of the manager at the fleet ends in a panic.
pub const MANAGER_PANICS: Fault = Fault {
    name: "manager-panics",
    fault: "the resource manager panics whenever it looks at the fleet, under load, with a limit and a policy that were set before",
    passes_when: "the same process goes on; tasks go on, under the limit as it was set; calls to the manager are answered \
                  UNAVAILABLE, with the reason; without the fault the policy is in force as it was; no promise broken",
    on_request: false,
    run: |lab| manager_panics(lab).boxed(),
};

async fn manager_panics(lab: &mut Lab) -> Result<Seen, FaultError> {
    lab.need_failpoints()?;
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let mut clients = coordinator.clients()?;
    let mut resources = ResourceServiceClient::new(clients.channel());
    declare(&mut resources).await?;
    coordinator.options.env = failpoints("manager=panic~1/1");
    coordinator.kill().await?;
    coordinator.restart().await?;
    let _agents =
        Host::start(lab, &coordinator.url(), "a", HostOptions { agents: 2, slots: 8, ..HostOptions::default() })?;
    clients.until_agents(2).await?;
    let options = LoadOptions { rate: Some(200.0), batch: 2, task: |_| task(5), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    let failed_twice = || {
        let clients = clients.clone();
        async move { clients.metric("evenkeel_manager_panics_total").await.ok().filter(|panics| *panics >= 2.0) }
    };
    let panics = until("the manager fails twice", FAILS_AGAIN_MAX, failed_twice).await?;
    let refused = resources.get_scaling(GetScalingRequest {}).await.err();
    let says_why = refused
        .is_some_and(|status| status.code() == Code::Unavailable && status.message().contains("failpoint Manager"));
    let before = clients.status().await?.tasks_succeeded;
    let mut most = 0;
    while clients.status().await?.tasks_succeeded < before + TASKS {
        most = most.max(in_use(&mut resources).await?);
    }
    let same = coordinator.process().try_ended().is_none();
    let running = clients.metric("evenkeel_manager_running").await?;
    coordinator.options.env.clear();
    coordinator.kill().await?;
    coordinator.restart().await?;
    clients.until_agents(2).await?;
    let policy = resources.get_scaling(GetScalingRequest {}).await.map_err(FaultError::call("GetScaling"))?;
    let policy_max = policy.into_inner().policy.map_or(0, |policy| policy.agents_max);
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let text = format!(
        "{panics} panics of the manager{}; {TASKS} tasks and more ended meanwhile, at most {most} of {AT_A_TIME} at a time; \
         its calls {}; afterwards the policy allows {policy_max} agents",
        if same { "" } else { ", and the process was another one" },
        if says_why { "were refused with the reason" } else { "were not refused as they should be" },
    );
    let held = (1..=AT_A_TIME).contains(&most) && policy_max == POLICY_MAX;
    Ok(judged.seen(same && says_why && held && running == 0.0, text))
}

async fn declare(resources: &mut ResourceServiceClient<Channel>) -> Result<(), FaultError> {
    let scope = LimitScope { kind: task(0).kind, ..LimitScope::default() };
    let limit = Limit { name: "few".into(), scope: Some(scope), concurrency_max: AT_A_TIME, ..Limit::default() };
    let put = PutLimitRequest { limit: Some(limit), reason: String::new() };
    resources.put_limit(put).await.map_err(FaultError::call("PutLimit"))?;
    let policy = ScalingPolicy { template: "web-balanced".into(), agents_max: POLICY_MAX, ..ScalingPolicy::default() };
    let put = PutScalingPolicyRequest { policy: Some(policy), reason: String::new() };
    resources.put_scaling_policy(put).await.map_err(FaultError::call("PutScalingPolicy"))?;
    Ok(())
}

/// Attempts that the limit counts.
async fn in_use(resources: &mut ResourceServiceClient<Channel>) -> Result<u32, FaultError> {
    let limits = resources.list_limits(ListLimitsRequest::default()).await.map_err(FaultError::call("ListLimits"))?;
    Ok(limits.into_inner().limits.into_iter().filter_map(|limit| limit.r#use).map(|of| of.in_use).max().unwrap_or(0))
}
