//! Tokens, roles and the audit log from one end to the other, with real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use support::{Process, evenkeel, until};
use tempfile::TempDir;

/// Makes a token in the file of this directory, and puts it into a file of its own, which it returns.
fn new_token(directory: &Path, name: &str, args: &[&str]) -> PathBuf {
    let mut command = evenkeel(["tokens", "new", "--name", name, "--file"]);
    let made = command.arg(directory.join("credentials.toml")).args(args).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let path = directory.join(format!("{name}.token"));
    fs::write(&path, &made.stdout).unwrap();
    path
}

struct Guarded {
    process: Process,
    url: String,
    directory: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let files = directory.path();
        new_token(files, "root", &["--role", "admin"]);
        new_token(files, "acme", &["--role", "client", "--tenant", "acme"]);
        new_token(files, "a-1", &["--role", "agent", "--slots-max", "2"]);
        let settings = format!(
            "[auth]\nenabled = true\ncredentials_file = \"{}\"\nreload_interval_ms = 100\n",
            files.join("credentials.toml").display()
        );
        fs::write(files.join("evenkeel.toml"), settings).unwrap();
        let mut command = evenkeel(["coordinator", "-o", "jsonl", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(files.join("data")).arg("--config").arg(files.join("evenkeel.toml"));
        let mut process = Process::start(command, files.join("coordinator.log"));
        let url = format!("http://{}", process.ready()["grpc"].as_str().unwrap());
        Self { process, url, directory }
    }

    fn run(&self, name: Option<&str>, args: &[&str]) -> Output {
        let mut command = evenkeel(["--coordinator", &self.url, "-o", "json"]);
        if let Some(name) = name {
            command.arg("--token-file").arg(self.directory.path().join(format!("{name}.token")));
        }
        command.args(args).output().unwrap()
    }

    fn json(&self, name: &str, args: &[&str]) -> Value {
        let output = self.run(Some(name), args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until a token is accepted, or is not.
    async fn becomes(&self, name: &str, accepted: bool) {
        let what = if accepted { "the token is taken up" } else { "the token is refused" };
        until(what, || {
            let is = self.run(Some(name), &["whoami"]).status.success();
            async move { (is == accepted).then_some(()) }
        })
        .await;
    }

    fn refused(&self, name: Option<&str>, args: &[&str], words: &str) {
        let output = self.run(name, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_does_what_its_token_is_for_and_it_is_written_down() {
    let mut guarded = Guarded::start().await;
    guarded.refused(None, &["status"], "needs credentials");
    let who = guarded.json("acme", &["whoami"]);
    assert_eq!((&who["name"], &who["tenant"], &who["roles"][0]), (&"acme".into(), &"acme".into(), &"client".into()));
    guarded.refused(Some("acme"), &["status"], "not for the role client");

    let mut agent = evenkeel(["agent", "--coordinator", &guarded.url, "--id", "a-1", "--slots", "2", "--kind", "echo"]);
    agent.arg("--token-file").arg(guarded.directory.path().join("a-1.token"));
    let _agent = Process::start(agent, guarded.directory.path().join("agent.log"));
    let done = guarded.json("acme", &["task", "submit", "--kind", "echo", "--payload", "hi", "--wait"]);
    assert!(done.to_string().contains("succeeded"), "{done}");

    guarded.json("root", &["strategy", "set", "random"]);
    let entries = guarded.json("root", &["audit", "list"]);
    assert_eq!((&entries[0]["by"], &entries[0]["action"]), (&"root".into(), &"ClusterService/SetStrategy".into()));
    guarded.refused(Some("acme"), &["audit", "list"], "not for the role client");

    guarded.json("root", &["credentials", "revoke", "acme", "--reason", "stolen"]);
    guarded.refused(Some("acme"), &["whoami"], "not accepted");
    let file = guarded.directory.path().join("credentials.toml");
    new_token(guarded.directory.path(), "late", &["--role", "viewer"]);
    guarded.becomes("late", true).await;
    let marked = evenkeel(["tokens", "revoke", "late", "--file"]).arg(&file).output().unwrap();
    assert!(marked.status.success(), "{marked:?}");
    guarded.becomes("late", false).await;

    let head = guarded.json("root", &["audit", "verify"])["head"].as_str().unwrap().to_owned();
    assert!(guarded.process.terminate().await.success());
    let log = guarded.directory.path().join("data/audit");
    let verify = |args: &[&str]| evenkeel(["audit", "verify", "--file"]).arg(&log).args(args).output().unwrap();
    assert!(verify(&["--head", &head]).status.success());
    let path = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"root\"", "\"toor\"", 1)).unwrap();
    let broken = verify(&[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("was changed"), "{broken:?}");
}

#[test]
fn a_token_is_shown_once_and_its_file_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    let path = new_token(directory.path(), "app", &["--role", "client", "--expires", "30d"]);
    let token = fs::read_to_string(path).unwrap();
    let file = directory.path().join("credentials.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(token.starts_with("ek_") && !text.contains(token.trim()), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    new_token(directory.path(), "app", &["--role", "client"]);
    let listed = evenkeel(["-o", "json", "tokens", "list", "--file"]).arg(&file).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["app", "app-2"]);
    let unknown = evenkeel(["tokens", "revoke", "nobody", "--file"]).arg(&file).output().unwrap();
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
}
