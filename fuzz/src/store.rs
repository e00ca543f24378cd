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
use rusqlite::{Connection, params};

use super::{
    cluster::{Cluster, HONEST, HONEST_INSTANCE, KIND, START},
    seeds,
};

/// Changes of one input.
const CHANGES_MAX: usize = 16;
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

/// Tables, each with what names one of its rows.
const TABLES: [(&str, &str); 19] = [
    ("tasks", "place"),
    ("inputs", "place"),
    ("outputs", "place"),
    ("attempts", "task, attempt"),
    ("task_events", "position"),
    ("cluster_events", "position"),
    ("admin", "agent"),
    ("meta", "one"),
    ("budget_configs", "place"),
    ("scaling_policies", "place"),
    ("recommendations", "place"),
    ("declarations", "place"),
    ("budget_spent", "budget, window_start"),
    ("usage_series", "id"),
    ("resource_usage", "series, at"),
    ("cost_series", "id"),
    ("cost_analytics", "series, at"),
    ("scaling_events", "id"),
    ("allocation_events", "id"),
];

/// What the first version of the database did not have.
const WITHOUT_SUMS: &str = "UPDATE inputs SET task_sum = NULL, payload_sum = NULL;
    UPDATE tasks SET output_sum = NULL; UPDATE meta SET live = NULL;";

/// What is changed before the database is opened.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Damage {
    /// Which database: released in order, left as it was, or with its last changes still in the log.
    #[prost(uint32, tag = "1")]
    pub database: u32,
    /// Cells that are written.
    #[prost(message, repeated, tag = "2")]
    pub cells: Vec<Cell>,
    /// Bytes that are changed after that.
    #[prost(message, repeated, tag = "3")]
    pub patches: Vec<Patch>,
    /// The rows are without checksums, as those of the first version of the database are; otherwise most changes of a cell
    /// are found at once.
    #[prost(bool, tag = "4")]
    pub without_sums: bool,
}

/// A cell, by numbers that are taken modulo what there is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Cell {
    /// Of [`TABLES`].
    #[prost(uint32, tag = "1")]
    pub table: u32,
    /// Its column.
    #[prost(uint32, tag = "2")]
    pub column: u32,
    /// Its row.
    #[prost(uint32, tag = "3")]
    pub row: u32,
    /// What is written.
    #[prost(oneof = "Value", tags = "4, 5, 6, 7, 8, 9, 10")]
    pub value: Option<Value>,
}

/// What is written into a cell.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// Nothing.
    #[prost(bool, tag = "4")]
    Null(bool),
    /// A number.
    #[prost(int64, tag = "5")]
    Int(i64),
    /// A number with a fraction.
    #[prost(double, tag = "6")]
    Real(f64),
    /// A text, which need not be UTF-8.
    #[prost(bytes = "vec", tag = "7")]
    Text(Vec<u8>),
    /// Bytes.
    #[prost(bytes = "vec", tag = "8")]
    Blob(Vec<u8>),
    /// What another row has there.
    #[prost(uint32, tag = "9")]
    As(u32),
    /// The row is removed.
    #[prost(bool, tag = "10")]
    Gone(bool),
}

/// A change of the file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Patch {
    /// In the log, if there is one.
    #[prost(bool, tag = "1")]
    pub log: bool,
    /// Where, modulo the length.
    #[prost(uint64, tag = "2")]
    pub at: u64,
    /// What is written there. Nothing: the file ends there.
    #[prost(bytes = "vec", tag = "3")]
    pub bytes: Vec<u8>,
    /// It is added to what is there, bit by bit.
    #[prost(bool, tag = "4")]
    pub xor: bool,
}

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
    if damage.without_sums || !damage.cells.is_empty() {
        write_cells(&dir.0, &damage);
    }
    for patch in damage.patches.iter().take(CHANGES_MAX) {
        patch_file(&dir.0, patch);
    }
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

fn write_cells(dir: &Path, damage: &Damage) {
    let connection = Connection::open(dir.join(DATABASE)).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    if damage.without_sums {
        connection.execute_batch(WITHOUT_SUMS).unwrap();
    }
    for cell in damage.cells.iter().take(CHANGES_MAX) {
        // A cell that the schema does not let be written so stays as it is.
        let _ = write_cell(&connection, cell);
    }
}

fn write_cell(connection: &Connection, cell: &Cell) -> rusqlite::Result<()> {
    let (table, key) = TABLES[cell.table as usize % TABLES.len()];
    let columns: Vec<String> = connection
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let column = &columns[cell.column as usize % columns.len()];
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    let nth = |n: u32| format!("FROM {table} ORDER BY {key} LIMIT 1 OFFSET {}", i64::from(n) % rows.max(1));
    let row = format!("({key}) = (SELECT {key} {})", nth(cell.row));
    let set = |value: &str| format!("UPDATE {table} SET {column} = {value} WHERE {row}");
    match &cell.value {
        None | Some(Value::Null(_)) => connection.execute(&set("NULL"), []),
        Some(Value::Int(number)) => connection.execute(&set("?1"), params![number]),
        Some(Value::Real(number)) => connection.execute(&set("?1"), params![number]),
        Some(Value::Text(bytes)) => connection.execute(&set("CAST(?1 AS TEXT)"), params![bytes]),
        Some(Value::Blob(bytes)) => connection.execute(&set("?1"), params![bytes]),
        Some(Value::As(other)) => connection.execute(&set(&format!("(SELECT {column} {})", nth(*other))), []),
        Some(Value::Gone(_)) => connection.execute(&format!("DELETE FROM {table} WHERE {row}"), []),
    }
    .map(drop)
}

fn patch_file(dir: &Path, patch: &Patch) {
    let log = dir.join(LOG);
    let path = if patch.log && log.exists() { log } else { dir.join(DATABASE) };
    let mut file = fs::read(&path).unwrap();
    if file.is_empty() {
        return;
    }
    let at = usize::try_from(patch.at).unwrap_or(usize::MAX) % file.len();
    if patch.bytes.is_empty() {
        file.truncate(at);
    }
    for (place, byte) in file[at..].iter_mut().zip(&patch.bytes) {
        *place = if patch.xor { *place ^ byte } else { *byte };
    }
    fs::write(&path, file).unwrap();
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
