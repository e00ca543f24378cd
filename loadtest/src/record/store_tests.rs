//! What is kept is found again, whole; what is damaged is refused by name.

use super::*;
use crate::record::example::Example;

fn store() -> (tempfile::TempDir, RunStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = RunStore::open(dir.path().join("a/runs"));
    (dir, store)
}

fn keep(store: &RunStore, example: &Example) -> String {
    let (record, histograms) = example.run();
    store.save(&record, &histograms).unwrap();
    record.id
}

fn short(scenario: &str, seed: u64) -> Example {
    Example {
        scenario: scenario.to_owned(),
        seconds: 3,
        seed,
        started_at_ms: 1_769_860_800_000 + seed * 1_000,
        ..Example::default()
    }
}

fn files(store: &RunStore) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(store.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_is_read_as_it_was_kept() {
    let (_dir, store) = store();
    assert_eq!(store.list().unwrap(), Vec::<String>::new());
    assert!(matches!(store.load("latest", None), Err(RecordError::Empty { .. })));
    let (record, histograms) = short("smoke", 1).run();
    let path = store.save(&record, &histograms).unwrap();
    assert_eq!(files(&store), [format!("{}.hdr", record.id), format!("{}.json", record.id)]);
    for reference in ["latest", &record.id, &record.id[..20], path.to_str().unwrap()] {
        let kept = store.load(reference, None).unwrap();
        assert_eq!(kept.record, record, "{reference}");
        let kept = kept.histograms.unwrap();
        assert_eq!(kept.latencies(), histograms.latencies());
        assert_eq!(kept.intervals(), histograms.intervals());
    }
}

#[test]
fn a_kept_run_is_never_overwritten() {
    let (_dir, store) = store();
    let (mut record, histograms) = short("smoke", 1).run();
    store.save(&record, &histograms).unwrap();
    record.seed = 99;
    let error = store.save(&record, &Histograms::default()).unwrap_err();
    assert!(matches!(error, RecordError::Exists { .. }), "{error}");
    assert_eq!(store.load("latest", None).unwrap().record.seed, 1);
    // Nor is one of which another process has written the histograms so far.
    fs::remove_file(store.file(&record.id, "json")).unwrap();
    assert!(matches!(store.save(&record, &Histograms::default()), Err(RecordError::Exists { .. })));
    assert_eq!(files(&store), [format!("{}.hdr", record.id)]);
}

#[test]
fn the_latest_is_the_latest_of_its_scenario() {
    let (_dir, store) = store();
    let ids: Vec<String> =
        [("a", 1), ("b", 2), ("a", 3), ("b", 4)].map(|(name, seed)| keep(&store, &short(name, seed))).into();
    assert_eq!(store.list().unwrap(), ids);
    assert_eq!(store.load_record("latest", None).unwrap().id, ids[3]);
    assert_eq!(store.load_record("latest", Some("a")).unwrap().id, ids[2]);
    assert!(matches!(store.load("2026", None), Err(RecordError::Ambiguous { count: 4, .. })));
    assert!(matches!(store.load("2027", None), Err(RecordError::NotFound { .. })));
    assert!(matches!(store.load("", None), Err(RecordError::NotFound { .. })));
}

#[test]
fn a_baseline_is_that_of_its_scenario_and_name() {
    let (_dir, store) = store();
    let (a, b) = (keep(&store, &short("a", 1)), keep(&store, &short("b", 2)));
    assert!(matches!(store.load("baseline", Some("a")), Err(RecordError::NoBaseline { .. })));
    assert_eq!(store.set_baseline(&a, BASELINE_NAME).unwrap().1, None);
    assert_eq!(store.set_baseline("latest", "release").unwrap().0.id, b);
    let a2 = keep(&store, &short("a", 3));
    assert_eq!(store.set_baseline(&a2, BASELINE_NAME).unwrap().1, Some(a));
    assert_eq!(store.load_record("baseline", None).unwrap().id, a2);
    assert_eq!(store.load_record("baseline:release", Some("b")).unwrap().id, b);
    assert!(matches!(store.load("baseline", Some("b")), Err(RecordError::NoBaseline { .. })));
    assert!(matches!(store.set_baseline(&a2, "../x"), Err(RecordError::Id { .. })));
    assert_eq!(store.list().unwrap().len(), 3, "the file of baselines is no run");
}

#[test]
fn damaged_and_unknown_files_are_refused_by_name() {
    let (_dir, store) = store();
    let id = keep(&store, &short("smoke", 1));
    let (json, hdr) = (store.file(&id, "json"), store.file(&id, "hdr"));
    let (document, histograms) = (fs::read_to_string(&json).unwrap(), fs::read_to_string(&hdr).unwrap());
    let check = |document: &str, histograms: &str, part: &str| {
        fs::write(&json, document).unwrap();
        fs::write(&hdr, histograms).unwrap();
        let error = store.load(&id, None).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(&id) && error.contains("delete"), "{error}");
    };
    check(&document[..document.len() / 2], &histograms, "is damaged");
    check("[]", &histograms, "is damaged");
    check(&document.replacen("\"version\": 1", "\"version\": 2", 1), &histograms, "has version 2");
    check(&document, &histograms[..histograms.len() / 2], ".hdr is damaged");
    let without_a_line: Vec<&str> = histograms.lines().filter(|line| !line.contains("all/queueing")).collect();
    check(&document, &format!("{}\n", without_a_line.join("\n")), "the record says");
    fs::write(&json, &document).unwrap();
    fs::remove_file(&hdr).unwrap();
    assert!(store.load(&id, None).unwrap().histograms.is_none(), "a record alone can be read");
}

#[test]
fn an_id_that_leaves_the_directory_is_refused() {
    let (_dir, store) = store();
    let (mut record, histograms) = short("smoke", 1).run();
    for id in ["../x", "", ".hidden", "a/b", "a b"] {
        record.id = id.to_owned();
        assert!(matches!(store.save(&record, &histograms), Err(RecordError::Id { .. })), "{id}");
    }
    assert!(!store.dir().exists());
}
