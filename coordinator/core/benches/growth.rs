//! How costs grow with the fleet and the backlog, as ratios in one run.
//!
//! ```text
//! cargo bench -p evenkeel-core --bench growth -- [PART OF A NAME]...
//! ```
//!
//! The other benchmarks time one size after the other, and on a machine that others use as well the two ends of a ratio are
//! then from different weather. Here small and large take turns: each round times a stretch of the one and at once of the
//! other. A cost is the median of the rounds, the ratio the median of the rounds' ratios, and beside each is the least,
//! which is what the code costs when nobody interferes.
//!
//! ```text
//! cargo bench -p evenkeel-core --bench growth -- once decision/random 100000 50000
//! ```
//!
//! does so many operations at one size, for programs that count instructions and cache misses, which no weather changes: what
//! the operations take is the difference between two counts of them.

use std::time::{Duration, Instant};

use evenkeel_shared::StrategyConfig;

#[path = "fleets/backlog.rs"]
mod backlog;
#[path = "fleets/engine.rs"]
mod engine;
#[path = "fleets/queue.rs"]
mod queue;
#[path = "fleets/rig.rs"]
mod rig;
#[path = "fleets/routing.rs"]
mod routing;

/// Rounds of each measure.
const ROUNDS: usize = 31;
/// How long one size is timed in a round, about: long enough that the clock and a change of size do not count.
const STRETCH: Duration = Duration::from_millis(20);

/// The time of so many operations.
type TimeOf = Box<dyn FnMut(u64) -> Duration>;

/// What is measured: a name, and the two sizes.
struct Measure {
    name: String,
    small: (usize, fn(&str, usize) -> TimeOf),
    large: usize,
    /// The part of the name that says how.
    how: String,
}

fn decision(strategy: &str, agents: usize) -> TimeOf {
    let mut fleet = routing::Fleet::new(&StrategyConfig::named(strategy).expect("a known name"), agents);
    Box::new(move |tasks| fleet.time_of(tasks))
}

fn whole_task(strategy: &str, agents: usize) -> TimeOf {
    let mut fleet = engine::Fleet::new(agents, &StrategyConfig::named(strategy).expect("a known name"));
    Box::new(move |tasks| fleet.time_of(tasks))
}

fn freed_slot(strategy: &str, agents: usize) -> TimeOf {
    const CLASSES: usize = 16;
    let mut fleet = backlog::Fleet::new(agents, CLASSES, &StrategyConfig::named(strategy).expect("a known name"));
    Box::new(move |slots| fleet.time_of(slots))
}

fn pop(_: &str, tasks: usize) -> TimeOf {
    let mut backlog = queue::Backlog::of(u32::try_from(tasks).expect("a few millions"));
    Box::new(move |pops| backlog.time_of_pops(pops))
}

fn measures() -> Vec<Measure> {
    let of = |what: &str, make: fn(&str, usize) -> TimeOf, how: &str| {
        let small = (1_000, make);
        Measure { name: format!("{what}/{how}"), small, large: 100_000, how: how.to_owned() }
    };
    let mut all: Vec<_> = StrategyConfig::NAMES.iter().map(|how| of("decision", decision, how)).collect();
    all.extend(StrategyConfig::NAMES.iter().map(|how| of("task", whole_task, how)));
    all.extend(["least_loaded", "priority"].iter().map(|how| of("freed slot", freed_slot, how)));
    all.push(Measure { large: 1_000_000, ..of("queue", pop, "pop") });
    all
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds an operation, over about [`STRETCH`].
fn cost_ns(time_of: &mut TimeOf, count: u64) -> f64 {
    time_of(count).as_nanos() as f64 / count as f64
}

/// How many operations take about [`STRETCH`].
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn calibrate(time_of: &mut TimeOf) -> u64 {
    let mut count = 1_000;
    loop {
        let (began, spent) = (Instant::now(), time_of(count));
        // What is not timed, such as refilling a queue, has to end too.
        if spent >= STRETCH / 4 || began.elapsed() >= 8 * STRETCH {
            let share = STRETCH.as_secs_f64() / spent.as_secs_f64().max(1e-9);
            return ((count as f64 * share.min(8.0)) as u64).max(100);
        }
        count *= 2;
    }
}

fn run(measure: &Measure) {
    let (small_size, make) = measure.small;
    let (mut small, mut large) = (make(&measure.how, small_size), make(&measure.how, measure.large));
    let counts = [calibrate(&mut small), calibrate(&mut large)];
    let mut costs: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| [cost_ns(&mut small, counts[0]), cost_ns(&mut large, counts[1])]).collect();
    let mut ratios: Vec<f64> = costs.iter().map(|[small, large]| large / small).collect();
    let (ratio, least_ratio) = (median(&mut ratios), least(&costs, 1) / least(&costs, 0));
    let least = [least(&costs, 0), least(&costs, 1)];
    let medians = [0, 1].map(|side| median(&mut costs.iter_mut().map(|cost| cost[side]).collect::<Vec<_>>()));
    println!(
        "| {} | {small_size} | {} | {:.0} ({:.0}) | {:.0} ({:.0}) | {ratio:.2} ({least_ratio:.2}) |",
        measure.name, measure.large, medians[0], least[0], medians[1], least[1]
    );
}

fn least(costs: &[[f64; 2]], side: usize) -> f64 {
    costs.iter().map(|cost| cost[side]).fold(f64::MAX, f64::min)
}

/// Does so many operations of a measure at one size; `None` if that is not what was asked for.
fn once(asked: &[String]) -> Option<Duration> {
    let [first, name, size, count] = asked else { return None };
    let measure = measures().into_iter().find(|measure| first == "once" && measure.name == *name)?;
    let mut time_of = (measure.small.1)(&measure.how, size.parse().ok()?);
    Some(time_of(count.parse().ok()?))
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(spent) = once(&asked) {
        println!("{spent:?}");
        return;
    }
    println!("nanoseconds: median (least) of {ROUNDS} rounds; ratio: median of the rounds (of the least)\n");
    println!("| what | small | large | small ns | large ns | ratio |\n|---|---:|---:|---:|---:|---:|");
    for measure in measures() {
        if asked.is_empty() || asked.iter().any(|part| measure.name.contains(part.as_str())) {
            run(&measure);
        }
    }
}
