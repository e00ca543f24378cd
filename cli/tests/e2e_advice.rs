//! Advice, from what a coordinator remembers of the last hour to its being applied by a command and undone: real processes on a
//! store in which that hour is written down, so that nothing depends on how fast anything is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod past;
mod service;

use std::{fs, path::Path};

use past::Past;
use serde_json::Value;
use service::{Service, evenkeel, until};

/// A coordinator on this store that looks back each second.
fn coordinator(data: &Path, settings: &str) -> Service {
    let file = data.with_extension("toml");
    fs::write(&file, format!("{settings}\n[resources]\nlook_back_interval_ms = 1000\n")).unwrap();
    Service::start(evenkeel().args(["coordinator", "--config"]).arg(&file).arg("--data-dir").arg(data))
}

/// Agents of it, each with two slots. Killed when dropped.
struct Agents(Vec<std::process::Child>);

impl Agents {
    fn start(service: &Service, names: &[&str]) -> Self {
        let start = |name: &&str| {
            let mut agent = service.command(&["agent", "--slots", "2", "--id", name]);
            agent.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
        };
        let agents = Self(names.iter().map(start).collect());
        until("all agents are there", || rows(&service.json(&["agents", "list"])).len() == names.len());
        agents
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for agent in &mut self.0 {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// The advice of this id, as soon as what it says to do is so.
fn advised(service: &Service, id: &str, is: impl Fn(&str) -> bool) -> Value {
    let mut found = Value::Null;
    until(&format!("{id} is found"), || {
        let open = service.json(&["advice", "list"]);
        let one = rows(&open).iter().find(|one| one["id"] == id && is(one["action"].as_str().unwrap()));
        found = one.cloned().unwrap_or_default();
        found != Value::Null
    });
    assert_eq!((&found["state"], &found["applicable"]), (&"open".into(), &true.into()));
    found
}

fn apply(service: &Service, id: &str) {
    assert_eq!(service.json(&["advice", "apply", id, "--reason", "the test says so"])["state"], "applied");
}

fn undo(service: &Service, id: &str) {
    assert_eq!(service.json(&["advice", "undo", id])["state"], "open");
    assert_eq!(service.json(&["advice", "show", id])["state"], "open");
}

/// The agents that are drained.
fn drained(service: &Service) -> Vec<String> {
    let agents = service.json(&["agents", "list"]);
    let drained = rows(&agents).iter().filter(|agent| agent["admin_state"] == "draining");
    drained.map(|agent| agent["agent_id"].as_str().unwrap().to_owned()).collect()
}

const SPARE: &str = "cost:over-provisioned";

#[test]
fn agents_that_nobody_needs_are_drained_and_work_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Past::new(&data).hour_of_little_work();
    let service = coordinator(&data, "");
    let _agents = Agents::start(&service, &["a", "b", "c", "d"]);
    let three = |action: &str| action.split(';').next().is_some_and(|who| who.matches(", ").count() == 2);
    let found = advised(&service, SPARE, |action| action.starts_with("drain ") && three(action));
    assert!(found["evidence"][0].as_str().unwrap().contains("used at most 10 % of the slots"), "{found}");
    apply(&service, SPARE);
    // What is listed is published a moment after it is so.
    until("three are drained, and one carries that work", || drained(&service).len() == 3);
    // One of them somebody has given work again meanwhile.
    service.json(&["agents", "resume", &drained(&service)[0]]);
    undo(&service, SPARE);
    until("all have work again", || drained(&service).is_empty());
    let refused = service.output(&["advice", "undo", SPARE]);
    assert!(!refused.status.success(), "it is undone already");
}

#[test]
fn a_policy_is_put_changed_and_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Past::new(&data).hour_of_little_work();
    // Somebody else asks how many are wanted, and here nobody does.
    let service = coordinator(&data, "[scaling.actuator]\nname = \"keda\"\n");
    let _agents = Agents::start(&service, &["a", "b", "c", "d"]);
    let waiting_for = || service.json(&["scaling", "status"])["waiting_for"].as_str().unwrap_or_default().to_owned();
    let policy = || service.json(&["scaling", "policy", "get"]);
    assert!(waiting_for().contains("no policy"), "{}", waiting_for());
    advised(&service, SPARE, |action| action == "put the scaling policy web-balanced in force, for 1 to 4 agents");
    apply(&service, SPARE);
    assert_eq!((&policy()["agents_max"], &policy()["version"]), (&4.into(), &1.into()));
    assert!(!waiting_for().contains("no policy"));
    undo(&service, SPARE);
    assert!(waiting_for().contains("no policy"), "{}", waiting_for());

    // With a policy whose floor is too high the same is found, and the floor is what is changed.
    let put = ["scaling", "policy", "put", "--template", "web-balanced", "--min", "4", "--max", "9"];
    assert_eq!(service.json(&put)["version"], 3);
    advised(&service, SPARE, |action| action == "set the scaling policy's agents_min to 1");
    apply(&service, SPARE);
    assert_eq!((&policy()["agents_min"], &policy()["agents_max"]), (&1.into(), &9.into()));
    undo(&service, SPARE);
    assert_eq!((&policy()["agents_min"], &policy()["agents_max"]), (&4.into(), &9.into()));

    // What somebody has changed since is not taken from them.
    advised(&service, SPARE, |action| action == "set the scaling policy's agents_min to 1");
    apply(&service, SPARE);
    service.json(&["scaling", "policy", "put", "--template", "web-balanced", "--min", "2", "--max", "9"]);
    let refused = service.output(&["advice", "undo", SPARE]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("was changed after"), "{why}");
    assert_eq!(policy()["agents_min"], 2);
}

#[test]
fn a_strategy_that_a_replay_of_the_past_finds_wanting_is_replaced_and_put_back() {
    const STRATEGY: &str = "performance:strategy";
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Past::new(&data).tasks_placed_by("random");
    let service = coordinator(&data, "[engine]\nstrategy = { name = \"random\" }\n");
    let strategy = || service.json(&["strategy", "get"])["name"].as_str().unwrap().to_owned();
    assert_eq!(strategy(), "random");
    let found = advised(&service, STRATEGY, |action| action.starts_with("set the strategy to "));
    let evidence = found["evidence"].to_string();
    assert!(evidence.contains("recorded tasks on 10 agents") && evidence.contains("off by"), "{evidence}");
    let better = found["action"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    apply(&service, STRATEGY);
    assert_eq!(strategy(), better);
    undo(&service, STRATEGY);
    assert_eq!(strategy(), "random");
    apply(&service, STRATEGY);
    service.json(&["strategy", "set", "bin_pack"]);
    assert!(!service.output(&["advice", "undo", STRATEGY]).status.success());
    assert_eq!(strategy(), "bin_pack", "it is what somebody has set since");
}

#[test]
fn tasks_reserve_what_their_kind_was_found_to_use_and_then_what_they_ask_for_again() {
    const SIZE: &str = "right-size:memory:sleep";
    const MIB: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    Past::new(&data).tasks_that_used("sleep", 64 * MIB, 8 * MIB);
    let service = coordinator(&data, "");
    let _agents = Agents::start(&service, &["a"]);
    let submit = || service.submit(&["--kind", "sleep", "--memory", "64MiB", "--payload", "3600000"]);
    let cancel = |task: &str| drop(service.json(&["task", "cancel", task]));
    let sets_aside = |mib: u64| {
        until(&format!("{mib} MiB are set aside"), || {
            service.json(&["agents", "describe", "a"])["reserved"]["memory_bytes"] == mib * MIB
        });
    };
    let before = submit();
    sets_aside(64);

    advised(&service, SIZE, |action| action.starts_with("let tasks of kind sleep reserve 16 MiB of memory"));
    apply(&service, SIZE);
    let sizes = service.json(&["sizes", "list"]);
    let size = serde_json::json!({ "kind": "sleep", "memory_bytes": 16 * MIB, "version": 1 });
    assert_eq!(rows(&sizes), [size]);
    let sized = submit();
    sets_aside(64 + 16);
    let words = "requested 64 MiB, reserves 16 MiB: request size of kind `sleep`, version 1";
    assert_eq!(service.json(&["task", "explain", &sized])["reserves"], words);
    let shown = service.json(&["task", "get", &sized]);
    assert_eq!(shown["resources"]["memory_bytes"], 64 * MIB, "what was asked for is not lost");
    assert_eq!(shown["reserved"]["memory_bytes"], 16 * MIB);
    cancel(&before);
    sets_aside(16);

    undo(&service, SIZE);
    assert!(rows(&service.json(&["sizes", "list"])).is_empty());
    let after = submit();
    sets_aside(16 + 64);
    assert!(service.json(&["task", "explain", &after])["reserves"].is_null());
    cancel(&sized);
    sets_aside(64);

    // What somebody has said since by hand is theirs.
    apply(&service, SIZE);
    service.json(&["sizes", "put", "sleep", "--memory", "32MiB"]);
    let refused = service.output(&["advice", "undo", SIZE]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("was changed after"), "{why}");
    service.json(&["sizes", "delete", "sleep"]);
    assert!(!service.output(&["sizes", "delete", "sleep"]).status.success());
}
