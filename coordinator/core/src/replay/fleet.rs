//! A fleet of simulated agents around the real engine, in simulated time.
//!
//! The engine is told what a coordinator would tell it, event by event: submissions, starts, results, heartbeats, ticks. Its
//! tasks are ephemeral and its store instant, so what it wants written and what it wants said to clients and watchers is
//! dropped unread. An agent starts a task as soon as it has the assignment and a slot; tasks taken ahead wait in its own
//! queue, as with a real agent.
//!
//! A task's place in the table of live tasks travels in its payload, which is a piece of one buffer shared by all: no
//! allocation, and no map from ids, for each of millions of tasks.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AgentLoad, AgentSpec, AttemptRef, Delivery, Kind, KindLatency, Outcome, Registration, Resources,
    SessionEpoch, TaskSpec, Timestamp,
};

use super::{Done, Job, Micros, ReplayError};
use crate::{
    engine::{AgentMessage, Effects, Engine, Event, Message, NewTask, Reply, RequestId, Settings, StoredKey},
    model::Recovery,
};

/// When a simulation begins; any time will do.
const BEGIN: Timestamp = Timestamp::from_unix_millis(1_000_000_000_000);
/// Most live tasks: a strategy that lets so many pile up does not carry the load. About 2 GB in the engine.
const LIVE_MAX: usize = 2_000_000;
/// Time for tasks that wait although nothing runs, before they are given up: longer than anything the engine waits for.
const STUCK_AFTER_US: Micros = 3_600_000_000;
/// Processor and memory in use of an agent whose slots all are. Below the bounds of health: a fleet whose agents are
/// unhealthy when they are busy is a mistake of its owner, and another subject.
const FULL_CPU_SHARE: f64 = 0.8;
const FULL_MEMORY_SHARE: f64 = 0.5;
/// Session numbers of the first incarnation begin here.
const FIRST_SESSION: u64 = (1 << 40) + 1;

/// An agent to be.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// Its name.
    pub id: AgentId,
    /// What it takes.
    pub kinds: Vec<Kind>,
    /// Tasks at a time.
    pub slots: u32,
    /// How many times as long as at speed 1 it takes.
    pub slowness: f64,
}

/// An attempt, and the place of its task in the table.
type Held = (AttemptRef, u32);

struct Agent {
    plan: AgentPlan,
    busy: u32,
    ahead: VecDeque<Held>,
    completed: u64,
    ran_us: u64,
}

struct Live {
    job: Job,
    index: u64,
    started: Micros,
    agent: u32,
    attempt: Option<AttemptRef>,
}

/// What came of the whole, beside what was told of each task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks that came to their end.
    pub finished: u64,
    /// Tasks that no agent could take until the end.
    pub stuck: u64,
    /// Slot time in use.
    pub busy_us: u64,
    /// When the last task ended.
    pub ended: Micros,
    /// Events handled by the engine.
    pub events: u64,
}

/// How heartbeats are sent.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeats {
    /// Each agent sends one so often.
    pub every_us: Micros,
    /// What they tell is so old when it arrives.
    pub age_us: Micros,
}

/// A heartbeat on its way.
struct Reading {
    arrives: Micros,
    agent: u32,
    load: Box<AgentLoad>,
}

/// The fleet. See the module.
pub struct Fleet {
    engine: Engine,
    strategy: &'static str,
    out: Effects,
    now: Micros,
    agents: Vec<Agent>,
    sorts: Vec<Arc<TaskSpec>>,
    /// Numbers of places, four bytes each.
    places: Bytes,
    live: Vec<Live>,
    vacant: Vec<u32>,
    /// Ends of tasks that run: when, and the task's place.
    ends: BinaryHeap<Reverse<(Micros, u32)>>,
    heartbeats: Heartbeats,
    /// Readings taken so far; agents take turns.
    readings: u64,
    under_way: VecDeque<Reading>,
    totals: Totals,
}

impl Fleet {
    /// Agents that have registered, and an engine that knows no more of them. Sorts are made ephemeral and patient.
    ///
    /// # Errors
    /// If the engine does not take the settings.
    pub fn new(
        settings: Settings,
        agents: Vec<AgentPlan>,
        sorts: &[TaskSpec],
        heartbeats: Heartbeats,
    ) -> Result<Self, ReplayError> {
        let strategy = settings.strategy.name();
        // Timeouts would end what a trace says was done, and pile-ups are told in the simulator's own words.
        let settings =
            Settings { tasks_max: LIVE_MAX + 1, attempt_timeout: evenkeel_shared::limits::DURATION_MAX, ..settings };
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine =
            Engine::new(BEGIN, settings, recovery).map_err(|error| refused("its settings", format!("{error:?}")))?;
        let idle = |plan| Agent { plan, busy: 0, ahead: VecDeque::new(), completed: 0, ran_us: 0 };
        let sorts = sorts.iter().map(|sort| Arc::new(TaskSpec { delivery: Delivery::Ephemeral, ..sort.clone() }));
        let places: Vec<u8> = (0..LIVE_MAX as u32).flat_map(u32::to_le_bytes).collect();
        let mut fleet = Self {
            engine,
            strategy,
            out: Effects::default(),
            now: 0,
            agents: agents.into_iter().map(idle).collect(),
            sorts: sorts.collect(),
            places: places.into(),
            live: Vec::new(),
            vacant: Vec::new(),
            ends: BinaryHeap::new(),
            heartbeats,
            readings: 0,
            under_way: VecDeque::new(),
            totals: Totals::default(),
        };
        (0..fleet.agents.len()).for_each(|at| fleet.register(at));
        Ok(fleet)
    }

    fn register(&mut self, at: usize) {
        let plan = &self.agents[at].plan;
        let spec =
            AgentSpec { kinds: plan.kinds.clone(), ..AgentSpec::of(plan.id.clone(), Resources::slots(plan.slots)) };
        let registration = Registration { spec, instance: String::new(), dial: 0, held: Vec::new() };
        self.tell(Event::Register { session: session(at), registration: Box::new(registration) });
    }

    /// Runs these tasks, which come in the order of their time, to their end. Tells of each when it ends.
    ///
    /// # Errors
    /// If more pile up than are held, or the engine refuses one.
    pub fn run(
        &mut self,
        mut jobs: impl Iterator<Item = Job>,
        mut done: impl FnMut(Done),
    ) -> Result<Totals, ReplayError> {
        let mut next_job = jobs.next();
        loop {
            let arrival = next_job.map_or(Micros::MAX, |job| job.at);
            let end = self.ends.peek().map_or(Micros::MAX, |&Reverse((at, _))| at);
            let work = arrival.min(end);
            if work == Micros::MAX && (self.is_empty() || self.now > self.totals.ended + STUCK_AFTER_US) {
                break;
            }
            let reading = self.next_reading();
            let heartbeat = self.under_way.front().map_or(Micros::MAX, |reading| reading.arrives);
            let next = work.min(reading).min(heartbeat);
            if self.tick_before(next) {
                continue;
            }
            self.now = next;
            if end == next {
                self.finish_one(&mut done);
            } else if heartbeat == next {
                self.deliver_reading();
            } else if reading == next {
                self.take_reading();
            } else if let Some(job) = next_job {
                self.submit(job)?;
                next_job = jobs.next();
            }
        }
        self.totals.stuck = self.totals.submitted - self.totals.finished;
        Ok(self.totals)
    }

    fn is_empty(&self) -> bool {
        self.totals.finished == self.totals.submitted
    }

    /// Tells the engine the time, if it wants to be told before the next event.
    fn tick_before(&mut self, next: Micros) -> bool {
        let wanted = self.engine.next_wakeup().map(|at| at.since(BEGIN).as_micros() as Micros);
        let Some(at) = wanted.filter(|&at| at < next) else { return false };
        self.now = at.max(self.now + 1);
        self.tell(Event::Tick);
        self.carry_out();
        true
    }

    fn submit(&mut self, job: Job) -> Result<(), ReplayError> {
        let row = Live { job, index: self.totals.submitted, started: 0, agent: 0, attempt: None };
        self.totals.submitted += 1;
        let place = match self.vacant.pop() {
            Some(place) => {
                self.live[place as usize] = row;
                place
            }
            None if self.live.len() < LIVE_MAX => {
                self.live.push(row);
                (self.live.len() - 1) as u32
            }
            None => {
                let (live, task) = (self.live.len(), self.totals.submitted);
                return Err(ReplayError::PiledUp { strategy: self.strategy, live, task });
            }
        };
        let at = place as usize * size_of::<u32>();
        let task = NewTask {
            spec: self.sorts[job.sort as usize].clone(),
            payload: self.places.slice(at..at + size_of::<u32>()),
            fingerprint: 0,
            stored_key: StoredKey::None,
            redrive_of: None,
        };
        self.tell(Event::Submit { request: RequestId(0), tasks: vec![task] });
        self.check_accepted()?;
        self.carry_out();
        Ok(())
    }

    fn check_accepted(&self) -> Result<(), ReplayError> {
        for message in &self.out.messages {
            if let Message::Reply { reply: Reply::Submitted(answers), .. } = message
                && let Some(Err(error)) = answers.first()
            {
                return Err(refused("a task", error.to_string()));
            }
        }
        Ok(())
    }

    /// The task that ends now.
    fn finish_one(&mut self, done: &mut impl FnMut(Done)) {
        let Some(Reverse((_, place))) = self.ends.pop() else { return };
        let Live { job, index, started, agent, attempt } = &mut self.live[place as usize];
        let (index, started, submitted, at) = (*index, *started, job.at, *agent as usize);
        let attempt = attempt.take();
        let run = self.now - started;
        let agent = &mut self.agents[at];
        agent.busy -= 1;
        agent.completed += 1;
        agent.ran_us += run;
        let next = agent.ahead.pop_front();
        self.totals.finished += 1;
        self.totals.busy_us += run;
        self.totals.ended = self.now;
        self.vacant.push(place);
        done(Done { index, submitted, started, finished: self.now, agent: at as u32 });
        if let Some(attempt) = attempt {
            let outcome = Outcome::Succeeded(Bytes::new());
            self.tell(Event::Result {
                session: session(at),
                attempt,
                outcome,
                run: Duration::from_micros(run),
                usage: None,
            });
        }
        // What waited at the agent starts at once, and before anything that the engine sends now.
        if let Some(held) = next {
            let told = std::mem::take(&mut self.out);
            self.start(at, held);
            self.out = told;
        }
        self.carry_out();
    }

    /// Does what the engine wants of agents.
    fn carry_out(&mut self) {
        let mut assigned = self.out.messages.iter().filter_map(|message| match message {
            Message::ToAgent { session, message: AgentMessage::Assign(assignment) } => {
                let place = assignment.payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                Some(((session.0 - FIRST_SESSION) as usize, (assignment.attempt, place)))
            }
            _ => None,
        });
        // One at a time is the rule; several come of an agent that returns to use.
        let (first, rest) = (assigned.next(), assigned.collect::<Vec<_>>());
        for (at, held) in first.into_iter().chain(rest) {
            let agent = &mut self.agents[at];
            if agent.busy < agent.plan.slots {
                self.start(at, held);
            } else {
                agent.ahead.push_back(held);
            }
        }
    }

    /// An agent begins an attempt.
    fn start(&mut self, at: usize, (attempt, place): Held) {
        let agent = &mut self.agents[at];
        agent.busy += 1;
        let row = &mut self.live[place as usize];
        (row.started, row.agent, row.attempt) = (self.now, at as u32, Some(attempt));
        self.ends.push(Reverse((self.now + row.job.service(agent.plan.slowness), place)));
        self.tell(Event::Started { session: session(at), attempt });
    }

    /// When the next agent takes a reading of itself: agents take turns, evenly over the interval.
    fn next_reading(&self) -> Micros {
        let (count, size) = (self.readings + 1, self.agents.len() as u64);
        count / size * self.heartbeats.every_us + count % size * self.heartbeats.every_us / size
    }

    fn take_reading(&mut self) {
        let at = (self.readings % self.agents.len() as u64) as usize;
        self.readings += 1;
        let agent = &self.agents[at];
        let load = f64::from(agent.busy) / f64::from(agent.plan.slots);
        let latency = agent.plan.kinds.first().map(|kind| KindLatency {
            kind: kind.clone(),
            completed: agent.completed,
            mean_us: agent.ran_us as f64 / agent.completed.max(1) as f64,
        });
        let load = AgentLoad {
            cpu_share: FULL_CPU_SHARE * load,
            memory_share: FULL_MEMORY_SHARE * load,
            load_average: f64::from(agent.busy),
            running_tasks: agent.busy,
            latencies: latency.into_iter().collect(),
            ..AgentLoad::default()
        };
        let arrives = self.now + self.heartbeats.age_us;
        self.under_way.push_back(Reading { arrives, agent: at as u32, load: Box::new(load) });
        if self.now < self.heartbeats.age_us {
            // What it sent before the simulation began, of an agent that was idle.
            self.tell(Event::Heartbeat { session: session(at), load: Box::default() });
            self.carry_out();
        }
    }

    fn deliver_reading(&mut self) {
        let Some(Reading { agent, load, .. }) = self.under_way.pop_front() else { return };
        self.tell(Event::Heartbeat { session: session(agent as usize), load });
        self.carry_out();
    }

    fn tell(&mut self, event: Event) {
        self.out.changes.clear();
        self.out.messages.clear();
        self.totals.events += 1;
        self.engine.handle(BEGIN.plus(Duration::from_micros(self.now)), event, &mut self.out);
    }
}

fn session(agent: usize) -> SessionEpoch {
    SessionEpoch(FIRST_SESSION + agent as u64)
}

fn refused(what: &str, reason: String) -> ReplayError {
    ReplayError::Refused { what: what.to_owned(), reason }
}
