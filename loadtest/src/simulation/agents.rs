//! Simulated agents: the real machine of an agent in a process that can be killed, paused and cut off.
//!
//! What the machine wants started runs for as long as its payload says. Time limits are enforced as the real attempts
//! enforce them, with the same function and the same grace.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_agent::{
    machine::{Dial, Machine, Verdict},
    sampler::HostLoad,
};
use evenkeel_proto::v1::{self, coordinator_message::Message};
use evenkeel_shared::{
    AgentId, AgentSpec, AttemptRef, Kind, Labels, Resources, Timestamp,
    wire::{status::to_status, task::required_attempt_ref},
};
use prost::Message as _;

mod executions;

use executions::Running;

use super::{
    coordinator::Server,
    network::{Conn, ConnId, Packet, Pipe, Way},
    plan::{Plan, between},
    trace::About,
    world::{What, World},
};
use crate::history::Acknowledgement;

/// Time for what runs to finish when an agent is told to go.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a connection and for a welcome: as the real ones.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames between an agent and its stream: as the real ones.
const FRAMES_QUEUED_MAX: usize = 4;
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

    fn dial_later(&mut self, agent: usize, life: u32, dial: Dial) {
        self.later(dial.wait, What::Dial { agent, life, register: Box::new(dial.register) });
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

    pub(super) fn dial(&mut self, agent: usize, life: u32, register: v1::Register) {
        if self.process(agent, life).is_none() {
            return;
        }
        if self.links[agent].is_blocked_anyhow(self.now) {
            self.later(CONNECT_TIMEOUT, What::DialFails { agent, life });
            return;
        }
        if !self.coordinator.is_up() {
            let after = self.plan.network_delay.draw(&mut self.draws.network) * 2;
            self.later(after, What::DialFails { agent, life });
            return;
        }
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let row = Conn {
            agent,
            life,
            up: Pipe::default(),
            down: Pipe::default(),
            agent_open: true,
            welcomed: false,
            server: Server::new(self.coordinator.life),
        };
        self.conns.insert(conn, row);
        if let Some(process) = self.process(agent, life) {
            process.conn = Some(conn);
        }
        let first = v1::AgentMessage { message: Some(v1::agent_message::Message::Register(register)) };
        let frame = v1::AgentFrame { messages: vec![first] };
        self.transmit(conn, Way::Up, Packet::Open);
        self.transmit(conn, Way::Up, Packet::Frame(frame.encode_to_vec().into()));
        self.later(WELCOME_TIMEOUT, What::WelcomeDue(conn));
    }

    pub(super) fn dial_fails(&mut self, agent: usize, life: u32, message: &str) {
        self.session_lost(agent, life, Verdict::Retry, message.to_owned());
    }

    pub(super) fn welcome_due(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get(&conn) else { return };
        if row.agent_open && !row.welcomed {
            let (agent, life) = (row.agent, row.life);
            self.agent_hangs_up(conn);
            self.session_lost(agent, life, Verdict::Retry, "no welcome".into());
        }
    }

    /// The session or the dial of a process has failed.
    pub(super) fn session_lost(&mut self, agent: usize, life: u32, verdict: Verdict, message: String) {
        let now = self.machine_time(agent);
        let Some(process) = self.process(agent, life) else { return };
        process.conn = None;
        let said = message.clone();
        match process.machine.lost(now, verdict, message) {
            Ok(dial) => {
                self.note(About::Agent, || format!("agent {agent} has no session ({said}), dials in {:?}", dial.wait));
                self.dial_later(agent, life, dial);
                self.settle(agent);
            }
            Err(error) => {
                self.note(About::Fault, || format!("process of agent {agent} ends: {error}"));
                self.end_process(agent);
            }
        }
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

    pub(super) fn arrive_down(&mut self, conn: ConnId) {
        while let Some(packet) = self.take_arrived(conn, Way::Down) {
            let Some(row) = self.conns.get_mut(&conn) else { return };
            if !row.agent_open {
                continue;
            }
            let (agent, life) = (row.agent, row.life);
            match packet {
                Packet::Frame(bytes) => self.frame_down(conn, agent, life, &bytes),
                Packet::Open => {}
                Packet::End(error) => {
                    row.agent_open = false;
                    self.transmit(conn, Way::Up, Packet::Reset);
                    let status = error.map(|error| to_status(&error));
                    let verdict = status.as_ref().map_or(Verdict::Retry, |status| Verdict::of(status.code()));
                    let words = status.map_or_else(|| "closed".to_owned(), |status| status.message().to_owned());
                    self.session_lost(agent, life, verdict, words);
                }
                Packet::Reset => {
                    row.agent_open = false;
                    self.session_lost(agent, life, Verdict::Retry, "reset".into());
                }
            }
            self.pump(conn);
        }
        self.forget_if_closed(conn);
    }

    fn frame_down(&mut self, conn: ConnId, agent: usize, life: u32, bytes: &[u8]) {
        let frame = match v1::CoordinatorFrame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.breach("frame-decodes", None, format!("a frame to agent {agent}: {error}")),
        };
        for message in frame.messages.iter().filter_map(|message| message.message.as_ref()) {
            self.hear(agent, message);
        }
        let now = self.machine_time(agent);
        let welcomed = self.conns.get_mut(&conn).is_some_and(|row| std::mem::replace(&mut row.welcomed, true));
        let Some(process) = self.process(agent, life) else { return };
        let mut messages = frame.messages;
        let result = if welcomed {
            process.machine.heard(messages)
        } else {
            let rest = messages.split_off(1.min(messages.len()));
            match messages.pop().and_then(|first| first.message) {
                Some(Message::Welcome(welcome)) => process.machine.welcomed(now, welcome, rest),
                other => {
                    let facts = format!("agent {agent} was first told {other:?}");
                    return self.breach("welcome-comes-first", None, facts);
                }
            }
        };
        if let Err(error) = result {
            self.breach("protocol-is-kept", None, format!("agent {agent}: {error}"));
        }
        self.settle(agent);
    }

    /// Writes down what an agent was told.
    fn hear(&mut self, agent: usize, message: &Message) {
        match message {
            Message::ResultAck(ack) => {
                let recorded = ack.status() == v1::ResultStatus::Recorded;
                let Ok(attempt) = required_attempt_ref(ack.attempt.clone()) else { return };
                let row = &self.agents[agent];
                let said = row.process.as_ref().and_then(|process| process.said_success.get(&attempt));
                let success = said.copied().unwrap_or_default();
                let who = row.spec.id.clone();
                // Of a task that is past its time nobody knows what was recorded.
                if recorded || !self.disk.pruned.contains_key(&attempt.task) {
                    self.history.acknowledgements.push(Acknowledgement { agent: who, attempt, success, recorded });
                }
                let word = if recorded { "recorded" } else { "stale" };
                self.note(About::Task(attempt.task), || {
                    format!(
                        "agent {agent} hears that its result of attempt {} of {} is {word}",
                        attempt.attempt, attempt.task
                    )
                });
            }
            Message::Assignment(work) => {
                let Ok(attempt) = required_attempt_ref(work.attempt.clone()) else { return };
                self.note(About::Task(attempt.task), || {
                    format!("agent {agent} gets attempt {} of {}", attempt.attempt, attempt.task)
                });
            }
            Message::Cancel(cancel) => {
                let Ok(attempt) = required_attempt_ref(cancel.attempt.clone()) else { return };
                self.note(About::Task(attempt.task), || {
                    format!(
                        "agent {agent} is to stop attempt {} of {}: {}",
                        attempt.attempt, attempt.task, cancel.reason
                    )
                });
            }
            Message::Welcome(welcome) => {
                let (adopted, superseded) = (welcome.adopted.len(), welcome.superseded.len());
                self.note(About::Agent, || {
                    format!("agent {agent} is welcome; it keeps {adopted} attempts and drops {superseded}")
                });
            }
            Message::Drain(_) => {}
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

    fn write_frames(&mut self, agent: usize) {
        loop {
            let Some(process) = &mut self.agents[agent].process else { return };
            let Some(conn) = process.conn else { return };
            let Some(row) = self.conns.get(&conn) else { return };
            if row.up.len() >= FRAMES_QUEUED_MAX || row.up.bytes >= self.plan.window_bytes {
                return;
            }
            let Some(frame) = process.machine.next_frame() else { return };
            self.transmit(conn, Way::Up, Packet::Frame(frame.encode_to_vec().into()));
        }
    }
}
