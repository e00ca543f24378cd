//! The run as a whole: coordinator, fleet, client, report.

use std::sync::Arc;

use evenkeel_proto::v1::{
    GetStrategyRequest, SetStrategyRequest, StrategyConfig, cluster_service_client::ClusterServiceClient,
};
use evenkeel_shared::dial::{Channel, Way};
use evenkeel_shared::wire::strategy::{strategy, to_strategy};
use tonic::Code;

use crate::{
    agent::{Fleet, channel},
    client::Client,
    error::LoadtestError,
    files,
    ledger::Ledger,
    plan::RunPlan,
    progress::{Progress, Stage},
    report::Report,
    target::Coordinator,
};

/// Carries out the plan.
///
/// A coordinator and a strategy that were there before are left as they were. Dropping the future ends the agents and
/// kills a coordinator of the run's own.
///
/// # Errors
/// The run came to no verdict: the plan is out of range, the coordinator does not answer, or the fleet does not gather. A
/// run that finds lost tasks is not an error but a [`Report`] that says so.
pub async fn run(plan: RunPlan, progress: &dyn Progress) -> Result<Report, LoadtestError> {
    plan.validate()?;
    files::allow_connections(plan.connections())?;
    let run = format!("{:016x}", fastrand::u64(..));
    let coordinator = Coordinator::find(&plan.target, &run).await?;
    let measured = measure(&plan, &run, &coordinator, progress).await;
    progress.at(Stage::Done);
    coordinator.stop().await;
    measured
}

async fn measure(
    plan: &RunPlan,
    run: &str,
    coordinator: &Coordinator,
    progress: &dyn Progress,
) -> Result<Report, LoadtestError> {
    let (way, url) = (coordinator.way(), coordinator.url());
    let mut cluster = Cluster(ClusterServiceClient::new(channel(way)?));
    let before = cluster.strategy(url).await?;
    if let Some(wanted) = &plan.strategy {
        cluster.set(to_strategy(wanted)).await?;
    }
    let name = match &plan.strategy {
        Some(wanted) => wanted.name().to_owned(),
        None => strategy(before).map_or_else(|_| "unknown".to_owned(), |config| config.name().to_owned()),
    };
    let driven = drive(plan, run, way, &name, progress).await;
    let restored = if plan.strategy.is_some() && !coordinator.is_own() { cluster.set(before).await } else { Ok(()) };
    let report = driven?;
    // A coordinator that is gone has no strategy to restore, and what was found out before is still worth reporting.
    if report.unverified == 0 {
        restored?;
    }
    Ok(report)
}

async fn drive(
    plan: &RunPlan,
    run: &str,
    way: &Way,
    strategy: &str,
    progress: &dyn Progress,
) -> Result<Report, LoadtestError> {
    let ledger = Arc::new(Ledger::new(run, plan.tasks, plan.agents));
    let fleet = Fleet::start(&plan.into(), way, &ledger, |_| false)?;
    fleet.gather(progress).await?;
    let client = Client::new(plan, &ledger, channel(way)?);
    let (client_totals, verified) = client.run(progress).await?;
    fleet.leave().await;
    Ok(Report::new(plan, run, strategy, client_totals, &ledger.totals(), verified))
}

/// What the run asks of the cluster.
pub(crate) struct Cluster(pub ClusterServiceClient<Channel>);

impl Cluster {
    pub(crate) async fn strategy(&mut self, url: &str) -> Result<StrategyConfig, LoadtestError> {
        let answer = self.0.get_strategy(GetStrategyRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
            Code::Unavailable => LoadtestError::Unreachable { url: url.to_owned(), status: Box::new(status) },
            _ => LoadtestError::Call { call: "GetStrategy", status: Box::new(status) },
        })
    }

    pub(crate) async fn set(&mut self, strategy: StrategyConfig) -> Result<(), LoadtestError> {
        let request = SetStrategyRequest { strategy: Some(strategy) };
        let answer = self.0.set_strategy(request).await;
        answer.map_err(|status| LoadtestError::Call { call: "SetStrategy", status: Box::new(status) })?;
        Ok(())
    }
}
