//! A process under test.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::lab::FaultError;
use crate::child;

/// Longest wait for a process to end.
const END_MAX: Duration = Duration::from_secs(30);

/// A running program, killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with what it says in the file `log`, behind what is there.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, FaultError> {
        let file = child::log_file(log).map_err(FaultError::io("open", log))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true).spawn();
        let child = child.map_err(|source| FaultError::Start { program: format!("{:?}", command.as_std()), source })?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its number; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), FaultError> {
        let sent = child::signal(&self.child, signal).ok_or_else(|| FaultError::Gone { log: self.log_tail() })?;
        sent.map_err(|error| FaultError::Signal { signal, error })
    }

    /// SIGKILL: no chance to say or write anything more.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn kill(&mut self) -> Result<(), FaultError> {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.start_kill();
        self.ended().await.map(drop)
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn terminate(&mut self) -> Result<ExitStatus, FaultError> {
        self.signal(Signal::SIGTERM)?;
        self.ended().await
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ended(&mut self) -> Result<ExitStatus, FaultError> {
        match timeout(END_MAX, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(FaultError::io("wait for", &self.log)(error)),
            Err(_) => Err(FaultError::Stays { waited: END_MAX, log: self.log_tail() }),
        }
    }

    /// How it ended, if it has.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Memory that it holds, in bytes (`VmRSS`); 0 once it has ended.
    pub fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:") << 10
    }

    /// The most memory that it ever held, in bytes (`VmHWM`).
    pub fn resident_peak_bytes(&self) -> u64 {
        self.status("VmHWM:") << 10
    }

    /// Threads; 0 once it has ended.
    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    fn status(&self, field: &str) -> u64 {
        let Some(pid) = self.pid() else { return 0 };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Open files and connections.
    pub fn open_files(&self) -> usize {
        self.pid().and_then(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).map_or(0, Iterator::count)
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of it.
    pub fn log_tail(&self) -> String {
        child::log_tail(&self.log)
    }
}

/// `evenkeel` with these arguments, and none of the caller's settings.
pub fn evenkeel<S: AsRef<std::ffi::OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    child::without_settings(&mut command).args(args);
    command
}

/// A local port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_port() -> io::Result<u16> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}
