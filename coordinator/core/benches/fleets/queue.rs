//! A backlog of a thousand tenants.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use evenkeel_core::{
    ix::{ClassIx, TaskIx},
    queue::{Queue, QueueConfig, Waiting},
};
use evenkeel_shared::{Priority, Tenant, Timestamp};

const TENANTS: u32 = 1_000;
const CLASSES: u32 = 4;
/// Dispatches in a row, as in one batch of the engine.
const ARRIVALS: usize = 100;

pub struct Backlog {
    queue: Queue,
    tenants: Vec<Tenant>,
    random: fastrand::Rng,
    now: Timestamp,
    accepted: u64,
}

impl Backlog {
    pub fn of(tasks: u32) -> Self {
        let ageing_interval = Some(Duration::from_secs(30));
        let queue = Queue::new(QueueConfig { ageing_interval, default_weight: 1, ..QueueConfig::default() });
        let tenants = (0..TENANTS).filter_map(|n| Tenant::new(&format!("tenant-{n}")).ok()).collect();
        let random = fastrand::Rng::with_seed(7);
        let mut backlog = Self { queue, tenants, random, now: Timestamp::from_unix_millis(1_000_000), accepted: 0 };
        (0..tasks).for_each(|task| backlog.push(TaskIx(task)));
        backlog
    }

    fn push(&mut self, task: TaskIx) {
        self.accepted += 1;
        self.now = self.now.plus(Duration::from_micros(10));
        self.queue.push(Waiting {
            task,
            class: ClassIx(self.random.u32(..CLASSES)),
            priority: Priority::new(self.random.u8(..10)).unwrap_or_default(),
            tenant: &self.tenants[self.random.usize(..self.tenants.len())],
            cost: 1,
            order: self.accepted,
            since: self.now,
            ahead: true,
            shut: false,
        });
    }

    fn pop(&mut self) -> Option<TaskIx> {
        let task = self.queue.best(self.now, (0..CLASSES).map(ClassIx))?;
        black_box(self.queue.take(self.now, task));
        Some(task)
    }

    /// The time of so many dispatches. After each few, as many tasks arrive, so that the backlog stays as large as it is.
    #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
    pub fn time_of_pops(&mut self, pops: u64) -> Duration {
        let mut popped = Vec::with_capacity(ARRIVALS);
        let mut spent = Duration::ZERO;
        for left in (0..pops).rev().step_by(ARRIVALS) {
            let start = Instant::now();
            popped.extend((0..=left).take(ARRIVALS).map_while(|_| self.pop()));
            spent += start.elapsed();
            popped.drain(..).for_each(|task| self.push(task));
        }
        spent
    }
}
