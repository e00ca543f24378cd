//! A fleet and its router, 70 % busy.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{
    ix::{AgentIx, ClassIx},
    routing::{AgentState, Room, Router, TaskFacts},
};
use evenkeel_shared::{
    AgentId, AgentSpec, Kind, LabelOperator, LabelRule, Labels, Priority, Requirements, Resources, StrategyConfig,
};

const SLOTS: u8 = 8;
const MEMORY_GIB: u8 = 32;
const KINDS: [&str; 4] = ["embed", "chat", "crawl", "test"];
const BUSY_PERCENT: usize = 70;
/// Tasks in a row, as in one batch of the engine.
const BATCH: u64 = 100;

/// What is free of an agent. Small, so that it is the router's memory that counts: that of a large fleet is in the second cache.
#[derive(Clone, Copy)]
struct Free {
    slots: u8,
    memory_gib: u8,
}

/// A task that runs: where, and the memory it takes, in GiB.
type Running = (AgentIx, u8);

/// A fleet, what is free of it, and what runs where.
pub struct Fleet {
    router: Router,
    free: Vec<Free>,
    running: Vec<Running>,
    sorts: Vec<(ClassIx, u8)>,
    rng: fastrand::Rng,
}

fn spec(at: usize) -> AgentSpec {
    let labels = [("zone", format!("z{}", at % 3)), ("cores", (1 << (at % 6)).to_string()), ("host", at.to_string())];
    let mut kinds: Vec<_> =
        [KINDS[at % 4], KINDS[(at / 4) % 4]].map(|kind| Kind::new(kind).expect("a legal kind")).into();
    kinds.sort();
    kinds.dedup();
    AgentSpec {
        kinds,
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Labels>(),
        tier: [0, 1, 2][at % 3],
        ..AgentSpec::of(
            AgentId::new(&format!("agent-{at}")).expect("a legal id"),
            Resources { memory_bytes: u64::from(MEMORY_GIB) << 30, ..Resources::slots(SLOTS.into()) },
        )
    }
}

/// Each kind with a plain class, one that needs memory, one in a zone, and one with rules and a preference.
/// With the memory that a task takes, in GiB.
fn sorts(router: &mut Router) -> Vec<(ClassIx, u8)> {
    let rule = |key, operator, value| LabelRule { operator, ..LabelRule::equals(key, value) };
    let plain = Requirements::default();
    let mut heavy = plain.clone();
    heavy.resources.memory_bytes = 6 << 30;
    let in_zone = Requirements { required: vec![LabelRule::equals("zone", "z1")], ..plain.clone() };
    let choosy = Requirements {
        required: vec![rule("cores", LabelOperator::GreaterOrEqual, "8")],
        preferred: vec![LabelRule::equals("zone", "z2")],
        ..plain.clone()
    };
    let all = [plain, heavy, in_zone, choosy];
    let each =
        KINDS.iter().flat_map(|kind| all.iter().map(move |needs| (Kind::new(kind).expect("a legal kind"), needs)));
    each.map(|(kind, needs)| (router.class(&kind, needs).expect("few classes"), memory_gib(&needs.resources))).collect()
}

fn memory_gib(resources: &Resources) -> u8 {
    u8::try_from(resources.memory_bytes >> 30).expect("a few GiB")
}

impl Fleet {
    pub fn new(strategy: &StrategyConfig, size: usize) -> Self {
        let mut router = Router::new(strategy, 1);
        let sorts = sorts(&mut router);
        let mut free = Vec::with_capacity(size);
        for at in 0..size {
            let spec = spec(at);
            free.push(Free { slots: SLOTS, memory_gib: MEMORY_GIB });
            router.insert(AgentIx::from(at), Arc::new(spec));
        }
        let mut fleet = Self { router, free, running: Vec::new(), sorts, rng: fastrand::Rng::with_seed(2) };
        for at in 0..size {
            fleet.update(AgentIx::from(at));
        }
        let tasks = size * SLOTS as usize * BUSY_PERCENT / 100;
        for _ in 0..tasks {
            fleet.route();
        }
        // Completions in another order than assignments, as in a fleet that has run for a while.
        for _ in 0..2 * tasks {
            let ended = fleet.draw();
            fleet.complete(ended);
            fleet.route();
        }
        fleet
    }

    fn route(&mut self) {
        let sort = self.rng.usize(0..self.sorts.len());
        let (class, memory_gib) = self.sorts[sort];
        let task = TaskFacts {
            priority: Priority::new(self.rng.u8(0..10)).expect("0 to 9"),
            affinity: Some(self.rng.u64(..)),
        };
        if let Some(pick) = black_box(self.router.pick(class, &task, Room::Now)) {
            let free = &mut self.free[pick.agent.at()];
            free.slots -= 1;
            free.memory_gib -= memory_gib;
            self.running.push((pick.agent, memory_gib));
            self.update(pick.agent);
        }
    }

    /// Any of the tasks that run.
    fn draw(&mut self) -> Running {
        self.running.swap_remove(self.rng.usize(0..self.running.len()))
    }

    fn complete(&mut self, (agent, memory_gib): Running) {
        let free = &mut self.free[agent.at()];
        free.slots += 1;
        free.memory_gib += memory_gib;
        self.update(agent);
    }

    fn update(&mut self, agent: AgentIx) {
        let Free { slots, memory_gib } = self.free[agent.at()];
        let free = Resources { memory_bytes: u64::from(memory_gib) << 30, ..Resources::slots(slots.into()) };
        let state = AgentState {
            schedulable: true,
            degraded: agent.at().is_multiple_of(50),
            free: &free,
            prefetch_free_slots: SLOTS.into(),
            urgent_free_slots: 0,
            slots_usable: SLOTS.into(),
            slots_in_use: (SLOTS - slots).into(),
            cpu_free: 0.1 * (agent.at() % 10) as f32,
            memory_free: 0.5,
            slower_octaves: 0.0,
        };
        self.router.update(agent, &state);
    }
}

impl Fleet {
    /// The time of so many tasks routed and as many completed.
    #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
    pub fn time_of(&mut self, tasks: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let mut ended = Vec::with_capacity(BATCH as usize);
        for first in (0..tasks).step_by(BATCH as usize) {
            ended.extend((0..BATCH.min(tasks - first)).map(|_| self.draw()));
            let start = Instant::now();
            for task in ended.drain(..) {
                self.route();
                self.complete(task);
            }
            spent += start.elapsed();
        }
        spent
    }
}
