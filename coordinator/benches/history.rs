//! What the history of resources costs: to ask for a stretch of time among a million rows, to record what is measured each
//! second, and to thin it out.
//!
//! ```text
//! cargo bench -p evenkeel-coordinator --bench history [-- ROWS]
//! ```
//!
//! The rows are those of a fleet of 100 subjects (tenants, kinds, pools), of each four measurements a minute; as many costs,
//! and as many events of limits. What must hold: a question about an hour or a day is answered in a few milliseconds, and
//! recording takes less than a hundredth of a core. Besides the time, the processor time is shown, because others may use
//! the machine too.

use std::{fs, hint::black_box, path::Path, time::Duration, time::Instant};

use evenkeel_coordinator::store::{
    AllocationFilter, CostQuery, Expiry, RecordPage, RecordPlace, Store, StoreReader, Subjects, TimeRange, UsageQuery,
    sqlite::{Durability, SqliteStore},
};
use evenkeel_core::{
    engine::Change,
    model::{AllocationRecord, CostEntry, Record, UsageSample},
};
use evenkeel_shared::{CostUnit, Micros, Timestamp};

const ROWS: u64 = 1_000_000;
const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
const SUBJECTS: u64 = 100;
const METRICS: [&str; 4] = ["utilisation", "queued", "cpu", "memory"];
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Rows in a transaction while the store is filled.
const GROUP: u64 = 5_000;
/// Rows that the manager hands over in a turn of a second.
const ROWS_PER_TURN: u64 = 100;
/// Times that each thing is measured; the median counts.
const TIMES: usize = 21;

/// Processor time of this thread so far; zero where the system does not say.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn at(minutes: u64) -> Timestamp {
    START.plus(MINUTE * u32::try_from(minutes).unwrap_or(u32::MAX))
}

fn subject(number: u64) -> String {
    if number == 0 { "fleet".to_owned() } else { format!("tenant:tenant-{number}") }
}

/// The sample of this number: all series of a minute, then those of the next.
fn sample(number: u64) -> Change {
    let (minute, series) = (number / (SUBJECTS * 4), number % (SUBJECTS * 4));
    let mean = (number % 97) as f64;
    let sample = UsageSample {
        at: at(minute),
        length: MINUTE,
        subject: subject(series / 4),
        metric: METRICS[(series % 4) as usize].to_owned(),
        mean,
        min: mean / 2.0,
        max: mean * 2.0,
    };
    Change::Record(Box::new(Record::Usage(sample)))
}

fn cost(number: u64) -> Change {
    let entry = CostEntry {
        at: at(number / SUBJECTS),
        length: MINUTE,
        subject: subject(number % SUBJECTS),
        unit: CostUnit::usd(),
        resources: Micros(number % 1_000),
        reported: Micros(number % 500),
        idle: Micros(0),
        tasks: 3,
        attempts: 4,
    };
    Change::Record(Box::new(Record::Cost(entry)))
}

fn event(number: u64) -> Change {
    let event = AllocationRecord {
        id: number,
        at: START.plus(Duration::from_millis(number * 20)),
        what: "throttled",
        subject: format!("limit:{}", number % SUBJECTS),
        message: "12 of 12 in use".to_owned(),
    };
    Change::Record(Box::new(Record::Allocation(event)))
}

fn fill(store: &mut SqliteStore, rows: u64, make: fn(u64) -> Change) {
    for group in (0..rows).step_by(GROUP as usize) {
        let changes: Vec<_> = (group..(group + GROUP).min(rows)).map(make).collect();
        store.commit(&changes).expect("committed");
    }
}

/// The median of the time and of the processor time of some runs, and what the last one answered.
fn measured<T>(mut run: impl FnMut(usize) -> T) -> (Duration, Duration, T) {
    let mut runs: Vec<_> = (0..TIMES)
        .map(|time| {
            let (began, before) = (Instant::now(), cpu());
            let answer = black_box(run(time));
            (began.elapsed(), cpu().saturating_sub(before), answer)
        })
        .collect();
    let last = runs.pop().expect("it ran");
    let median = |of: fn(&(Duration, Duration, T)) -> Duration| {
        let mut times: Vec<_> = runs.iter().map(of).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    (median(|run| run.0), median(|run| run.1), last.2)
}

fn show(what: &str, rows: usize, (took, cpu): (Duration, Duration)) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("| {what} | {rows} | {:.2} | {:.2} |", ms(took), ms(cpu));
}

fn questions(reader: &dyn StoreReader, minutes: u64, minutes_of_costs: u64) {
    println!("| question | rows answered | ms | processor ms |");
    println!("|---|---:|---:|---:|");
    let usage = |subject: &str, from: u64, span: Duration, step| UsageQuery {
        subject: subject.to_owned(),
        metric: "queued".to_owned(),
        range: TimeRange { from: at(from), before: at(from).plus(span) },
        step,
        limit: 10_000,
    };
    let middle = minutes / 2;
    for (what, query) in [
        ("an hour of a tenant", usage("tenant:tenant-50", middle, HOUR, Duration::ZERO)),
        ("a day of the fleet, 5 min a point", usage("fleet", middle.saturating_sub(720), 24 * HOUR, 5 * MINUTE)),
        ("all of the fleet, 1 h a point", usage("fleet", 0, 10_000 * HOUR, HOUR)),
    ] {
        let (took, cpu, answer) = measured(|_| reader.usage(&query).expect("read"));
        show(what, answer.len(), (took, cpu));
    }
    let costs = |hours: u32, step| CostQuery {
        subjects: Subjects::Beginning("tenant:".to_owned()),
        unit: None,
        range: TimeRange { from: at(minutes_of_costs).minus(HOUR * hours), before: at(minutes_of_costs) },
        step,
        limit: 1_000,
    };
    for (what, query) in [
        ("the last hour's costs of 99 tenants", costs(1, None)),
        ("the last day's costs of 99 tenants", costs(24, None)),
        (
            "the same of one tenant, by the hour",
            CostQuery { subjects: Subjects::One("tenant:tenant-50".to_owned()), ..costs(24, Some(HOUR)) },
        ),
    ] {
        let (took, cpu, answer) = measured(|_| reader.costs(&query).expect("read"));
        show(what, answer.len(), (took, cpu));
    }
    let page = |id| RecordPage { older_than: Some(RecordPlace { at: at(minutes), id }), size: 100 };
    for (what, subject) in [("a page of events", None), ("a page of events of one limit", Some("limit:7".to_owned()))] {
        let filter = AllocationFilter { range: TimeRange { from: START, before: at(100) }, subject };
        let (took, cpu, answer) =
            measured(|_| reader.allocation_events(&filter, page(u64::MAX)).expect("read").records);
        show(what, answer.len(), (took, cpu));
    }
}

/// A second of recording: what the manager hands over in a turn, in one commit.
fn record(store: &mut SqliteStore, from: u64) {
    println!("\n| recorded in a commit | ms | processor ms |");
    println!("|---|---:|---:|");
    let (took, cpu, ()) = measured(|time| {
        let first = from + time as u64 * ROWS_PER_TURN;
        let changes: Vec<_> = (first..first + ROWS_PER_TURN).map(sample).collect();
        store.commit(&changes).expect("committed");
    });
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("| {ROWS_PER_TURN} samples | {:.2} | {:.2} |", ms(took), ms(cpu));
}

fn thin(store: &mut SqliteStore, what: &str, fine: Timestamp, minutes: u64) {
    let expiry = Expiry { tasks: Timestamp::ZERO, fine, fine_costs: at(minutes), history: Timestamp::ZERO };
    let (mut calls, mut longest, began, before) = (0, Duration::ZERO, Instant::now(), cpu());
    loop {
        let call = Instant::now();
        let pruned = store.prune(expiry, 500).expect("pruned");
        longest = longest.max(call.elapsed());
        calls += 1;
        if !pruned.more {
            break;
        }
    }
    let (all, cpu) = (began.elapsed(), cpu().saturating_sub(before));
    println!(
        "\n{what} thinned out in {calls} calls: {all:.1?} ({cpu:.1?} of the processor), the longest {longest:.1?}"
    );
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("the directory is there").flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>() >> 20
}

fn main() {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let dir = tempfile::TempDir::new().expect("a directory for the store");
    let mut store = SqliteStore::open(dir.path(), Durability::Full).expect("the store opens");
    store.claim(START).expect("the store is claimed");
    for (what, make) in [("samples", sample as fn(u64) -> Change), ("costs", cost), ("events", event)] {
        let before = cpu();
        fill(&mut store, rows, make);
        let spent = cpu().saturating_sub(before).as_secs_f64() * 1e6 / rows as f64;
        println!("{rows} {what} written: {spent:.1} µs of the processor each, {} MiB by now", size(dir.path()));
    }
    println!();
    let minutes = rows / (SUBJECTS * 4);
    // As a store is that has been in use for long: costs by the minute are those of the last hour.
    thin(&mut store, "costs", Timestamp::ZERO, rows / SUBJECTS - 60);
    questions(&*store.reader(), minutes, rows / SUBJECTS);
    record(&mut store, rows);
    thin(&mut store, "samples", at(minutes), rows / SUBJECTS - 60);
}
