//! What a freed slot costs in a fleet that is full and has a backlog: a result, the choice of the task that goes next, its
//! assignment, and a submission that takes its place in the queue.
//!
//! Beside `engine`, whose fleet has room for every task: here every task waits, so that it is the search for the next one
//! that counts. Tasks are of several classes, all priorities and many tenants. Agents take one task ahead of each slot.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use std::{cell::LazyCell, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_shared::StrategyConfig;

#[path = "fleets/backlog.rs"]
mod fleet;
#[path = "fleets/rig.rs"]
mod rig;

use fleet::Fleet;

fn freed_slots(c: &mut Criterion) {
    for name in ["least_loaded", "priority"] {
        let strategy = StrategyConfig::named(name).expect("valid");
        for (agents, classes) in [(1_000, 1), (1_000, 16), (1_000, 64), (100_000, 16)] {
            let mut group = c.benchmark_group(format!("backlog/{name}"));
            group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
            // Made only if the filter lets it run.
            let mut fleet = LazyCell::new(|| Fleet::new(agents, classes, &strategy));
            let of = BenchmarkId::new(format!("{agents} agents"), format!("{classes} classes"));
            group.bench_function(of, |bencher| {
                let fleet = LazyCell::force_mut(&mut fleet);
                bencher.iter_custom(|slots| fleet.time_of(slots));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, freed_slots);
criterion_main!(benches);
