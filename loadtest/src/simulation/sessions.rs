//! The coordinator's sessions with agents, as the real service keeps them: one queue each, frames read and written by the
//! service's own functions, one frame of a session with the engine at a time.

use std::{collections::VecDeque, mem, time::Duration};

use evenkeel_coordinator::services::agent::{read_frame, write_message};
use evenkeel_core::engine::{AgentMessage, Event};
use evenkeel_proto::v1;
use evenkeel_shared::{AttemptRef, Code, Error, SessionEpoch};
use prost::Message as _;

use super::{
    coordinator::Mail,
    network::{ConnId, Packet, Way},
    trace::About,
    world::{What, World},
};

/// How long an agent may take to register, and messages in one frame: as in the real service.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);
const FRAME_MESSAGES_MAX: usize = 512;

/// The coordinator's side of a connection.
#[derive(Debug)]
pub(super) struct Server {
    /// Of the process that has it.
    life: u64,
    epoch: Option<SessionEpoch>,
    registered: bool,
    /// A frame of it is with the engine; nothing more is read until that is handled.
    delivering: bool,
    /// Nothing more is read.
    deaf: bool,
    queue: VecDeque<AgentMessage>,
    /// How the stream ends after what is queued.
    ending: Option<Error>,
    closed: bool,
}

impl Server {
    pub fn new(life: u64) -> Self {
        Self {
            life,
            epoch: None,
            registered: false,
            delivering: false,
            deaf: false,
            queue: VecDeque::new(),
            ending: None,
            closed: false,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

impl World {
    pub(super) fn arrive_up(&mut self, conn: ConnId) {
        loop {
            let Some(row) = self.conns.get(&conn) else { return };
            if row.server.delivering {
                return;
            }
            let Some(packet) = self.take_arrived(conn, Way::Up) else { return };
            let Some(row) = self.conns.get(&conn) else { return };
            let agent = row.agent;
            match packet {
                _ if row.server.closed => {}
                Packet::Open => self.open_session(conn),
                Packet::Frame(_) if row.server.deaf => {}
                Packet::Frame(bytes) => self.frame_up(conn, &bytes),
                Packet::End(_) | Packet::Reset => self.server_side_broken(conn, "the connection broke"),
            }
            self.forget_if_closed(conn);
            // There is room for more.
            self.settle(agent);
        }
    }

    fn open_session(&mut self, conn: ConnId) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        core.last_epoch += 1;
        let epoch = SessionEpoch(core.last_epoch);
        core.sessions.insert(epoch, conn);
        if let Some(row) = self.conns.get_mut(&conn) {
            row.server.epoch = Some(epoch);
        }
        self.later(REGISTER_WITHIN, What::RegisterDue(conn));
    }

    pub(super) fn register_due(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get(&conn) else { return };
        if let (Some(epoch), false) = (row.server.epoch, row.server.registered) {
            self.close_session(epoch, Error::new(Code::DeadlineExceeded, "no registration in time"));
        }
    }

    fn frame_up(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        let Some(epoch) = row.server.epoch else { return };
        let read = match v1::AgentFrame::decode(bytes) {
            Ok(frame) => read_frame(epoch, frame, row.server.registered).map_err(|(_, error)| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(events) => {
                row.server.registered |= !events.is_empty();
                row.server.delivering = true;
                self.feed(Mail { events, from: Some(conn) });
            }
            Err(error) => self.breach("frame-is-understood", None, error),
        }
    }

    /// What a connection said is handled: it is read on.
    pub(super) fn read_on(&mut self, conn: ConnId) {
        if let Some(row) = self.conns.get_mut(&conn)
            && mem::take(&mut row.server.delivering)
        {
            self.later(Duration::ZERO, What::Arrive { conn, way: Way::Up });
        }
    }

    /// Says something to an agent. One that does not take it is cut off.
    pub(super) fn tell_agent(&mut self, session: SessionEpoch, message: AgentMessage) {
        let queue_max = self.plan.session_queue_max;
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let Some(&conn) = core.sessions.get(&session) else { return };
        let Some(row) = self.conns.get_mut(&conn) else { return };
        if row.server.queue.len() < queue_max {
            row.server.queue.push_back(message);
            return self.pump(conn);
        }
        let agent = row.agent;
        core.sessions.remove(&session);
        row.server.queue.clear();
        let error = Error::new(Code::ResourceExhausted, "the agent does not read; the session is cut off");
        self.note(About::Fault, || format!("agent {agent} is cut off: it does not read"));
        self.troubles.agent(agent, self.now, self.now);
        self.end_server_side(conn, Some(error));
    }

    /// Ends a session with this error, after what is queued.
    pub(super) fn close_session(&mut self, session: SessionEpoch, error: Error) {
        let Some(core) = self.coordinator.core.as_mut() else { return };
        let Some(conn) = core.sessions.remove(&session) else { return };
        self.note(About::Cluster, || format!("coordinator closes session {session}: {error}"));
        self.stop_reading(conn, "the session ended");
        if let Some(row) = self.conns.get_mut(&conn) {
            row.server.ending = Some(error);
        }
        self.pump(conn);
    }

    /// The agent's side is gone.
    pub(super) fn server_side_broken(&mut self, conn: ConnId, why: &str) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        if mem::replace(&mut row.server.closed, true) {
            return;
        }
        row.server.queue.clear();
        let epoch = row.server.epoch;
        if let (Some(epoch), Some(core)) = (epoch, self.coordinator.core.as_mut()) {
            core.sessions.remove(&epoch);
        }
        self.stop_reading(conn, why);
        self.forget_if_closed(conn);
    }

    fn end_server_side(&mut self, conn: ConnId, error: Option<Error>) {
        self.stop_reading(conn, "the session ended");
        if let Some(row) = self.conns.get_mut(&conn) {
            row.server.closed = true;
            self.transmit(conn, Way::Down, Packet::End(error));
        }
    }

    /// Nothing more is read of this connection, of which the engine is told.
    fn stop_reading(&mut self, conn: ConnId, why: &str) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        let server = &mut row.server;
        if mem::replace(&mut server.deaf, true) || !server.registered || server.life != self.coordinator.life {
            return;
        }
        if let Some(session) = server.epoch {
            self.feed(Mail { events: vec![Event::SessionClosed { session, reason: why.to_owned() }], from: None });
        }
    }

    /// Writes what is queued for an agent, as far as its window has room.
    pub(super) fn pump(&mut self, conn: ConnId) {
        let Some(core) = &self.coordinator.core else { return };
        let mut frames = Vec::new();
        let Some(row) = self.conns.get_mut(&conn) else { return };
        let server = &mut row.server;
        let Some(epoch) = server.epoch.filter(|_| !server.closed && server.life == self.coordinator.life) else {
            return;
        };
        let mut bytes = row.down.bytes;
        while bytes < self.plan.window_bytes && !server.queue.is_empty() {
            let count = server.queue.len().min(FRAME_MESSAGES_MAX);
            let messages = server.queue.drain(..count).map(|message| write_message(message, epoch, &core.identity));
            let frame = v1::CoordinatorFrame { messages: messages.collect() }.encode_to_vec();
            bytes += frame.len();
            frames.push(frame);
        }
        let ending = if server.queue.is_empty() { server.ending.take() } else { None };
        for frame in frames {
            self.transmit(conn, Way::Down, Packet::Frame(frame.into()));
        }
        if ending.is_some() {
            self.end_server_side(conn, ending);
        }
    }

    /// The coordinator's process is gone, and its side of every connection with it.
    pub(super) fn break_connections(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let Some(row) = self.conns.get_mut(&conn) else { continue };
            if !mem::replace(&mut row.server.closed, true) {
                row.server.queue.clear();
                self.transmit(conn, Way::Down, Packet::Reset);
            }
            self.forget_if_closed(conn);
        }
    }

    /// The store has told whether a result was recorded.
    pub(super) fn looked_up(&mut self, life: u64, session: SessionEpoch, attempt: AttemptRef, recorded: bool) {
        if self.core(life).is_some() {
            self.tell_agent(session, AgentMessage::Ack { attempt, recorded });
        }
    }
}
