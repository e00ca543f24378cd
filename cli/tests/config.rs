//! `evenkeel config`, and real coordinators whose settings change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod service;

use std::{fs, path::Path, process::Output};

use nix::sys::signal::Signal;
use serde_json::Value;
use service::{Service, evenkeel, until};

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// A coordinator with this file, which it does not watch.
fn unwatched(directory: &Path, settings: &str) -> Service {
    let file = directory.join("evenkeel.toml");
    fs::write(&file, format!("{settings}\n[reload]\nwatch = false\n")).unwrap();
    let data = directory.join("data");
    Service::start(evenkeel().args(["coordinator", "--config"]).arg(&file).arg("--data-dir").arg(data))
}

fn value(service: &Service, path: &str) -> Value {
    let config = service.json(&["config", "show", "--effective"]);
    let settings = config["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["path"] == path).unwrap()["value"].clone()
}

#[test]
fn a_file_and_the_environment_are_checked_before_a_start_and_all_mistakes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, "[limits]\nconnections_max = 0\nwatchers = 1\n").unwrap();
    let check = |variable: &str| -> Output {
        evenkeel().args(["config", "check"]).arg(&file).env("EVENKEEL_STORE__FINE_HOURS", variable).output().unwrap()
    };
    let wrong = check("x");
    assert_eq!(wrong.status.code(), Some(2));
    let said = text(&wrong.stderr);
    for part in [
        "line 2: `limits.connections_max`",
        "line 3: `limits.watchers`",
        "`watchers_max`",
        "EVENKEEL_STORE__FINE_HOURS",
    ] {
        assert!(said.contains(part), "{said}");
    }
    fs::write(&file, "[limits]\nconnections_max = 9\n").unwrap();
    let sound = check("2");
    assert!(sound.status.success(), "{}", text(&sound.stderr));
    assert!(text(&sound.stdout).contains("limits.connections_max: 16384 -> 9"));
}

#[test]
fn what_is_printed_as_the_default_can_be_started_with() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, evenkeel().args(["config", "default"]).output().unwrap().stdout).unwrap();
    assert!(evenkeel().args(["config", "check"]).arg(&file).status().unwrap().success());
    let schema = evenkeel().args(["config", "schema"]).output().unwrap().stdout;
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    assert_eq!(schema["properties"]["limits"]["properties"]["connections_max"]["minimum"], 1);
}

#[test]
fn a_signal_has_the_file_read_again_and_a_command_puts_the_version_before_back() {
    let directory = tempfile::tempdir().unwrap();
    let service = unwatched(directory.path(), "[engine]\ntasks_max = 5");
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, "[engine]\ntasks_max = 6\n[reload]\nwatch = false\n").unwrap();
    service.signal(Signal::SIGHUP);
    until("the signal is heeded", || value(&service, "engine.tasks_max") == "6");
    let history = service.json(&["config", "history"]);
    assert_eq!((&history[0]["cause"], &history[0]["by"]), (&"signal".into(), &"SIGHUP".into()));
    let written = service.json(&["audit", "list"]);
    assert_eq!((&written[0]["action"], &written[0]["by"]), (&"config/signal".into(), &"signal".into()));
    let back = service.json(&["config", "rollback", "--reason", "it was better"]);
    assert_eq!((&back["version"], &back["changes"][0]["after"]), (&3.into(), &"5".into()));
    assert_eq!(value(&service, "engine.tasks_max"), "5");
    let shown = text(&service.output(&["config", "show"]).stdout);
    assert!(shown.contains("version 1 was put back"), "{shown}");

    fs::write(&file, "[engine]\ntasks_max = 0\n").unwrap();
    let refused = service.output(&["config", "reload"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("line 2: `engine.tasks_max` is 0"), "{}", text(&refused.stderr));
    assert_eq!(value(&service, "engine.tasks_max"), "5");
    assert!(service.log().contains("not changed"), "the log says so too");
}

#[test]
fn each_value_says_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evenkeel.toml");
    fs::write(&file, "[limits]\nwatchers_max = 7\n").unwrap();
    let mut command = evenkeel();
    command.args(["coordinator", "--ephemeral", "--config"]).arg(&file).env("EVENKEEL_STORE__FINE_HOURS", "3");
    let service = Service::start(&mut command);
    let config = service.json(&["config", "show"]);
    let settings = config["settings"].as_array().unwrap();
    let from = |path: &str| {
        let setting = settings.iter().find(|setting| setting["path"] == path).unwrap();
        format!("{} {}", setting["source"].as_str().unwrap(), setting["origin"].as_str().unwrap())
    };
    assert_eq!(from("limits.watchers_max"), "file line 2");
    assert_eq!(from("store.fine_hours"), "environment EVENKEEL_STORE__FINE_HOURS");
    assert_eq!(from("ephemeral"), "flag --ephemeral");
    assert!(settings.iter().all(|setting| setting["source"] != "default"), "defaults are shown with --effective alone");
}

#[test]
fn while_a_run_goes_on_the_configuration_changes_and_no_task_fails() {
    let directory = tempfile::tempdir().unwrap();
    let service = unwatched(directory.path(), "");
    let mut agent = evenkeel();
    agent.args(["--coordinator", &service.url, "agent", "--id", "a", "--slots", "4", "--allow", "true"]);
    let mut agent = agent.spawn().unwrap();
    let inputs: String = (0..200).map(|n| format!("{n}\n")).collect();
    let list = directory.path().join("inputs");
    fs::write(&list, inputs).unwrap();
    let mut run = service.command(&["run", "--lines", list.to_str().unwrap(), "--", "true", "{}"]).spawn().unwrap();
    let mut changes = 0;
    let ended = loop {
        changes += 1;
        let text =
            format!("[limits]\nwatchers_max = {}\n[engine]\ntasks_max = {}\n", 1_000 + changes, 10_000 + changes);
        fs::write(directory.path().join("evenkeel.toml"), format!("{text}[reload]\nwatch = false\n")).unwrap();
        let made = service.json(&["config", "reload"]);
        assert_eq!(made["changes"].as_array().unwrap().len(), 2, "{made}");
        if let Some(ended) = run.try_wait().unwrap() {
            break ended;
        }
    };
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(ended.success(), "a task failed");
    assert_eq!(value(&service, "limits.watchers_max"), (1_000 + changes).to_string());
}
