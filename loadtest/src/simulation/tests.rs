//! A fixed set of seeds, and the proof that the judge of them sees.

use std::{ops::Range, panic::catch_unwind};

use evenkeel_core::engine::{Engine, Sabotage as Lacks};

use super::{
    plan::{Plan, Sabotage},
    runner::run,
    trace::Keep,
    *,
};

/// Seeds among which a sabotaged cluster has to be found out.
const SEEDS: Range<u64> = 0..40;

#[test]
fn a_fixed_set_of_seeds_keeps_every_promise_and_heals() {
    let plan =
        SimulationPlan { first_seed: SEEDS.start, seeds: 40, profile: Profile::small(), threads: 2, print: false };
    let report = simulate(plan, &|_| {}, &|seed| format!("seed {seed} of the small profile"));
    assert!(report.is_clean(), "{report}");
    // Faults that do not happen prove nothing, nor do faults that nobody notices.
    assert!(report.faults.len() >= 20, "{report}");
    assert!(report.attempts > report.tasks && report.stale_answers > 0, "{report}");
}

#[test]
fn the_same_seed_is_the_same_run_to_the_byte() {
    for seed in [3, 4] {
        let (one, other) = (trace_of(seed, Profile::small()), trace_of(seed, Profile::small()));
        assert!(one.len() > 1_000, "{} lines", one.len());
        assert!(one == other, "seed {seed} differs from itself");
    }
    assert_ne!(trace_of(3, Profile::small()), trace_of(4, Profile::small()));
}

/// The rules that the first seed breaks which breaks any.
fn found_out(sabotage: Sabotage) -> Vec<&'static str> {
    let broken = |seed| {
        let mut plan = Plan::draw(seed, Profile::small());
        plan.sabotage = sabotage;
        // Of a coordinator that goes on after a broken rule the tables of the engine may be in disorder.
        let rules = catch_unwind(|| run(plan, Keep::Nothing).report.rules_broken());
        rules.unwrap_or_default()
    };
    SEEDS.map(broken).find(|rules| !rules.is_empty()).unwrap_or_default()
}

fn engine_that_lacks(rule: fn(&mut Engine)) -> Vec<&'static str> {
    found_out(Sabotage { engine: Some(rule), ..Sabotage::default() })
}

#[track_caller]
fn assert_has(rules: &[&str], rule: &str) {
    assert!(rules.contains(&rule), "{rule} is not among {rules:?}");
}

#[test]
fn an_engine_that_takes_results_of_any_attempt_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::AttemptCondition));
    assert_has(&rules, "superseded-result-accepted");
}

#[test]
fn an_engine_that_reaps_without_looking_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::ReaperGuard));
    assert_has(&rules, "two-live-assignments");
}

#[test]
fn an_engine_that_ignores_the_deadlines_of_waiting_tasks_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::DeadlineCheck));
    assert_has(&rules, "dispatch-after-deadline");
}

#[test]
fn a_lost_acceptance_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::AcceptChange));
    assert_has(&rules, "accepted-task-lost");
}

#[test]
fn a_lost_end_of_an_attempt_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::EndAttemptChange));
    assert_has(&rules, "two-live-assignments");
}

#[test]
fn a_lost_end_of_a_task_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::FinishChange));
    let red = ["terminal-state-changed", "recorded-twice", "superseded-result-accepted"];
    assert!(red.iter().any(|rule| rules.contains(rule)), "{rules:?}");
}

#[test]
fn a_lost_acknowledgement_is_found_out() {
    let rules = engine_that_lacks(|engine| engine.sabotage(Lacks::AckMessage));
    assert_has(&rules, "heals-within-bound");
}

#[test]
fn a_shell_that_answers_before_the_commit_is_found_out() {
    let rules = found_out(Sabotage { ack_before_commit: true, ..Sabotage::default() });
    let red = ["accepted-task-lost", "unassigned-execution", "superseded-result-accepted", "recorded-twice"];
    assert!(red.iter().any(|rule| rules.contains(rule)), "{rules:?}");
}

#[test]
fn a_shell_that_does_not_ask_the_store_for_keys_is_found_out() {
    let rules = found_out(Sabotage { no_key_look_up: true, ..Sabotage::default() });
    assert_has(&rules, "key-gave-two-tasks");
}
