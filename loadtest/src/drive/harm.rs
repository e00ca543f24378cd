//! Does the harm that a scenario asks for, in time: what takes long is done beside the run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use evenkeel_proto::v1::{DrainAgentRequest, ResumeAgentRequest, cluster_service_client::ClusterServiceClient};
use evenkeel_shared::dial::Channel;
use futures_util::{StreamExt as _, stream};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{
    marks::Marks,
    presence::{Order, Presence},
};
use crate::{
    agent::{Away, Fleet, FleetPlan},
    ledger::Ledger,
    record::MarkKind,
    scenario::{Fault, Harm},
    target::Coordinator,
};

/// Calls of the API under way at once, where many agents are drained.
const CALLS_MAX: usize = 16;
/// Times that such a call is tried: the coordinator may be starting.
const TRIES_MAX: u32 = 20;
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is called for an agent.
#[derive(Clone, Copy)]
enum Admin {
    Drain,
    Resume,
}

/// What a fault needs to be done.
#[derive(Clone)]
pub(crate) struct Means {
    pub coordinator: Arc<Mutex<Coordinator>>,
    /// The coordinator's process, if it is one of the run's own and alive; 0 otherwise.
    pub pid: Arc<AtomicU32>,
    pub cluster: ClusterServiceClient<Channel>,
    pub ledger: Arc<Ledger>,
    pub marks: Marks,
}

/// The harm of a run.
pub(crate) struct Harms {
    means: Means,
    plan: FleetPlan,
    /// The last one first.
    faults: Vec<(f64, Harm)>,
    /// Agents that are slow until then.
    slowed: Vec<(f64, Vec<u32>)>,
    under_way: JoinSet<()>,
    /// What waits to be taken back is taken back at once.
    ended: CancellationToken,
}

impl Harms {
    pub(crate) fn new(faults: &[Fault], duration_s: f64, plan: &FleetPlan, means: Means) -> Self {
        let mut faults: Vec<_> = faults.iter().map(|fault| (fault.at_share * duration_s, fault.what.clone())).collect();
        faults.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (slowed, under_way, ended) = (Vec::new(), JoinSet::new(), CancellationToken::new());
        Self { means, plan: plan.clone(), faults, slowed, under_way, ended }
    }

    /// Does what is due, and says what agents are told.
    pub(crate) fn due(&mut self, now_s: f64, presence: &mut Presence, fleet: &Fleet) -> Vec<Order> {
        let mut orders = Vec::new();
        for (_, agents) in self.slowed.extract_if(.., |(until_s, _)| *until_s <= now_s) {
            agents.iter().for_each(|agent| fleet.slow(*agent, 1.0));
            self.means.marks.add(MarkKind::Fault, format!("{} agents are as fast as before", agents.len()));
        }
        while let Some((_, harm)) = self.faults.pop_if(|(at_s, _)| *at_s <= now_s) {
            self.harm(harm, now_s, presence, fleet, &mut orders);
        }
        orders
    }

    fn harm(&mut self, harm: Harm, now_s: f64, presence: &mut Presence, fleet: &Fleet, orders: &mut Vec<Order>) {
        let plan = &self.plan;
        let mut choose = |share, region: Option<&str>| {
            let there = presence.clone();
            presence.choose(share, |agent| {
                there.is_there(agent) && region.is_none_or(|region| plan.region(agent) == Some(region))
            })
        };
        let place = |region: Option<&str>| region.map_or_else(String::new, |region| format!(" of region {region}"));
        let mark = |text| self.means.marks.add(MarkKind::Fault, text);
        match harm {
            Harm::KillCoordinator => {
                let means = self.means.clone();
                self.under_way.spawn(async move { means.kill_coordinator().await });
            }
            Harm::LoseAgents { share, away_s, region } => {
                let region = region.as_deref();
                let agents = choose(share, region);
                mark(format!("{} agents{} are gone, for {away_s} s", agents.len(), place(region)));
                orders.extend(agents.into_iter().map(|agent| presence.leave(agent, now_s + away_s, Away::Abrupt)));
            }
            Harm::DrainAgents { share, away_s, region } => {
                let region = region.as_deref();
                let agents = choose(share, region);
                mark(format!("{} agents{} are drained, for {away_s} s", agents.len(), place(region)));
                let (means, ended) = (self.means.clone(), self.ended.clone());
                self.under_way.spawn(async move { means.drain(agents, Duration::from_secs_f64(away_s), ended).await });
            }
            Harm::SlowAgents { share, factor, length_s } => {
                let agents = choose(share, None);
                mark(format!("{} agents take {factor} times as long, for {length_s} s", agents.len()));
                agents.iter().for_each(|agent| fleet.slow(*agent, factor));
                self.slowed.push((now_s + length_s, agents));
            }
        }
    }

    /// No more harm; what was drained or slowed is taken back.
    pub(crate) fn end(&mut self, fleet: &Fleet) {
        self.faults.clear();
        self.ended.cancel();
        for (_, agents) in self.slowed.drain(..) {
            agents.iter().for_each(|agent| fleet.slow(*agent, 1.0));
        }
    }

    /// Waits until everything is taken back.
    pub(crate) async fn finish(mut self) {
        self.ended.cancel();
        while self.under_way.join_next().await.is_some() {}
    }
}

impl Means {
    async fn kill_coordinator(&self) {
        let mut coordinator = self.coordinator.lock().await;
        self.pid.store(0, Relaxed);
        self.marks.add(MarkKind::Fault, "the coordinator is killed, and started again".into());
        let back = match coordinator.kill().await {
            Ok(()) => coordinator.restart().await,
            Err(error) => Err(error),
        };
        self.pid.store(coordinator.pid().unwrap_or(0), Relaxed);
        self.marks.add(
            MarkKind::Fault,
            match back {
                Ok(()) => "the coordinator is back".into(),
                Err(error) => format!("the coordinator is not back: {error}"),
            },
        );
    }

    async fn drain(&self, agents: Vec<u32>, away: Duration, ended: CancellationToken) {
        let drained = self.for_each(&agents, Admin::Drain).await;
        ended.run_until_cancelled(sleep(away)).await;
        let resumed = self.for_each(&agents, Admin::Resume).await;
        let mut text = format!("{} agents are resumed", agents.len());
        for (what, failed) in [("drained", drained), ("resumed", resumed)] {
            if let Some((count, status)) = failed {
                text.push_str(&format!("; {count} could not be {what}: {}", status.message()));
            }
        }
        self.marks.add(MarkKind::Fault, text);
    }

    /// Calls for each agent; how many calls failed, and how the last one did.
    async fn for_each(&self, agents: &[u32], what: Admin) -> Option<(usize, Status)> {
        let calls = agents.iter().map(|agent| self.clone().call(*agent, what)).collect::<Vec<_>>();
        let mut calls = stream::iter(calls).buffer_unordered(CALLS_MAX);
        let mut failed = None;
        while let Some(called) = calls.next().await {
            if let Err(status) = called {
                failed = Some((failed.map_or(0, |(count, _)| count) + 1, status));
            }
        }
        failed
    }

    async fn call(mut self, agent: u32, what: Admin) -> Result<(), Status> {
        let mut tries = 1;
        loop {
            let agent_id = self.ledger.agent_id(agent);
            let called = match what {
                Admin::Drain => {
                    let reason = "the scenario says so".into();
                    self.cluster.drain_agent(DrainAgentRequest { agent_id, deadline_ms: 0, reason }).await
                }
                Admin::Resume => self.cluster.resume_agent(ResumeAgentRequest { agent_id }).await,
            };
            match called {
                Err(status) if status.code() == Code::Unavailable && tries < TRIES_MAX => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                called => return called.map(drop),
            }
        }
    }
}
