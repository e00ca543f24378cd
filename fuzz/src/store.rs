//! A database in which somebody changed cells, or a disk changed bytes.
//!
//! Opening, reading, claiming and going on from it each end with data or with an error. What was recovered is good enough
//! for the engine: its invariants hold at once, and while it works.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use evenkeel_coordinator::{
    services::view,
    store::{
        AllocationFilter, ClusterEventFilter, CostQuery, DeclarationQuery, Page, RecommendationFilter, RecordPage,
        Retention, Store, StoreError, StoreReader, Subjects, TaskFilter, TimeRange, UsageQuery,
        sqlite::{Durability, SqliteStore},
    },
};
use evenkeel_core::{
    engine::{AgentMessage, Effects, Engine, Event, Message, Settings, invariants},
    model::{DeclarationKind, RecoveredState, Recovery},
};
use evenkeel_shared::{
    AgentId, AttemptRef, EventPosition, Outcome, Registration, SessionEpoch, TaskId, TaskState, Timestamp,
};
use prost::Message as _;

mod damage;

pub use self::damage::{Cell, Damage, Patch, Value};
use super::{
    cluster::{Cluster, HONEST, HONEST_INSTANCE, KIND, START},
    seeds,
};

/// Pages and events read; a damaged database may seem to have more than it has.
const PAGES_MAX: usize = 32;
const EVENTS_MAX: usize = 1_000;
/// Times that the engine is woken after the recovery.
const WAKEUPS_MAX: usize = 40;
/// The database's name, and its log's.
const DATABASE: &str = "evenkeel.db";
const LOG: &str = "evenkeel.db-wal";
/// A directory in memory, where there is one: every input opens a database.
const MEMORY: &str = "/dev/shm";

/// The files of a database.
struct Files {
    database: Vec<u8>,
    log: Option<Vec<u8>>,
}

/// Opens the database with the [`Damage`] that the bytes describe.
pub fn run(data: &[u8]) {
    let Ok(damage) = Damage::decode(data) else { return };
    let dir = Directory::create();
    databases()[damage.database as usize % databases().len()].write(&dir.0);
    damage.apply(&dir.0);
    let _ = go_through(&dir.0);
}

/// A directory of this input.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("evenkeel-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory for temporary files");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn read(dir: &Path) -> Self {
        Self { database: fs::read(dir.join(DATABASE)).unwrap(), log: fs::read(dir.join(LOG)).ok() }
    }

    fn write(&self, dir: &Path) {
        fs::write(dir.join(DATABASE), &self.database).unwrap();
        if let Some(log) = &self.log {
            fs::write(dir.join(LOG), log).unwrap();
        }
    }
}

/// Sound databases of one history: released, left, and left with a log.
fn databases() -> &'static [Files; 3] {
    static FILES: OnceLock<[Files; 3]> = OnceLock::new();
    FILES.get_or_init(|| {
        let make = |released: bool| {
            let dir = Directory::create();
            let mut store = SqliteStore::open(&dir.0, Durability::None).unwrap();
            store.claim(START).unwrap();
            store.commit(&seeds::history()).unwrap();
            let with_log = Files::read(&dir.0);
            if released {
                store.release().unwrap();
            }
            drop(store);
            (Files::read(&dir.0), with_log)
        };
        let (released, _) = make(true);
        let (left, with_log) = make(false);
        assert!(with_log.log.is_some() && left.log.is_none());
        [released, left, with_log]
    })
}

/// All that a coordinator does with a database.
fn go_through(dir: &Path) -> Result<(), StoreError> {
    let mut store = SqliteStore::open(dir, Durability::None)?;
    // One row that cannot be read says nothing of the others.
    let ids = read_lists(&*store.reader());
    for id in ids {
        let _ = read_task(&*store.reader(), id);
    }
    let _ = read_history(&*store.reader());
    read_resources(&*store.reader());
    let now = START.plus(Duration::from_secs(10));
    let recovery = store.claim(now)?;
    go_on(&mut store, recovery, now)?;
    store.prune(Retention::of_tasks(Duration::ZERO).at(now), EVENTS_MAX)?;
    store.release()
}

fn read_lists(reader: &dyn StoreReader) -> Vec<TaskId> {
    let states = TaskState::ALL.map(|state| TaskFilter { states: vec![state], ..TaskFilter::default() });
    let of_agent = TaskFilter { agent: AgentId::new(HONEST).ok(), ..TaskFilter::default() };
    let mut ids = Vec::new();
    for filter in states.into_iter().chain([TaskFilter::default(), of_agent]) {
        let mut page = Page { older_than: None, size: 10 };
        for _ in 0..PAGES_MAX {
            let Ok(read) = reader.list(&filter, page) else { break };
            for task in &read.tasks {
                let _ = view::stored_task(task).encode_to_vec();
            }
            ids.extend(read.tasks.iter().map(|task| task.id));
            page.older_than = read.next;
            if read.next.is_none() {
                break;
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn read_task(reader: &dyn StoreReader, id: TaskId) -> Result<(), StoreError> {
    let _ = reader.payload(id);
    let _ = reader.redriven_as(id);
    let _ = reader.task_events(&[id], EventPosition(0), EVENTS_MAX);
    for attempt in reader.attempts(id).unwrap_or_default() {
        let _ = reader.result_recorded(attempt.attempt);
        let _ = view::attempt(&attempt).encode_to_vec();
    }
    if let Some(task) = reader.task(id)? {
        let _ = view::stored_task(&task).encode_to_vec();
        reader.by_key(&task.spec.tenant, &task.spec.idempotency_key)?;
    }
    Ok(())
}

fn read_history(reader: &dyn StoreReader) -> Result<(), StoreError> {
    let _ = reader.oldest_position();
    for event in reader.task_events(&[], EventPosition(0), EVENTS_MAX).unwrap_or_default() {
        let _ = view::task_event(&event).encode_to_vec();
    }
    for event in reader.cluster_events(&ClusterEventFilter::default(), EventPosition(0), EVENTS_MAX)? {
        let _ = view::cluster_event(&event).encode_to_vec();
    }
    Ok(())
}

fn read_resources(reader: &dyn StoreReader) {
    let (range, page) = (TimeRange::ALL, RecordPage { older_than: None, size: 10 });
    for kind in DeclarationKind::ALL {
        for history in [false, true] {
            let _ = reader.declarations(&DeclarationQuery { kind, name: None, history, limit: EVENTS_MAX });
        }
    }
    for step in [Duration::ZERO, Duration::from_secs(3_600)] {
        let (subject, metric) = ("fleet".to_owned(), "cpu".to_owned());
        let _ = reader.usage(&UsageQuery { subject, metric, range, step, limit: EVENTS_MAX });
    }
    for step in [None, Some(Duration::from_secs(60))] {
        let subjects = Subjects::Beginning(String::new());
        let _ = reader.costs(&CostQuery { subjects, unit: None, range, step, limit: EVENTS_MAX });
    }
    let _ = reader.recommendations(&RecommendationFilter::default(), page);
    let _ = reader.scaling_events(range, page);
    let _ = reader.allocation_events(&AllocationFilter { range, subject: None }, page);
}

/// The engine goes on from what was recovered, with the honest agent back and at work.
fn go_on(store: &mut SqliteStore, recovery: Recovery, mut now: Timestamp) -> Result<(), StoreError> {
    let session = SessionEpoch((recovery.incarnation << 40) + 1);
    let held: Vec<AttemptRef> = recovery.tasks.iter().filter_map(|task| held_by_honest(&task.state)).collect();
    let Ok(mut engine) = Engine::new(now, Settings::default(), recovery) else { return Ok(()) };
    check(&engine);
    let mut running = held.clone();
    let registration =
        Registration { spec: Cluster::honest_spec(4), instance: HONEST_INSTANCE.to_owned(), dial: 0, held };
    let mut event = Event::Register { session, registration: Box::new(registration) };
    for _ in 0..WAKEUPS_MAX {
        let mut effects = Effects::default();
        engine.handle(now, event, &mut effects);
        check(&engine);
        running.extend(effects.messages.iter().filter_map(given));
        store.commit(&effects.changes)?;
        event = match running.pop() {
            Some(attempt) => {
                let (outcome, run) = (Outcome::Succeeded(Bytes::from_static(KIND.as_bytes())), Duration::ZERO);
                Event::Result { session, attempt, outcome, run, usage: None }
            }
            None => {
                now = now.plus(Duration::from_millis(500));
                Event::Heartbeat { session, load: Box::default() }
            }
        };
    }
    Ok(())
}

fn held_by_honest(state: &RecoveredState) -> Option<AttemptRef> {
    match state {
        RecoveredState::Assigned { attempt, agent, .. } if agent.as_str() == HONEST => Some(*attempt),
        _ => None,
    }
}

fn given(message: &Message) -> Option<AttemptRef> {
    match message {
        Message::ToAgent { message: AgentMessage::Assign(assignment), .. } => Some(assignment.attempt),
        _ => None,
    }
}

fn check(engine: &Engine) {
    let wrong = invariants::check(engine);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
