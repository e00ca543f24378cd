//! What a start costs with so many pending tasks in the store: opening the database, looking it through if its last owner
//! did not release it, reading the tasks, and making an engine of them.
//!
//! ```text
//! cargo bench -p evenkeel-coordinator --bench recovery [-- TASKS...]
//! cargo bench -p evenkeel-coordinator --bench recovery -- fill DIRECTORY TASKS
//! ```
//!
//! The second form only fills a store, as a killed coordinator would leave it, to start a real one on.
//!
//! Each size is a database of its own, filled through the store itself with tasks that wait: a thousand tenants, four kinds,
//! all priorities, payloads of 100 bytes, an idempotency key for every second one. The aim: a million in 5 seconds, and time
//! in proportion to their number. Besides the time, the processor time is shown, because others may use the machine too.

use std::{fs, path::Path, sync::Arc, time::Duration, time::Instant};

use evenkeel_coordinator::store::{
    Store,
    sqlite::{Durability, SqliteStore},
};
use evenkeel_core::{
    engine::{AcceptedTask, Change, Engine, Settings},
    model::{Recovery, TaskEvent, TaskEventKind},
};
use evenkeel_shared::{AttemptNumber, EventPosition, Kind, Priority, TaskId, TaskSpec, TaskState, Tenant, Timestamp};

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
const TENANTS: u64 = 1_000;
const KINDS: [&str; 4] = ["embed", "chat", "crawl", "test"];
const PAYLOAD_BYTES: usize = 100;
/// Tasks in a transaction while the store is filled.
const GROUP: u64 = 5_000;

/// What a step took.
#[derive(Clone, Copy)]
struct Cost {
    took: Duration,
    /// Of the processor, by this thread.
    cpu: Duration,
}

/// Processor time of this thread so far; zero where the system does not say.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn timed<T>(step: impl FnOnce() -> T) -> (T, Cost) {
    let (began, before) = (Instant::now(), cpu());
    let made = step();
    (made, Cost { took: began.elapsed(), cpu: cpu().saturating_sub(before) })
}

fn spec(number: u64) -> TaskSpec {
    let mut spec = TaskSpec::of_kind(Kind::new(KINDS[(number % 4) as usize]).expect("valid"));
    spec.tenant = Tenant::new(&format!("tenant-{}", number * 7 % TENANTS)).expect("valid");
    spec.priority = Priority::new((number % 10) as u8).expect("valid");
    if number.is_multiple_of(2) {
        spec.idempotency_key = format!("key-{number}");
    }
    spec
}

/// The changes with which a task is accepted.
fn accepted(number: u64) -> [Change; 2] {
    let at = START.plus(Duration::from_micros(number * 20));
    let id = TaskId::new(at, u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let task = AcceptedTask {
        id,
        spec: Arc::new(spec(number)),
        payload: vec![1; PAYLOAD_BYTES].into(),
        fingerprint: 7,
        order: number,
        at,
        redrive_of: None,
    };
    let event = TaskEvent {
        position: EventPosition(number),
        at,
        task: id,
        kind: TaskEventKind::Accepted,
        state: TaskState::Queued,
        attempt: AttemptNumber(0),
        agent: None,
        progress: 0.0,
        message: String::new(),
    };
    [Change::Accept(Arc::new(task)), Change::TaskEvent(event)]
}

fn fill(dir: &Path, tasks: u64) {
    let mut store = SqliteStore::open(dir, Durability::None).expect("the store opens");
    store.claim(START).expect("the store is claimed");
    for first in (0..tasks).step_by(GROUP as usize) {
        let changes: Vec<_> = (first..tasks.min(first + GROUP)).flat_map(|number| accepted(number + 1)).collect();
        store.commit(&changes).expect("committed");
    }
}

/// Opens the store and makes an engine of what is in it.
fn start(dir: &Path, tasks: u64, release: bool) -> [Cost; 3] {
    let (mut store, open) = timed(|| SqliteStore::open(dir, Durability::Full).expect("the store opens"));
    let (recovery, read) = timed(|| store.claim(START).expect("the store is claimed"));
    assert_eq!(recovery.tasks.len() as u64, tasks);
    let (engine, make) = timed(|| make_engine(recovery));
    if release {
        store.release().expect("the store is released");
    }
    drop(engine);
    [open, read, make]
}

fn make_engine(recovery: Recovery) -> Engine {
    Engine::new(START.plus(Duration::from_secs(60)), Settings::default(), recovery).expect("few classes")
}

fn measure(tasks: u64) {
    let dir = tempfile::TempDir::new().expect("a directory for the store");
    fill(dir.path(), tasks);
    // The first start brings the database to rest. The second finds it as a killed coordinator leaves it, and releases it.
    start(dir.path(), tasks, false);
    for unclean in [true, false] {
        let [open, read, make] = start(dir.path(), tasks, true);
        let all = open.took + read.took + make.took;
        let cpu = open.cpu + read.cpu + make.cpu;
        let ms = |cost: Cost| format!("{} ({})", cost.took.as_millis(), cost.cpu.as_millis());
        println!(
            "| {tasks} | {} | {} | {} | {} | {} ({}) | {:.2} |",
            if unclean { "killed" } else { "released" },
            ms(open),
            ms(read),
            ms(make),
            all.as_millis(),
            cpu.as_millis(),
            cpu.as_secs_f64() * 1e6 / tasks as f64,
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [what, dir, tasks] = &arguments[..]
        && what == "fill"
    {
        return fill(Path::new(dir), tasks.parse().expect("a number of tasks"));
    }
    let asked: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    println!("milliseconds (of the processor)\n");
    println!("| tasks | last owner | open | read | engine | all | processor µs a task |");
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for &tasks in if asked.is_empty() { &SIZES[..] } else { &asked } {
        measure(tasks);
    }
}
