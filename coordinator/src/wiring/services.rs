//! The services, made of what they share.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use evenkeel_shared::StrategyConfig;
use tokio::sync::{Mutex, Semaphore};

use super::parts::Parts;
use crate::{
    actors::{manager::ManagerHandle, publisher::Publisher},
    config::{CoordinatorConfig, live::LiveConfig},
    gateway::Gateway,
    grpc, http,
    profile::Profiler,
    security::gate::Gate,
    services::{
        admin::Admin,
        agent::Agents,
        cluster::{Cluster, Identity},
        keda::Keda,
        redrive::Redrives,
        resource::Resources,
        submit_stream,
        task::Tasks,
    },
};

/// What services need beside the parts.
pub(super) struct Behind {
    pub(super) gateway: Gateway,
    pub(super) publisher: Addr<Publisher>,
    pub(super) identity: Arc<Identity>,
    /// The strategy in force.
    pub(super) strategy: Arc<Mutex<StrategyConfig>>,
    pub(super) manager: ManagerHandle,
    pub(super) gate: Gate,
    pub(super) live: LiveConfig,
}

impl Parts {
    /// What answers over gRPC, and what answers the same as JSON.
    pub(super) fn services(&self, config: &CoordinatorConfig, behind: Behind) -> (grpc::Services, http::Api) {
        let Behind { gateway, publisher, identity, strategy, manager, gate, live } = behind;
        let metrics = || self.metrics.clone();
        let tasks = Tasks {
            gateway: gateway.clone(),
            hub: self.task_hub.clone(),
            redrives: Redrives::default(),
            metrics: metrics(),
            submit_streams: Arc::new(Semaphore::new(submit_stream::STREAMS_MAX)),
        };
        let cluster = Cluster {
            gateway: gateway.clone(),
            snapshot: self.snapshot.clone(),
            publisher,
            hub: self.cluster_hub.clone(),
            identity: Arc::clone(&identity),
            strategy: Arc::clone(&strategy),
            metrics: metrics(),
        };
        let resources = Resources {
            gateway: gateway.clone(),
            snapshot: self.snapshot.clone(),
            manager,
            strategy,
            metrics: metrics(),
        };
        let admin = Admin {
            gate: gate.clone(),
            gateway: gateway.clone(),
            metrics: metrics(),
            board: self.board.clone(),
            profiler: Profiler::default(),
            config: live.clone(),
        };
        let agents = Agents {
            gateway,
            sessions: self.sessions.clone(),
            identity,
            metrics: metrics(),
            register_within: Duration::from_millis(config.limits.greeting_timeout_ms),
        };
        let keda = Keda::new(self.metrics.manager().clone(), self.lifecycle.clone());
        let api = http::Api {
            tasks: tasks.clone(),
            cluster: cluster.clone(),
            resources: resources.clone(),
            admin: admin.clone(),
            gate,
            names: live.subscribe(),
        };
        (grpc::Services { agents, tasks, cluster, resources, admin, keda }, api)
    }
}
