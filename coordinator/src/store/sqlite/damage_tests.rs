//! Files that are not as they were left: cut short, or changed by a byte.

use std::{fs, ops::Range};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AcceptedTask, Change},
    model::{BudgetShare, BudgetSpent, Declaration, DeclarationKind, Record, RecoveredTask, TaskEvent, TaskEventKind},
};
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Cost, CostUnit, Decision, EventPosition, Kind,
    Micros, TaskId, TaskSpec, TaskState, Usage,
};
use proptest::{prelude::*, sample::Index};
use tempfile::TempDir;

use super::{super::StoredTask, *};

pub(super) const NOW: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
/// Groups that a test commits; each accepts a task and moves an earlier one on.
const GROUPS: u64 = 12;
const LOG_HEAD: usize = 32;

fn id(order: u64) -> TaskId {
    TaskId::new(NOW, u128::from(order) << 8)
}

pub(super) fn accept(order: u64) -> Change {
    let spec = TaskSpec { idempotency_key: format!("key-{order}"), ..TaskSpec::of_kind(Kind::new("echo").unwrap()) };
    Change::Accept(Arc::new(AcceptedTask {
        id: id(order),
        spec: Arc::new(spec),
        payload: format!("payload {order} ").repeat(20).into(),
        fingerprint: u128::from(order),
        order,
        at: NOW,
        redrive_of: order.is_multiple_of(3).then(|| id(1)),
    }))
}

pub(super) fn usage(number: u64) -> Usage {
    let cost = Cost::from([(CostUnit::usd(), Micros(number))]);
    Usage { cpu: std::time::Duration::from_millis(number), memory_max_bytes: number, cost }
}

/// What a restart must know besides tasks, after so many groups.
pub(super) fn declarations(number: u64) -> Vec<Change> {
    let declared = |kind, name: &str| {
        let (body, reason) = (Some(format!("{{\"n\":{number}}}")), format!("reason {number}"));
        Record::Declared(Declaration { kind, name: name.into(), version: number, body, at: NOW, reason })
    };
    let (budget, spent) = ("budget-1".into(), Micros(number));
    let records = [
        declared(DeclarationKind::Budget, "budget-1"),
        declared(DeclarationKind::Limit, "limit-1"),
        Record::Spent(BudgetSpent { budget, window_start: NOW, spent, overrun: Micros(0) }),
    ];
    records.into_iter().map(|record| Change::Record(Box::new(record))).collect()
}

/// What the attempt of this group holds of budgets; that of every third one nothing.
fn reserved(number: u64) -> Vec<BudgetShare> {
    let names = (0..number % 3).map(|n| format!("budget-{n}"));
    names.map(|name| BudgetShare { budget: name.into(), amount: Micros(number * 1_000) }).collect()
}

fn group(number: u64) -> Vec<Change> {
    let attempt = AttemptRef { task: id(number), attempt: AttemptNumber(1), assignment: AssignmentId(number) };
    let agent = AgentId::new("a").unwrap();
    let event = TaskEvent {
        position: EventPosition(number),
        at: NOW,
        task: id(number),
        kind: TaskEventKind::Assigned,
        state: TaskState::Assigned,
        attempt: AttemptNumber(1),
        agent: Some(agent.clone()),
        progress: 0.0,
        message: "so it goes".into(),
    };
    let mut changes = vec![
        accept(number),
        Change::Assign { attempt, agent, at: NOW, decision: Decision::default(), reserved: reserved(number) },
        Change::TaskEvent(event),
    ];
    changes.extend(declarations(number));
    if number.is_multiple_of(2) {
        let (at, run) = (NOW, std::time::Duration::from_millis(1));
        let end = AttemptEnd::Succeeded;
        let usage = Some(Box::new(usage(number)));
        changes.push(Change::EndAttempt { attempt, at, started_at: None, end, failure: None, run, usage });
        let output = Bytes::from(format!("output {number} ").repeat(20));
        let state = TaskState::Succeeded;
        changes.push(Change::Finish { task: id(number), at, state, output, failure: None, crashes: 0 });
    }
    changes
}

/// The files of a store.
#[derive(Clone, Default, PartialEq)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn of(dir: &Path) -> Self {
        let database = database_path(dir);
        Self { log: fs::read(log::path(&database)).unwrap_or_default(), database: fs::read(database).unwrap() }
    }

    /// As a process finds them that starts on them.
    fn lay_out(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        let database = database_path(dir.path());
        fs::write(log::path(&database), &self.log).unwrap();
        fs::write(database, &self.database).unwrap();
        dir
    }
}

/// All that a store holds and that its sums cover.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    declared: Vec<Declaration>,
    spent: Vec<BudgetSpent>,
    live: Vec<(TaskId, Arc<TaskSpec>, Bytes, u128, u64)>,
    over: Vec<(TaskId, Arc<TaskSpec>, Bytes, u128, Bytes)>,
}

fn held(dir: &Path) -> Result<Held, StoreError> {
    let mut store = SqliteStore::open(dir, Durability::None)?;
    let recovery = store.claim(NOW)?;
    let reader = store.reader();
    let mut over = Vec::new();
    for order in 1..=GROUPS {
        if let Some(StoredTask { id, spec, fingerprint, output, state, .. }) = reader.task(id(order))?
            && state.is_terminal()
        {
            over.push((id, spec, reader.payload(id)?.unwrap_or_default(), fingerprint, output));
        }
        reader.attempts(id(order))?;
    }
    reader.task_events(&[], EventPosition(0), 1_000)?;
    let what = |task: RecoveredTask| (task.id, task.spec, task.payload, task.fingerprint, task.order);
    let (declared, spent) = (recovery.declarations, recovery.spent);
    Ok(Held { live: recovery.tasks.into_iter().map(what).collect(), over, declared, spent })
}

/// What is to be found after so many groups.
fn expected() -> Vec<Held> {
    let mut all = vec![Held { declared: Vec::new(), spent: Vec::new(), live: Vec::new(), over: Vec::new() }];
    for number in 1..=GROUPS {
        let mut next = all[all.len() - 1].clone();
        let Change::Accept(task) = accept(number) else { unreachable!() };
        let mut changes = declarations(number).into_iter().map(|change| match change {
            Change::Record(record) => *record,
            _ => unreachable!("a record"),
        });
        let (Some(Record::Declared(budget)), Some(Record::Declared(limit))) = (changes.next(), changes.next()) else {
            unreachable!("two declarations")
        };
        let Some(Record::Spent(spent)) = changes.next() else { unreachable!("what was spent") };
        (next.declared, next.spent) = (vec![limit, budget], vec![spent]);
        if number.is_multiple_of(2) {
            let output = Bytes::from(format!("output {number} ").repeat(20));
            next.over.push((task.id, task.spec.clone(), task.payload.clone(), task.fingerprint, output));
        } else {
            next.live.push((task.id, task.spec.clone(), task.payload.clone(), task.fingerprint, task.order));
        }
        all.push(next);
    }
    all
}

/// A store that died with everything in its log, and how long the log was after each commit.
fn died() -> (Files, Vec<usize>) {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.claim(NOW).unwrap();
    let mut ends = vec![Files::of(dir.path()).log.len()];
    for number in 1..=GROUPS {
        store.commit(&group(number)).unwrap();
        ends.push(Files::of(dir.path()).log.len());
    }
    (Files::of(dir.path()), ends)
}

/// A store that died with everything in its database.
fn died_checkpointed() -> Files {
    let (files, _) = died();
    let dir = files.lay_out();
    Connection::open(database_path(dir.path()))
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    Files::of(dir.path())
}

/// A store that was released.
fn released() -> Files {
    let (files, _) = died();
    let dir = files.lay_out();
    let mut store = SqliteStore::open(dir.path(), Durability::None).unwrap();
    store.claim(NOW).unwrap();
    store.release().unwrap();
    drop(store);
    Files::of(dir.path())
}

fn is_refusal(error: &StoreError) -> bool {
    let named = matches!(error, StoreError::Corrupt(_) | StoreError::Foreign { .. } | StoreError::NewerVersion { .. });
    // A byte in a path through the file may send SQLite anywhere; it says so in its own words.
    named || matches!(error, StoreError::Sqlite(_) | StoreError::Disk(_))
}

#[test]
fn a_log_that_was_cut_anywhere_opens_to_its_last_whole_commit() {
    let (files, ends) = died();
    let expected = expected();
    let around = ends.iter().flat_map(|&end| [end.saturating_sub(1), end, end + 1]);
    for cut in around.chain((0..files.log.len()).step_by(4_999)).filter(|&cut| cut <= files.log.len()) {
        let whole = ends.iter().rposition(|&end| end <= cut).map_or(0, |groups| groups);
        let torn = Files { log: files.log[..cut].to_vec(), ..files.clone() };
        let found = held(torn.lay_out().path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(found, expected[whole], "cut at {cut}");
    }
}

#[test]
fn a_log_whose_last_commit_was_torn_opens_to_the_one_before() {
    let (files, ends) = died();
    let expected = expected();
    let last: Range<usize> = ends[ends.len() - 2]..ends[ends.len() - 1];
    for at in last.step_by(1_013) {
        let mut torn = files.clone();
        // A power cut leaves what was on the disk before, which is nothing.
        torn.log[at] = !torn.log[at];
        let found = held(torn.lay_out().path()).unwrap_or_else(|error| panic!("torn at {at}: {error}"));
        assert_eq!(found, expected[expected.len() - 2], "torn at {at}");
    }
}

#[test]
fn a_log_that_is_damaged_before_answered_commits_is_refused_and_left_as_it_is() {
    let (files, ends) = died();
    let answered = 0..ends[ends.len() - 3];
    for at in answered.step_by(1_013).chain(0..LOG_HEAD) {
        let mut damaged = files.clone();
        damaged.log[at] ^= 0x10;
        let dir = damaged.lay_out();
        let error = held(dir.path()).expect_err("refused");
        assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("evenkeel.db-wal")), "byte {at}: {error}");
        assert!(Files::of(dir.path()) == damaged, "byte {at}: it was changed");
    }
}

#[test]
fn a_byte_in_the_middle_of_a_payload_or_an_output_is_found_even_after_a_clean_stop() {
    let files = released();
    assert_eq!(held(files.lay_out().path()).unwrap(), expected()[GROUPS as usize]);
    for text in ["payload 7", "output 8", "key-11", "{\"n\":12}", "budget-1"] {
        let mut damaged = files.clone();
        let found: Vec<usize> =
            (0..files.database.len()).filter(|&at| files.database[at..].starts_with(text.as_bytes())).collect();
        assert!(!found.is_empty());
        for at in found {
            damaged.database[at + 3] ^= 1;
        }
        let error = held(damaged.lay_out().path()).expect_err("found");
        assert!(matches!(error, StoreError::Corrupt(_)), "{text}: {error}");
    }
}

#[test]
fn a_live_task_that_is_not_found_after_a_clean_stop_is_missed() {
    let dir = released().lay_out();
    Connection::open(database_path(dir.path())).unwrap().execute("UPDATE meta SET live = live + 1", []).unwrap();
    let error = held(dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("7 tasks were not over")), "{error}");
}

#[test]
fn a_live_task_whose_input_is_gone_is_not_passed_over() {
    let (files, _) = died();
    let dir = files.lay_out();
    Connection::open(database_path(dir.path())).unwrap().execute("DELETE FROM inputs WHERE place = 3", []).unwrap();
    let error = SqliteStore::open(dir.path(), Durability::None).unwrap().claim(NOW).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("input")), "{error}");
}

#[test]
fn a_byte_of_a_key_that_differs_between_the_tasks_and_their_index_is_found_after_a_crash() {
    let files = died_checkpointed();
    let places: Vec<usize> =
        (0..files.database.len()).filter(|&at| files.database[at..].starts_with(b"key-11")).collect();
    assert!(places.len() >= 2, "the table and the index have it: {places:?}");
    for at in places {
        let mut damaged = files.clone();
        damaged.database[at + 4] ^= 1;
        let error = held(damaged.lay_out().path()).expect_err("found");
        assert!(matches!(error, StoreError::Corrupt(_)), "{at}: {error}");
    }
}

#[test]
fn an_index_that_lacks_a_task_is_found_after_a_crash() {
    for (index, has, lacks, named) in [
        ("tasks_live", "state < 4", "state < 1", "not over"),
        ("tasks_by_key", "key IS NOT NULL", "key > 'key-10'", "idempotency keys"),
    ] {
        let dir = died_checkpointed().lay_out();
        // Indexed anew under another condition, and then under the right name of the wrong thing.
        for (condition, then) in [(lacks, "REINDEX"), (has, "PRAGMA user_version")] {
            let other = if condition == has { lacks } else { has };
            let database = Connection::open(database_path(dir.path())).unwrap();
            let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?2, ?3) WHERE name = ?1";
            database.pragma_update(None, "writable_schema", true).unwrap();
            assert_eq!(database.execute(sql, [index, other, condition]).unwrap(), 1);
            drop(database);
            let database = Connection::open(database_path(dir.path())).unwrap();
            database.prepare(then).unwrap().query([]).unwrap().next().unwrap();
        }
        let error = held(dir.path()).expect_err("found");
        assert!(matches!(&error, StoreError::Corrupt(what) if what.contains(named)), "{index}: {error}");
    }
}

#[test]
fn what_a_live_task_cannot_have_come_to_is_damage_and_not_handed_to_the_engine() {
    for (change, named) in [
        ("UPDATE tasks SET attempts = 6 WHERE place = 3", "attempts"),
        ("UPDATE tasks SET attempts = 0 WHERE place = 3", "attempts"),
        ("UPDATE tasks SET attempts = 5, state = 0 WHERE place = 3", "attempts"),
        ("UPDATE tasks SET crashes = 2 WHERE place = 3", "crashes"),
        ("UPDATE tasks SET assignment = 5 WHERE place = 3", "assignment"),
        ("UPDATE attempts SET assignment = 7 WHERE assignment = 5", "assignment"),
        ("UPDATE attempts SET reserved = replace(reserved, '5000', '5001') WHERE assignment = 5", "reserved"),
        (
            "UPDATE attempts SET reserved = (SELECT reserved FROM attempts WHERE assignment = 7) WHERE assignment = 5",
            "reserved",
        ),
        ("UPDATE meta SET strategy = '{\"name\":\"priority\",\"held_back_percent\":255}'", "held_back_percent"),
    ] {
        let dir = released().lay_out();
        Connection::open(database_path(dir.path())).unwrap().execute(change, []).unwrap();
        let error = SqliteStore::open(dir.path(), Durability::None).unwrap().claim(NOW).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(what) if what.contains(named)), "{change}: {error}");
    }
}

proptest! {
    /// Whatever byte of whichever file: what is covered is as it was at some commit, or the damage is reported. After a
    /// clean stop the database is not looked through, so what is over may not be found any more; but what is found is right,
    /// and nothing that is live is lost.
    #[test]
    fn a_flipped_byte_is_reported_or_does_no_harm(what in 0..3_usize, at in any::<Index>(), flip in 1..=255_u8) {
        thread_local! {
            static STATES: [Files; 3] = [died().0, died_checkpointed(), released()];
        }
        let mut files = STATES.with(|states| states[what].clone());
        let (database, log) = (files.database.len(), files.log.len());
        let at = at.index(database + log);
        let byte = if at < database { &mut files.database[at] } else { &mut files.log[at - database] };
        *byte ^= flip;
        let clean = what == 2;
        match held(files.lay_out().path()) {
            Err(error) => prop_assert!(is_refusal(&error), "byte {at} of {what}: {error}"),
            Ok(found) if clean => {
                let all = &expected()[GROUPS as usize];
                prop_assert!(found.live == all.live, "byte {at}: {found:#?}");
                prop_assert!(found.declared == all.declared && found.spent == all.spent, "byte {at}: {found:#?}");
                prop_assert!(found.over.iter().all(|task| all.over.contains(task)), "byte {at}: {found:#?}");
            }
            Ok(found) => prop_assert!(expected().contains(&found), "byte {at} of {what}: {found:#?}"),
        }
    }
}
