use super::{
    super::testing::{Held, decision},
    *,
};

fn shell(script: &str) -> Command {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Command::new(CommandConfig { command, timeout_ms: 10_000 })
}

#[tokio::test]
async fn the_program_reads_the_decision_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("order.json");
    shell(&format!("cat > {}", path.display())).scale(&decision(3, 1, &["a", "b"])).await.unwrap();
    let order: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((order["id"].as_u64(), order["action"].as_str()), (Some(7), Some("down")));
    assert_eq!((order["agents_before"].as_u64(), order["agents_after"].as_u64()), (Some(3), Some(1)));
    assert_eq!(order["agents"], serde_json::json!(["a", "b"]));
    assert_eq!((order["policy"].as_str(), order["policy_version"].as_u64()), (Some("trial"), Some(2)));
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    let failed = shell("echo no quota left >&2; exit 3").scale(&decision(1, 2, &[])).await.unwrap_err().to_string();
    assert!(failed.contains("exit status: 3: no quota left"), "{failed}");
    let much = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1");
    let failed = much.scale(&decision(1, 2, &[])).await.unwrap_err().to_string();
    assert!(failed.ends_with("the end") && failed.len() < 1_000, "{} bytes", failed.len());
}

#[tokio::test]
async fn a_program_that_is_not_there_or_does_not_read_is_dealt_with() {
    let missing = Command::new(CommandConfig { command: vec!["/not/there".into()], timeout_ms: 1_000 });
    let failed = missing.scale(&decision(1, 2, &[])).await.unwrap_err();
    assert!(matches!(&failed, ActuatorError::Start { program, .. } if program == "/not/there"), "{failed}");
    shell("exec <&-; true").scale(&decision(1, 2, &[])).await.unwrap();
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_what_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("held");
    let held = Held::new(&path);
    let script = format!("sleep 300 > {} & wait", path.display());
    let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let slow = Command::new(CommandConfig { command, timeout_ms: 500 });
    let failed = slow.scale(&decision(1, 2, &[])).await.unwrap_err();
    assert!(matches!(failed, ActuatorError::Late { .. }), "{failed}");
    held.released().await;
}

#[test]
fn a_command_names_a_program_and_has_time_for_it() {
    let field = |command: &[&str], timeout_ms| {
        let command = command.iter().map(ToString::to_string).collect();
        CommandConfig { command, timeout_ms }.validate().map_err(|violation| violation.field)
    };
    assert_eq!(field(&["scale"], 1), Ok(()));
    assert_eq!(field(&[], 1), Err("scaling.actuator.command".to_owned()));
    assert_eq!(field(&["", "now"], 1), Err("scaling.actuator.command".to_owned()));
    assert_eq!(field(&["scale"], 0), Err("scaling.actuator.timeout_ms".to_owned()));
    assert_eq!(field(&["scale"], u64::MAX), Err("scaling.actuator.timeout_ms".to_owned()));
}
