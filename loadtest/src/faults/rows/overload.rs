//! More work than the fleet can do, and work that came too late.

use std::time::{Duration, Instant};

use evenkeel_proto::v1::TaskSpec;
use evenkeel_shared::{TaskState, wire::quantities::to_unix_ms};
use futures_util::FutureExt as _;
use tokio::time::{sleep, sleep_until};

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge},
    lab::{FaultError, until},
    load::{Load, LoadOptions, now, task},
};
use crate::history::History;

/// Three times of what the fleet can do.
pub const OVERLOAD: Fault = Fault {
    name: "overload",
    fault: "three times as many tasks as the fleet can do, for 60 s, then 0.7 times",
    passes_when: "refused with RESOURCE_EXHAUSTED alone, memory bounded, goodput at 90 % of peak meanwhile; within 30 s of its end \
                  all that is submitted is done, and 90 % of peak again when asked for; no promise broken",
    on_request: false,
    run: |lab| overload(lab).boxed(),
};

/// Tasks that may be live: the queue is a few seconds long.
const TASKS_MAX: usize = 2_000;
/// What the fleet can do at most, in tasks per second: 32 slots, 25 tasks a second each.
const AGENTS: u32 = 8;
const SLOTS: u32 = 4;
const WORK_MS: u64 = 40;
/// How long the peak is measured, after as long to get there.
const PEAK: Duration = Duration::from_secs(5);
const OVERLOAD_LASTS: Duration = Duration::from_secs(60);
/// In this time after it everything is as before.
const RECOVERED_MAX: Duration = Duration::from_secs(30);
const GOODPUT_SHARE_MIN: f64 = 0.9;
/// What the coordinator may hold at most: 64 MiB that the store keeps of its file, as much for lists of recent tasks and keys,
/// and the program. What is refused must leave nothing behind; 80,000 refusals of a kilobyte each would.
const MEMORY_MAX_BYTES: u64 = 192 << 20;

async fn overload(lab: &mut Lab) -> Result<Seen, FaultError> {
    let config = format!("[engine]\ntasks_max = {TASKS_MAX}\n[limits]\nrecent_events_max = 8192\n");
    let mut coordinator =
        Coordinator::start(lab, CoordinatorOptions { config, ..CoordinatorOptions::default() }).await?;
    let clients = coordinator.clients()?;
    let options = HostOptions { agents: AGENTS, slots: SLOTS, ..HostOptions::default() };
    let _host = Host::start(lab, &coordinator.url(), "a", options)?;
    clients.until_agents(AGENTS).await?;
    let (peak, mut history) = full_speed(&clients, "peak").await?;

    let open_loop = LoadOptions { clients: 32, batch: 20, task: |_| task(WORK_MS), ..LoadOptions::default() };
    let three = LoadOptions { name: "three", rate: Some(3.0 * peak), refused_again: false, ..open_loop.clone() };
    let (load, began) = (Load::start(clients.clone(), three), Instant::now());
    sleep(OVERLOAD_LASTS / 2).await;
    let during = goodput(&clients, OVERLOAD_LASTS / 2).await?;
    let memory = coordinator.process().resident_peak_bytes();
    let (refused, refusals, errors) = (load.counts().refused, load.refusals(), load.errors());
    let offered = (refused + load.counts().acknowledged) as f64 / began.elapsed().as_secs_f64();

    let over = Instant::now();
    let less = LoadOptions { name: "less", rate: Some(0.7 * peak), ..open_loop };
    let less = Load::start(clients.clone(), less);
    history.merge(load.finish(SETTLE_MAX).await);
    // The backlog of the overload is worked off first.
    sleep_until((over + Duration::from_secs(8)).into()).await;
    let after = goodput(&clients, Duration::from_secs(6)).await?;
    let queued = clients.clone().status().await?.tasks_queued;
    history.merge(less.finish(SETTLE_MAX).await);
    let (again, seen) = full_speed(&clients, "again").await?;
    history.merge(seen);
    let took = over.elapsed();
    let judged = judge(lab, &clients, history).await?;

    let text = format!(
        "peak {peak:.0} tasks/s; offered {offered:.0}/s: {during:.0}/s done, {refused} refused with {refusals:?}, at most {} MiB of \
         memory; then of {:.0}/s {after:.0}/s done with {queued} queued, and {again:.0}/s at full \
         speed, {:.1} s after it",
        memory >> 20,
        0.7 * peak,
        took.as_secs_f64()
    );
    let refused_well = refused > 0 && errors.is_empty() && refusals.keys().eq(["ResourceExhausted"]);
    let passed = refused_well
        && offered >= 2.5 * peak
        && during >= GOODPUT_SHARE_MIN * peak
        && after >= GOODPUT_SHARE_MIN * 0.7 * peak
        && again >= GOODPUT_SHARE_MIN * peak
        && took <= RECOVERED_MAX
        && memory <= MEMORY_MAX_BYTES;
    Ok(judged.seen(passed, text))
}

/// What the fleet does when there is always more to do: tasks per second.
async fn full_speed(clients: &Clients, name: &'static str) -> Result<(f64, History), FaultError> {
    let load = Load::start(clients.clone(), LoadOptions { name, task: |_| task(WORK_MS), ..LoadOptions::default() });
    sleep(PEAK / 2).await;
    let rate = goodput(clients, PEAK).await?;
    Ok((rate, load.finish(SETTLE_MAX).await))
}

/// Tasks that succeed per second, from now on for so long.
async fn goodput(clients: &Clients, lasts: Duration) -> Result<f64, FaultError> {
    let mut clients = clients.clone();
    let (began, before) = (Instant::now(), clients.status().await?.tasks_succeeded);
    sleep(lasts).await;
    Ok((clients.status().await?.tasks_succeeded - before) as f64 / began.elapsed().as_secs_f64())
}

/// Deadlines that pass before anybody could do the work.
pub const EXPIRED_BACKLOG: Fault = Fault {
    name: "expired-backlog",
    fault: "backlogs whose deadlines pass: without agents, while the coordinator is dead and agents dial, and among work that is done",
    passes_when: "none of the tasks is dispatched after its deadline, none of the first two backlogs ever; other tasks are done; no \
                  promise broken",
    on_request: false,
    run: |lab| expired(lab).boxed(),
};

/// Tasks of a backlog.
const LATE: u64 = 1_000;
/// Their deadlines, counted from their submission.
const SOON_MS: u64 = 1_500;
/// The last backlog's deadlines come one after the other within this time.
const SPREAD_MS: u64 = 3_000;

async fn expired(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut coordinator = Coordinator::start(lab, CoordinatorOptions::default()).await?;
    let clients = coordinator.clients()?;
    let backlog = LoadOptions { tasks: LATE, batch: 100, task: |_| due_in(SOON_MS), ..LoadOptions::default() };

    let nobody = Load::start(clients.clone(), LoadOptions { name: "nobody", ..backlog.clone() });
    all_over(&nobody, LATE).await?;

    let dead = Load::start(clients.clone(), LoadOptions { name: "dead", ..backlog.clone() });
    let accepted = || {
        let accepted = dead.counts().acknowledged;
        async move { (accepted >= LATE).then_some(()) }
    };
    until("the backlog is accepted", Duration::from_secs(30), accepted).await?;
    let due = Instant::now() + Duration::from_millis(SOON_MS);
    coordinator.kill().await?;
    let options = HostOptions { agents: 1, slots: 1, ..HostOptions::default() };
    let _host = Host::start(lab, &coordinator.url(), "a", options)?;
    sleep_until(due.into()).await;
    coordinator.restart().await?;
    clients.until_agents(1).await?;
    all_over(&dead, LATE).await?;

    // One slot does 200 of them a second at most, so that many are too late.
    let some = Load::start(clients.clone(), LoadOptions { name: "some", task: due_one_by_one, ..backlog });
    let on_time = LoadOptions { name: "on-time", tasks: 100, task: |_| task(5), ..LoadOptions::default() };
    let on_time = Load::start(clients.clone(), on_time);
    all_over(&some, LATE).await?;
    let mut history = on_time.finish(SETTLE_MAX).await;
    for load in [nobody, dead, some] {
        history.merge(load.finish(SETTLE_MAX).await);
    }
    let judged = judge(lab, &clients, history).await?;
    let count = |name: &str, state: TaskState, dispatched: bool| {
        let tasks =
            judged.history.recorded.iter().filter(|task| {
                task.key.contains(name) && task.state == state && task.attempts.is_empty() != dispatched
            });
        tasks.count() as u64
    };
    let untouched = ["nobody-", "dead-"].map(|name| count(name, TaskState::Expired, false));
    let (late, done) = (count("some-", TaskState::Expired, false), count("some-", TaskState::Succeeded, true));
    let others = count("on-time-", TaskState::Succeeded, true);
    let text = format!(
        "without agents {} of {LATE} expired and were not dispatched, with the coordinator dead {} of {LATE}; of those among work \
         {late} so and {done} done in time; {others} of 100 others done",
        untouched[0], untouched[1]
    );
    let passed = untouched == [LATE; 2] && late > 0 && done > 0 && others == 100;
    Ok(judged.seen(passed, text))
}

fn due_in(ms: u64) -> TaskSpec {
    TaskSpec { deadline_unix_ms: to_unix_ms(now().plus(Duration::from_millis(ms))), ..task(5) }
}

fn due_one_by_one(number: u64) -> TaskSpec {
    due_in(500 + SPREAD_MS * number / LATE)
}

async fn all_over(load: &Load, count: u64) -> Result<(), FaultError> {
    let over = || {
        let over = load.counts().over;
        async move { (over >= count).then_some(()) }
    };
    until("the backlog is over", Duration::from_secs(30), over).await
}
