//! What a task costs the router: pick an agent, update it for the assignment, update it for the completion.
//!
//! Fleets of three sizes, 70 % busy, with mixed kinds, labels and classes, some of which have hardly an agent free, for
//! every strategy. The aim is a microsecond, and no more than twice the smallest fleet's figure for the largest, whose
//! agents no longer fit into the cache. Any of the tasks that run may be the next that ends; which one is drawn before the
//! clock starts, because the list of them is the bench's own and, in a large fleet, as far away as the agents.
//! `consistent_hash` misses the second aim: its walk is long where hardly an agent is free.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use std::{cell::LazyCell, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_shared::StrategyConfig;

#[path = "fleets/routing.rs"]
mod fleet;

use fleet::Fleet;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn route_and_complete(criterion: &mut Criterion) {
    for name in StrategyConfig::NAMES {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES {
            // Made only if the filter lets it run.
            let mut fleet = LazyCell::new(|| Fleet::new(&StrategyConfig::named(name).expect("a known name"), size));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                let fleet = LazyCell::force_mut(&mut fleet);
                bencher.iter_custom(|tasks| fleet.time_of(tasks));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = routing;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = route_and_complete
}
criterion_main!(routing);
