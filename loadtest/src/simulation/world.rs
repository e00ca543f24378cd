//! The simulated world: everything there is, and the queue of what happens next.
//!
//! One loop takes the earliest event and lets it happen, which makes others. Time jumps from one to the next, so a day
//! without events costs nothing. Every draw comes from generators seeded by the plan, and nothing is kept in an order that
//! differs from run to run: the same seed is the same world, to the byte.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use bytes::Bytes;
use evenkeel_core::engine::{NewTask, Submitted};
use evenkeel_proto::v1;
use evenkeel_shared::{AttemptRef, Error, Outcome, SessionEpoch, TaskId, TaskState, Timestamp};

use super::{
    agents::SimAgent,
    clients::Clients,
    coordinator::{Coordinator, Request},
    disk::Disk,
    faults::Fault,
    network::{Conn, ConnId, Link, Way},
    plan::Plan,
    redrives::RedriveTry,
    trace::{About, Trace},
    troubles::Troubles,
};
use crate::history::History;

/// When the simulation begins, in true time.
pub(super) const START: Timestamp = Timestamp::from_unix_millis(1_750_000_000_000);

/// Something that happens.
#[derive(Debug)]
pub(super) enum What {
    /// Something has arrived at the end of a connection.
    Arrive {
        conn: ConnId,
        way: Way,
    },
    /// A side of a connection looks whether it has heard anything of the other.
    KeepaliveAgent(ConnId),
    KeepaliveServer(ConnId),
    /// A link may be whole again.
    LinkMends(usize),
    /// A stream that has said nothing is closed.
    RegisterDue(ConnId),
    /// A process starts.
    Boot(usize),
    Dial {
        agent: usize,
        life: u32,
        register: Box<v1::Register>,
    },
    DialFails {
        agent: usize,
        life: u32,
    },
    WelcomeDue(ConnId),
    Alarm {
        agent: usize,
        life: u32,
        at: Timestamp,
    },
    ExecutionEnds {
        agent: usize,
        life: u32,
        attempt: AttemptRef,
        run: u64,
        outcome: Outcome,
    },
    Poisoned {
        agent: usize,
        life: u32,
        attempt: AttemptRef,
        run: u64,
    },
    /// The coordinator starts.
    Start,
    Wakeup {
        life: u64,
        at: Timestamp,
    },
    HandOver {
        life: u64,
    },
    CommitDone {
        life: u64,
    },
    CommitRetried {
        life: u64,
    },
    LookedUp {
        life: u64,
        session: SessionEpoch,
        attempt: AttemptRef,
        recorded: bool,
    },
    KeysLookedUp {
        life: u64,
        request: Box<Request>,
    },
    RequestArrives(Box<Request>),
    /// A client asks for what it wants.
    Order(usize),
    Answer {
        order: usize,
        answer: Answer,
    },
    OrderTimesOut {
        order: usize,
        asked: u32,
    },
    Look(usize),
    Cancel(usize),
    /// A client wants a task driven again.
    Redrive(usize),
    RedriveTimesOut(RedriveTry),
    RedriveRead {
        life: u64,
        asked: RedriveTry,
        of: TaskId,
        task: Box<NewTask>,
    },
    /// What is past its time is removed.
    Prune,
    Fault(Fault),
    FaultEnds(Fault, usize),
    ChaosEnds,
    HealCheck,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// To a try to submit, by its number.
    Submitted { asked: u32, answer: Result<Submitted, Error> },
    /// Nobody can know what became of the try.
    Broken { asked: u32 },
    /// What came of driving a task again: the new one.
    Redriven { asked: RedriveTry, answer: Result<TaskId, Error> },
    /// How a task stands.
    State { task: TaskId, state: TaskState, output: Option<Bytes> },
    /// The coordinator knows of no such task.
    NoSuchTask,
}

/// An event in the queue: the earliest first, and of several at one time the one that was put there first.
#[derive(Debug)]
struct Entry {
    at: Timestamp,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Generators of their own for each part, so that a change of one part leaves the draws of the others as they were.
pub(super) struct Draws {
    pub network: fastrand::Rng,
    pub faults: fastrand::Rng,
    pub clients: fastrand::Rng,
    pub agents: fastrand::Rng,
    pub coordinator: fastrand::Rng,
    pub redrives: fastrand::Rng,
}

/// What the simulation itself found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Breach {
    /// Which rule.
    pub rule: &'static str,
    /// Of which task, where there is one.
    pub task: Option<TaskId>,
    /// The facts.
    pub facts: String,
}

/// Breaches kept of a run: the first ones tell the story.
const BREACHES_MAX: usize = 20;

/// See the module.
pub(super) struct World {
    pub now: Timestamp,
    queue: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    pub events: u64,
    pub plan: Plan,
    pub draws: Draws,
    pub links: Vec<Link>,
    pub conns: BTreeMap<ConnId, Conn>,
    pub last_conn: u64,
    pub coordinator: Coordinator,
    pub disk: Disk,
    pub agents: Vec<SimAgent>,
    pub clients: Clients,
    pub history: History,
    pub trace: Trace,
    pub troubles: Troubles,
    pub breaches: Vec<Breach>,
    pub fault_counts: BTreeMap<Fault, u64>,
    /// The faults have stopped.
    pub calm: bool,
    pub healed_after: Option<Duration>,
    pub over: bool,
}

impl World {
    pub fn new(plan: Plan, trace: Trace) -> Self {
        let seeded = |salt: u64| fastrand::Rng::with_seed(plan.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ salt);
        let mut draws = Draws {
            network: seeded(1),
            faults: seeded(2),
            clients: seeded(3),
            agents: seeded(4),
            coordinator: seeded(5),
            redrives: seeded(6),
        };
        let agents = SimAgent::fleet(&plan, &mut draws.agents);
        let mut world = Self {
            now: START,
            queue: BinaryHeap::new(),
            numbers: 0,
            events: 0,
            links: vec![Link::default(); agents.len()],
            conns: BTreeMap::new(),
            last_conn: 0,
            coordinator: Coordinator::default(),
            disk: Disk::new(plan.commit_time),
            troubles: Troubles::new(agents.len()),
            agents,
            clients: Clients::default(),
            history: History::default(),
            trace,
            breaches: Vec::new(),
            fault_counts: BTreeMap::new(),
            calm: false,
            healed_after: None,
            over: false,
            draws,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.later(Duration::ZERO, What::Start);
        for agent in 0..self.plan.agents {
            let after = Duration::from_millis(self.draws.agents.u64(0..2_000));
            self.later(after, What::Boot(agent));
        }
        self.place_orders();
        self.schedule_faults();
        self.schedule_pruning();
        self.later(self.plan.chaos, What::ChaosEnds);
    }

    /// Runs to its end.
    pub fn run(&mut self) {
        while !self.over
            && let Some(Reverse(entry)) = self.queue.pop()
        {
            self.now = entry.at;
            if let Some(until) = self.rests_until(&entry.what) {
                self.at(until, entry.what);
                continue;
            }
            self.events += 1;
            self.happen(entry.what);
        }
    }

    /// Lets something happen at a time.
    pub fn at(&mut self, at: Timestamp, what: What) {
        self.numbers += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), number: self.numbers, what }));
    }

    /// Lets something happen after a time.
    pub fn later(&mut self, after: Duration, what: What) {
        self.at(self.now.plus(after), what);
    }

    /// Time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    pub fn note(&mut self, about: About, words: impl FnOnce() -> String) {
        self.trace.note(self.now.since(START), about, words);
    }

    /// Something is wrong.
    pub fn breach(&mut self, rule: &'static str, task: Option<TaskId>, facts: String) {
        self.note(About::Fault, || format!("BREACH {rule}: {facts}"));
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { rule, task, facts });
        }
    }

    /// A process that is paused does nothing: what would happen in it happens once it goes on, in the same order.
    fn rests_until(&self, what: &What) -> Option<Timestamp> {
        let until = match what {
            What::Arrive { conn, way: Way::Up } | What::KeepaliveServer(conn) | What::RegisterDue(conn) => {
                self.conns.get(conn)?;
                self.coordinator.paused_until
            }
            What::Wakeup { .. }
            | What::HandOver { .. }
            | What::CommitDone { .. }
            | What::CommitRetried { .. }
            | What::LookedUp { .. }
            | What::KeysLookedUp { .. }
            | What::RedriveRead { .. }
            | What::Prune
            | What::RequestArrives(_) => self.coordinator.paused_until,
            What::Arrive { conn, way: Way::Down } | What::KeepaliveAgent(conn) | What::WelcomeDue(conn) => {
                self.agents[self.conns.get(conn)?.agent].paused_until
            }
            What::Dial { agent, .. }
            | What::DialFails { agent, .. }
            | What::Alarm { agent, .. }
            | What::ExecutionEnds { agent, .. }
            | What::Poisoned { agent, .. } => self.agents[*agent].paused_until,
            _ => return None,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive { conn, way: Way::Up } => self.arrive_up(conn),
            What::Arrive { conn, way: Way::Down } => self.arrive_down(conn),
            What::KeepaliveAgent(conn) => self.agent_keepalive(conn),
            What::KeepaliveServer(conn) => self.server_keepalive(conn),
            What::LinkMends(agent) => self.link_mends(agent),
            What::RegisterDue(conn) => self.register_due(conn),
            What::Boot(agent) => self.boot(agent),
            What::Dial { agent, life, register } => self.dial(agent, life, *register),
            What::DialFails { agent, life } => self.dial_fails(agent, life, "no connection"),
            What::WelcomeDue(conn) => self.welcome_due(conn),
            What::Alarm { agent, life, at } => self.agent_alarm(agent, life, at),
            What::ExecutionEnds { agent, life, attempt, run, outcome } => {
                self.execution_ends(agent, life, attempt, run, outcome);
            }
            What::Poisoned { agent, life, attempt, run } => self.poisoned(agent, life, attempt, run),
            What::Start => self.start_coordinator(),
            What::Wakeup { life, at } => self.wake(life, at),
            What::HandOver { life } => self.hand_over(life),
            What::CommitDone { life } => self.commit_done(life),
            What::CommitRetried { life } => self.commit_retried(life),
            What::LookedUp { life, session, attempt, recorded } => self.looked_up(life, session, attempt, recorded),
            What::KeysLookedUp { life, request } => self.keys_looked_up(life, *request),
            What::RequestArrives(request) => self.request_arrives(*request),
            What::Order(order) => self.ask(order),
            What::Answer { order, answer } => self.answered(order, answer),
            What::OrderTimesOut { order, asked } => self.order_times_out(order, asked),
            What::Look(order) => self.look(order),
            What::Cancel(order) => self.cancel(order),
            What::Redrive(redrive) => self.ask_redrive(redrive),
            What::RedriveTimesOut(asked) => self.redrive_times_out(asked),
            What::RedriveRead { life, asked, of, task } => self.redrive_read(life, asked, of, *task),
            What::Prune => self.prune(),
            What::Fault(fault) => self.fault(fault),
            What::FaultEnds(fault, whom) => self.fault_ends(fault, whom),
            What::ChaosEnds => self.chaos_ends(),
            What::HealCheck => self.heal_check(),
        }
    }
}
