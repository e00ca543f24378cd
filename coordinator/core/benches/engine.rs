//! One task through the whole engine: accepted, routed, started, its result recorded.
//!
//! Beside `routing`, which times the decision alone: here are the tables, the queue, the timers and the effects too. The
//! figure of interest is the ratio between fleets. The fleet is 70 % busy throughout, and any of the tasks that run may be
//! the next that ends, so that an assignment and a result are about different agents and neither is in the cache. What the
//! bench itself has to do for that, and the readers' snapshots, which are taken on a timer, are not timed.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use std::{cell::LazyCell, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_shared::StrategyConfig;

#[path = "fleets/engine.rs"]
mod fleet;
#[path = "fleets/rig.rs"]
mod rig;

use fleet::Fleet;

fn route_and_complete(c: &mut Criterion) {
    for name in StrategyConfig::NAMES {
        let strategy = StrategyConfig::named(name).expect("valid");
        let mut group = c.benchmark_group(format!("engine/{name}"));
        group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        for agents in [1_000, 10_000, 100_000] {
            // Made only if the filter lets it run.
            let mut fleet = LazyCell::new(|| Fleet::new(agents, &strategy));
            group.bench_function(BenchmarkId::from_parameter(agents), |bencher| {
                let fleet = LazyCell::force_mut(&mut fleet);
                bencher.iter_custom(|tasks| fleet.time_of(tasks));
            });
        }
        group.finish();
    }
}

/// What the manager asks of the engine each second, which it answers between two tasks: with a limit of each agent there are
/// as many gates as agents.
fn look(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine/look");
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for (agents, limits) in [(1_000, 100), (10_000, 0), (10_000, 100)] {
        let mut fleet = LazyCell::new(|| {
            let mut fleet = Fleet::new(agents, &StrategyConfig::named("least_loaded").expect("valid"));
            fleet.limit(limits);
            fleet
        });
        group.bench_function(BenchmarkId::from_parameter(format!("{agents}_agents_{limits}_limits")), |bencher| {
            let fleet = LazyCell::force_mut(&mut fleet);
            bencher.iter(|| fleet.look());
        });
    }
    group.finish();
}

criterion_group!(benches, route_and_complete, look);
criterion_main!(benches);
