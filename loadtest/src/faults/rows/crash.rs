//! Processes that die or stand still.

use std::time::{Duration, Instant};

use evenkeel_proto::v1::{self, TaskSpec};
use evenkeel_shared::{AttemptEnd, AttemptRef, Timestamp};
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
const DEATHS: u32 = 100;
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
    let (mut ready, mut ready_in_all, mut taken) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..DEATHS {
        sleep(Duration::from_millis(lab.rng.u64(0..400))).await;
        coordinator.kill().await?;
        let (before, began) = (load.counts().acknowledged, Instant::now());
        let started = coordinator.restart().await?;
        (ready, ready_in_all) = (ready.max(started), ready_in_all + started);
        let takes = || {
            let after = load.counts().acknowledged;
            async move { (after > before).then_some(()) }
        };
        until("a task is taken after a start", Duration::from_secs(60), takes).await?;
        taken = taken.max(began.elapsed());
    }
    let accepted = load.counts().acknowledged;
    let many = HostOptions { agents: 8, slots: 64, kind: LATER, ..HostOptions::default() };
    let _later = Host::start(lab, &coordinator.url(), "later", many)?;
    let mut history = stored.finish(SETTLE_MAX).await;
    history.merge(load.finish(SETTLE_MAX).await);
    let text = format!(
        "{DEATHS} deaths; ready after {} ms on average, {} ms at the longest, the longest time to the first task taken {} ms; {accepted} tasks taken between the deaths",
        ready_in_all.as_millis() / u128::from(DEATHS),
        ready.as_millis(),
        taken.as_millis()
    );
    // The first task is taken by a client that has to find out first that it can ask again: the stricter figure.
    Ok(judge(lab, &clients, history).await?.seen(taken <= READY_MAX, text))
}

fn later(_: u64) -> TaskSpec {
    TaskSpec { kind: LATER.into(), ..task(0) }
}

/// An agent process dies with work in its hands.
pub const AGENT_KILLED: Fault = Fault {
    name: "agent-sigkill",
    fault: "SIGKILL to an agent with work in its hands, 20 times",
    passes_when: "its tasks are placed again, 99 of 100 within 250 ms; no promise broken",
    on_request: false,
    run: |lab| agent_killed(lab).boxed(),
};

const AGENT_DEATHS: usize = 20;
const VICTIMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const VICTIM_SLOTS: u32 = 8;
/// Every other of the dead comes back this late; the others at once.
const AWAY: Duration = Duration::from_millis(500);
const REPLACED_P99_MAX: Duration = Duration::from_millis(250);

async fn agent_killed(lab: &mut Lab) -> Result<Seen, FaultError> {
    // Agents that come back start slowly by default: with six of them there would soon be no room to move to.
    let config = "[engine.ramp]\nduration_ms = 100\n".to_owned();
    let coordinator = Coordinator::start(lab, CoordinatorOptions { config, ..CoordinatorOptions::default() }).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 1, slots: VICTIM_SLOTS, ..HostOptions::default() };
    let mut hosts = Vec::new();
    for name in VICTIMS {
        hosts.push(Host::start(lab, &coordinator.url(), name, options.clone())?);
    }
    clients.until_agents(VICTIMS.len() as u32).await?;
    // A third of the slots is busy, so that there is room for the tasks of the dead.
    let load = LoadOptions { rate: Some(80.0), batch: 4, task: |_| task(200), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    let mut deaths = Vec::new();
    for death in 0..AGENT_DEATHS {
        let host = &mut hosts[death % VICTIMS.len()];
        sleep(Duration::from_millis(300 + lab.rng.u64(0..200))).await;
        deaths.push(now());
        host.process().kill().await?;
        if death % 2 == 0 {
            // Its tasks do not wait for it to come back; they do wait a little for it to dial again.
            sleep(AWAY).await;
        }
        host.restart()?;
        clients.until_agents(VICTIMS.len() as u32).await?;
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

/// An agent process stands still and goes on.
pub const AGENT_STOPPED: Fault = Fault {
    name: "agent-sigstop",
    fault: "SIGSTOP to agents that are at work, then SIGCONT: one is given up and its tasks are done elsewhere first, the \
            other goes on in its session once its attempts have timed out",
    passes_when: "found within 3 heartbeat intervals + 1 s; every late result is answered STALE, or its attempt called \
                  superseded when its agent comes back; no promise broken",
    on_request: false,
    run: |lab| agent_stopped(lab).boxed(),
};

/// The default of the coordinator.
const HEARTBEAT_MS: u64 = 1_000;
const FOUND_MAX: Duration = Duration::from_millis(3 * HEARTBEAT_MS + 1_000);
/// Longest wait for anything that is to happen on the way.
const STEP_MAX: Duration = Duration::from_secs(30);
/// Longest wait for late results: an agent that goes on sends them at once.
const STALE_MAX: Duration = Duration::from_secs(5);
/// Time limit of attempts. A running agent is done within it; the coordinator ends what a stopped one holds two seconds
/// later, before the agent is given up.
const ATTEMPT_MAX_MS: u64 = 1_000;

async fn agent_stopped(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 1, slots: VICTIM_SLOTS, ..HostOptions::default() };

    let mut gone = Host::start(lab, &coordinator.url(), "gone", options.clone())?;
    clients.until_agents(1).await?;
    let load = LoadOptions { tasks: VICTIM_SLOTS.into(), task: |_| task(1_000), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    running(&clients, VICTIM_SLOTS).await?;
    let _other = Host::start(lab, &coordinator.url(), "other", options.clone())?;
    clients.until_agents(2).await?;
    let stopped = Instant::now();
    gone.process().signal(Signal::SIGSTOP)?;
    let lost = || {
        let mut clients = clients.clone();
        async move { (clients.agent("gone-0").await?.health() == v1::Health::Lost).then_some(()) }
    };
    until("the stopped agent is given up", STEP_MAX, lost).await?;
    let found = stopped.elapsed();
    over(&load, VICTIM_SLOTS).await?;
    gone.process().signal(Signal::SIGCONT)?;
    clients.until_agents(2).await?;
    let mut history = load.finish(SETTLE_MAX).await;

    // This one's connection and session live on, so that its late results arrive.
    let mut brief = Host::start(lab, &coordinator.url(), "brief", options)?;
    clients.until_agents(3).await?;
    let before = clients.metric(RETRIED).await?;
    let load = LoadOptions { name: "brief", tasks: VICTIM_SLOTS.into(), task: timed, ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    running(&clients, VICTIM_SLOTS).await?;
    brief.process().signal(Signal::SIGSTOP)?;
    let caught = clients.clone().agent("brief-0").await.map_or(0, |agent| agent.running_tasks);
    timed_out(&clients, before + f64::from(caught)).await?;
    brief.process().signal(Signal::SIGCONT)?;
    history.merge(load.finish(SETTLE_MAX).await);

    let judged = judge(lab, &clients, history).await?;
    let late_gone = late(&judged.history, "gone-0", AttemptEnd::AgentLost);
    let late_brief = late(&judged.history, "brief-0", AttemptEnd::TimedOut);
    let superseded = superseded(&gone.process().log());
    let stale = stale_results(&clients, late_gone + late_brief - superseded).await?;
    let text = format!(
        "given up after {} ms; of {late_gone} late results {superseded} superseded; of {late_brief} that came on the old session \
         {stale} STALE",
        found.as_millis(),
    );
    let answered = late_gone > 0 && late_brief > 0 && superseded + stale == late_gone + late_brief;
    Ok(judged.seen(found <= FOUND_MAX && answered && stale >= late_brief, text))
}

/// Attempts followed by another.
const RETRIED: &str = "evenkeel_attempts_retried_total";

/// Waits until as many attempts have been given up in all.
async fn timed_out(clients: &Clients, count: f64) -> Result<(), FaultError> {
    let given_up = || async move { (clients.metric(RETRIED).await.ok()? >= count).then_some(()) };
    until("the attempts of the stopped agent time out", STEP_MAX, given_up).await
}

/// How many results were answered STALE, once they are as many as they have to be, or no more come.
async fn stale_results(clients: &Clients, wanted: u64) -> Result<u64, FaultError> {
    let all = || {
        let mut clients = clients.clone();
        async move { (clients.status().await.ok()?.stale_results >= wanted).then_some(()) }
    };
    // That they do not come is for the row to say.
    let _ = until("all late results are answered STALE", STALE_MAX, all).await;
    Ok(clients.clone().status().await?.stale_results)
}

fn timed(_: u64) -> TaskSpec {
    TaskSpec { attempt_timeout_ms: ATTEMPT_MAX_MS, ..task(400) }
}

/// Attempts of this agent that ended so for the coordinator, and that the agent has run to their end all the same.
fn late(history: &History, agent: &str, end: AttemptEnd) -> u64 {
    let ended_so = history
        .recorded
        .iter()
        .flat_map(|task| &task.attempts)
        .filter(|attempt| attempt.agent.as_str() == agent && attempt.ended.is_some_and(|(_, how)| how == end));
    let ran = |attempt: AttemptRef| {
        history
            .executions
            .iter()
            .any(|run| run.attempt == attempt && run.agent.as_str() == agent && run.ended_at.is_some())
    };
    ended_so.filter(|attempt| ran(attempt.attempt)).count() as u64
}

/// Attempts that agents were told to forget when they came back, as their log says.
pub(super) fn superseded(log: &str) -> u64 {
    let counts = log
        .lines()
        .filter_map(|line| line.rsplit_once("superseded=")?.1.split_whitespace().next()?.parse::<u64>().ok());
    counts.sum()
}

/// Waits until so many tasks run.
async fn running(clients: &Clients, count: u32) -> Result<(), FaultError> {
    let running = || {
        let mut clients = clients.clone();
        async move { (clients.status().await.ok()?.tasks_running >= u64::from(count)).then_some(()) }
    };
    until("all slots are busy", STEP_MAX, running).await
}

/// Waits until so many tasks of the load are over.
async fn over(load: &Load, count: u32) -> Result<(), FaultError> {
    let over = || {
        let over = load.counts().over;
        async move { (over >= u64::from(count)).then_some(()) }
    };
    until("the tasks are done by another agent", STEP_MAX, over).await
}
