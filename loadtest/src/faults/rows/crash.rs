//! Processes that die or stand still.

use std::time::{Duration, Instant};

use evenkeel_proto::v1::{self, TaskSpec};
use evenkeel_shared::{AttemptEnd, Timestamp};
use futures_util::FutureExt as _;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::{FaultError, until},
    load::{Load, LoadOptions, now, task},
};
use crate::history::History;

/// Deaths of the coordinator.
const DEATHS: usize = 100;
/// Longest time from a start to the first task taken.
const READY_MAX: Duration = Duration::from_secs(5);
/// Tasks in the store meanwhile.
const STORED: u64 = 100_000;
/// Their kind.
const LATER: &str = "fault-later";

/// The coordinator dies a hundred times.
pub const COORDINATOR_KILLED: Fault = Fault {
    name: "coordinator-sigkill",
    fault: "SIGKILL to the coordinator at 100 random moments under load, with 100,000 tasks stored",
    passes_when: "ready again within 5 s each time; no promise broken",
    on_request: false,
    run: |lab| coordinator_killed(lab).boxed(),
};

async fn coordinator_killed(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    // No agent takes them yet, so that every start has them to recover.
    let stored = LoadOptions { name: "stored", tasks: STORED, batch: 1_000, task: later, ..LoadOptions::default() };
    let stored = Load::start(clients.clone(), stored);
    let accepted = || {
        let acknowledged = stored.counts().acknowledged;
        async move { (acknowledged >= STORED).then_some(()) }
    };
    until("100,000 tasks are stored", Duration::from_secs(60), accepted).await?;
    let _agents =
        Host::start(lab, &coordinator.url(), "a", HostOptions { agents: 8, slots: 4, ..HostOptions::default() })?;
    clients.until_agents(8).await?;
    let load = Load::start(clients.clone(), LoadOptions { rate: Some(500.0), ..LoadOptions::default() });
    let mut longest = Duration::ZERO;
    for _ in 0..DEATHS {
        sleep(Duration::from_millis(lab.rng.u64(0..400))).await;
        coordinator.kill().await?;
        longest = longest.max(coordinator.restart().await?);
    }
    let accepted = load.counts().acknowledged;
    let many = HostOptions { agents: 8, slots: 64, kind: LATER, ..HostOptions::default() };
    let _later = Host::start(lab, &coordinator.url(), "later", many)?;
    let mut history = stored.finish(SETTLE_MAX).await;
    history.merge(load.finish(SETTLE_MAX).await);
    let text = format!("longest start {} ms; {accepted} tasks accepted between the deaths", longest.as_millis());
    Ok(judge(lab, &clients, history).await?.seen(longest <= READY_MAX, text))
}

fn later(_: u64) -> TaskSpec {
    TaskSpec { kind: LATER.into(), ..task(0) }
}

/// An agent process dies with work in its hands.
pub const AGENT_KILLED: Fault = Fault {
    name: "agent-sigkill",
    fault: "SIGKILL to an agent with all slots busy, 20 times",
    passes_when: "its tasks are placed again, 99 of 100 within 250 ms; no promise broken",
    on_request: false,
    run: |lab| agent_killed(lab).boxed(),
};

const AGENT_DEATHS: usize = 20;
const VICTIM_SLOTS: u32 = 8;
const REPLACED_P99_MAX: Duration = Duration::from_millis(250);

async fn agent_killed(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 1, slots: VICTIM_SLOTS, ..HostOptions::default() };
    let mut hosts = Vec::new();
    for name in ["a", "b", "c", "d"] {
        hosts.push(Host::start(lab, &coordinator.url(), name, options.clone())?);
    }
    clients.until_agents(4).await?;
    // Half of the slots are busy, so that there is room for the tasks of the dead.
    let load = LoadOptions { rate: Some(80.0), batch: 4, task: |_| task(200), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    let mut deaths = Vec::new();
    for death in 0..AGENT_DEATHS {
        let host = &mut hosts[death % 4];
        sleep(Duration::from_millis(300 + lab.rng.u64(0..200))).await;
        deaths.push(now());
        host.process().kill().await?;
        host.restart()?;
        clients.until_agents(4).await?;
    }
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let replaced = replacements(&judged.history, &deaths);
    let (count, p99) = (replaced.len(), percentile(&replaced, 99));
    let text = format!("{count} tasks placed again, p99 {} ms after the signal", p99.as_millis());
    Ok(judged.seen(count > 0 && p99 <= REPLACED_P99_MAX, text))
}

/// How long after the death of its agent each task was assigned again, sorted.
fn replacements(history: &History, deaths: &[Timestamp]) -> Vec<Duration> {
    let mut waits = Vec::new();
    for task in &history.recorded {
        for pair in task.attempts.windows(2) {
            let Some((ended_at, AttemptEnd::AgentLost)) = pair[0].ended else { continue };
            let death = deaths.iter().rev().find(|death| **death <= ended_at);
            waits.extend(death.map(|death| pair[1].assigned_at.since(*death)));
        }
    }
    waits.sort_unstable();
    waits
}

/// Of sorted values; zero where there are none.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// An agent process stands still, is given up, and goes on.
pub const AGENT_STOPPED: Fault = Fault {
    name: "agent-sigstop",
    fault: "SIGSTOP to an agent with all slots busy, SIGCONT once its tasks are done elsewhere",
    passes_when: "found within 3 heartbeat intervals + 1 s; its late results are answered STALE; no promise broken",
    on_request: false,
    run: |lab| agent_stopped(lab).boxed(),
};

/// What the coordinator is set to; its default is longer.
const HEARTBEAT_MS: u64 = 500;
const FOUND_MAX: Duration = Duration::from_millis(3 * HEARTBEAT_MS + 1_000);

async fn agent_stopped(lab: &mut Lab) -> Result<Seen, FaultError> {
    let config = format!("[engine.lease]\nheartbeat_interval_ms = {HEARTBEAT_MS}\n");
    let coordinator = Coordinator::start(lab, CoordinatorOptions { config, ..CoordinatorOptions::default() }).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 1, slots: VICTIM_SLOTS, ..HostOptions::default() };
    let mut victim = Host::start(lab, &coordinator.url(), "victim", options.clone())?;
    clients.until_agents(1).await?;
    let load = LoadOptions { tasks: VICTIM_SLOTS.into(), task: |_| task(1_000), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    running(&clients, VICTIM_SLOTS).await?;
    let _other = Host::start(lab, &coordinator.url(), "other", options)?;
    clients.until_agents(2).await?;
    let stopped = Instant::now();
    victim.process().signal(Signal::SIGSTOP)?;
    let lost = || {
        let mut clients = clients.clone();
        async move { (clients.agent("victim-0").await?.health() == v1::Health::Lost).then_some(()) }
    };
    until("the stopped agent is given up", Duration::from_secs(30), lost).await?;
    let found = stopped.elapsed();
    let over = || {
        let over = load.counts().over;
        async move { (over == u64::from(VICTIM_SLOTS)).then_some(()) }
    };
    until("its tasks are done by the other agent", Duration::from_secs(30), over).await?;
    victim.process().signal(Signal::SIGCONT)?;
    clients.until_agents(2).await?;
    let stale = || {
        let clients = clients.clone();
        async move {
            let stale = clients.metric("evenkeel_bad_input_total{reason=\"stale_result\"}").await.ok()?;
            (stale > 0.0).then_some(stale)
        }
    };
    // Attempts that the welcome calls superseded are dropped by the agent, which is as good.
    let stale = until("a late result is answered STALE", Duration::from_secs(5), stale).await.unwrap_or(0.0);
    let text = format!("given up after {} ms; {stale} late results answered STALE", found.as_millis());
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    Ok(judged.seen(found <= FOUND_MAX && stale > 0.0, text))
}

/// Waits until so many tasks run.
async fn running(clients: &Clients, count: u32) -> Result<(), FaultError> {
    let running = || {
        let mut clients = clients.clone();
        async move { (clients.status().await.ok()?.tasks_running >= u64::from(count)).then_some(()) }
    };
    until("all slots are busy", Duration::from_secs(30), running).await
}
