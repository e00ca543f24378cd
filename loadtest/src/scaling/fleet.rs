//! A simple fleet: agents that take a while to start, with slots, behind one queue, in simulated time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use evenkeel_core::capacity::Observation;
use serde::Serialize;

use super::day::Task;

/// Processor share of an agent: idle, and what its slots add.
const CPU: (f64, f64) = (0.05, 0.6);
/// The same of memory.
const MEMORY: (f64, f64) = (0.25, 0.35);
/// Microseconds in a second: times are whole ones, so that they can be ordered.
const MICROS: f64 = 1e6;

/// What the agents are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FleetShape {
    /// Slots of each.
    pub slots: u32,
    /// How long one takes to start, in seconds.
    pub start_up_s: f64,
    /// A task that waits for longer has missed, in seconds.
    pub wait_max_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Up,
    Draining,
    Gone,
}

#[derive(Clone, Debug)]
struct Agent {
    state: State,
    /// When it will be up.
    ready_us: u64,
    running: u32,
}

/// What has come of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Tasks that came.
    pub tasks: u64,
    /// Of them, waited for too long.
    pub missed: u64,
    /// All waits together, in seconds.
    pub waited_s: f64,
    /// Agents times seconds, from the order to start them to their end.
    pub agent_s: f64,
    /// The most agents at a time.
    pub agents_max: u32,
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    shape: FleetShape,
    agents: Vec<Agent>,
    /// When a task ends, and where.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    /// When each of them came, and how long it takes, in microseconds.
    queue: VecDeque<(u64, u64)>,
    ended: u64,
    /// Sum of run times of what has ended, in microseconds.
    ran_us: u64,
    sums: Sums,
}

impl Fleet {
    /// `agents` that are up.
    #[must_use]
    pub fn new(shape: FleetShape, agents: u32) -> Self {
        let up = Agent { state: State::Up, ready_us: 0, running: 0 };
        Self {
            shape,
            agents: vec![up; agents as usize],
            ends: BinaryHeap::new(),
            queue: VecDeque::new(),
            ended: 0,
            ran_us: 0,
            sums: Sums::default(),
        }
    }

    /// Lets the time pass from one second to the next, in which these tasks come.
    pub fn pass(&mut self, second: u64, tasks: &[Task]) {
        let (begin_us, end_us) = (second * 1_000_000, (second + 1) * 1_000_000);
        self.become_ready(begin_us);
        for task in tasks {
            let at_us = (task.at_s * MICROS) as u64;
            self.end_until(at_us);
            self.sums.tasks += 1;
            self.queue.push_back((at_us, (task.service_s * MICROS) as u64));
            self.start(at_us);
        }
        self.end_until(end_us);
        let there = self.count(|agent| agent.state != State::Gone);
        self.sums.agent_s += f64::from(there);
        self.sums.agents_max = self.sums.agents_max.max(there);
    }

    fn become_ready(&mut self, now_us: u64) {
        let mut any = false;
        for agent in self.agents.iter_mut().filter(|agent| agent.state == State::Starting && agent.ready_us <= now_us) {
            agent.state = State::Up;
            any = true;
        }
        if any {
            self.start(now_us);
        }
    }

    fn end_until(&mut self, until_us: u64) {
        while let Some(&Reverse((at_us, place))) = self.ends.peek()
            && at_us <= until_us
        {
            self.ends.pop();
            self.ended += 1;
            let agent = &mut self.agents[place];
            agent.running -= 1;
            if agent.state == State::Draining && agent.running == 0 {
                agent.state = State::Gone;
            }
            self.start(at_us);
        }
    }

    /// Starts what waits, as long as there is room: on the agent with the most.
    fn start(&mut self, now_us: u64) {
        while let Some(&(came_us, service_us)) = self.queue.front() {
            let free = |agent: &Agent| agent.state == State::Up && agent.running < self.shape.slots;
            let places = self.agents.iter().enumerate().filter(|(_, agent)| free(agent));
            let Some((place, _)) = places.min_by_key(|(_, agent)| agent.running) else { return };
            self.queue.pop_front();
            let waited_s = now_us.saturating_sub(came_us) as f64 / MICROS;
            self.sums.waited_s += waited_s;
            self.sums.missed += u64::from(waited_s > self.shape.wait_max_s);
            self.agents[place].running += 1;
            self.ran_us += service_us;
            self.ends.push(Reverse((now_us + service_us, place)));
        }
    }

    fn count(&self, which: impl Fn(&Agent) -> bool) -> u32 {
        self.agents.iter().filter(|agent| which(agent)).count() as u32
    }

    /// Agents that are starting.
    #[must_use]
    pub fn starting(&self) -> u32 {
        self.count(|agent| agent.state == State::Starting)
    }

    /// Agents that are drained and still have something to do.
    #[must_use]
    pub fn draining(&self) -> u32 {
        self.count(|agent| agent.state == State::Draining)
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.ends.is_empty()
    }

    /// What a coordinator would see at the end of a second.
    #[must_use]
    pub fn observe(&self, second: u64) -> Observation {
        let now_us = (second + 1) * 1_000_000;
        let agents = self.count(|agent| agent.state == State::Up);
        let used: u32 = self.agents.iter().map(|agent| agent.running).sum();
        let total = agents * self.shape.slots;
        let busy = if total > 0 { (f64::from(used) / f64::from(total)).min(1.0) } else { 0.0 };
        let oldest_us = self.queue.front().map_or(0, |(came_us, _)| now_us - came_us);
        let started = self.ended + self.ends.len() as u64;
        Observation {
            agents,
            draining: self.draining(),
            slots_total: u64::from(total),
            slots_used: u64::from(used),
            waiting: self.queue.len() as u64,
            held: 0,
            oldest_wait: Duration::from_micros(oldest_us),
            in_system: self.queue.len() as u64 + u64::from(used),
            cpu_share: CPU.0 + CPU.1 * busy,
            memory_share: MEMORY.0 + MEMORY.1 * busy,
            run_mean: (self.ended > 0).then(|| Duration::from_micros(self.ran_us / started)),
            asked: self.sums.tasks,
            ended: self.ended,
            attempts_ended: self.ended,
            attempts_failed: 0,
        }
    }

    /// Starts so many agents more. Those that are drained are taken back first, as a coordinator does.
    pub fn grow(&mut self, second: u64, count: u32) {
        let ready_us = (second + 1) * 1_000_000 + (self.shape.start_up_s * MICROS) as u64;
        let mut left = count;
        for agent in self.agents.iter_mut().filter(|agent| agent.state == State::Draining) {
            if left > 0 {
                agent.state = State::Up;
                left -= 1;
            }
        }
        for _ in 0..left {
            let new = Agent { state: State::Starting, ready_us, running: 0 };
            // A place is used again once its agent is gone: all its tasks have ended.
            match self.agents.iter_mut().find(|agent| agent.state == State::Gone) {
                Some(place) => *place = new,
                None => self.agents.push(new),
            }
        }
        self.start((second + 1) * 1_000_000);
    }

    /// Drains so many: those with the least to do.
    pub fn shrink(&mut self, count: u32) {
        for _ in 0..count {
            let up = self.agents.iter_mut().filter(|agent| agent.state == State::Up);
            let Some(agent) = up.min_by_key(|agent| agent.running) else { return };
            agent.state = if agent.running == 0 { State::Gone } else { State::Draining };
        }
    }

    /// What has come of it so far.
    #[must_use]
    pub const fn sums(&self) -> Sums {
        self.sums
    }
}
