//! Where one fault is tried: a directory, a draw of luck, and what went wrong with the trial itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use fastrand::Rng;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{FaultPlan, process::evenkeel};
use crate::history::CollectError;

/// How often a condition is asked for.
const POLL: Duration = Duration::from_millis(10);

/// Why a fault could not be tried. Not a verdict on the program under test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FaultError {
    #[error("there is no fault `{name}`; `evenkeel loadtest faults --list` names them")]
    Unknown { name: String },
    #[error("skipped: {why}")]
    Skipped { why: String },
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{what} ended with {status} instead of serving; its log ends with\n{log}")]
    Died { what: String, status: ExitStatus, log: String },
    #[error("a process has ended that should not have; its log ends with\n{log}")]
    Gone { log: String },
    #[error("a process has not ended after {} s; its log ends with\n{log}", waited.as_secs())]
    Stays { waited: Duration, log: String },
    #[error("cannot send {signal}: {error}")]
    Signal { signal: Signal, error: nix::Error },
    #[error("it never came within {} s: {what}", waited.as_secs())]
    Never { what: String, waited: Duration },
    #[error("{call} failed: {}: {}", status.code(), status.message())]
    Call { call: &'static str, status: Box<Status> },
    #[error("what the coordinator has recorded could not be read: {0}")]
    Collect(#[from] CollectError),
    #[error("{0}")]
    Other(String),
}

impl FaultError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn call(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Call { call, status: Box::new(status) }
    }
}

/// Where one fault is tried.
pub struct Lab {
    /// The program under test.
    pub program: PathBuf,
    /// What is drawn at random.
    pub rng: Rng,
    /// How long a soak lasts.
    pub soak: Duration,
    /// Whether the program was built with the feature `failpoints`.
    pub failpoints: bool,
    directory: PathBuf,
}

impl Lab {
    pub(super) fn new(plan: &FaultPlan, name: &str, failpoints: bool) -> Result<Self, FaultError> {
        let directory = std::env::temp_dir().join(format!("evenkeel-faults-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).map_err(FaultError::io("create", &directory))?;
        // Each fault has its own luck, so that trying one alone draws the same as trying it among all.
        let seed = name.bytes().fold(plan.seed, |seed, byte| seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        Ok(Self { program: plan.program.clone(), rng: Rng::with_seed(seed), soak: plan.soak, failpoints, directory })
    }

    /// Where the fault keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory in it, made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf, FaultError> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(FaultError::io("create", &path))?;
        Ok(path)
    }

    /// Goes on only if the program can crash at an exact place.
    ///
    /// # Errors
    /// [`FaultError::Skipped`] if it cannot.
    pub fn need_failpoints(&self) -> Result<(), FaultError> {
        if self.failpoints {
            return Ok(());
        }
        let why = "it needs a program that was built with `--features failpoints`".to_owned();
        Err(FaultError::Skipped { why })
    }

    pub(super) async fn close(self, keep: bool) {
        if !keep {
            // What cannot be removed stays in the system's directory for temporary files.
            let _ = tokio::fs::remove_dir_all(&self.directory).await;
        }
    }
}

/// Whether the program was built with the feature `failpoints`: its `--version` says so.
pub(super) async fn has_failpoints(program: &Path) -> Result<bool, FaultError> {
    let output = evenkeel(program, ["--version"]).output().await;
    let output = output.map_err(|source| FaultError::Start { program: program.display().to_string(), source })?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("failpoints"))
}

/// Asks until `condition` gives something.
///
/// # Errors
/// [`FaultError::Never`] after `max`.
pub async fn until<T, F>(what: &str, max: Duration, mut condition: impl FnMut() -> F) -> Result<T, FaultError>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + max;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(FaultError::Never { what: what.to_owned(), waited: max });
        }
        sleep(POLL).await;
    }
}
