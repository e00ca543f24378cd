//! A short run of every fuzz target: the seeds, and a fixed number of mutations of them.
//!
//! The targets are those that the fuzzer runs for hours, see `fuzz/`. They are run here because this crate sees everything
//! that reads what others wrote.

#[allow(dead_code, reason = "what only libFuzzer calls")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Where the mutations begin; any number is as good.
const SEED: u64 = 20_260_214;

/// Seeds and mutations of a target, in a few seconds without optimization.
fn check(target: &str, mutations: u32) {
    let (_, run) = targets::TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target of this name");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let seeds: Vec<Vec<u8>> =
        targets::short::seeds(&root, target).expect("its seeds").into_iter().map(|(_, bytes)| bytes).collect();
    assert!(!seeds.is_empty());
    targets::short::run(target, run, &seeds, mutations, SEED);
}

#[test]
fn whatever_an_agent_sends_the_tasks_of_others_stay_theirs_and_every_task_ends() {
    check("frames", 2_000);
}

#[test]
fn whatever_a_client_submits_is_refused_without_a_trace_or_reads_back_as_it_was() {
    check("submissions", 4_000);
}

#[test]
fn whatever_a_configuration_says_is_refused_or_works() {
    check("configs", 4_000);
}

#[test]
fn whatever_is_written_on_the_command_line_gets_an_answer() {
    check("words", 20_000);
}

#[test]
fn whatever_happened_to_a_database_is_an_error_or_data_to_go_on_with() {
    check("store", 500);
}

#[test]
fn the_seeds_that_are_made_by_code_are_those_that_are_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (target, seeds) in targets::seeds::all() {
        for (name, bytes) in seeds {
            let file = root.join(target).join(name);
            // Maps are written in any order, so bytes may differ where lengths may not.
            let is_kept = || std::fs::read(&file).is_ok_and(|kept| kept.len() == bytes.len());
            if std::env::var_os("EVENKEEL_WRITE_SEEDS").is_some() && !is_kept() {
                std::fs::write(&file, &bytes).expect("its directory is there");
            }
            assert!(is_kept(), "{target}/{name} is out of date: run this test with EVENKEEL_WRITE_SEEDS=1");
        }
    }
}
