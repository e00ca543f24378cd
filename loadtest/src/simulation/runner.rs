//! Runs seeds, as many at a time as there are processors, each for itself.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    judge::judge,
    plan::{Plan, Profile},
    report::{Failing, SeedReport, SimulationReport},
    trace::{Keep, Trace},
    world::World,
};

/// Seeds whose trace is shown: the first ones are enough to begin with.
const TRACES_MAX: usize = 3;
/// Failing seeds that are listed.
const FAILING_MAX: usize = 50;

/// Which seeds to run, and on what.
#[derive(Clone, Copy, Debug)]
pub struct SimulationPlan {
    /// The first seed.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// Size and time.
    pub profile: Profile,
    /// Seeds at a time.
    pub threads: usize,
    /// Everything that happens goes to stderr, line by line.
    pub print: bool,
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed that this thread is at, so that a panic can say which one it was.
#[must_use]
pub fn current_seed() -> Option<u64> {
    SEED.get()
}

/// Runs all seeds of a plan. `progress` is told how many are done; `replay` writes the command that runs one of them again.
pub fn simulate(
    plan: SimulationPlan,
    progress: &(dyn Fn(u64) + Sync),
    replay: &dyn Fn(u64) -> String,
) -> SimulationReport {
    let began = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let reports = Mutex::new(Vec::new());
    let work = || {
        // What the machines of agents have to say in a log says the trace.
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= plan.seeds {
                    return;
                }
                let seed = plan.first_seed.wrapping_add(n);
                SEED.set(Some(seed));
                let keep = if plan.print { Keep::Print } else { Keep::Nothing };
                let report = run(Plan::draw(seed, plan.profile), keep).report;
                SEED.set(None);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
        });
    };
    thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report: &SeedReport| report.seed);
    let mut all = SimulationReport { heal_within: super::plan::HEAL_WITHIN, ..SimulationReport::default() };
    for report in reports {
        all.add(&report);
        if !report.is_clean() && all.failing.len() < FAILING_MAX {
            let trace = if all.failing.len() < TRACES_MAX { trace_of_fault(plan.profile, &report) } else { Vec::new() };
            all.failing.push(Failing { replay: replay(report.seed), report, trace });
        }
    }
    all.took = began.elapsed();
    all
}

/// Everything that happens in a seed, line by line.
#[must_use]
pub fn trace_of(seed: u64, profile: Profile) -> Vec<String> {
    run(Plan::draw(seed, profile), Keep::All).trace.all()
}

/// Runs a failing seed again and keeps what concerns the tasks at fault.
fn trace_of_fault(profile: Profile, report: &SeedReport) -> Vec<String> {
    let violations = report.verdict.violations.iter().filter_map(|violation| violation.task);
    let breaches = report.breaches.iter().filter_map(|breach| breach.task);
    // One task tells a story; several are a crowd.
    let tasks: BTreeSet<_> = violations.chain(breaches).take(1).collect();
    let orders = report.orders.iter().filter(|(_, task)| tasks.contains(task)).map(|(order, _)| *order).collect();
    run(Plan::draw(report.seed, profile), Keep::Focus { tasks, orders }).trace.short()
}

pub(super) struct Run {
    pub report: SeedReport,
    pub trace: Trace,
}

/// Runs one seed to its end.
pub(super) fn run(plan: Plan, keep: Keep) -> Run {
    let (seed, agents) = (plan.seed, plan.agents);
    let mut world = World::new(plan, Trace::new(keep));
    world.run();
    let (verdict, driven_again) = judge(&mut world);
    let orders = world.clients.orders.iter().enumerate();
    let orders = if verdict.is_clean() && world.breaches.is_empty() {
        Vec::new()
    } else {
        orders.filter_map(|(n, order)| Some((n, order.task?))).collect()
    };
    let report = SeedReport {
        seed,
        agents,
        simulated: world.elapsed(),
        events: world.events,
        faults: world.fault_counts,
        healed_after: world.healed_after,
        driven_again,
        pruned: world.disk.pruned.len() as u64,
        verdict,
        breaches: world.breaches,
        orders,
    };
    Run { report, trace: world.trace }
}
