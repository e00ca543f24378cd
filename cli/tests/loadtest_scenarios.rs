//! Scenarios of the load harness, with real processes: what is counted adds up, whatever is killed meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{fs, process::Output};

use evenkeel_loadtest::{
    record::{Phase, RunRecord, Slice, Window},
    scenario::BUILT_IN,
};
use support::{Coordinator, evenkeel};
use tempfile::TempDir;

/// Go, or no-go by a service level: how fast this machine is does not matter here.
const JUDGED: [i32; 2] = [0, 8];

fn run(args: &[&str]) -> Output {
    evenkeel(["loadtest", "run", "-o", "json"]).args(args).output().unwrap()
}

fn judged(args: &[&str]) -> RunRecord {
    let output = run(args);
    let code = output.status.code().unwrap();
    assert!(JUDGED.contains(&code), "{code}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What holds for every run in which no promise was broken.
fn check(record: &RunRecord) {
    let totals = &record.totals;
    assert!(totals.accepted > 0);
    assert_eq!(totals.offered, totals.accepted + totals.refused, "{totals:?}");
    assert_eq!(totals.accepted, totals.completed + totals.failed + totals.lost + totals.unverified, "{totals:?}");
    assert_eq!((totals.lost, totals.duplicated, totals.mismatched, totals.unverified), (0, 0, 0, 0), "{totals:?}");
    let sum = |of: fn(&Window) -> u64| record.windows.iter().map(of).sum::<u64>();
    assert_eq!(sum(|window| window.offered), totals.offered);
    assert_eq!(sum(|window| window.accepted), totals.accepted);
    assert_eq!(sum(|window| window.completed), totals.completed);
    assert!(record.windows.is_sorted_by(|a, b| a.at_s < b.at_s));
    for phase in Phase::ALL {
        let all = record.latency_ms.iter().find(|found| found.slice == Slice::All && found.phase == phase).unwrap();
        let of_work = record.latency_ms.iter().filter(|found| matches!(found.slice, Slice::Work(_)));
        let by_work: u64 = of_work.filter(|found| found.phase == phase).map(|found| found.count).sum();
        assert_eq!(all.count, by_work, "{phase:?}: every task is of one kind of work");
    }
    let finished: u64 = record.agent_load.finished_by_agent.iter().map(|count| u64::from(*count)).sum();
    assert!(finished >= totals.completed, "{finished} executions of {} tasks", totals.completed);
}

#[test]
fn a_run_adds_up_and_is_kept() {
    let directory = TempDir::new().unwrap();
    let runs = directory.path().to_str().unwrap();
    let record = judged(&["--scenario", "smoke", "--duration", "3s", "--seed", "7", "--runs-dir", runs]);
    check(&record);
    assert_eq!((record.scenario.name.as_str(), record.seed), ("smoke", 7));
    assert!(record.totals.offered > 300 && record.totals.escalated > 0, "{:?}", record.totals);
    assert!(record.coordinator.unwrap().memory_idle_bytes > 1 << 20);
    assert!(record.windows.iter().all(|window| window.agents <= 50));
    let kept = fs::read(directory.path().join(format!("{}.json", record.id))).unwrap();
    assert_eq!(serde_json::from_slice::<RunRecord>(&kept).unwrap(), record);
    assert!(directory.path().join(format!("{}.hdr", record.id)).exists());
}

#[test]
fn a_killed_coordinator_and_lost_agents_lose_no_task() {
    let record = judged(&["--scenario", "failover", "--duration", "6s", "--agents", "60", "--no-save"]);
    check(&record);
    let marked = |text: &str| record.marks.iter().any(|mark| mark.text.contains(text));
    assert!(marked("the coordinator is killed") && marked("the coordinator is back"), "{:?}", record.marks);
    assert!(marked("12 agents are gone"), "{:?}", record.marks);
    assert!(record.totals.retried > 0 || record.totals.executions_extra > 0, "nothing was felt: {:?}", record.totals);
}

#[test]
fn drained_agents_of_a_region_are_resumed() {
    let record = judged(&["--scenario", "maintenance", "--duration", "5s", "--agents", "40", "--no-save"]);
    check(&record);
    assert_eq!(record.totals.failed, 0);
    let resumed = record.marks.iter().filter(|mark| mark.text.ends_with("agents are resumed")).count();
    assert_eq!(resumed, 4, "{:?}", record.marks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_coordinator_is_measured_and_never_killed() {
    let coordinator = Coordinator::start().await;
    let url = coordinator.url();
    let refused = run(&["--scenario", "failover", "--coordinator", &url]);
    assert_eq!(refused.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("not this run's to kill"), "{stderr}");
    let args = ["--scenario", "smoke", "--duration", "2s", "--no-save", "--strategy", "random", "--coordinator", &url];
    let record = judged(&args);
    check(&record);
    assert!(record.coordinator.is_some(), "its process is found by its address");
    assert_eq!(coordinator.clients().status().await.strategy, "least_loaded", "the strategy is put back");
}

#[test]
fn scenarios_are_listed_and_can_be_started_from() {
    let list = evenkeel(["loadtest", "scenarios"]).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    for (name, file) in BUILT_IN {
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
        let shown = evenkeel(["loadtest", "scenarios", "--show", name]).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), file);
    }
    let unknown = evenkeel(["loadtest", "scenarios", "--show", "nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(4));
}

#[test]
fn what_is_wrong_with_a_scenario_is_said() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("own.toml");
    fs::write(&path, BUILT_IN[0].1.replace("slots = 2", "slots = 0")).unwrap();
    let output = run(&["--scenario", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("fleet.slots: is 0; it must be 1 to 4096"), "{stderr}");
}
