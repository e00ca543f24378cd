//! Stops in order: what runs goes on or is finished, and nobody's task fails for it.

use std::time::{Duration, Instant};

use evenkeel_proto::v1::{RetryPolicy, TaskSpec};
use evenkeel_shared::{AttemptEnd, TaskState};
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::super::{
    Fault, Lab, Seen,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{Judged, SETTLE_MAX, judge},
    lab::FaultError,
    load::{Load, LoadOptions, task},
};

/// The coordinator is stopped and started again.
pub const SIGTERM: Fault = Fault {
    name: "coordinator-sigterm",
    fault: "SIGTERM to the coordinator under load, 5 times, and a start a moment later",
    passes_when: "each stop ends with 0 within 5 s; what runs goes on; no task fails, not even one that may be tried only \
                  once; clients meet UNAVAILABLE or cannot send, and nothing else; no promise broken",
    on_request: false,
    run: |lab| sigterm(lab).boxed(),
};

const STOPS: usize = 5;
const STOP_MAX: Duration = Duration::from_secs(5);
/// UNAVAILABLE, and what the client's own library says of a request that had not left it when the connection closed.
const AWAY: [&str; 2] = ["The service is currently unavailable", "The operation was cancelled: operation was canceled"];

async fn sigterm(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 4, slots: 8, ..HostOptions::default() };
    let _agents = Host::start(lab, &coordinator.url(), "a", options)?;
    clients.until_agents(4).await?;
    let options = LoadOptions { rate: Some(60.0), batch: 4, task: once, ..LoadOptions::default() };
    let load = Load::start(clients.clone(), options);
    let (mut longest, mut in_order, mut adopted) = (Duration::ZERO, true, 0.0);
    for _ in 0..STOPS {
        sleep(Duration::from_millis(lab.rng.u64(600..1_400))).await;
        let began = Instant::now();
        in_order &= coordinator.terminate().await?.success();
        longest = longest.max(began.elapsed());
        sleep(Duration::from_millis(lab.rng.u64(0..400))).await;
        coordinator.restart().await?;
        clients.until_agents(4).await?;
        adopted += clients.metric("evenkeel_attempts_adopted_total").await?;
    }
    load.stop_submitting();
    let other: Vec<String> =
        load.errors().into_keys().filter(|error| !AWAY.iter().any(|known| error.starts_with(known))).collect();
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let ends = Ends::of(&judged);
    let text = format!(
        "longest stop {} ms{}; {adopted} attempts went on; {ends}; other errors: {other:?}",
        longest.as_millis(),
        if in_order { "" } else { ", not all with 0" },
    );
    let passed = in_order && longest <= STOP_MAX && adopted > 0.0 && other.is_empty() && ends.all_well();
    Ok(judged.seen(passed, text))
}

/// Agents are stopped and started again, host by host.
pub const ROLLING_RESTART: Fault = Fault {
    name: "rolling-restart",
    fault: "each of 4 hosts of agents in turn gets SIGTERM under load, drains and starts again, twice around",
    passes_when: "each stop ends with 0; no attempt is lost; no task fails, not even one that may be tried only once; \
                  no promise broken",
    on_request: false,
    run: |lab| rolling_restart(lab).boxed(),
};

async fn rolling_restart(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    // What is taken ahead is what a stop has to give back.
    let options = HostOptions { agents: 2, slots: 4, prefetch: Some(1), ..HostOptions::default() };
    let mut hosts = Vec::new();
    for name in ["a", "b", "c", "d"] {
        hosts.push(Host::start(lab, &coordinator.url(), name, options.clone())?);
    }
    clients.until_agents(8).await?;
    // About as much as there are slots for, so that now some is taken ahead and now some agents idle.
    let options = LoadOptions { rate: Some(80.0), batch: 4, ..LoadOptions::default() };
    let often = LoadOptions { name: "often", rate: Some(130.0), task: |_| task(150), ..options.clone() };
    let once = LoadOptions { name: "once", task: once, ..options };
    let loads = [Load::start(clients.clone(), often), Load::start(clients.clone(), once)];
    let mut in_order = true;
    for host in 0..2 * hosts.len() {
        let host = host % hosts.len();
        sleep(Duration::from_millis(lab.rng.u64(100..500))).await;
        in_order &= hosts[host].process().terminate().await?.success();
        hosts[host].restart()?;
        clients.until_agents(8).await?;
    }
    loads.iter().for_each(Load::stop_submitting);
    let mut history = crate::history::History::default();
    for load in loads {
        history.merge(load.finish(SETTLE_MAX).await);
    }
    let judged = judge(lab, &clients, history).await?;
    let ends = Ends::of(&judged);
    let text = format!("{ends}{}", if in_order { "" } else { "; not all stops ended with 0" });
    Ok(judged.seen(in_order && ends.all_well(), text))
}

/// A task that may be tried only once.
fn once(_: u64) -> TaskSpec {
    TaskSpec { retry: Some(RetryPolicy { max_attempts: 1, ..RetryPolicy::default() }), ..task(150) }
}

/// How tasks and attempts ended.
struct Ends {
    succeeded: usize,
    others: usize,
    handed_back: usize,
    lost: usize,
}

impl Ends {
    fn of(judged: &Judged) -> Self {
        let tasks = &judged.history.recorded;
        let succeeded = tasks.iter().filter(|task| task.state == TaskState::Succeeded).count();
        let attempts = |how| {
            let attempts = tasks.iter().flat_map(|task| &task.attempts);
            attempts.filter(|attempt| matches!(attempt.ended, Some((_, end)) if end == how)).count()
        };
        Self {
            succeeded,
            others: tasks.len() - succeeded,
            handed_back: attempts(AttemptEnd::HandedBack),
            lost: attempts(AttemptEnd::AgentLost),
        }
    }

    fn all_well(&self) -> bool {
        self.succeeded > 0 && self.others == 0 && self.lost == 0
    }
}

impl std::fmt::Display for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { succeeded, others, handed_back, lost } = self;
        write!(f, "{succeeded} tasks succeeded, {others} did not; {handed_back} attempts handed back, {lost} lost")
    }
}
