//! Runs scenarios: a fleet with a life of its own, an open loop of arrivals, faults, and a record of everything.
//!
//! Parts that decide are pure and take their time as an argument: [`arrivals`] and [`catalogue`] say what is due when,
//! [`presence`] which agents are there, [`books`] what became of each task. Around them are three that act: the client's
//! loop, the fleet (real gRPC sessions), and the monitor, which does harm in time, closes a window each second and has it
//! judged. All of them share one clock, which starts when the fleet has gathered. Rejected: a process for each agent. What
//! is measured is the coordinator, and a thousand processes would measure the machine's scheduler.

mod arrivals;
mod books;
mod catalogue;
mod client;
mod harm;
mod load;
mod marks;
mod monitor;
mod plan;
mod presence;
mod process;
mod sampler;

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use evenkeel_proto::v1::cluster_service_client::ClusterServiceClient;
use evenkeel_shared::{
    dial::{Channel, Way},
    wire::strategy::to_strategy,
};
use tokio::sync::Mutex;

pub use self::plan::{Overrides, ScenarioPlan};
use self::{
    books::Books,
    client::{Client, Driven},
    harm::{Harms, Means},
    marks::Marks,
    monitor::{Meter, Monitor, Parts},
    presence::Presence,
    sampler::Sampler,
};
use crate::{
    agent::{Fleet, FleetPlan, Times, channel},
    error::LoadtestError,
    files,
    ledger::{Ledger, LedgerTotals},
    levels::Judge,
    progress::{Progress, Stage},
    record::{Histograms, RECORD_VERSION, RunRecord, Totals, collect},
    runner::Cluster,
    scenario::Scenario,
    target::Coordinator,
    trace::TraceTask,
};

/// Connections beside the agents': the client's, the sampler's and the judge's.
const OTHER_CONNECTIONS: u32 = 16;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What is kept of it.
    pub record: RunRecord,
    /// The full histograms.
    pub histograms: Histograms,
    /// It was ended before its time, from outside.
    pub interrupted: bool,
}

/// Runs a scenario.
///
/// A strategy that was in force before is put back. Dropping the future ends the agents and kills a coordinator of the
/// run's own.
///
/// # Errors
/// The run came to no verdict: the scenario is wrong, the coordinator does not answer, or the fleet does not gather. A run
/// that breaks promises or service levels is not an error but a record that says so.
pub async fn run(plan: &ScenarioPlan, progress: Arc<dyn Progress>) -> Result<Ran, LoadtestError> {
    plan.validate()?;
    let recorded = plan.recorded()?;
    let fleet = &plan.scenario.fleet;
    files::allow_connections(fleet.agents.div_ceil(fleet.agents_per_connection) + OTHER_CONNECTIONS)?;
    let run = format!("{:016x}", fastrand::u64(..));
    let coordinator = Coordinator::find(&plan.target, &run).await?;
    let machine = collect::machine(coordinator.directory());
    let own = coordinator.is_own();
    let way = coordinator.way().clone();
    let coordinator = Arc::new(Mutex::new(coordinator));
    let ran = Run { plan, run: &run, way: &way, own, recorded: &recorded, progress: Arc::clone(&progress) };
    let ran = ran.with_strategy(&coordinator).await;
    progress.at(Stage::Done);
    if let Ok(coordinator) = Arc::try_unwrap(coordinator) {
        coordinator.into_inner().stop().await;
    }
    let mut ran = ran?;
    ran.record.machine = machine;
    Ok(ran)
}

/// A run that has its coordinator.
struct Run<'a> {
    plan: &'a ScenarioPlan,
    run: &'a str,
    way: &'a Way,
    own: bool,
    recorded: &'a [TraceTask],
    progress: Arc<dyn Progress>,
}

impl Run<'_> {
    /// Runs under the strategy that the scenario names.
    async fn with_strategy(&self, coordinator: &Arc<Mutex<Coordinator>>) -> Result<Ran, LoadtestError> {
        let mut cluster = Cluster(ClusterServiceClient::new(channel(self.way)?));
        let before = cluster.strategy(self.way.url()).await?;
        let wanted = self.plan.strategy()?;
        if let Some(wanted) = &wanted {
            cluster.set(to_strategy(wanted)).await?;
        }
        let ran = self.carry_out(coordinator, cluster.0.clone()).await;
        if wanted.is_some() && !self.own {
            let restored = cluster.set(before).await;
            // A coordinator that is gone has no strategy to restore, and what was found out is still worth a record.
            if ran.as_ref().is_ok_and(|ran| ran.record.totals.unverified == 0) {
                restored?;
            }
        }
        ran
    }

    async fn carry_out(
        &self,
        coordinator: &Arc<Mutex<Coordinator>>,
        cluster: ClusterServiceClient<Channel>,
    ) -> Result<Ran, LoadtestError> {
        let Self { plan, run, way, .. } = *self;
        let scenario = &plan.scenario;
        let fleet_plan = fleet_plan(scenario, plan.seed);
        let ledger = Ledger::new(run, 0, scenario.fleet.agents);
        let (ledger, presence, faults) = if plan.given_agents {
            (ledger.on_given_agents(), Presence::nobody(scenario, plan.seed), &[][..])
        } else {
            (ledger, Presence::new(scenario, plan.seed), &scenario.faults[..])
        };
        let ledger = Arc::new(ledger);
        let fleet = Fleet::start(&fleet_plan, way, &ledger, |agent| !presence.is_there(agent))?;
        fleet.gather(self.progress.as_ref()).await?;
        let pid = coordinator.lock().await.pid().or_else(|| process::listener(way.url()));
        let pid = Arc::new(AtomicU32::new(pid.unwrap_or(0)));
        let mut meter = Meter::new(Arc::clone(&pid));
        meter.read();
        let (started, started_at_ms) = (Instant::now(), unix_ms());
        let id = collect::run_id(started_at_ms, &scenario.name, salt(run));
        let judge = Judge::start(scenario, &id, &cluster, started.into())
            .map_err(|error| LoadtestError::Plan { what: error.to_string() })?;
        let marks = Marks::new(started);
        let means = Means {
            coordinator: Arc::clone(coordinator),
            pid,
            cluster: cluster.clone(),
            ledger: Arc::clone(&ledger),
            marks: marks.clone(),
        };
        let harms = Harms::new(faults, scenario.duration_s, &fleet_plan, means);
        let mut monitor = Monitor::new(
            scenario,
            Parts {
                fleet,
                judge,
                marks,
                harms,
                presence,
                ledger: Arc::clone(&ledger),
                sampler: Sampler::start(cluster),
                coordinator: meter,
                interrupted: plan.interrupted.clone(),
                progress: Arc::clone(&self.progress),
                started,
            },
        );
        let books = Books::new(scenario, plan.seed, &ledger, self.recorded, started);
        let channel = channel(way)?;
        let driven = Client::new(books, &mut monitor, plan, channel).run(started).await;
        match driven {
            Ok(driven) => self.finish(monitor, driven, &ledger, &id, started_at_ms).await,
            Err(error) => {
                give_up(monitor).await;
                Err(error)
            }
        }
    }

    async fn finish(
        &self,
        mut monitor: Monitor,
        driven: Driven,
        ledger: &Ledger,
        id: &str,
        started_at_ms: u64,
    ) -> Result<Ran, LoadtestError> {
        let plan = self.plan;
        monitor.close(Instant::now(), driven.tally, driven.latencies.clone());
        let Monitor { fleet, judge, marks, latencies, windows, picture, coordinator, harms, .. } = monitor;
        harms.finish().await;
        fleet.leave().await;
        let agents = ledger.totals();
        let totals = totals(&driven, &agents);
        let judgement = judge.finish(&totals).await;
        judgement.lines.iter().for_each(|line| self.progress.say(line));
        let record = RunRecord {
            version: RECORD_VERSION,
            id: id.to_owned(),
            started_at_ms,
            scenario: plan.scenario.clone(),
            seed: plan.seed,
            command: plan.command.clone(),
            build: collect::build(env!("CARGO_PKG_VERSION")),
            machine: Default::default(),
            duration_s: windows.last().map_or(0.0, |window| window.at_s),
            totals,
            latency_ms: latencies.latencies(),
            windows,
            agent_load: picture.finish(agents.finished_by_agent),
            marks: marks.finish(),
            levels: judgement.levels,
            change: judgement.change,
            coordinator: coordinator.total(),
            verdict: judgement.verdict,
            reasons: judgement.reasons,
        };
        Ok(Ran { record, histograms: latencies, interrupted: plan.interrupted.is_cancelled() })
    }
}

/// The scenario's fleet.
fn fleet_plan(scenario: &Scenario, seed: u64) -> FleetPlan {
    let fleet = &scenario.fleet;
    FleetPlan {
        agents: fleet.agents,
        slots: fleet.slots,
        agents_per_connection: fleet.agents_per_connection,
        times: Times::Booked,
        seed,
        specialists_share: fleet.specialists_share,
        regions: fleet.regions.clone(),
    }
}

/// Ends what a run that failed has begun, and puts back what its change under test had changed.
async fn give_up(monitor: Monitor) {
    let restored = monitor.judge.restored();
    drop(monitor);
    if let Some(restored) = restored {
        restored.wait().await;
    }
}

/// What both books say.
fn totals(driven: &Driven, agents: &LedgerTotals) -> Totals {
    let (tally, verified) = (driven.tally, driven.verified.totals);
    let over = tally.completed + tally.failed;
    let unverified = u64::from(verified.unverified);
    Totals {
        offered: tally.offered,
        accepted: tally.accepted,
        refused: tally.refused,
        completed: tally.completed,
        failed: tally.failed,
        escalated: tally.escalated,
        lost: tally.accepted.saturating_sub(over + unverified),
        unverified,
        // Both books may have seen the same one.
        duplicated: u64::from(verified.duplicated).max(agents.recorded_twice),
        mismatched: u64::from(verified.mismatched) + agents.foreign,
        retried: tally.retried,
        executions_extra: agents.executions_extra,
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Tells runs of the same second apart: the end of the run's random name.
fn salt(run: &str) -> u16 {
    run.get(run.len().saturating_sub(4)..).and_then(|end| u16::from_str_radix(end, 16).ok()).unwrap_or(0)
}
