//! Simulated agents: the real machine of an agent in a process that can be killed, paused and cut off.
//!
//! What the machine wants started runs for as long as its payload says. Time limits are enforced as the real attempts
//! enforce them, with the same function and the same grace.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_agent::{machine::Machine, sampler::HostLoad};
use evenkeel_shared::{AgentId, AgentSpec, AttemptRef, Kind, Labels, Resources, Timestamp};

mod executions;
mod stream;

use executions::Running;

use super::{
    network::ConnId,
    plan::{Plan, between},
    trace::About,
    world::{What, World},
};

/// Time for what runs to finish when an agent is told to go.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A process that ended for good is started again by its supervisor after so long at most.
const RESTART_WITHIN: Duration = Duration::from_secs(10);

/// One agent: a name, and the processes that bear it one after the other.
pub(super) struct SimAgent {
    pub spec: AgentSpec,
    /// Processes so far. The present one, if there is one, has this number.
    pub life: u32,
    pub process: Option<Process>,
    pub paused_until: Timestamp,
    pub paused_since: Option<Timestamp>,
    /// Of its wall clock, from the true time.
    pub clock_ahead_us: i64,
    /// It bears another agent's name, and is started by faults only.
    pub impostor: bool,
}

/// A process.
pub(super) struct Process {
    pub machine: Machine,
    began: Timestamp,
    conn: Option<ConnId>,
    alarm: Option<Timestamp>,
    running: BTreeMap<AttemptRef, Running>,
    runs: u64,
    /// Whether it said that each of its results was a success.
    said_success: BTreeMap<AttemptRef, bool>,
}

impl Process {
    /// When it began.
    pub fn began(&self) -> Timestamp {
        self.began
    }
}

impl SimAgent {
    /// The fleet of a plan, and an impostor for every eighth agent.
    pub fn fleet(plan: &Plan, draws: &mut fastrand::Rng) -> Vec<Self> {
        let mut fleet: Vec<Self> = (0..plan.agents).map(|n| Self::new(spec(n, draws), false)).collect();
        for n in 0..plan.agents.div_ceil(8) {
            let spec = fleet[n * 8 % plan.agents].spec.clone();
            fleet.push(Self::new(spec, true));
        }
        fleet
    }

    fn new(spec: AgentSpec, impostor: bool) -> Self {
        Self {
            spec,
            life: 0,
            process: None,
            paused_until: Timestamp::ZERO,
            paused_since: None,
            clock_ahead_us: 0,
            impostor,
        }
    }

    /// Nothing runs, nothing waits to be said, nobody is leaving.
    pub fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.running.is_empty() && process.machine.is_settled() && !process.machine.is_leaving()
        })
    }
}

fn spec(n: usize, draws: &mut fastrand::Rng) -> AgentSpec {
    let kinds: &[&str] = if n.is_multiple_of(3) { &["gpu", "work"] } else { &["work"] };
    let zone = if n.is_multiple_of(2) { "a" } else { "b" };
    let name = format!("agent-{n}");
    AgentSpec {
        id: AgentId::new(&name).unwrap_or_else(|_| unreachable!("the name is legal")),
        kinds: kinds.iter().filter_map(|kind| Kind::new(kind).ok()).collect(),
        labels: Labels::from([("zone".to_owned(), zone.to_owned())]),
        capacity: Resources { slots: draws.u32(2..=6), memory_bytes: 8 << 30, ..Resources::default() },
        tier: draws.u8(0..2),
        weight: [50, 100, 200][draws.usize(0..3)],
        version: "simulated".to_owned(),
        prefetch_per_slot: [None, None, Some(0), Some(1)][draws.usize(0..4)],
        quota_keys: Vec::new(),
    }
}

/// A time on a clock that is ahead by so much, or behind.
pub(super) fn on_clock(time: Timestamp, ahead_us: i64) -> Timestamp {
    Timestamp::from_unix_micros(time.unix_micros().saturating_add_signed(ahead_us))
}

impl World {
    /// A new process of this agent begins, unless there is one.
    pub(super) fn boot(&mut self, agent: usize) {
        if self.agents[agent].process.is_some() {
            return;
        }
        let seed = self.draws.agents.u64(..);
        let row = &mut self.agents[agent];
        row.life += 1;
        row.paused_since = None;
        row.paused_until = Timestamp::ZERO;
        let instance = format!("process {} of {agent}", row.life);
        let machine = Machine::new(row.spec.clone(), instance, DRAIN_TIMEOUT, fastrand::Rng::with_seed(seed));
        let dial = machine.first_dial();
        row.process = Some(Process {
            machine,
            began: self.now,
            conn: None,
            alarm: None,
            running: BTreeMap::new(),
            runs: 0,
            said_success: BTreeMap::new(),
        });
        let life = row.life;
        self.note(About::Agent, || format!("agent {agent} begins, process {life}"));
        self.dial_later(agent, life, dial);
    }

    /// The process of an agent, if it is still this one.
    pub(super) fn process(&mut self, agent: usize, life: u32) -> Option<&mut Process> {
        let row = &mut self.agents[agent];
        if row.life == life { row.process.as_mut() } else { None }
    }

    /// The machine's time.
    fn machine_time(&self, agent: usize) -> Duration {
        self.agents[agent].process.as_ref().map_or(Duration::ZERO, |process| self.now.since(process.began))
    }

    /// A process ends, however it came to that, and takes what runs with it.
    pub(super) fn end_process(&mut self, agent: usize) {
        let Some(process) = self.agents[agent].process.take() else { return };
        self.troubles.agent(agent, self.now, self.now);
        for (attempt, running) in &process.running {
            self.history.executions[running.entry].ended_at = Some(self.now);
            self.trace.note(self.now.since(super::world::START), About::Task(attempt.task), || {
                format!("attempt {} of {} dies with agent {agent}", attempt.attempt, attempt.task)
            });
        }
        if let Some(conn) = process.conn {
            self.agent_hangs_up(conn);
        }
        self.agents[agent].paused_until = Timestamp::ZERO;
        if !self.agents[agent].impostor {
            let after = between(Duration::from_millis(50), RESTART_WITHIN, &mut self.draws.agents);
            self.later(after, What::Boot(agent));
        }
    }

    pub(super) fn agent_alarm(&mut self, agent: usize, life: u32, at: Timestamp) {
        let now = self.machine_time(agent);
        let busy = self.draws.agents.f64() * 0.7;
        let Some(process) = self.process(agent, life) else { return };
        if process.alarm != Some(at) {
            return;
        }
        process.alarm = None;
        let load = HostLoad { cpu_share: busy, memory_share: busy, ..HostLoad::default() };
        process.machine.on_alarm(now, || load);
        self.settle(agent);
    }

    /// Does what the machine has decided.
    pub(super) fn settle(&mut self, agent: usize) {
        let now = self.machine_time(agent);
        let Some(process) = &mut self.agents[agent].process else { return };
        for attempt in process.machine.take_stops() {
            self.stop_execution(agent, attempt);
        }
        while let Some(work) = self.agents[agent].process.as_mut().and_then(|process| process.machine.start_next()) {
            self.execute(agent, work);
        }
        self.write_frames(agent);
        let Some(process) = &mut self.agents[agent].process else { return };
        process.machine.see_about_leaving(now);
        if process.machine.is_gone() {
            self.note(About::Fault, || format!("agent {agent} has drained and ends"));
            self.end_process(agent);
            return;
        }
        let Some(process) = &mut self.agents[agent].process else { return };
        // The simulation counts in whole microseconds, the machine does not: up to the next one, or it would be too early.
        let round_up = Duration::from_nanos(999);
        let due = process.machine.alarm().map(|at| process.began.plus(at + round_up).max(self.now));
        if due.is_some() && due != process.alarm {
            process.alarm = due;
            let life = self.agents[agent].life;
            if let Some(at) = due {
                self.at(at, What::Alarm { agent, life, at });
            }
        }
    }
}
