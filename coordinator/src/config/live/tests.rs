//! What is in force at a start.

use super::*;

fn loaded(text: &str) -> Loaded {
    Sources::default().load_text(Some(text)).unwrap()
}

fn declared(version: u64, stored: &Stored) -> Vec<Declaration> {
    let body = Some(stored.written().unwrap());
    let (at, name, reason) = (Timestamp::ZERO, String::new(), String::new());
    vec![Declaration { kind: DeclarationKind::Config, name, version, body, at, reason }]
}

fn stored(text: &str, refused_hash: &str) -> Stored {
    let stored = Stored::new(Cause::Probation, &Who::itself(), "unwell", &loaded(text).layer, &[]);
    Stored { refused_hash: refused_hash.to_owned(), ..stored }
}

fn tasks_max(count: usize) -> String {
    format!("[engine]\ntasks_max = {count}\n")
}

#[track_caller]
fn check(live: &LiveConfig, version: u64, tasks_max: usize, differs: bool) {
    let shown = live.shown();
    assert_eq!((shown.version, live.now().engine.tasks_max), (version, tasks_max));
    assert_eq!(!shown.differs_because.is_empty(), differs, "{}", shown.differs_because);
}

#[test]
fn the_first_start_is_version_one() {
    check(&LiveConfig::new(loaded(&tasks_max(5)), &[], Timestamp::ZERO), 1, 5, false);
}

#[test]
fn a_start_with_the_same_settings_is_the_same_version_and_another_file_is_the_next() {
    let kept = declared(7, &stored(&tasks_max(5), ""));
    check(&LiveConfig::new(loaded(&tasks_max(5)), &kept, Timestamp::ZERO), 7, 5, false);
    check(&LiveConfig::new(loaded(&tasks_max(6)), &kept, Timestamp::ZERO), 8, 6, false);
}

#[test]
fn a_file_that_was_rolled_back_is_not_taken_until_it_changes() {
    let broken = loaded(&tasks_max(6));
    let kept = declared(7, &stored(&tasks_max(5), &broken.file_hash));
    check(&LiveConfig::new(broken, &kept, Timestamp::ZERO), 7, 5, true);
    check(&LiveConfig::new(loaded(&tasks_max(8)), &kept, Timestamp::ZERO), 8, 8, false);
}

#[test]
fn what_needs_a_restart_is_taken_from_such_a_file_nevertheless() {
    let broken = loaded("grpc = \"127.0.0.1:9\"\n[engine]\ntasks_max = 6\n");
    let kept = declared(7, &stored(&tasks_max(5), &broken.file_hash));
    let live = LiveConfig::new(broken, &kept, Timestamp::ZERO);
    assert_eq!(live.now().grpc.port(), 9);
    check(&live, 8, 5, true);
}

#[test]
fn what_cannot_be_read_of_earlier_versions_is_as_if_it_were_not_there() {
    let nonsense = Declaration { body: Some("no JSON".into()), ..declared(7, &Stored::default()).remove(0) };
    check(&LiveConfig::new(loaded(&tasks_max(5)), &[nonsense], Timestamp::ZERO), 1, 5, false);
}
