use super::{
    super::{
        ActuatorConfig,
        testing::{Held, Said, decision},
    },
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

#[tokio::test]
async fn agents_are_started_under_free_names_and_told_to_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut said = Said::new(directory.path());
    // It says that it is there, and when it is told to go.
    let to = said.path();
    let local = local(&format!("trap 'echo $0 goes >{to}; kill $!; exit 0' TERM; sleep 300 & echo $0 >{to}; wait"));
    local.scale(&decision(0, 2, &[])).await.unwrap();
    assert_eq!(running(&local), ["local-1", "local-2"]);
    assert_eq!(said.next(2).await, ["local-1", "local-2"]);
    local.scale(&decision(2, 1, &["local-1"])).await.unwrap();
    assert_eq!(running(&local), ["local-2"]);
    assert_eq!(said.next(1).await, ["local-1 goes"], "by SIGTERM");
    local.scale(&decision(1, 3, &[])).await.unwrap();
    assert_eq!(running(&local), ["local-1", "local-2", "local-3"]);
    assert_eq!(said.next(2).await, ["local-1", "local-3"]);
    local.stop().await;
    assert!(running(&local).is_empty());
    assert_eq!(said.next(3).await, ["local-1 goes", "local-2 goes", "local-3 goes"]);
}

#[tokio::test]
async fn an_agent_that_does_not_go_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut said, pipe) = (Said::new(directory.path()), directory.path().join("held"));
    let held = Held::new(&pipe);
    let to = said.path();
    let script = format!("trap '' TERM; exec 3>{}; echo deaf >{to}; sleep 300", pipe.display());
    let stubborn = Local { config: LocalConfig { stop_timeout_ms: 200, ..local(&script).config }, ..local(&script) };
    stubborn.scale(&decision(0, 1, &[])).await.unwrap();
    assert_eq!(said.next(1).await, ["deaf"]);
    stubborn.stop().await;
    assert!(running(&stubborn).is_empty());
    held.released().await;
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_is_not_started_again() {
    let local = local("exit 1");
    local.scale(&decision(0, 1, &[])).await.unwrap();
    let ended: Vec<_> = local.lock().values().map(|agent| agent.ended.clone()).collect();
    for mut ended in ended {
        // An error means that it ended before it could say so.
        let _ = ended.wait_for(|ended| *ended).await;
    }
    // What was decided since counts, not what once ran.
    local.scale(&decision(0, 1, &[])).await.unwrap();
    assert_eq!(running(&local).len(), 1);
}

#[tokio::test]
async fn an_agent_holds_a_pipe_that_ends_with_the_coordinator() {
    let directory = tempfile::tempdir().unwrap();
    let (mut said, pipe) = (Said::new(directory.path()), directory.path().join("held"));
    let held = Held::new(&pipe);
    let to = said.path();
    let script = format!("exec 3>{}; [ -p /dev/stdin ] && echo a pipe >{to}; exec cat", pipe.display());
    let local = local(&script);
    local.scale(&decision(0, 1, &[])).await.unwrap();
    assert_eq!(said.next(1).await, ["a pipe"]);
    // Dropping it without a word is what the end of the process comes to, as far as the pipe goes; it kills as well.
    drop(local);
    held.released().await;
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
