//! Fleets that are killed by their work, come back at once, or vanish.

use std::time::{Duration, Instant};

use evenkeel_proto::v1::TaskSpec;
use evenkeel_shared::{AttemptEnd, TaskState, Timestamp};
use futures_util::FutureExt as _;
use nix::sys::signal::Signal;
use tokio::time::{sleep, sleep_until};

use super::super::{
    Fault, Lab, Seen,
    agent::Work,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::{FaultError, until},
    load::{Load, LoadOptions, now, task, task_of},
    proxy::Proxy,
};
use crate::history::History;

/// Tasks that kill every agent they meet.
pub const POISON: Fault = Fault {
    name: "poison",
    fault: "five tasks that kill the process of every agent that runs them; a supervisor starts the processes again",
    passes_when: "each is quarantined after 3 attempts, and nothing else is; other tasks go on all the time; no promise broken",
    on_request: false,
    run: |lab| poison(lab).boxed(),
};

/// Poisoned tasks, and their idempotency keys.
const POISONS: u64 = 5;
const POISON_KEYS: &str = "poison-";
/// Attempts that it takes to know them, by the coordinator's defaults.
const CRASHES: usize = 3;
/// Other tasks per second.
const BYSTANDERS_PER_S: f64 = 200.0;
/// How often the supervisor looks, and how often it is noted how far the other tasks are.
const SUPERVISION: Duration = Duration::from_millis(20);
const PACE_WINDOW: Duration = Duration::from_secs(1);
/// Longest time until all are known.
const POISON_MAX: Duration = Duration::from_secs(60);

async fn poison(lab: &mut Lab) -> Result<Seen, FaultError> {
    let coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: 1, slots: 4, ..HostOptions::default() };
    let mut hosts = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        hosts.push(Host::start(lab, &coordinator.url(), name, options.clone())?);
    }
    clients.until_agents(6).await?;
    let load = LoadOptions { rate: Some(BYSTANDERS_PER_S), batch: 4, task: |_| task(20), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    sleep(PACE_WINDOW).await;
    let poisons =
        LoadOptions { name: "poison", tasks: POISONS, rate: Some(1.0), clients: 1, batch: 1, ..LoadOptions::default() };
    let poisons = LoadOptions { task: poisoned, ..poisons };
    let poisons = Load::start(clients.clone(), poisons);
    let (began, mut deaths, mut pace) = (Instant::now(), 0, Pace::new(&load));
    while poisons.counts().over < POISONS {
        if began.elapsed() > POISON_MAX {
            return Err(FaultError::Never { what: "all poisoned tasks are over".into(), waited: POISON_MAX });
        }
        for host in &mut hosts {
            if host.process().try_ended().is_some() {
                deaths += 1;
                host.restart()?;
            }
        }
        pace.note(&load);
        sleep(SUPERVISION).await;
    }
    // The last of them may have killed an agent that has not been started again.
    let mut history = load.finish(SETTLE_MAX).await;
    history.merge(poisons.finish(SETTLE_MAX).await);
    let judged = judge(lab, &clients, history).await?;
    let toll = Toll::of(&judged.history);
    let text = format!(
        "{} of {POISONS} quarantined, {} of them after {CRASHES} lost attempts, and {} other tasks; {deaths} processes died; of \
         {BYSTANDERS_PER_S} other tasks a second at least {} were done",
        toll.poisons,
        toll.after_three,
        toll.bystanders,
        pace.least()
    );
    let caught = toll.poisons == POISONS && toll.after_three == POISONS;
    let goes_on = pace.least() as f64 >= BYSTANDERS_PER_S / 2.0;
    Ok(judged.seen(caught && toll.bystanders == 0 && goes_on, text))
}

/// Who was quarantined.
#[derive(Default)]
struct Toll {
    poisons: u64,
    after_three: u64,
    bystanders: u64,
}

impl Toll {
    fn of(history: &History) -> Self {
        let mut toll = Self::default();
        for task in history.recorded.iter().filter(|task| task.state == TaskState::Quarantined) {
            if !task.key.contains(POISON_KEYS) {
                toll.bystanders += 1;
                continue;
            }
            toll.poisons += 1;
            let lost = task.attempts.iter().filter(|try_| matches!(try_.ended, Some((_, AttemptEnd::AgentLost))));
            toll.after_three += u64::from(lost.count() == CRASHES && task.attempts.len() == CRASHES);
        }
        toll
    }
}

fn poisoned(_: u64) -> TaskSpec {
    task_of(&Work { wait_ms: 50, poison: true, ..Work::default() })
}

/// How many tasks of a load come to their end in each window.
struct Pace {
    window_began: Instant,
    over: u64,
    least: Option<u64>,
}

impl Pace {
    fn new(load: &Load) -> Self {
        Self { window_began: Instant::now(), over: load.counts().over, least: None }
    }

    fn note(&mut self, load: &Load) {
        if self.window_began.elapsed() < PACE_WINDOW {
            return;
        }
        let over = load.counts().over;
        let ended = over - self.over;
        self.least = Some(self.least.map_or(ended, |least| least.min(ended)));
        (self.window_began, self.over) = (Instant::now(), over);
    }

    /// Of the window with the fewest; 0 where none has passed.
    fn least(&self) -> u64 {
        self.least.unwrap_or(0)
    }
}

/// A large fleet has to dial again.
pub const RECONNECT: Fault = Fault {
    name: "reconnect-1000",
    fault: "the connections of 1,000 agents are reset at once, under load; then the coordinator is killed and started again",
    passes_when: "all ready within 30 s each time; p99 of submissions in the 30 s from the reset on within 5x of before; no \
                  promise broken",
    on_request: false,
    run: |lab| reconnect(lab).boxed(),
};

const RECONNECT_HOSTS: u32 = 8;
const AGENTS_PER_HOST: u32 = 125;
const AGENTS_READY_MAX: Duration = Duration::from_secs(30);
const SLOWER_MAX: f64 = 5.0;
/// How long the p99 before is measured.
const BEFORE: Duration = Duration::from_secs(6);

async fn reconnect(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    // Agents go through it, clients do not.
    let proxy =
        Proxy::start(coordinator.grpc(), lab.rng.u64(..)).map_err(FaultError::io("listen for", lab.directory()))?;
    let options = HostOptions { agents: AGENTS_PER_HOST, slots: 1, ..HostOptions::default() };
    let mut hosts = Vec::new();
    for host in 0..RECONNECT_HOSTS {
        hosts.push(Host::start(lab, &proxy.url(), &format!("host{host}"), options.clone())?);
    }
    let agents = RECONNECT_HOSTS * AGENTS_PER_HOST;
    clients.until_agents(agents).await?;
    let load = LoadOptions { rate: Some(400.0), clients: 16, batch: 1, task: |_| task(50), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    sleep(Duration::from_secs(2)).await;
    load.take_acceptance_us();
    sleep(BEFORE).await;
    let before = p99_ms(&load.take_acceptance_us());

    let accepted = proxy.accepted();
    let began = Instant::now();
    proxy.reset_all();
    let dialled = || {
        let again = proxy.accepted() - accepted;
        async move { (again >= u64::from(agents)).then_some(()) }
    };
    until("all agents dial again", AGENTS_READY_MAX, dialled).await?;
    clients.until_agents(agents).await?;
    let cut = began.elapsed();
    let mut times = load.take_acceptance_us();
    let storm = p99_ms(&times);
    sleep_until((began + AGENTS_READY_MAX).into()).await;
    times.extend(load.take_acceptance_us());
    times.sort_unstable();
    let during = p99_ms(&times);

    coordinator.kill().await?;
    let began = Instant::now();
    let started = coordinator.restart().await?;
    clients.until_agents(agents).await?;
    let restarted = began.elapsed();
    let judged = judge(lab, &clients, load.finish(SETTLE_MAX).await).await?;
    let text = format!(
        "after the reset all {agents} agents ready in {} ms, p99 of submissions until then {storm:.1} ms, of {} in 30 s \
         {during:.1} ms, before {before:.1} ms; after the kill coordinator ready in {} ms, all agents in {} ms",
        cut.as_millis(),
        times.len(),
        started.as_millis(),
        restarted.as_millis()
    );
    let ready = cut.max(restarted) <= AGENTS_READY_MAX;
    Ok(judged.seen(ready && !times.is_empty() && during <= SLOWER_MAX * before, text))
}

/// Of sorted times in microseconds.
fn p99_ms(sorted_us: &[u64]) -> f64 {
    let at = (sorted_us.len() * 99).div_ceil(100).saturating_sub(1);
    sorted_us.get(at).map_or(0.0, |us| *us as f64 / 1e3)
}

/// Most of the fleet goes at once.
pub const MASS_LOSS: Fault = Fault {
    name: "mass-loss",
    fault: "60 % of 40 agents vanish in one window: once they stand still and go on, once they are killed for good",
    passes_when: "failover is slowed down to its limit; who comes back goes on with its work; the queue is kept and the rest \
                  stays busy; no task is placed more often than its agents vanished; no promise broken",
    on_request: false,
    run: |lab| mass_loss(lab).boxed(),
};

/// Ten processes of four agents with eight slots, of which six vanish.
const LOSS_HOSTS: u32 = 10;
const LOSS_VICTIMS: usize = 6;
const LOSS_AGENTS: u32 = 4;
const LOSS_SLOTS: u32 = 8;
/// Tasks per second that the rest can do, with tasks of a second on average.
const REST_PER_S: f64 = (LOSS_HOSTS as usize - LOSS_VICTIMS) as f64 * (LOSS_AGENTS * LOSS_SLOTS) as f64;
/// The limit of failover by default, and what is saved up of it in a tenth of a second.
const PERMITS_PER_S: usize = 50;
const PERMITS_SAVED: usize = 5;
/// Tasks of the backlog that is there when the agents vanish.
const BACKLOG: u64 = 2_500;

async fn mass_loss(lab: &mut Lab) -> Result<Seen, FaultError> {
    // Panic ends so long after the last loss, and who was given up has all its slots so long after its return. Both are
    // longer by default.
    let config = "[engine.panic]\nquiet_ms = 8000\n[engine.ramp]\nduration_ms = 1000\n".to_owned();
    let coordinator = Coordinator::start(lab, CoordinatorOptions { config, ..CoordinatorOptions::default() }).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: LOSS_AGENTS, slots: LOSS_SLOTS, ..HostOptions::default() };
    let mut hosts = Vec::new();
    for host in 0..LOSS_HOSTS {
        hosts.push(Host::start(lab, &coordinator.url(), &format!("host{host}"), options.clone())?);
    }
    clients.until_agents(LOSS_HOSTS * LOSS_AGENTS).await?;
    let load = LoadOptions { tasks: BACKLOG, clients: 1, batch: 500, task: uneven, ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    busy(&clients, LOSS_HOSTS * LOSS_AGENTS * LOSS_SLOTS).await?;

    let stopped_at = now();
    for host in &mut hosts[..LOSS_VICTIMS] {
        host.process().signal(Signal::SIGSTOP)?;
    }
    panics(&clients, true).await?;
    for host in &mut hosts[..LOSS_VICTIMS] {
        host.process().signal(Signal::SIGCONT)?;
    }
    clients.until_agents(LOSS_HOSTS * LOSS_AGENTS).await?;
    panics(&clients, false).await?;
    let adopted = clients.metric("evenkeel_attempts_adopted_total").await?;

    busy(&clients, LOSS_HOSTS * LOSS_AGENTS * LOSS_SLOTS).await?;
    let killed_at = now();
    for host in &mut hosts[..LOSS_VICTIMS] {
        host.process().kill().await?;
    }
    panics(&clients, true).await?;
    let (over, began) = (load.counts().over, Instant::now());
    let queued = clients.clone().status().await?.tasks_queued;
    // While the backlog lasts the rest is busy, or it would not be the fault's doing.
    sleep(Duration::from_secs(3)).await;
    let pace = (load.counts().over - over) as f64 / began.elapsed().as_secs_f64();
    let history = load.finish(SETTLE_MAX).await;
    panics(&clients, false).await?;
    let judged = judge(lab, &clients, history).await?;

    let (still, dead) = (moves(&judged.history, stopped_at, killed_at), moves(&judged.history, killed_at, now()));
    let worst = most_in_a_second(&dead);
    let worst_still = most_in_a_second(&still);
    let excess = judged.history.recorded.iter().map(|task| task.attempts.len().saturating_sub(1)).sum::<usize>();
    let text = format!(
        "stopped: {} tasks moved, at most {worst_still} in a second, {adopted} gone on with; killed: {} tasks moved, at most {worst} \
         in a second, {queued} queued meanwhile, the rest did {pace:.0} of {REST_PER_S:.0} tasks/s; {excess} second attempts in all",
        still.len(),
        dead.len(),
    );
    let limit = PERMITS_PER_S + PERMITS_SAVED;
    let passed = !dead.is_empty()
        && worst <= limit
        && worst_still <= limit
        && adopted > 0.0
        && queued > 0
        && pace >= 0.75 * REST_PER_S
        && excess == still.len() + dead.len();
    Ok(judged.seen(passed, text))
}

/// From half a second to one and a half, or all slots would come free at the same moments.
fn uneven(number: u64) -> TaskSpec {
    task(500 + number * 37 % 1_000)
}

/// Waits until nearly all of so many slots are busy: tasks come and go, and some are always on their way.
async fn busy(clients: &Clients, slots: u32) -> Result<(), FaultError> {
    let busy = || {
        let mut clients = clients.clone();
        async move { (clients.status().await.ok()?.tasks_running >= u64::from(slots - slots / 10)).then_some(()) }
    };
    until("all slots are busy", Duration::from_secs(30), busy).await
}

async fn panics(clients: &Clients, wanted: bool) -> Result<(), FaultError> {
    let panics = || {
        let mut clients = clients.clone();
        async move { (clients.status().await.ok()?.panic_mode == wanted).then_some(()) }
    };
    let what = if wanted { "failover is slowed down" } else { "failover is as usual again" };
    until(what, Duration::from_secs(30), panics).await
}

/// When attempts were taken from vanished agents in this time, sorted.
fn moves(history: &History, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let ends = history.recorded.iter().flat_map(|task| &task.attempts).filter_map(|attempt| attempt.ended);
    let mut times: Vec<_> =
        ends.filter(|(at, how)| *how == AttemptEnd::AgentLost && *at >= from && *at < to).map(|(at, _)| at).collect();
    times.sort_unstable();
    times
}

/// The most of these that fall into one second.
fn most_in_a_second(times: &[Timestamp]) -> usize {
    let second = Duration::from_secs(1);
    let within = |first: usize| times[first..].partition_point(|at| at.since(times[first]) < second);
    (0..times.len()).map(within).max().unwrap_or(0)
}
