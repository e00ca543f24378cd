//! What one dispatch costs as the queue grows: the best task is chosen, taken, and another one pushed in its place.
//!
//! A thousand tenants over four classes and all priorities. A thousandfold backlog should cost at most twice as much.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_core::{
    ix::{ClassIx, TaskIx},
    queue::{Queue, QueueConfig, Waiting},
};
use evenkeel_shared::{Priority, Tenant, Timestamp};

const TENANTS: u32 = 1_000;
const CLASSES: u32 = 4;

struct Backlog {
    queue: Queue,
    tenants: Vec<Tenant>,
    random: fastrand::Rng,
    now: Timestamp,
    accepted: u64,
}

impl Backlog {
    fn of(tasks: u32) -> Self {
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
        });
    }

    /// One dispatch and one arrival, so that the backlog stays as large as it is.
    fn turn(&mut self) {
        if let Some(task) = self.queue.best(self.now, (0..CLASSES).map(ClassIx)) {
            black_box(self.queue.take(self.now, task));
            self.push(task);
        }
    }
}

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/turn");
    for tasks in [1_000, 10_000, 100_000, 1_000_000] {
        let mut backlog = Backlog::of(tasks);
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| bencher.iter(|| backlog.turn()));
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
