//! What is measured against what.

use std::time::Duration;

use super::host::{Load, Protocol};

/// One measure of one side.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// As it is asked for.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// How it is measured.
    pub measure: Measure,
}

/// How a contender is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Tasks that take no time, in a closed loop.
    Tasks {
        /// Who.
        protocol: Protocol,
        /// How they come.
        load: Load,
        /// One task in flight, to see how long it takes; else as many as the plan has.
        alone: bool,
    },
    /// Memory that the server holds for agents that have nothing to do.
    Idle {
        /// Who.
        protocol: Protocol,
    },
    /// Processor time that the server takes for the heartbeats of so many agents.
    Heartbeats {
        /// How many.
        agents: u32,
    },
    /// Ten times as many tasks as can be done, and urgent ones among them.
    Overload {
        /// Tasks that may be live; `None`: as many as by default, so that the queue grows and nothing is refused.
        tasks_max: Option<u32>,
    },
}

/// Tasks in flight as calls.
pub(super) const CALLS_IN_FLIGHT: u64 = 256;
/// Agents that have nothing to do.
pub(super) const IDLE_AGENTS: u32 = 5_000;
/// After so long what gathering them took is given back, as far as it ever is.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// How long heartbeats are watched.
pub(super) const HEARTBEATS_LAST: Duration = Duration::from_secs(10);
/// How long the server is watched before there are agents: what it takes then is not for heartbeats.
pub(super) const BASE_LASTS: Duration = Duration::from_secs(3);
/// The fleet of the overload: 3,000 tasks a second, so that ten times that leaves the machine room for the client.
pub(super) const OVERLOAD_AGENTS: u32 = 60;
/// How long its tasks take.
pub(super) const OVERLOAD_TASK_TIME: Duration = Duration::from_millis(20);
/// More than can be done by this factor.
pub(super) const OVERLOAD_FACTOR: f64 = 10.0;
/// Urgent tasks per second.
pub(super) const URGENT_RATE: f64 = 100.0;
/// How long each part of it counts.
pub(super) const OVERLOAD_LASTS: Duration = Duration::from_secs(8);

const fn tasks(protocol: Protocol, load: Load, alone: bool) -> Measure {
    Measure::Tasks { protocol, load, alone }
}

use Load::{Calls, Stream};
use Protocol::{Durable, Ephemeral, Jetstream, Nats, Yardstick};

/// All of them, in the order in which a round takes them.
pub const CONTENDERS: &[Contender] = &[
    Contender {
        name: "bare-stream",
        what: "bare router, batches on one stream",
        measure: tasks(Yardstick, Stream, false),
    },
    Contender {
        name: "stream-ephemeral",
        what: "SubmitStream with results, EPHEMERAL",
        measure: tasks(Ephemeral, Stream, false),
    },
    Contender {
        name: "stream-durable",
        what: "SubmitStream with results, DURABLE",
        measure: tasks(Durable, Stream, false),
    },
    Contender { name: "nats-queue-group", what: "NATS, queue group with reply", measure: tasks(Nats, Stream, false) },
    Contender {
        name: "jetstream",
        what: "NATS JetStream, work queue on files, no fsync per message",
        measure: tasks(Jetstream, Stream, false),
    },
    Contender {
        name: "bare-unary",
        what: "bare router, calls, 256 in flight",
        measure: tasks(Yardstick, Calls, false),
    },
    Contender {
        name: "execute-ephemeral",
        what: "Execute, 256 in flight, EPHEMERAL",
        measure: tasks(Ephemeral, Calls, false),
    },
    Contender {
        name: "execute-durable",
        what: "Execute, 256 in flight, DURABLE",
        measure: tasks(Durable, Calls, false),
    },
    Contender { name: "bare-unary-1", what: "bare router, one call in flight", measure: tasks(Yardstick, Calls, true) },
    Contender {
        name: "execute-ephemeral-1",
        what: "Execute, one in flight, EPHEMERAL",
        measure: tasks(Ephemeral, Calls, true),
    },
    Contender {
        name: "execute-durable-1",
        what: "Execute, one in flight, DURABLE",
        measure: tasks(Durable, Calls, true),
    },
    Contender {
        name: "bare-idle",
        what: "bare router, 5,000 idle agents",
        measure: Measure::Idle { protocol: Yardstick },
    },
    Contender { name: "idle", what: "coordinator, 5,000 idle agents", measure: Measure::Idle { protocol: Durable } },
    Contender {
        name: "heartbeats-1000",
        what: "heartbeats of 1,000 agents, one a second each",
        measure: Measure::Heartbeats { agents: 1_000 },
    },
    Contender {
        name: "heartbeats-10000",
        what: "heartbeats of 10,000 agents, one a second each",
        measure: Measure::Heartbeats { agents: 10_000 },
    },
    Contender {
        name: "overload",
        what: "ten times what the fleet can do, the queue grows",
        measure: Measure::Overload { tasks_max: None },
    },
    Contender {
        name: "overload-full",
        what: "ten times what the fleet can do, the queue is full",
        measure: Measure::Overload { tasks_max: Some(2_000) },
    },
];

impl Contender {
    /// Whether it needs a program that may not be installed.
    pub(super) const fn needs_nats(&self) -> bool {
        matches!(self.measure, Measure::Tasks { protocol, .. } if protocol.is_nats())
    }
}
