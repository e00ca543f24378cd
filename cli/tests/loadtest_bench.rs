//! `evenkeel loadtest bench`: small, on both sides, through the real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::process::Output;

use serde_json::Value;
use support::evenkeel;

fn bench(args: &[&str]) -> Output {
    let small = ["--rounds", "1", "--agents", "10", "--tasks", "1000", "--in-flight", "200", "--batch", "20"];
    evenkeel(["loadtest", "bench", "-o", "json"]).args(small).args(args).output().unwrap()
}

#[test]
fn both_sides_are_measured_and_compared() {
    let only = ["--only", "bare-stream", "--only", "stream-durable", "--only", "stream-ephemeral"];
    let output = bench(&only);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let contenders = report["contenders"].as_array().unwrap();
    let names: Vec<_> = contenders.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bare-stream", "stream-ephemeral", "stream-durable"]);
    for row in contenders {
        for figure in ["tasks_per_s", "p50_us", "server_cpu_us_per_task", "server_resident_mib"] {
            assert!(row["figures"][figure]["median"].as_f64().unwrap() > 0.0, "{figure} of {row}");
        }
    }
    assert!(contenders[2]["figures"]["fsync_p50_us"]["median"].as_f64().unwrap() > 0.0, "{report}");
    // Goals whose contenders were not measured are left out.
    let goals: Vec<_> = report["goals"].as_array().unwrap().iter().map(|goal| goal["id"].as_str().unwrap()).collect();
    assert_eq!(goals, ["1", "1 (by CPU)", "2", "2 (by CPU)"]);
}

#[test]
fn a_contender_that_is_none_is_named() {
    let output = bench(&["--only", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no contender `nobody`"));
}
