//! Real `evenkeel` processes for tests.
//!
//! Each service listens on free ports and says on stdout where, so tests run side by side; a guard kills what a failed
//! test leaves.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part of this")]

#[path = "../patience/mod.rs"]
mod patience;
#[path = "../program/mod.rs"]
mod program;

use std::{
    io::BufReader,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
pub use patience::{PATIENCE, until, until_within};
pub use program::evenkeel;
use serde_json::Value;

/// A service that is ready. Killed when dropped.
pub struct Service {
    child: Child,
    /// Kept open, so that it can go on writing.
    stdout: BufReader<ChildStdout>,
    /// Its gRPC address as a URL.
    pub url: String,
    /// Its HTTP address.
    pub http: String,
    /// Where its log is, and its clients remember unfinished runs.
    state: tempfile::TempDir,
}

impl Service {
    /// `evenkeel dev` with these further arguments.
    pub fn dev(args: &[&str]) -> Self {
        Self::start(evenkeel().arg("dev").args(args))
    }

    /// A coordinator on this data directory and these further arguments.
    pub fn coordinator(data: &Path, args: &[&str]) -> Self {
        Self::start(evenkeel().args(["coordinator", "--data-dir"]).arg(data).args(args))
    }

    /// This command of `evenkeel`, on free ports unless it says others.
    pub fn start(command: &mut Command) -> Self {
        let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        for address in ["--grpc", "--http"] {
            if !args.iter().any(|arg| arg == address) {
                command.args([address, "127.0.0.1:0"]);
            }
        }
        let state = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(state.path().join("log")).unwrap();
        let mut child = command.args(["-o", "jsonl"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let said = patience::first_line(child.stdout.take().unwrap());
        let ready = said.and_then(|(line, stdout)| Some((serde_json::from_str::<Value>(&line).ok()?, stdout)));
        let Some((ready, stdout)) = ready else {
            let _ = child.kill();
            panic!("it is not ready; its log:\n{}", std::fs::read_to_string(state.path().join("log")).unwrap());
        };
        Self {
            child,
            stdout,
            url: format!("http://{}", ready["grpc"].as_str().unwrap()),
            http: ready["http"].as_str().unwrap().to_owned(),
            state,
        }
    }

    /// A client command for this service.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = evenkeel();
        command.args(["--coordinator", &self.url]).args(args).env("XDG_STATE_HOME", self.state.path());
        command
    }

    /// Runs a client command to its end.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a client command that must succeed, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).args(["-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Submits a task and returns its id.
    pub fn submit(&self, args: &[&str]) -> String {
        let answer = self.json(&[&["task", "submit"], args].concat());
        answer[0]["task_id"].as_str().unwrap().to_owned()
    }

    /// What it said on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap()
    }

    /// What the system says of the process in this file.
    pub fn proc(&self, file: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Over already, or about to be.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.url, self.log());
        }
    }
}

/// Waits for the end of a process.
pub fn wait(child: &mut Child) -> ExitStatus {
    patience::ended(child).expect("the process does not end")
}
