//! The stream of a simulated agent: its dials, the frames both ways, and what it is told.

use std::time::Duration;

use evenkeel_agent::machine::{Dial, Verdict};
use evenkeel_proto::v1::{self, coordinator_message::Message};
use evenkeel_shared::wire::{status::to_status, task::required_attempt_ref};
use prost::Message as _;

use super::super::{
    coordinator::Server,
    network::{Conn, ConnId, Packet, Pipe, Way},
    trace::About,
    world::{What, World},
};
use crate::history::Acknowledgement;

/// Longest wait for a connection and for a welcome: as the real ones.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames between an agent and its stream: as the real ones.
const FRAMES_QUEUED_MAX: usize = 4;

impl World {
    pub(super) fn dial_later(&mut self, agent: usize, life: u32, dial: Dial) {
        self.later(dial.wait, What::Dial { agent, life, register: Box::new(dial.register) });
    }

    pub(in crate::simulation) fn dial(&mut self, agent: usize, life: u32, register: v1::Register) {
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

    pub(in crate::simulation) fn dial_fails(&mut self, agent: usize, life: u32, message: &str) {
        self.session_lost(agent, life, Verdict::Retry, message.to_owned());
    }

    pub(in crate::simulation) fn welcome_due(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get(&conn) else { return };
        if row.agent_open && !row.welcomed {
            let (agent, life) = (row.agent, row.life);
            self.agent_hangs_up(conn);
            self.session_lost(agent, life, Verdict::Retry, "no welcome".into());
        }
    }

    /// The session or the dial of a process has failed.
    pub(in crate::simulation) fn session_lost(&mut self, agent: usize, life: u32, verdict: Verdict, message: String) {
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

    pub(in crate::simulation) fn arrive_down(&mut self, conn: ConnId) {
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

    pub(super) fn write_frames(&mut self, agent: usize) {
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
