//! What one dispatch costs as the queue grows: choosing the best task and taking it; tasks pushed in their place are not timed.
//!
//! A thousand tenants over four classes and all priorities. A thousandfold backlog should cost about twice as much; what is
//! more is the memory's latency, and that each tenant then waits in every class.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[path = "fleets/queue.rs"]
mod fleet;

use fleet::Backlog;

fn pops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/pop");
    for tasks in [1_000, 10_000, 100_000, 1_000_000] {
        let mut backlog = Backlog::of(tasks);
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
            bencher.iter_custom(|iterations| backlog.time_of_pops(iterations));
        });
    }
    group.finish();
}

criterion_group!(benches, pops);
criterion_main!(benches);
