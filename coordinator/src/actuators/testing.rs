//! For tests: decisions, and what programs that were started say of themselves, by named pipes: so nobody has to ask again
//! and again.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use evenkeel_core::capacity::{Action, Decision, Effect, ScalingOutcome};
use evenkeel_shared::{AgentId, Timestamp};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe::{self, Receiver},
    time::timeout,
};

/// Longer than anything takes that will come to its end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines that programs write into a named pipe.
pub(super) struct Said {
    path: PathBuf,
    lines: Lines<BufReader<Receiver>>,
}

impl Said {
    /// A pipe in this directory.
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("said");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Open for writing too, so that nobody who writes has to wait, and the last one to go is not the end of it.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        Self { path, lines: BufReader::new(pipe).lines() }
    }

    /// Where to write.
    pub fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Waits for the next so many lines, which come in any order.
    pub async fn next(&mut self, count: usize) -> Vec<String> {
        let mut said = Vec::new();
        while said.len() < count {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            said.push(line.unwrap_or_else(|_| panic!("no more was said than {said:?}")).unwrap().unwrap());
        }
        said.sort();
        said
    }
}

/// A named pipe that programs hold open.
pub(super) struct Held(File);

impl Held {
    /// Makes it. Who opens it for writing does not have to wait.
    pub fn new(path: &Path) -> Self {
        mkfifo(path, Mode::S_IRWXU).unwrap();
        Self(OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).unwrap())
    }

    /// Waits until nobody holds it open any more.
    pub async fn released(mut self) {
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let read = tokio::task::spawn_blocking(move || self.0.read_to_end(&mut Vec::new()));
        timeout(PATIENCE, read).await.expect("it is held open still").unwrap().unwrap();
    }
}

/// A decision to go from one size to another; these agents go.
pub(super) fn decision(before: u32, after: u32, agents: &[&str]) -> Decision {
    Decision {
        id: 7,
        at: Timestamp::from_unix_millis(1_000),
        action: Action::between(before, after),
        agents_before: before,
        agents_after: after,
        agents: agents.iter().map(|id| AgentId::new(id).unwrap()).collect(),
        reasons: Vec::new(),
        waiting_for: None,
        actuator: String::new(),
        outcome: ScalingOutcome::Decided,
        error: String::new(),
        policy: "trial".to_owned(),
        policy_version: 2,
        score_percent: 0.0,
        demand_slots: 0.0,
        effect: Effect::NONE,
    }
}
