//! Service levels of scenarios with real processes: what the verdict is, what a change under test leaves behind, and who
//! is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Output, Stdio},
    sync::mpsc::{Receiver, channel},
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use service::{PATIENCE, Service, evenkeel, until};

/// Tasks of 200 ms at 20 a second: 4 of the 20 agents are busy, and with nine tenths of them held back two are too few. Few
/// enough that a slow machine carries them as well.
const LOAD: &str = r#"
    name = "short"
    description = "A short one."
    [fleet]
    agents = 20
    slots = 1
    [arrivals]
    rate_per_s = 20
    process = { kind = "poisson" }
    [[work]]
    name = "simple"
    weight = 1
    time = "fixed:200ms"
"#;

/// Waits for urgent tasks, of which there are none.
const BAD_CHANGE: &str = r#"
    [change]
    at_share = 0.3
    strategy = "priority"
    parameters = { held_back_percent = 90 }
    recovery_max_s = 6
"#;

const P99_ROLLS_BACK: &str = r#"
    [[levels]]
    name = "p99"
    measure = { kind = "percentile", phase = "end_to_end", percent = 99 }
    at_most = 3000
    rolls_back = true
"#;

/// A scenario's file. What has no table of its own comes first.
struct Scenario {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

impl Scenario {
    fn of(duration_s: u32, parts: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scenario.toml");
        std::fs::write(&file, format!("duration_s = {duration_s}\n{}", parts.concat())).unwrap();
        Self { _directory: directory, file }
    }

    fn args(&self) -> [&str; 7] {
        ["loadtest", "run", "--scenario", self.file.to_str().unwrap(), "--no-save", "-o", "json"]
    }
}

/// The record that a run printed; its exit code has to be this one.
#[track_caller]
fn record(output: &Output, code: i32) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

fn strategy(service: &Service) -> Value {
    service.json(&["strategy", "get"])
}

fn coordinator(directory: &tempfile::TempDir) -> Service {
    let coordinator = Service::coordinator(&directory.path().join("data"), &[]);
    let weights = ["weighted", "--param", "cpu=0.25", "--param", "memory=0.25"];
    coordinator.json(&[&["strategy", "set"], &weights[..]].concat());
    coordinator
}

/// Takes alerts, and hands them on as they come.
fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let webhook = format!("[webhook]\nurl = \"http://{}/alerts\"\n", listener.local_addr().unwrap());
    let (alert, alerts) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), Vec::new());
            let body = loop {
                let mut part = [0; 4_096];
                let length = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..length]);
                let text = String::from_utf8_lossy(&request);
                // The body is complete once it is JSON.
                match text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()) {
                    Some(body) => break body,
                    None => assert!(length > 0, "the request broke off: {text}"),
                }
            };
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            if alert.send(body).is_err() {
                return;
            }
        }
    });
    (webhook, alerts)
}

#[test]
fn a_bad_change_is_rolled_back_the_levels_recover_and_the_verdict_is_no_go() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = coordinator(&directory);
    let before = strategy(&coordinator);
    let (webhook, alerts) = receiver();
    let scenario = Scenario::of(20, &[LOAD, P99_ROLLS_BACK, BAD_CHANGE, &webhook]);

    let output = coordinator.output(&scenario.args());

    let record = record(&output, 8);
    let change = &record["change"];
    assert_eq!(change["rollback_succeeded"], true, "{change}");
    assert!(change["violation"].as_str().unwrap().starts_with("p99: p99 of end to end is"), "{change}");
    assert!(change["made_at_s"].as_f64() < change["undone_at_s"].as_f64(), "{change}");
    assert!(change["recovered_after_s"].as_f64().unwrap() <= 6.0, "{change}");
    assert_eq!(strategy(&coordinator), before, "exactly what was before is in force again");
    assert_eq!(record["verdict"], "no_go");
    assert!(record["reasons"].as_array().unwrap().iter().any(|reason| {
        let reason = reason.as_str().unwrap();
        reason.starts_with("change `strategy priority (held_back_percent = 90") && reason.contains("rolled back")
    }));
    let told: Vec<String> = alerts.try_iter().map(|alert| alert["event"].as_str().unwrap().to_owned()).collect();
    for event in ["change_made", "level_violated", "change_undone", "level_recovered", "change_recovered", "verdict"] {
        assert!(told.iter().any(|told| told == event), "{event} is not in {told:?}");
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("critical: p99") && !stderr.contains("not delivered"), "{stderr}");
}

#[test]
fn a_change_that_does_no_harm_is_go_and_is_put_back_after_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = coordinator(&directory);
    let before = strategy(&coordinator);
    let change = "[change]\nat_share = 0.2\nstrategy = \"round_robin\"\nrecovery_max_s = 1\n";
    let level = P99_ROLLS_BACK.replace("3000", "30000");

    let output = coordinator.output(&Scenario::of(4, &[LOAD, &level, change]).args());

    let record = record(&output, 0);
    assert_eq!(record["verdict"], "go");
    assert!(record["change"]["made_at_s"].is_number() && record["change"]["violation"].is_null(), "{record}");
    assert_eq!(strategy(&coordinator), before);
}

#[test]
fn a_run_that_is_interrupted_puts_back_what_it_changed() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = coordinator(&directory);
    let before = strategy(&coordinator);
    let change = "[change]\nat_share = 0.01\nstrategy = \"round_robin\"\nrecovery_max_s = 1\n";
    // What the level says does not matter here, and how fast this machine is.
    let level = P99_ROLLS_BACK.replace("3000", "30000");
    let scenario = Scenario::of(100, &[LOAD, &level, change]);
    let run = coordinator.command(&scenario.args()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the change is in force", || strategy(&coordinator) != before);

    kill(nix::unistd::Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();

    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(strategy(&coordinator), before);
}

#[test]
fn a_level_that_stops_the_run_ends_it_long_before_its_time() {
    let level = r#"
        [[levels]]
        name = "queue"
        measure = { kind = "queue_depth" }
        at_most = 10
        stops_run = true
    "#;
    let scenario = Scenario::of(300, &[&LOAD.replace("agents = 20", "agents = 1"), level]);

    let output = evenkeel().args(scenario.args()).output().unwrap();

    let record = record(&output, 8);
    assert!(record["duration_s"].as_f64().unwrap() < PATIENCE.as_secs_f64(), "{}", record["duration_s"]);
    let marks = record["marks"].as_array().unwrap();
    let stopped = |mark: &&Value| mark["text"].as_str().unwrap().starts_with("stopped by the service level queue");
    assert_eq!(marks.iter().filter(stopped).count(), 1, "{marks:?}");
    assert_eq!(record["levels"][0]["kept"], false);
}

#[test]
fn levels_that_make_no_sense_are_refused_before_anything_starts() {
    let scenario = Scenario::of(4, &[LOAD, P99_ROLLS_BACK]);
    let output = evenkeel().args(scenario.args()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no change under test"), "{stderr}");
}
