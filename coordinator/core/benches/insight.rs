//! What a look at the fleet costs: one `Insight::observe`, which there is each second, at fleets of two sizes.
//!
//! The time is that of the manager's thread, beside the engine; a thousandth of a second here is a thousandth of a core. Each
//! sample differs from the last: every agent has another load, and one in ten has finished something.

#![allow(missing_docs, reason = "criterion_group! makes a public function without one")]

use std::{sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_core::{
    insight::{
        Insight,
        sample::{GroupSample, MoreSamples},
    },
    manager::{FleetSample, Outputs},
    model::{AgentView, EngineStatus},
};
use evenkeel_shared::{
    AdminState, AgentId, AgentLoad, AgentSpec, Health, Kind, Labels, Resources, SessionEpoch, Timestamp,
};

/// Samples that are taken in turn.
const SAMPLES: usize = 4;
const TENANTS: usize = 1_000;
const KINDS: usize = 20;

fn agent(number: usize, turn: usize) -> Arc<AgentView> {
    let share = ((number * 7 + turn * 13) % 100) as f64 / 100.0;
    let spec = AgentSpec {
        kinds: vec![Kind::new(&format!("kind-{:02}", number % KINDS)).expect("valid")],
        labels: Labels::from([("pool".to_owned(), ["cpu", "gpu", "big", "old"][number % 4].to_owned())]),
        ..AgentSpec::of(AgentId::new(&format!("agent-{number:06}")).expect("valid"), Resources::slots(8))
    };
    Arc::new(AgentView {
        spec: Arc::new(spec),
        admin: AdminState::Active,
        health: Health::Healthy,
        conditions: Vec::new(),
        session: SessionEpoch(1),
        connected_at: Timestamp::ZERO,
        last_heard_at: Timestamp::ZERO,
        reserved: Resources::slots((number + turn) as u32 % 9),
        slots_usable: 8,
        running_tasks: 0,
        prefetched_tasks: 0,
        load: AgentLoad { cpu_share: share, memory_share: 1.0 - share, ..AgentLoad::default() },
        succeeded: if number % 10 == turn { turn as u64 + 1 } else { 0 },
        failed: 0,
        kinds_seen: Vec::new(),
    })
}

fn groups(name: &str, count: usize, turn: usize) -> Vec<GroupSample> {
    let group = |n: usize| GroupSample {
        name: format!("{name}-{n:04}"),
        waiting: (n + turn) as u64 % 3,
        requested: turn as u64,
        released: turn as u64,
        run_time: Duration::from_millis(turn as u64),
        ..GroupSample::default()
    };
    (0..count).map(group).collect()
}

fn samples(agents: usize) -> Vec<FleetSample> {
    let sample = |turn| FleetSample {
        at: Timestamp::ZERO,
        status: Arc::new(EngineStatus { slots_total: 8 * agents as u32, queued: 5, ..EngineStatus::default() }),
        agents: (0..agents).map(|number| agent(number, turn)).collect(),
        more: MoreSamples {
            tenants: groups("tenant", TENANTS, turn),
            kinds: groups("kind", KINDS, turn),
            ..MoreSamples::default()
        },
    };
    (0..SAMPLES).map(sample).collect()
}

fn observe(c: &mut Criterion) {
    let mut group = c.benchmark_group("insight/observe");
    for agents in [1_000, 10_000] {
        let mut samples = samples(agents);
        let mut insight = Insight::default();
        let (mut second, mut out) = (0_u64, Outputs::default());
        group.bench_function(BenchmarkId::from_parameter(agents), |bencher| {
            bencher.iter(|| {
                second += 1;
                let sample = &mut samples[second as usize % SAMPLES];
                sample.at = Timestamp::from_unix_millis(1_000_000_000_000 + second * 1_000);
                insight.observe(sample, &mut out);
                out.records.clear();
                out.notices.clear();
            });
        });
        // So that it is seen beside the time: what is kept after the seconds that were run.
        println!("{agents} agents, {second} s: {} KiB of series", insight.book().memory_bytes() / 1_024);
    }
    group.finish();
}

criterion_group!(benches, observe);
criterion_main!(benches);
