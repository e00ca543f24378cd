//! The client commands against a real `evenkeel dev`: what they print, and how they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::process::Stdio;

use serde_json::Value;
use service::{Service, evenkeel, until};

fn dev() -> Service {
    Service::dev(&["--ephemeral", "--agents", "2", "--slots", "2"])
}

fn check_exit(dev: &Service, args: &[&str], code: i32, stderr_has: &str) {
    let output = dev.output(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(stderr_has), "{args:?}: {stderr}");
}

#[test]
fn a_task_is_submitted_waited_for_and_shown() {
    let dev = dev();
    let raw = dev.output(&["task", "submit", "--kind", "echo", "--payload", "hello", "--wait", "--raw"]);
    assert_eq!(raw.stdout, b"hello");
    let done = dev.json(&["task", "submit", "--kind", "echo", "--payload", "hi", "--count", "3", "--wait"]);
    let outputs: Vec<_> = done.as_array().unwrap().iter().map(|task| (&task["state"], &task["output"])).collect();
    assert_eq!(outputs, [(&Value::from("succeeded"), &Value::from("hi")); 3]);

    let id = done[0]["task_id"].as_str().unwrap();
    let task = dev.json(&["task", "get", id, "--payload"]);
    assert_eq!((&task["kind"], &task["payload"]), (&"echo".into(), &"hi".into()));
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1);
    let watched = dev.output(&["task", "watch", id, "-o", "jsonl"]);
    let types: Vec<String> = String::from_utf8(watched.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types.first().map(String::as_str), Some("accepted"), "{types:?}");
    assert_eq!(types.last().map(String::as_str), Some("finished"), "{types:?}");
    let explained = dev.json(&["task", "explain", id]);
    assert_eq!(explained["state"], "succeeded");
    let listed = dev.json(&["task", "list", "--state", "succeeded", "--limit", "2"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[test]
fn binary_output_is_base64_in_json_and_itself_when_raw() {
    let dev = dev();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("payload");
    std::fs::write(&file, b"\x00\xff\n").unwrap();
    let args = ["task", "submit", "--kind", "echo", "--wait", "--payload-file", file.to_str().unwrap()];
    assert_eq!(dev.json(&args)[0]["output"]["base64"], "AP8K");
    assert_eq!(dev.output(&[&args[..], &["--raw"]].concat()).stdout, b"\x00\xff\n");
}

#[test]
fn every_way_to_fail_has_its_exit_code() {
    let dev = dev();
    let unknown = "01890000-0000-7000-8000-000000000000";
    check_exit(&dev, &["task", "get", unknown], 4, "there is no task");
    check_exit(&dev, &["task", "get", "not-an-id"], 2, "is not a task id");
    check_exit(&dev, &["task", "cancel", unknown], 4, "there is no task");
    check_exit(&dev, &["agents", "describe", "nobody"], 4, "agents list");
    check_exit(&dev, &["task", "submit", "--kind", "bad kind"], 2, "because: --kind: ");
    check_exit(&dev, &["task", "submit", "--kind", "echo", "--label", "ram>lots"], 2, "is not a number");
    check_exit(&dev, &["task", "submit", "--kind", "echo", "--deadline", "2001-01-01T00:00:00Z"], 2, "--deadline: ");
    check_exit(&dev, &["quotas", "report", "key", "--for", "400d"], 2, "--for: ");
    check_exit(&dev, &["breakers", "open", "kind", "a b"], 2, "NAME: ");
    check_exit(&dev, &["scaling", "override", "3", "--for", "400d", "--reason", "why"], 2, "--for: ");
    check_exit(&dev, &["limits", "put", "l", "--tenant", "a b", "--rate", "1/s"], 2, "--tenant: ");
    check_exit(&dev, &["budgets", "put", "b", "--cap", "usd=9999999999999"], 2, "--cap: ");
    check_exit(&dev, &["prices", "set", "--unit", "a b"], 2, "--unit: ");
    check_exit(&dev, &["sizes", "put", "a b", "--cpu", "1"], 2, "KIND: ");
    check_exit(&dev, &["costs", "--from", "1h", "--to", "2h"], 2, "--from: must be before `--to`");
    check_exit(&dev, &["task", "submit", "--kind", "fail", "--payload", "non_retryable", "--wait"], 5, "");
    check_exit(&dev, &["strategy", "set", "weighted", "--param", "cpus=1"], 2, "no setting `cpus`");
    check_exit(&dev, &["no-such-command"], 2, "unrecognized subcommand");

    let waits = dev.submit(&["--kind", "nobody-takes-this"]);
    check_exit(&dev, &["task", "wait", &waits, "--timeout", "10ms"], 6, "not over yet");
    let keyed = ["task", "submit", "--kind", "echo", "--key", "k", "--payload"];
    check_exit(&dev, &[&keyed[..], &["one"]].concat(), 0, "");
    check_exit(&dev, &[&keyed[..], &["two"]].concat(), 7, "key");
}

#[test]
fn nobody_at_the_address_is_unreachable_and_json_errors_are_json() {
    let output = evenkeel().args(["--coordinator", "http://127.0.0.1:1", "status", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 3);
    assert!(error["error"]["hint"].as_str().unwrap().contains("evenkeel dev"));
}

#[test]
fn a_mistake_is_told_with_what_is_meant_and_nobody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("evenkeel.db"), "").unwrap();
    let (here, none, there) = (path(""), path("none"), path("evenkeel.db"));
    let told = |args: &[&str], code: i32, parts: &[&str]| {
        let output = evenkeel().args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{args:?}: {part:?} is not in: {stderr}");
        }
    };
    told(&["backup", &path("copy"), "--data-dir", &none], 1, &["no database in", "none", "--data-dir"]);
    told(&["backup", &there, "--data-dir", &here], 1, &["is there already", "another name"]);
    told(&["backup", &path("none/copy"), "--data-dir", &here], 1, &["no directory", "make it"]);
    told(&["restore", &none, "--data-dir", &path("new")], 1, &["no file", "none"]);
    told(&["coordinator", "--grpc", "7400"], 2, &["--grpc", "127.0.0.1:7400"]);
    told(&["events", "--after", "yesterday"], 2, &["--after", "whole number"]);
    told(&["prices", "set"], 2, &["--agent-hour"]);
    told(&["metrics", "set-threshold", "cpu"], 2, &["--warning"]);
    told(&["profile", "--file", &path("p.svg"), "--seconds", "99"], 2, &["--seconds", "60"]);
    told(&["profile", "--file", &path("p.svg"), "--http", "http://127.0.0.1:1"], 3, &["127.0.0.1:1", "--http"]);
}

#[test]
fn the_reader_of_errors_may_go_away() {
    let mut command = evenkeel();
    let mut child =
        command.args(["--coordinator", "http://127.0.0.1:1", "status"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(service::wait(&mut child).code(), Some(3));
}

#[test]
fn a_task_that_no_agent_can_take_waits_and_explain_names_what_is_missing() {
    let dev = dev();
    let id = dev.submit(&["--kind", "echo", "--label", "gpu=a100"]);
    let explained = dev.json(&["task", "explain", &id]);
    assert_eq!(explained["state"], "queued");
    assert_eq!(explained["agents_considered"], 2);
    assert!(explained.to_string().contains("gpu"), "{explained}");
    let cancelled = dev.json(&["task", "cancel", &id]);
    assert_eq!(cancelled[0]["state"], "cancelled");
    let again = dev.json(&["task", "redrive", &id]);
    assert_ne!(again[0]["new_task_id"], Value::Null);
}

#[test]
fn agents_are_cordoned_and_resumed_and_the_strategy_is_changed() {
    let dev = dev();
    until("both agents", || dev.json(&["agents", "list"]).as_array().unwrap().len() == 2);
    assert_eq!(dev.json(&["agents", "cordon", "dev-1"])["admin_state"], "cordoned");
    assert_eq!(dev.json(&["agents", "resume", "dev-1"])["admin_state"], "active");
    assert_eq!(dev.json(&["strategy", "set", "weighted", "--param", "cpu=0.4"])["cpu"], 0.4);
    assert_eq!(dev.json(&["strategy", "get"])["name"], "weighted");
    let status = dev.json(&["status"]);
    assert_eq!((&status["ready"], &status["strategy"]), (&true.into(), &"weighted".into()));
    let events = dev.output(&["events", "--type", "strategy", "-o", "jsonl"]);
    assert!(String::from_utf8_lossy(&events.stdout).contains("weighted"));
    let frame = String::from_utf8(dev.output(&["top", "--once", "--interval", "100ms"]).stdout).unwrap();
    assert!(frame.contains("dev-1") && frame.contains("dev-2"), "{frame}");
}

#[test]
fn the_reader_of_stdout_may_go_away() {
    let dev = dev();
    dev.submit(&["--kind", "echo"]);
    let mut child = dev.command(&["events", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    // The first event that cannot be written ends it.
    dev.json(&["agents", "cordon", "dev-1"]);
    assert_eq!(service::wait(&mut child).code(), Some(141));
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn a_completion_script_is_printed_without_a_coordinator() {
    let output = evenkeel().args(["completions", "bash"]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("redrive"));
}
