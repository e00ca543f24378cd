//! Databases that earlier versions left: taken over with all that is in them.

use bytes::Bytes;
use evenkeel_core::{engine::Change, model::RecoveredState};
use evenkeel_shared::{AdminState, AttemptEnd, EventPosition, StrategyConfig, TaskState, Tenant};
use tempfile::TempDir;

use super::{
    damage_tests::{NOW, accept, declarations, usage},
    *,
};

const VERSION_1: &str = include_str!("fixtures/version_1.sql");
const VERSION_2: &str = include_str!("fixtures/version_2.sql");
const VERSION_3: &str = include_str!("fixtures/version_3.sql");

#[test]
fn a_database_of_version_1_is_taken_over_with_all_that_is_in_it() {
    check_taken_over(VERSION_1);
}

#[test]
fn a_database_of_version_2_is_taken_over_with_all_that_is_in_it() {
    check_taken_over(VERSION_2);
}

#[test]
fn a_database_of_version_3_is_taken_over_with_all_that_is_in_it() {
    check_taken_over(VERSION_3);
}

/// A database of an earlier version, as that version's program left it.
fn check_taken_over(left: &str) {
    let dir = TempDir::new().unwrap();
    Connection::open(database_path(dir.path())).unwrap().execute_batch(left).unwrap();
    let mut store = SqliteStore::open(dir.path(), Durability::Full).unwrap();
    let recovery = store.claim(NOW).unwrap();
    assert_eq!(recovery.incarnation, 2);
    let states: Vec<_> = recovery.tasks.iter().map(|task| (task.spec.kind.as_str(), &task.state)).collect();
    assert!(matches!(
        states.as_slice(),
        [
            ("sleep", RecoveredState::Assigned { .. }),
            ("echo", RecoveredState::Queued { .. }),
            ("fail", RecoveredState::RetryWait { .. })
        ]
    ));
    let [sleep, echo, _] = recovery.tasks.as_slice() else { panic!("three are live") };
    assert_eq!((&sleep.payload[..], sleep.attempts_made), (&b"600000"[..], 1));
    assert_eq!((echo.spec.tenant.as_str(), echo.spec.requirements.resources.custom["gpu"]), ("other", 2));
    assert_eq!(recovery.admin.len(), 1);
    assert_eq!((recovery.admin[0].agent.as_str(), recovery.admin[0].state), ("a-2", AdminState::Cordoned));
    assert!(matches!(recovery.strategy, Some(StrategyConfig::Weighted { .. })));

    let reader = store.reader();
    let tenant = Tenant::new("default").unwrap();
    let (over, _) = reader.by_key(&tenant, "key-over").unwrap().expect("its key is kept");
    let over = reader.task(over).unwrap().unwrap();
    assert_eq!((over.state, &over.output[..]), (TaskState::Succeeded, &b"over and out"[..]));
    let page = reader.list(&Default::default(), super::super::Page { older_than: None, size: 10 }).unwrap();
    let count = |state| page.tasks.iter().filter(|task| task.state == state).count();
    assert_eq!((page.tasks.len(), count(TaskState::Failed), count(TaskState::Cancelled)), (6, 1, 1));
    assert_eq!(reader.attempts(over.id).unwrap()[0].ended.as_ref().unwrap().end, AttemptEnd::Succeeded);
    assert!(!reader.cluster_events(&Default::default(), EventPosition(0), 100).unwrap().is_empty());

    let RecoveredState::Assigned { attempt, ref reserved, .. } = sleep.state else { panic!("it is assigned") };
    assert_eq!(*reserved, None, "nobody wrote down what it holds of budgets");
    let run = std::time::Duration::from_secs(1);
    // Budgets came with version 3, whose program had put one.
    let budgets = usize::from(left == VERSION_3);
    assert_eq!((recovery.declarations.len(), recovery.spent.len()), (budgets, budgets));
    let end = Change::EndAttempt {
        attempt,
        at: NOW,
        started_at: None,
        end: AttemptEnd::Succeeded,
        failure: None,
        run,
        usage: Some(Box::new(usage(7))),
    };
    let output = Bytes::from_static(b"slept");
    let state = TaskState::Succeeded;
    let finish = Change::Finish { task: sleep.id, at: NOW, state, output, failure: None, crashes: 0 };
    store.commit(&[end, finish, accept(1 << 41)]).unwrap();
    store.commit(&declarations(1)).unwrap();
    store.release().unwrap();
    drop(store);
    let mut store = SqliteStore::open(dir.path(), Durability::Full).unwrap();
    let recovery = store.claim(NOW).unwrap();
    assert_eq!(
        (recovery.tasks.len(), recovery.declarations.len(), recovery.spent.len()),
        (3, 2 + budgets, 1 + budgets)
    );
    let attempts = store.reader().attempts(sleep.id).unwrap();
    assert_eq!(attempts[0].ended.as_ref().unwrap().usage, Some(usage(7)));
    assert_eq!(store.reader().task(sleep.id).unwrap().unwrap().output, "slept");
}

#[test]
fn the_fixtures_have_the_schemas_of_their_versions() {
    let columns = |setup: &str| -> Vec<String> {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(setup).unwrap();
        let sql = "SELECT s.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || c.pk
                   FROM sqlite_schema s, pragma_table_info(s.name) c ORDER BY 1";
        let mut statement = database.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let initial = include_str!("0001_initial.sql");
    assert_eq!(columns(VERSION_1), columns(initial));
    let checksums = [initial, include_str!("0002_checksums.sql")].concat();
    assert_eq!(columns(VERSION_2), columns(&checksums));
    assert_eq!(columns(VERSION_3), columns(&[&checksums, include_str!("0003_resources.sql")].concat()));
}
