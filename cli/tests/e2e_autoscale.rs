//! `evenkeel dev --autoscale`: the fleet grows with a burst and shrinks after it, and no task is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::time::{Duration, Instant};

use serde_json::Value;
use service::Service;

/// A burst of so many tasks, each of so many milliseconds: half a minute of work for the first agent's two slots.
const TASKS: usize = 60;
const TASK_MS: &str = "1000";
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

fn until(what: &str, dev: &Service, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}; the log:\n{}", dev.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn agents(dev: &Service) -> usize {
    let listed = dev.json(&["agents", "list"]);
    listed.as_array().unwrap().iter().filter(|agent| agent["health"] != "lost").count()
}

#[test]
fn a_burst_makes_the_fleet_grow_and_then_shrink_without_a_task_lost() {
    let dev = Service::dev(&["--autoscale", "1..4", "--ephemeral"]);
    until("the first agent", &dev, || agents(&dev) == 1);
    let ids: Vec<String> = (0..TASKS).map(|_| dev.submit(&["--kind", "sleep", "--payload", TASK_MS])).collect();
    until("four agents", &dev, || agents(&dev) == 4);
    until("all tasks over", &dev, || dev.json(&["status"])["tasks_queued"] == 0);
    until("one agent", &dev, || agents(&dev) == 1);
    for id in ids {
        let task: Value = dev.json(&["task", "get", &id]);
        assert_eq!(task["state"], "succeeded", "{task}");
    }
    let changes = changes(&dev);
    let ups: Vec<bool> = changes.iter().map(|(from, to)| to > from).collect();
    let turns = ups.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((ups.first(), ups.last(), turns), (Some(&true), Some(&false), 1), "{changes:?}");
}
