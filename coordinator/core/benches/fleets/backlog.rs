//! A fleet that is full, and its backlog.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_shared::{Kind, Priority, StrategyConfig, TaskSpec, Tenant, Timestamp};

use super::rig::{BEGIN, Held, Rig};

const SLOTS: u32 = 4;
const TENANTS: usize = 100;
const PRIORITIES: u8 = 10;
/// Tasks that wait, for each agent.
const BACKLOG_PER_AGENT: usize = 10;
/// Freed slots in a row.
const BATCH: u64 = 100;

pub struct Fleet {
    rig: Rig,
    specs: Vec<Arc<TaskSpec>>,
    held: Vec<Held>,
    draws: fastrand::Rng,
    now: Timestamp,
}

/// One of so many kinds.
fn kind(n: usize) -> Kind {
    Kind::new(&format!("kind-{n}")).expect("valid")
}

fn specs(classes: usize, draws: &mut fastrand::Rng) -> Vec<Arc<TaskSpec>> {
    let all = (0..classes).flat_map(|class| (0..PRIORITIES).map(move |priority| (class, priority)));
    let of_tenant = all.map(|(class, priority)| {
        let mut spec = TaskSpec::of_kind(kind(class));
        spec.priority = Priority::new(priority).expect("valid");
        spec.tenant = Tenant::new(&format!("tenant-{}", draws.usize(..TENANTS))).expect("valid");
        Arc::new(spec)
    });
    of_tenant.collect()
}

impl Fleet {
    pub fn new(agents: usize, classes: usize, strategy: &StrategyConfig) -> Self {
        let mut draws = fastrand::Rng::with_seed(3);
        let specs = specs(classes, &mut draws);
        let mut fleet = Self { rig: Rig::new(strategy), specs, held: Vec::new(), draws, now: BEGIN };
        let mut kinds: Vec<Kind> = (0..classes).map(kind).collect();
        kinds.sort();
        for n in 0..agents {
            fleet.rig.join(BEGIN, n, &kinds, SLOTS, 1);
        }
        let places = agents * SLOTS as usize * 2;
        for _ in 0..places + agents * BACKLOG_PER_AGENT {
            fleet.submit();
        }
        for _ in 0..2 * places {
            fleet.turn();
        }
        fleet
    }

    fn submit(&mut self) {
        let spec = self.specs[self.draws.usize(..self.specs.len())].clone();
        self.now = self.now.plus(Duration::from_micros(1));
        self.rig.submit(self.now, spec);
        self.held.extend(self.rig.given());
    }

    /// A task ends, the next one of the backlog takes its place, and another one comes to wait.
    fn turn(&mut self) {
        let ended = self.held.swap_remove(self.draws.usize(..self.held.len()));
        self.rig.succeed(self.now, ended);
        self.held.extend(self.rig.given());
        self.submit();
    }

    /// The time of so many freed slots.
    #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
    pub fn time_of(&mut self, slots: u64) -> Duration {
        let mut spent = Duration::ZERO;
        for first in (0..slots).step_by(BATCH as usize) {
            let start = Instant::now();
            (first..slots.min(first + BATCH)).for_each(|_| self.turn());
            spent += start.elapsed();
            black_box(self.rig.engine.take_changed_agents());
        }
        spent
    }
}
