//! What is in force at a start.

use super::*;

fn loaded(text: &str) -> Loaded {
    Sources::default().load_text(Some(text)).unwrap()
}

fn started(loaded: Loaded, declarations: &[Declaration]) -> LiveConfig {
    LiveConfig::new(loaded, declarations, 1, Timestamp::ZERO)
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
    check(&started(loaded(&tasks_max(5)), &[]), 1, 5, false);
}

#[test]
fn a_start_with_the_same_settings_is_the_same_version_and_another_file_is_the_next() {
    let kept = declared(7, &stored(&tasks_max(5), ""));
    check(&started(loaded(&tasks_max(5)), &kept), 7, 5, false);
    check(&started(loaded(&tasks_max(6)), &kept), 8, 6, false);
}

#[test]
fn a_file_that_was_rolled_back_is_not_taken_until_it_changes() {
    let broken = loaded(&tasks_max(6));
    let kept = declared(7, &stored(&tasks_max(5), &broken.file_hash));
    check(&started(broken, &kept), 7, 5, true);
    check(&started(loaded(&tasks_max(8)), &kept), 8, 8, false);
}

#[test]
fn what_needs_a_restart_is_taken_from_such_a_file_nevertheless() {
    let broken = loaded("grpc = \"127.0.0.1:9\"\n[engine]\ntasks_max = 6\n");
    let kept = declared(7, &stored(&tasks_max(5), &broken.file_hash));
    let live = started(broken, &kept);
    assert_eq!(live.now().grpc.port(), 9);
    check(&live, 8, 5, true);
}

#[test]
fn what_cannot_be_read_of_earlier_versions_is_as_if_it_were_not_there() {
    let nonsense = Declaration { body: Some("no JSON".into()), ..declared(7, &Stored::default()).remove(0) };
    check(&started(loaded(&tasks_max(5)), &[nonsense]), 1, 5, false);
}

/// Versions with these settings: number, `tasks_max`, and which one it has put back.
fn history(versions: &[(u64, usize, Option<u64>)]) -> Vec<history::Kept> {
    let kept = |&(number, count, restored): &(u64, usize, Option<u64>)| {
        (number, Timestamp::ZERO, Stored { restored, ..stored(&tasks_max(count), "") })
    };
    versions.iter().rev().map(kept).collect()
}

#[test]
fn a_rollback_goes_to_the_version_before_and_the_next_one_further_back() {
    let before = |in_force: u64, wanted: usize, versions: &[(u64, usize, Option<u64>)]| {
        history::before(&history(versions), in_force, &loaded(&tasks_max(wanted)).layer).ok()
    };
    let three = [(1, 10, None), (2, 20, None), (3, 30, None)];
    assert_eq!(before(3, 30, &three), Some(2));
    let four = [three[0], three[1], three[2], (4, 20, Some(2))];
    assert_eq!(before(4, 20, &four), Some(1), "not back to 3, which was taken out of force");
    let five = [four[0], four[1], four[2], four[3], (5, 10, Some(1))];
    assert_eq!(before(5, 10, &five), None, "there is nothing before the first");
    let again = [four[0], four[1], four[2], four[3], (5, 40, None)];
    assert_eq!(before(5, 40, &again), Some(4), "a change begins anew");
    assert_eq!(before(6, 20, &[four[0], four[1], four[2], four[3], again[4], (6, 20, Some(4))]), Some(1));
    assert_eq!(before(3, 20, &[(1, 10, None), (2, 20, None), (3, 20, None)]), Some(1), "one with other settings");
}

#[test]
fn a_restart_neither_ends_nor_prolongs_a_probation() {
    let text = "[reload]\nprobation_ms = 5000\n";
    let at = Timestamp::from_unix_millis(10_000);
    let until = |cause: Cause, now_ms: u64| {
        let change = Stored { cause, ..stored(text, "") };
        let kept = vec![Declaration { at, ..declared(2, &change).remove(0) }];
        LiveConfig::new(loaded(text), &kept, 1, Timestamp::from_unix_millis(now_ms)).shown().probation_until
    };
    assert_eq!(until(Cause::File, 12_000), Some(Timestamp::from_unix_millis(15_000)));
    assert_eq!(until(Cause::File, 15_000), None, "its time is up");
    assert_eq!(until(Cause::Rollback, 12_000), None, "what was put back is trusted");
}

#[test]
fn a_secret_is_not_kept_and_stays_what_it_is_when_another_version_is_put_back() {
    let text = |key: &str, count: usize| {
        let hook = format!("actuator = {{ name = \"webhook\", url = \"http://127.0.0.1:9/scale?key={key}\" }}");
        format!("[scaling]\ntemplate = \"web-balanced\"\n{hook}\n{}", tasks_max(count))
    };
    let first = stored(&text("sentinel", 5), "");
    let written = first.written().unwrap();
    assert!(written.contains("engine.tasks_max") && !written.contains("sentinel"), "{written}");
    let now = loaded(&text("changed", 6)).layer;
    let back = Stored::read(&written).unwrap().layer(&now, &Origin::default());
    assert_eq!(back.value("scaling.actuator"), now.value("scaling.actuator"));
    assert_eq!(back.value("engine.tasks_max"), 5);
    let shown: Vec<String> =
        back.changes(&now).iter().map(|it| format!("{}{}", it.shown_before(), it.shown_after())).collect();
    assert_eq!(shown, ["56"]);
}
