//! Wall clocks that are set: nothing that is measured in time ends early because of it, neither by the coordinator's clock
//! nor by that of its agents.
//!
//! The coordinator's clock and the agents' are set apart from each other; clients keep to the true time. While the
//! coordinator runs, its own clock goes on evenly. When it starts again it goes by what the wall clock says then: a deadline
//! that has passed by it has passed, and one that has not has not.

use std::time::Duration;

use evenkeel_proto::v1::{ClusterEventType, RetryPolicy, TaskSpec};
use evenkeel_shared::{AttemptEnd, TaskState};
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::super::{
    Fault, Lab, Seen,
    agent::Work,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions},
    judge::{SETTLE_MAX, judge_clock},
    lab::{FaultError, until},
    load::{Load, LoadOptions, now, task, task_of},
    shim::{Control, Shim},
};
use crate::history::History;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than the lease of an agent.
const LEASE: Duration = Duration::from_secs(5);
/// Tasks of a load: as many of each sort.
const TASKS: u64 = 40;
/// The kind of those that wait in the queue until an agent comes that takes it.
const LATER: &str = "fault-later";
/// The clock of a coordinator that starts again may be off by as much, and a little.
const TOLERANCE: Duration = Duration::from_secs(3_660);

/// The wall clocks go forward.
pub const FORWARD: Fault = Fault {
    name: "clock-forward",
    fault: "the coordinator's wall clock goes one hour forward, then the agents', then the coordinator starts again",
    passes_when: "no task or attempt ends early, no agent is lost; after the start only deadlines that have passed by the new \
                  clock expire; no promise broken",
    on_request: false,
    run: |lab| forward(lab).boxed(),
};

async fn forward(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut world = World::start(lab).await?;
    let mut history = world.set_clocks(lab, 3_600).await?;
    // By the clock that it starts with, ten minutes from now are long over, and two hours are not.
    let patient = world.load("patient", |_| TaskSpec { deadline_unix_ms: at(2 * HOUR), ..task(2_000) });
    let due = world.load("due", |_| TaskSpec { kind: LATER.into(), deadline_unix_ms: at(10 * MINUTE), ..task(0) });
    world.until_accepted(&[&patient, &due]).await?;
    let epochs = world.restart().await?;
    history.merge(patient.finish(SETTLE_MAX).await);
    let expected = due.finish(SETTLE_MAX).await;
    let expired = expected.sightings.iter().filter(|seen| seen.state == TaskState::Expired).count() as u64;
    history.merge(expected);
    world.seen(lab, history, epochs, expired, TASKS).await
}

/// The wall clocks go back.
pub const BACKWARD: Fault = Fault {
    name: "clock-backward",
    fault: "the coordinator's wall clock goes one hour back, then the agents', then the coordinator starts again",
    passes_when: "no task or attempt ends early, no agent is lost, none waits for the hour to pass; sessions and positions of \
                  events still grow; no promise broken",
    on_request: false,
    run: |lab| backward(lab).boxed(),
};

async fn backward(lab: &mut Lab) -> Result<Seen, FaultError> {
    let mut world = World::start(lab).await?;
    let mut history = world.set_clocks(lab, -3_600).await?;
    let load = world.load("restart", sorts);
    world.until_accepted(&[&load]).await?;
    let epochs = world.restart().await?;
    let _later = world.later_host(lab, "late")?;
    history.merge(load.finish(SETTLE_MAX).await);
    world.seen(lab, history, epochs, 0, 0).await
}

/// A quarter each: runs for long within limits that are minutes away, fails once and waits for its next attempt, waits in
/// the queue, runs without limits.
fn sorts(number: u64) -> TaskSpec {
    let limits = TaskSpec {
        deadline_unix_ms: at(10 * MINUTE),
        attempt_timeout_ms: 60_000,
        queue_timeout_ms: 300_000,
        ..TaskSpec::default()
    };
    let of = |spec: TaskSpec| TaskSpec { kind: spec.kind, payload: spec.payload, ..limits.clone() };
    match number % 4 {
        0 => of(task(4_000)),
        1 => {
            let retry = RetryPolicy { initial_backoff_ms: 6_000, max_backoff_ms: 6_000, ..RetryPolicy::default() };
            let fails = Work { wait_ms: 10, failures: 1, ..Work::default() };
            TaskSpec { retry: Some(retry), ..of(task_of(&fails)) }
        }
        2 => of(TaskSpec { kind: LATER.into(), ..task(10) }),
        _ => task(3_000),
    }
}

/// So long from now, on the clients' clock.
fn at(after: Duration) -> i64 {
    i64::try_from(now().plus(after).unix_millis()).unwrap_or(i64::MAX)
}

struct World {
    coordinator: Coordinator,
    clients: Clients,
    coordinator_clock: Shim,
    agent_clock: Shim,
    _agents: Host,
    adopted: f64,
    lost: f64,
}

/// What grows with every life of a coordinator: positions of events, and the epochs of sessions.
#[derive(Clone, Copy)]
struct Epochs {
    position: u64,
    session: u64,
}

impl World {
    async fn start(lab: &Lab) -> Result<Self, FaultError> {
        let coordinator_clock = Shim::build(&lab.subdirectory("clock-of-coordinator")?)?;
        let agent_clock = Shim::build(&lab.subdirectory("clock-of-agents")?)?;
        let options = CoordinatorOptions { env: coordinator_clock.env(), ..CoordinatorOptions::default() };
        let coordinator = Coordinator::start(lab, options).await?;
        let clients = coordinator.clients()?;
        let options = HostOptions { agents: 4, slots: 12, env: agent_clock.env(), ..HostOptions::default() };
        let agents = Host::start(lab, &coordinator.url(), "a", options)?;
        clients.until_agents(4).await?;
        Ok(Self { coordinator, clients, coordinator_clock, agent_clock, _agents: agents, adopted: 0.0, lost: 0.0 })
    }

    fn load(&self, name: &'static str, task: fn(u64) -> TaskSpec) -> Load {
        Load::start(self.clients.clone(), LoadOptions { name, tasks: TASKS, task, ..LoadOptions::default() })
    }

    /// An agent for what waits in the queue.
    fn later_host(&self, lab: &Lab, name: &str) -> Result<Host, FaultError> {
        let options = HostOptions { slots: 8, kind: LATER, env: self.agent_clock.env(), ..HostOptions::default() };
        Host::start(lab, &self.coordinator.url(), name, options)
    }

    async fn until_accepted(&self, loads: &[&Load]) -> Result<(), FaultError> {
        let accepted = || {
            let accepted = loads.iter().all(|load| load.counts().acknowledged >= TASKS);
            async move { accepted.then_some(()) }
        };
        until("the tasks are accepted", LEASE, accepted).await?;
        // Those that fail have failed, those that run run.
        let settled = || {
            let mut clients = self.clients.clone();
            async move { (clients.status().await.ok()?.tasks_running > 0).then_some(()) }
        };
        until("tasks run", LEASE, settled).await
    }

    /// Sets the coordinator's clock and then the agents', each with work of all sorts under way that began before it and
    /// more that begins after it, and waits until all is done.
    async fn set_clocks(&self, lab: &Lab, seconds: i64) -> Result<History, FaultError> {
        let before = self.load("before", sorts);
        self.until_accepted(&[&before]).await?;
        self.coordinator_clock.set(Control::ClockOffsetS, seconds)?;
        let between = self.load("between", sorts);
        sleep(LEASE).await;
        self.agent_clock.set(Control::ClockOffsetS, seconds)?;
        let after = self.load("after", sorts);
        sleep(LEASE).await;
        let mut later = self.later_host(lab, "later")?;
        let mut history = History::default();
        for load in [before, between, after] {
            history.merge(load.finish(SETTLE_MAX).await);
        }
        later.process().terminate().await?;
        Ok(history)
    }

    async fn epochs(&mut self) -> Result<Epochs, FaultError> {
        let events = self.clients.fleet_events().await?;
        let agent = self.clients.agent("a-0").await;
        let position = events.last().map_or(0, |event| event.position);
        Ok(Epochs { position, session: agent.map_or(0, |agent| agent.session_epoch) })
    }

    /// A stop in order, so that nothing is lost for other reasons than the clock, and a start with the clock as it is set.
    /// Answers what had been reached before.
    async fn restart(&mut self) -> Result<Epochs, FaultError> {
        let before = self.epochs().await?;
        self.lost = self.clients.metric("evenkeel_attempts_lost_total").await?;
        self.coordinator.terminate().await?;
        self.coordinator.restart().await?;
        self.clients.until_agents(4).await?;
        self.adopted = self.clients.metric("evenkeel_attempts_adopted_total").await?;
        Ok(before)
    }

    async fn seen(
        mut self,
        lab: &Lab,
        history: History,
        before: Epochs,
        expired: u64,
        expired_wanted: u64,
    ) -> Result<Seen, FaultError> {
        let after = self.epochs().await?;
        let events = self.clients.fleet_events().await?;
        let agents_lost = events.iter().filter(|event| event.r#type() == ClusterEventType::AgentLost).count();
        let grow = after.position > before.position
            && after.session > before.session
            && events.is_sorted_by_key(|event| event.position);
        let lost = self.lost + self.clients.metric("evenkeel_attempts_lost_total").await?;
        let judged = judge_clock(lab, &self.clients, history, TOLERANCE).await?;
        let tasks = &judged.history.recorded;
        let succeeded = tasks.iter().filter(|task| task.state == TaskState::Succeeded).count();
        let others = tasks.len() as u64 - succeeded as u64 - expired;
        let timed_out = tasks.iter().flat_map(|task| &task.attempts);
        let timed_out = timed_out.filter(|attempt| matches!(attempt.ended, Some((_, AttemptEnd::TimedOut)))).count();
        let text = format!(
            "{succeeded} tasks succeeded, {expired} of {expired_wanted} that were due expired, {others} ended otherwise; \
             {timed_out} attempts timed out, {lost} were lost, {} went on after the start; {agents_lost} agents lost; \
             positions and sessions {}",
            self.adopted,
            if grow { "grow" } else { "do not grow" }
        );
        let passed = others == 0 && expired == expired_wanted && timed_out == 0 && lost == 0.0 && agents_lost == 0;
        Ok(judged.seen(passed && succeeded > 0 && self.adopted > 0.0 && grow, text))
    }
}
