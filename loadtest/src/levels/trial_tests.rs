//! Trials told step by step.

use super::*;
use crate::levels::Severity;

/// A trial of ten seconds, the change due in the middle, recovery within three seconds.
fn trial() -> Trial {
    let change = Change { at_share: 0.5, strategy: "random".to_owned(), parameters: [].into(), recovery_max_s: 3.0 };
    Trial::new(&change, 10.0, "strategy random".to_owned())
}

/// Something that happened to a level that rolls back.
fn happened(what: Happening) -> [LevelEvent; 1] {
    [LevelEvent {
        index: 0,
        level: "latency".to_owned(),
        severity: Severity::Critical,
        what,
        at_s: 0.0,
        value: 1.0,
        since_s: 0.0,
        stops_run: false,
        rolls_back: what == Happening::Counted,
        of_rollback: true,
        text: "latency: is bad".to_owned(),
    }]
}

const COUNTED: Happening = Happening::Counted;
const RECOVERED: Happening = Happening::Recovered { counted: true };

/// A trial whose change is in force since 5.2 s.
fn in_force() -> Trial {
    let mut trial = trial();
    assert_eq!(trial.step(5.0, &[]), Some(Action::Make));
    assert_eq!(trial.made(5.2, Ok(())), None);
    trial
}

/// A trial whose change was undone at 7.1 s.
fn undone() -> Trial {
    let mut trial = in_force();
    assert_eq!(trial.step(6.0, &[]), None);
    assert_eq!(trial.step(7.0, &happened(COUNTED)), Some(Action::Undo));
    assert_eq!(trial.step(7.05, &[]), None, "it is being undone");
    assert_eq!(trial.undone(7.1, Ok(())), None);
    trial
}

fn gives_up(action: Option<Action>, words: &str) {
    match action {
        Some(Action::GiveUp { why }) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_that_does_no_harm_stays() {
    let mut trial = trial();
    assert_eq!(trial.step(4.0, &[]), None);
    assert_eq!(trial.step(5.0, &[]), Some(Action::Make));
    assert_eq!(trial.step(6.0, &[]), None, "it is made once");
    trial.made(6.1, Ok(()));
    assert_eq!(trial.step(10.0, &[]), None);
    let outcome = trial.finish();
    assert_eq!(outcome.made_at_s, Some(6.1));
    assert_eq!((outcome.rollback_succeeded, outcome.undone_at_s, outcome.error), (None, None, None));
}

#[test]
fn a_violation_undoes_it_and_recovery_is_seen_in_several_windows() {
    let mut trial = undone();
    assert_eq!(trial.step(8.0, &[]), None, "still violated");
    assert_eq!(trial.step(9.0, &happened(RECOVERED)), None);
    assert_eq!(trial.step(10.0, &[]), None);
    match trial.step(11.0, &[]) {
        Some(Action::Recovered { after_s }) => assert!((after_s - 1.9).abs() < 1e-9, "{after_s}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(trial.step(12.0, &happened(COUNTED)), None, "it is over");
    let outcome = trial.finish();
    assert_eq!(outcome.violation.as_deref(), Some("latency: is bad"));
    assert_eq!((outcome.undone_at_s, outcome.rollback_succeeded, outcome.error), (Some(7.1), Some(true), None));
}

#[test]
fn a_relapse_starts_the_recovery_anew() {
    let mut trial = undone();
    assert_eq!(trial.step(8.0, &happened(RECOVERED)), None);
    assert_eq!(trial.step(9.0, &happened(Happening::Violated)), None);
    assert_eq!(trial.step(10.0, &happened(RECOVERED)), None);
    assert_eq!(trial.step(11.0, &[]), None);
    assert!(matches!(trial.step(12.0, &[]), Some(Action::Recovered { .. })));
}

#[test]
fn levels_that_do_not_hold_again_in_time_are_a_failed_rollback() {
    let mut trial = undone();
    assert_eq!(trial.step(10.0, &[]), None);
    gives_up(trial.step(11.0, &[]), "latency did not hold again within 3 s");
    let outcome = trial.finish();
    assert_eq!((outcome.rollback_succeeded, outcome.recovered_after_s), (Some(false), None));
}

#[test]
fn a_change_is_not_made_on_a_fleet_that_is_in_trouble_already() {
    let mut trial = trial();
    trial.step(4.0, &happened(Happening::Violated));
    gives_up(trial.step(5.0, &[]), "latency did not hold when it was due");
    let outcome = trial.finish();
    assert_eq!((outcome.made_at_s, outcome.rollback_succeeded), (None, None));
}

#[test]
fn a_fleet_that_was_in_trouble_before_is_no_obstacle() {
    let mut trial = trial();
    trial.step(3.0, &happened(COUNTED));
    trial.step(4.0, &happened(RECOVERED));
    assert_eq!(trial.step(5.0, &[]), Some(Action::Make));
}

#[test]
fn a_change_that_cannot_be_made_is_an_error_of_the_run() {
    let mut trial = trial();
    trial.step(5.0, &[]);
    gives_up(trial.made(5.1, Err("it is refused".to_owned())), "could not be made: it is refused");
    assert_eq!(trial.finish().made_at_s, None);
}

#[test]
fn a_change_that_cannot_be_undone_is_a_failed_rollback() {
    let mut trial = in_force();
    trial.step(7.0, &happened(COUNTED));
    gives_up(trial.undone(8.0, Err("nobody answers".to_owned())), "could not be undone: nobody answers");
    assert_eq!(trial.finish().rollback_succeeded, Some(false));
}

#[test]
fn a_violation_while_it_is_being_made_undoes_it_once_it_is_made() {
    let mut trial = trial();
    trial.step(5.0, &[]);
    assert_eq!(trial.step(6.0, &happened(COUNTED)), None, "what is not made cannot be undone");
    assert_eq!(trial.made(6.5, Ok(())), Some(Action::Undo));
}

#[test]
fn violations_of_other_levels_are_no_reason() {
    let mut trial = in_force();
    let mut other = happened(COUNTED);
    (other[0].rolls_back, other[0].of_rollback) = (false, false);
    assert_eq!(trial.step(7.0, &other), None);
}

#[test]
fn a_run_that_ends_too_early_says_so() {
    let check = |trial: Trial, succeeded, words: &str| {
        let outcome = trial.finish();
        assert_eq!(outcome.rollback_succeeded, succeeded);
        let error = outcome.error.unwrap();
        assert!(error.contains(words), "{error}");
    };
    check(trial(), None, "before it was due");
    let mut making = trial();
    making.step(5.0, &[]);
    check(making, None, "known to be in force");
    let mut undoing = in_force();
    undoing.step(7.0, &happened(COUNTED));
    check(undoing, Some(false), "known to be undone");
    check(undone(), Some(false), "seen to hold again");
}
