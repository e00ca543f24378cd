//! `evenkeel dev --autoscale`: the fleet grows with a burst and shrinks after it, and no task is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::time::Duration;

use serde_json::{Value, json};
use service::{Service, until_within};

/// A burst: more than all agents can run at once.
const TASKS: &str = "60";
/// The meter's window, the policy's and what a loaded machine takes on top.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the scaling has said, in order: what it wants to go from and to.
fn changes(dev: &Service) -> Vec<(u32, u32)> {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    dev.log()
        .lines()
        .filter_map(|line| line.strip_prefix("evenkeel: the fleet goes from "))
        .filter_map(|rest| {
            let mut words = rest.split(' ');
            Some((number(words.next())?, number(words.nth(1))?))
        })
        .collect()
}

fn until(what: &str, is: impl FnMut() -> bool) {
    until_within(PATIENCE, what, is);
}

fn agents(dev: &Service) -> usize {
    let listed = dev.json(&["agents", "list"]);
    listed.as_array().unwrap().iter().filter(|agent| agent["health"] != "lost").count()
}

#[test]
fn a_burst_makes_the_fleet_grow_and_then_shrink_without_a_task_lost() {
    let dev = Service::dev(&["--autoscale", "1..4", "--ephemeral"]);
    until("the first agent", || agents(&dev) == 1);
    // They run until the burst is over, however long the fleet takes to follow it.
    let burst = tempfile::NamedTempFile::new().unwrap();
    let script = format!("while [ -e {} ]; do sleep 0.1; done", burst.path().display());
    let payload = json!({ "program": "sh", "args": ["-c", script] }).to_string();
    let tasks = dev.json(&["task", "submit", "--kind", "command", "--payload", &payload, "--count", TASKS]);
    let ids: Vec<&str> = tasks.as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap()).collect();
    until("four agents", || agents(&dev) == 4);
    drop(burst);
    until("one agent", || agents(&dev) == 1);
    dev.json(&[&["task", "wait"], &ids[..]].concat());
    for id in ids {
        let task: Value = dev.json(&["task", "get", id]);
        assert_eq!(task["state"], "succeeded", "{task}");
    }
    let changes = changes(&dev);
    let ups: Vec<bool> = changes.iter().map(|(from, to)| to > from).collect();
    let turns = ups.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((ups.first(), ups.last(), turns), (Some(&true), Some(&false), 1), "{changes:?}");
}
