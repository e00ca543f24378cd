use std::{path::Path, time::Instant};

use super::{
    super::{ActuatorConfig, testing::decision},
    *,
};

/// Agents that are shell scripts.
fn local(script: &str) -> Local {
    let command = ["sh", "-c", script, "{agent}"].map(str::to_owned).to_vec();
    let config = LocalConfig { command, stop_timeout_ms: 10_000, ..LocalConfig::default() };
    config.validate().unwrap();
    Local::new(config, SocketAddr::from(([0, 0, 0, 0], 7400)), false)
}

fn running(local: &Local) -> Vec<String> {
    local.lock().keys().map(ToString::to_string).collect()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn exists(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

#[tokio::test]
async fn agents_are_started_under_free_names_and_told_to_go() {
    let directory = tempfile::tempdir().unwrap();
    // It says that it is there, and when it is told to go.
    let at = directory.path().display();
    let local =
        local(&format!("trap 'touch {at}/$0.gone; exit 0' TERM; touch {at}/$0.here; while :; do sleep 0.05; done"));
    local.scale(&decision(0, 2, &[])).await.unwrap();
    assert_eq!(running(&local), ["local-1", "local-2"]);
    let here = |name: &str| exists(directory.path(), &format!("{name}.here"));
    until("both are there", || here("local-1") && here("local-2")).await;
    local.scale(&decision(2, 1, &["local-1"])).await.unwrap();
    assert_eq!(running(&local), ["local-2"]);
    assert!(exists(directory.path(), "local-1.gone"), "by SIGTERM");
    local.scale(&decision(1, 3, &[])).await.unwrap();
    assert_eq!(running(&local), ["local-1", "local-2", "local-3"]);
    until("the new ones are there", || here("local-3")).await;
    local.stop().await;
    assert!(running(&local).is_empty() && exists(directory.path(), "local-3.gone"));
}

#[tokio::test]
async fn an_agent_that_does_not_go_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    // One that is told before it has set its trap goes like any other.
    let script = format!("trap '' TERM; touch {}/deaf; while :; do sleep 0.05; done", directory.path().display());
    let config = LocalConfig { stop_timeout_ms: 300, ..local(&script).config };
    let stubborn = Local::new(config, SocketAddr::from(([127, 0, 0, 1], 7400)), false);
    stubborn.scale(&decision(0, 1, &[])).await.unwrap();
    until("it does not hear", || exists(directory.path(), "deaf")).await;
    timeout(Duration::from_secs(20), stubborn.stop()).await.expect("it ends");
    assert!(running(&stubborn).is_empty());
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_is_not_started_again() {
    let local = local("exit 1");
    local.scale(&decision(0, 1, &[])).await.unwrap();
    until("it has ended", || local.lock().values().all(|agent| *agent.ended.borrow())).await;
    // What was decided since counts, not what once ran.
    local.scale(&decision(0, 1, &[])).await.unwrap();
    assert_eq!(running(&local).len(), 1);
}

#[tokio::test]
async fn an_agent_holds_a_pipe_that_ends_with_the_coordinator() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ended");
    let local = local(&format!("cat; touch {}; sleep 300", path.display()));
    local.scale(&decision(0, 1, &[])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!path.exists(), "the pipe is open");
    // Dropping it without a word is what the end of the process comes to, as far as the pipe goes; it kills as well.
    let pid = |name: &str| {
        std::fs::read_dir("/proc").unwrap().flatten().find(|entry| {
            let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&cmdline).contains(name)
        })
    };
    assert!(pid(&path.display().to_string()).is_some());
    drop(local);
    until("it is gone", || pid(&path.display().to_string()).is_none()).await;
}

#[tokio::test]
async fn what_was_not_started_here_cannot_be_stopped_here() {
    let local = local("sleep 300");
    let refused = local.scale(&decision(2, 1, &["gpu-7"])).await.unwrap_err();
    assert_eq!(refused, ActuatorError::NotMine("gpu-7".into()));
    // One of its own that has gone already is no error.
    local.scale(&decision(2, 1, &["local-9"])).await.unwrap();
}

#[tokio::test]
async fn never_more_run_than_are_wanted_in_all() {
    let local = local("sleep 300");
    local.scale(&decision(0, 3, &[])).await.unwrap();
    // Nobody has joined, so it is decided as if none were there.
    local.scale(&decision(0, 4, &[])).await.unwrap();
    assert_eq!(running(&local).len(), 4);
    local.stop().await;
}

#[test]
fn a_command_has_to_name_its_agent() {
    let config = LocalConfig { command: vec!["agent".into()], ..LocalConfig::default() };
    assert!(config.validate().unwrap_err().description.contains("{agent}"));
    let config = LocalConfig { prefix: "no spaces ".into(), ..LocalConfig::default() };
    assert_eq!(config.validate().unwrap_err().field, "scaling.actuator.prefix");
    let config = LocalConfig::default();
    let words = config.command(&AgentId::new("local-3").unwrap(), "http://127.0.0.1:1").unwrap();
    assert!(words.ends_with(&["--id".into(), "local-3".into()]), "{words:?}");
}

#[test]
fn agents_of_this_machine_find_the_coordinator_and_only_they_may_be_taken_away() {
    let coordinator = |address: &str| Local::new(LocalConfig::default(), address.parse().unwrap(), false).coordinator;
    assert_eq!(coordinator("0.0.0.0:7400"), "http://127.0.0.1:7400", "which is everywhere, but no address to dial");
    assert_eq!(coordinator("[::]:7400"), "http://[::1]:7400");
    assert_eq!(coordinator("10.0.0.7:7400"), "http://10.0.0.7:7400");
    let config = |name| ActuatorConfig::named(name).unwrap();
    assert_eq!(config("local").removable_prefix(), Some("local-"));
    assert_eq!(config("keda").removable_prefix(), None, "whoever acts there may choose any");
}
