//! `evenkeel coordinator` and `dev` as services: settings, start and stop.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::{path::Path, process::Output};

use nix::sys::signal::Signal;
use serde_json::Value;
use service::{Service, evenkeel, until};

/// A coordinator that does not start: what it says, and its exit code.
fn check_refused(args: &[&str], code: i32, parts: &[&str]) {
    let output: Output = evenkeel().args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

fn strategy(service: &Service) -> Value {
    service.json(&["strategy", "get"])["name"].clone()
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evenkeel.toml");
    std::fs::write(&file, "ephemeral = true\n[engine]\nstrategy = { name = \"weighted\" }\n").unwrap();
    let check = |environment: Option<&str>, flag: Option<&str>, expected: &str| {
        let mut command = evenkeel();
        command.args(["coordinator", "--config"]).arg(&file);
        command.envs(environment.map(|name| ("EVENKEEL_STRATEGY", name)));
        command.args(flag.map(|name| format!("--strategy={name}")));
        assert_eq!(strategy(&Service::start(&mut command)), expected);
    };
    check(None, None, "weighted");
    check(Some("random"), None, "random");
    check(Some("random"), Some("bin_pack"), "bin_pack");
}

#[test]
fn wrong_settings_are_refused_with_what_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evenkeel.toml");
    let check = |text: &str, parts: &[&str]| {
        std::fs::write(&file, text).unwrap();
        check_refused(&["coordinator", "--config", file.to_str().unwrap()], 2, parts);
    };
    check("grcp = \"127.0.0.1:1\"", &["line 1: `grcp` is no setting", "did you mean `grpc`?"]);
    check("grpc = \"0.0.0.0:0\"", &["takes TLS and authentication", "--insecure"]);
    check("[store]\nretention_hours = 1", &["store.retention_hours"]);
}

#[test]
fn a_data_directory_belongs_to_one_coordinator() {
    let data = tempfile::tempdir().unwrap();
    let first = Service::coordinator(data.path(), &[]);
    let path = data.path().to_str().unwrap();
    let free = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    check_refused(&[&["coordinator", "--data-dir", path], &free[..]].concat(), 1, &["in use", "--data-dir"]);
    drop(first);
    drop(Service::coordinator(data.path(), &[]));
}

#[test]
fn dev_keeps_its_data_and_takes_it_up_again() {
    let data = tempfile::tempdir().unwrap();
    let dev = |agents: &str| Service::dev(&["--agents", agents, "--data-dir", data.path().to_str().unwrap()]);
    let mut first = dev("0");
    let id = first.submit(&["--kind", "echo", "--payload", "kept"]);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait().code(), Some(0));
    let second = dev("1");
    let done = second.json(&["task", "wait", &id]);
    assert_eq!((&done[0]["state"], &done[0]["output"]), (&"succeeded".into(), &"kept".into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_coordinator_refuses_huge_pages() {
    let data = tempfile::tempdir().unwrap();
    let status = std::fs::read_to_string(Service::coordinator(data.path(), &[]).proc("status")).unwrap();
    // Kernels before 5.0 do not say.
    if let Some(line) = status.lines().find(|line| line.starts_with("THP_enabled:")) {
        assert!(line.ends_with('0'), "{line}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_that_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--grpc", "--http"), ("--http", "--grpc")] {
        check_refused(&["dev", "--ephemeral", flag, &address, other, "127.0.0.1:0"], 1, &[&address, flag]);
    }
}

#[test]
fn sigterm_and_sigint_end_dev_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut dev = Service::dev(&["--ephemeral"]);
        dev.signal(signal);
        assert_eq!(dev.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_forces() {
    let mut dev = Service::dev(&["--ephemeral", "--agents", "1"]);
    let id = dev.submit(&["--kind", "sleep", "--payload", "60000"]);
    until("the task to run", || dev.json(&["task", "get", &id])["state"] == "running");
    dev.signal(Signal::SIGTERM);
    until("it to wait for the running task", || dev.log().contains("a second signal forces"));
    dev.signal(Signal::SIGTERM);
    assert_eq!(dev.wait().code(), Some(143));
}

#[test]
fn the_ready_file_says_what_the_ready_line_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ready");
    let service = Service::dev(&["--ephemeral", "--agents", "0", "--ready-file", file.to_str().unwrap()]);
    let ready: Value = serde_json::from_str(&std::fs::read_to_string(Path::new(&file)).unwrap()).unwrap();
    assert_eq!(service.url, format!("http://{}", ready["grpc"].as_str().unwrap()));
    assert_eq!(service.http, ready["http"].as_str().unwrap());
}

#[test]
fn a_load_test_on_a_coordinator_of_its_own_loses_nothing() {
    let args = ["loadtest", "run", "--agents", "20", "--tasks", "500", "--task-time", "fixed:0", "-o", "json"];
    let output = evenkeel().args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = ["agents", "submitted", "accepted", "completed", "failed", "lost", "duplicated"];
    assert_eq!(counts.map(|name| report[name].as_u64().unwrap()), [20, 500, 500, 500, 0, 0, 0]);
    assert!(report["latency_ms"]["p999"].as_f64().unwrap() > 0.0);
}
