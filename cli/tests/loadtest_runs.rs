//! Runs of the load harness that were kept: found again, compared, shown as a page, planned with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{fs, process::Output};

use serde_json::Value;
use support::evenkeel;
use tempfile::TempDir;

/// A small scenario that any machine carries.
const SCENARIO: &str = r#"
    name = "tiny"
    description = "A <b>tiny</b> one."
    duration_s = 3
    [fleet]
    agents = 5
    slots = 1
    [arrivals]
    rate_per_s = 40
    process = { kind = "poisson" }
    [[work]]
    name = "simple"
    weight = 1
    time = "fixed:5ms"
"#;

struct Runs {
    directory: TempDir,
}

impl Runs {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("tiny.toml"), SCENARIO).unwrap();
        Self { directory }
    }

    /// `evenkeel loadtest` in the directory.
    fn loadtest(&self, args: &[&str]) -> Output {
        evenkeel(["loadtest"]).args(args).current_dir(self.directory.path()).output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.loadtest(&[args, &["-o", "json"]].concat());
        check(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[track_caller]
fn check(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn runs_are_kept_listed_compared_and_shown() {
    let runs = Runs::new();
    check(&runs.loadtest(&["history"]), 0);
    check(&runs.loadtest(&["report"]), 4);
    check(&runs.loadtest(&["run", "--scenario", "./tiny.toml", "--repeat", "2"]), 0);

    let history = runs.json(&["history"]);
    let entries = history["scenarios"][0]["runs"].as_array().unwrap();
    let ids: Vec<&str> = entries.iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{history}");
    assert!(history["scenarios"][0]["runs"][0]["values"][0].as_f64().unwrap() > 0.0, "{history}");

    check(&runs.loadtest(&["compare", "baseline", "latest"]), 4);
    assert_eq!(runs.json(&["baseline", "set", ids[0]])[0]["run"], ids[0]);
    let comparison = runs.json(&["compare", "baseline", "latest"]);
    assert_eq!((&comparison["a"]["runs"][0], &comparison["b"]["runs"][0]), (&ids[0].into(), &ids[1].into()));
    assert_eq!(comparison["regression"], false);
    check(&runs.loadtest(&["compare", "latest", "latest"]), 2);

    let page = runs.directory.path().join("page.html");
    check(&runs.loadtest(&["report", "latest", "--out", "page.html"]), 0);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("A &lt;b&gt;tiny&lt;/b&gt; one.") && page.contains("Comparison with the baseline"));

    let log = runs.directory.path().join(format!(".evenkeel/runs/{}.hdr", ids[1]));
    let damaged: String = fs::read_to_string(&log).unwrap().chars().take(900).collect();
    fs::write(&log, damaged).unwrap();
    let refused = runs.loadtest(&["report"]);
    check(&refused, 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is damaged"));
}

#[test]
fn runs_of_other_tests_are_refused_and_a_regression_has_its_exit_code() {
    let runs = Runs::new();
    check(&runs.loadtest(&["run", "--scenario", "./tiny.toml", "--duration", "16s"]), 0);
    let slow = SCENARIO.replace("fixed:5ms", "fixed:500ms").replace("slots = 1", "slots = 20");
    fs::write(runs.directory.path().join("tiny.toml"), slow).unwrap();
    check(&runs.loadtest(&["run", "--scenario", "./tiny.toml", "--duration", "16s"]), 0);
    let history = runs.json(&["history"]);
    let ids: Vec<&str> =
        history["scenarios"][0]["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    let refused = runs.loadtest(&["compare", ids[0], ids[1]]);
    check(&refused, 7);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        stderr.contains("work[0].time of the scenario: \"fixed:5ms\" and \"fixed:500ms\"")
            && stderr.contains("--force"),
        "{stderr}"
    );
    // Tasks that take a hundred times as long are found, whatever the machine is busy with meanwhile.
    let compared = runs.loadtest(&["compare", ids[0], ids[1], "--force"]);
    assert_eq!(compared.status.code(), Some(9), "{}", String::from_utf8_lossy(&compared.stdout));
}

#[test]
fn a_sweep_finds_what_five_agents_carry() {
    let runs = Runs::new();
    let slow = SCENARIO.replace("fixed:5ms", "fixed:100ms");
    fs::write(runs.directory.path().join("tiny.toml"), slow).unwrap();
    // Five agents do 50 a second at most.
    let args = ["capacity", "--scenario", "./tiny.toml", "--rates", "5..80", "--step-duration", "4s"];
    let plan = runs.json(&[&args[..], &["--target-rate", "500"]].concat());
    let broken = plan["broken_at_per_s"].as_f64().unwrap();
    assert!((5.0..80.1).contains(&broken), "{plan}");
    assert!(plan["knee_per_s"].as_f64().unwrap() < 55.0, "{plan}");
    assert!(plan["needed"]["agents"].as_u64().unwrap() >= 50, "{plan}");
}
