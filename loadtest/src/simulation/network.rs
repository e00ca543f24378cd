//! Connections between agents and the coordinator.
//!
//! A connection is what TCP gives: bytes in their order each way, late, or stuck while the way is blocked and there again
//! once it is not; or the news that it is broken. Only different connections overtake each other. What has not been read
//! fills a window, so a reader that is slow or paused holds up the writer. A blocked way is found by keepalives, after as
//! long as the real ones take. Every frame is encoded and decoded as on the wire.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{Error, Timestamp};

use super::{
    coordinator::Server,
    trace::About,
    world::{What, World},
};

/// Names a connection; a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(pub u64);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the agent to the coordinator.
    Up,
    /// From the coordinator to the agent.
    Down,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Packet {
    /// A stream begins.
    Open,
    /// A frame, encoded.
    Frame(Bytes),
    /// The writer has ended its half, perhaps with an error.
    End(Option<Error>),
    /// The connection is broken.
    Reset,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    travelling: VecDeque<(Timestamp, Packet)>,
    last_at: Timestamp,
    /// Bytes that were written and not read.
    pub bytes: usize,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub agent: usize,
    /// Which of the agent's processes.
    pub life: u32,
    pub up: Pipe,
    pub down: Pipe,
    /// The agent's side is open.
    pub agent_open: bool,
    pub welcomed: bool,
    pub server: Server,
}

/// How the network treats one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    up_blocked_until: Timestamp,
    down_blocked_until: Timestamp,
    /// Since when one of the ways has been blocked without a break.
    blocked_since: Option<Timestamp>,
    slow_until: Timestamp,
    slow_by: Duration,
    narrow_until: Timestamp,
}

/// A narrow link passes so many bytes a second: less than a busy agent is sent.
const NARROW_BYTES_PER_S: u64 = 200;
/// Between two signs of life that a side asks for, and how long each side then waits: as the real ones.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const AGENT_PATIENCE: Duration = Duration::from_secs(10);
const SERVER_PATIENCE: Duration = Duration::from_secs(20);

impl Link {
    fn is_blocked(&self, way: Way, now: Timestamp) -> bool {
        match way {
            Way::Up => now < self.up_blocked_until,
            Way::Down => now < self.down_blocked_until,
        }
    }

    pub fn is_blocked_anyhow(&self, now: Timestamp) -> bool {
        self.is_blocked(Way::Up, now) || self.is_blocked(Way::Down, now)
    }
}

impl Pipe {
    fn is_empty(&self) -> bool {
        self.travelling.is_empty()
    }

    /// Packets on their way.
    pub fn len(&self) -> usize {
        self.travelling.len()
    }
}

impl World {
    /// Writes to a connection.
    pub fn transmit(&mut self, conn: ConnId, way: Way, packet: Packet) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        let link = &self.links[row.agent];
        let bytes = if let Packet::Frame(bytes) = &packet { bytes.len() } else { 0 };
        let mut delay = self.plan.network_delay.draw(&mut self.draws.network);
        if self.now < link.slow_until {
            delay += link.slow_by;
        }
        let pipe = if way == Way::Up { &mut row.up } else { &mut row.down };
        let mut at = pipe.last_at.max(self.now.plus(delay));
        if self.now < link.narrow_until {
            at = at.plus(Duration::from_micros(bytes as u64 * 1_000_000 / NARROW_BYTES_PER_S));
        }
        pipe.last_at = at;
        pipe.bytes += bytes;
        pipe.travelling.push_back((at, packet));
        if way == Way::Up && at.since(self.now) > self.plan.delay_excused {
            self.troubles.agent(row.agent, self.now, at);
        }
        self.at(at, What::Arrive { conn, way });
    }

    /// Takes what has arrived at the front of a direction.
    pub fn take_arrived(&mut self, conn: ConnId, way: Way) -> Option<Packet> {
        let now = self.now;
        let row = self.conns.get_mut(&conn)?;
        if self.links[row.agent].is_blocked(way, now) {
            return None;
        }
        let pipe = if way == Way::Up { &mut row.up } else { &mut row.down };
        if pipe.travelling.front()?.0 > now {
            return None;
        }
        let (_, packet) = pipe.travelling.pop_front()?;
        if let Packet::Frame(bytes) = &packet {
            pipe.bytes -= bytes.len();
        }
        Some(packet)
    }

    /// Both sides are done with it.
    pub fn forget_if_closed(&mut self, conn: ConnId) {
        let closed = |row: &Conn| !row.agent_open && row.server.is_closed();
        if self.conns.get(&conn).is_some_and(closed) {
            self.conns.remove(&conn);
        }
    }

    /// The ways between an agent and the coordinator are blocked for a time.
    pub fn block(&mut self, agent: usize, up: bool, down: bool, until: Timestamp) {
        let link = &mut self.links[agent];
        if !link.is_blocked_anyhow(self.now) {
            link.blocked_since = Some(self.now);
        }
        if up {
            link.up_blocked_until = link.up_blocked_until.max(until);
        }
        if down {
            link.down_blocked_until = link.down_blocked_until.max(until);
        }
        self.troubles.agent(agent, self.now, until);
        self.at(until, What::LinkMends(agent));
        self.expect_keepalives(agent);
    }

    /// What is sent to and from an agent is late for a time.
    pub fn slow_link(&mut self, agent: usize, by: Duration, until: Timestamp) {
        let link = &mut self.links[agent];
        (link.slow_by, link.slow_until) = (by, until);
    }

    /// The way to an agent passes few bytes for a time.
    pub fn narrow_link(&mut self, agent: usize, until: Timestamp) {
        self.links[agent].narrow_until = until;
        self.troubles.agent(agent, self.now, until);
    }

    /// Nothing is wrong with any link from now on.
    pub fn mend_links(&mut self) {
        for agent in 0..self.links.len() {
            self.links[agent] = Link::default();
            self.kick(agent);
        }
    }

    pub(super) fn link_mends(&mut self, agent: usize) {
        if self.links[agent].is_blocked_anyhow(self.now) {
            return;
        }
        self.links[agent].blocked_since = None;
        self.note(About::Fault, || format!("link of agent {agent} is whole again"));
        self.kick(agent);
    }

    /// What was stuck is sent again.
    fn kick(&mut self, agent: usize) {
        for conn in self.conns_of(agent) {
            for way in [Way::Up, Way::Down] {
                let row = &self.conns[&conn];
                if !if way == Way::Up { row.up.is_empty() } else { row.down.is_empty() } {
                    let after = self.plan.network_delay.draw(&mut self.draws.network);
                    self.later(after, What::Arrive { conn, way });
                }
            }
        }
    }

    pub fn conns_of(&self, agent: usize) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.agent == agent).map(|(id, _)| *id).collect()
    }

    /// The ways of an agent are blocked, or it does not answer: both sides will notice.
    pub fn expect_keepalives(&mut self, agent: usize) {
        for conn in self.conns_of(agent) {
            let phase = KEEPALIVE_INTERVAL.mul_f64(self.draws.network.f64());
            self.later(phase + AGENT_PATIENCE, What::KeepaliveAgent(conn));
            self.later(phase + SERVER_PATIENCE, What::KeepaliveServer(conn));
        }
    }

    /// The coordinator does not answer: agents will notice.
    pub fn expect_agents_keepalives(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let phase = KEEPALIVE_INTERVAL.mul_f64(self.draws.network.f64());
            self.later(phase + AGENT_PATIENCE, What::KeepaliveAgent(conn));
        }
    }

    fn silent_for(&self, agent: usize, other_silent_since: Option<Timestamp>) -> Duration {
        let blocked = self.links[agent].blocked_since;
        let since = [blocked, other_silent_since].into_iter().flatten().min();
        since.map_or(Duration::ZERO, |since| self.now.since(since))
    }

    pub(super) fn agent_keepalive(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get(&conn) else { return };
        let (agent, life) = (row.agent, row.life);
        let coordinator = self.coordinator.paused_since.filter(|_| self.coordinator.paused_until > self.now);
        if row.agent_open && self.silent_for(agent, coordinator) >= AGENT_PATIENCE {
            self.note(About::Agent, || format!("agent {agent} gives its connection up: no sign of life"));
            self.agent_hangs_up(conn);
            self.session_lost(agent, life, evenkeel_agent::machine::Verdict::Retry, "no sign of life".into());
        }
    }

    pub(super) fn server_keepalive(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get(&conn) else { return };
        let agent = row.agent;
        let paused = self.agents[agent].paused_since.filter(|_| self.agents[agent].paused_until > self.now);
        if !row.server.is_closed() && self.silent_for(agent, paused) >= SERVER_PATIENCE {
            self.server_side_broken(conn, "no sign of life");
            self.transmit(conn, Way::Down, Packet::Reset);
        }
    }

    /// The agent's side closes; what it has written still arrives.
    pub fn agent_hangs_up(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        if std::mem::take(&mut row.agent_open) {
            self.transmit(conn, Way::Up, Packet::Reset);
        }
        self.forget_if_closed(conn);
    }
}
