//! `evenkeel run` over a real source tree: byte for byte what the command prints when it is run directly, whatever is killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use support::{Coordinator, evenkeel};

const GLOB: &str = "**/*.rs";
/// Takes long enough for something to be killed meanwhile.
const SLOW_SUM: &str = "sleep 0.1; exec sha256sum \"$0\"";

/// The workspace: the sources that this test is part of.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("shared")
}

/// The files of the glob, in the order of `run`.
fn files() -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![sources()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(sources()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    files
}

/// What `sha256sum` prints for the files when it is run directly.
fn direct() -> String {
    let output = Command::new("sha256sum").args(files()).current_dir(sources()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn run(coordinator: &Coordinator, command: &[&str]) -> Command {
    let mut run = evenkeel(["--coordinator", &coordinator.url(), "run", "--each", GLOB, "--jobs", "8", "--"]);
    // What it keeps to resume from belongs to this test alone.
    run.env("XDG_STATE_HOME", coordinator.scratch()).env("HOME", coordinator.scratch());
    run.args(command).current_dir(sources()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run
}

fn check(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), direct());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_what_the_command_prints_directly() {
    let coordinator = Coordinator::start().await;
    let _agent = coordinator.agent("a", 4, &["--allow", "sha256sum"]).await;
    check(run(&coordinator, &["sha256sum", "{}"]).output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_half_way_does_not_show() {
    let coordinator = Coordinator::start().await;
    let mut doomed = coordinator.agent("doomed", 2, &["--allow", "sh"]).await;
    let _survivor = coordinator.agent("survivor", 2, &["--allow", "sh"]).await;
    let running = run(&coordinator, &["sh", "-c", SLOW_SUM, "{}"]).spawn().unwrap();
    coordinator.clients().succeeded(files().len() as u64 / 2).await;
    doomed.kill();
    check(running.wait_with_output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_half_way_and_started_again_does_not_show() {
    let mut coordinator = Coordinator::start().await;
    let _first = coordinator.agent("a", 2, &["--allow", "sh"]).await;
    let _second = coordinator.agent("b", 2, &["--allow", "sh"]).await;
    let running = run(&coordinator, &["sh", "-c", SLOW_SUM, "{}"]).spawn().unwrap();
    coordinator.clients().succeeded(files().len() as u64 / 2).await;
    coordinator.kill();
    coordinator.restart().await;
    check(running.wait_with_output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_listed_and_change_the_exit_code() {
    let coordinator = Coordinator::start().await;
    let _agent = coordinator.agent("a", 4, &["--allow", "sh"]).await;
    let script = "case $0 in *lib.rs) echo broken >&2; exit 3;; *) echo fine;; esac";
    let output = run(&coordinator, &["sh", "-c", script, "{}"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("src/lib.rs") && stderr.contains("broken"), "{stderr}");
    let failing = files().iter().filter(|file| file.ends_with("lib.rs")).count();
    assert_eq!(output.stdout, "fine\n".repeat(files().len() - failing).into_bytes());
}
