//! The coordinator of a run: a given one, or a process of its own.
//!
//! A process and not a task beside the agents: the agents' work must not look like the coordinator's, and a process can be
//! measured and killed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use evenkeel_shared::dial::{Security, Way};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{child, error::LoadtestError, plan::Target};

/// Longest start, the recovery of a store included.
const START_MAX: Duration = Duration::from_secs(30);
/// The file that says where it listens is looked for this often.
const READY_POLL: Duration = Duration::from_millis(20);
/// Longest orderly stop; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The coordinator to use. Dropping it kills a coordinator of the run's own.
pub(crate) struct Coordinator {
    way: Way,
    own: Option<Own>,
}

struct Own {
    program: PathBuf,
    child: Child,
    directory: Directory,
}

fn way(url: &str, security: Security) -> Result<Way, LoadtestError> {
    Way::new(url, security).map_err(|source| LoadtestError::Address { url: url.to_owned(), source })
}

/// Any free port, of this machine's own address.
const ANY_PORT: &str = "127.0.0.1:0";

/// Where the own coordinator keeps its files; removed in the end if it was made for the run.
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed stays in the system's directory for temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What the coordinator writes once it is ready.
#[derive(Deserialize)]
struct Ready {
    grpc: String,
}

impl Coordinator {
    /// Takes the given coordinator, or starts one.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn find(target: &Target, run: &str) -> Result<Self, LoadtestError> {
        match target {
            Target::Running { url, security } => Ok(Self { way: way(url, security.clone())?, own: None }),
            Target::Own { program, data_dir } => {
                let directory = Directory {
                    path: data_dir
                        .clone()
                        .unwrap_or_else(|| std::env::temp_dir().join(format!("evenkeel-loadtest-{run}"))),
                    temporary: data_dir.is_none(),
                };
                let unusable = |source| LoadtestError::Directory { path: directory.path.clone(), source };
                fs::create_dir_all(&directory.path).map_err(unusable)?;
                if fs::read_dir(&directory.path).map_err(unusable)?.next().is_some() {
                    // Tasks of a run before would be work that this run does not count.
                    return Err(unusable(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it is not empty")));
                }
                let (child, grpc) = start(program, &directory.path, ANY_PORT).await?;
                let own = Own { program: program.clone(), child, directory };
                Ok(Self { way: way(&format!("http://{grpc}"), Security::default())?, own: Some(own) })
            }
        }
    }

    /// Its gRPC address.
    pub(crate) fn url(&self) -> &str {
        self.way.url()
    }

    /// The way there.
    pub(crate) const fn way(&self) -> &Way {
        &self.way
    }

    /// Whether it is there for this run alone.
    pub(crate) const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The number of its process, if it is one of the run's own and alive.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.own.as_ref().and_then(|own| own.child.id())
    }

    /// Where its files are, if it is one of the run's own.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.directory.path.as_path())
    }

    /// SIGKILL to a coordinator of the run's own: no chance to say or write anything more. A given one is left alone.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) async fn kill(&mut self) -> Result<(), LoadtestError> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let failed = |source| LoadtestError::Directory { path: own.directory.path.clone(), source };
        own.child.kill().await.map_err(failed)
    }

    /// Starts a coordinator of the run's own again, at the same address and on the same store.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn restart(&mut self) -> Result<(), LoadtestError> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let grpc = self.way.url().trim_start_matches("http://");
        (own.child, _) = start(&own.program, &own.directory.path, grpc).await?;
        Ok(())
    }

    /// Stops a coordinator of the run's own in an orderly way; kills it if that takes too long.
    pub(crate) async fn stop(self) {
        if let Some(Own { mut child, directory, .. }) = self.own {
            let stopped = timeout(STOP_MAX, terminate(&mut child)).await;
            if !matches!(stopped, Ok(Ok(status)) if status.success()) {
                tracing::warn!(?stopped, "the coordinator of this run did not stop in order");
            }
            drop(child);
            drop(directory);
        }
    }
}

/// Starts the program in a directory; the process, and where it listens.
async fn start(program: &Path, directory: &Path, grpc: &str) -> Result<(Child, String), LoadtestError> {
    let (ready, log) = (directory.join("ready.json"), directory.join("coordinator.log"));
    let failed =
        |reason: String| LoadtestError::CoordinatorStart { program: program.to_owned(), reason, log: quoted(&log) };
    // What the process before it wrote would be taken for its own.
    match fs::remove_file(&ready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("{} is in the way: {error}", ready.display())));
        }
        _ => {}
    }
    let log_file = child::log_file(&log).map_err(|error| failed(format!("no log: {error}")))?;
    let mut child = Command::new(program)
        .args(["coordinator", "--grpc", grpc, "--http", ANY_PORT, "--data-dir"])
        .arg(directory.join("data"))
        .arg("--ready-file")
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file)
        .kill_on_drop(true)
        // A Ctrl-C is for the run, which still needs it to end what is in flight.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + START_MAX;
    loop {
        // A file that is half written is no JSON yet.
        let text = fs::read(&ready).unwrap_or_default();
        if let Ok(Ready { grpc }) = serde_json::from_slice(&text) {
            return Ok((child, grpc));
        }
        let exited = child.try_wait().map_err(|error| failed(error.to_string()))?;
        if let Some(status) = exited {
            return Err(failed(format!("it ended with {status}")));
        }
        if Instant::now() > deadline {
            return Err(failed(format!("it was not ready within {} s", START_MAX.as_secs())));
        }
        sleep(READY_POLL).await;
    }
}

async fn terminate(child: &mut Child) -> io::Result<ExitStatus> {
    child::signal(child, Signal::SIGTERM).transpose()?;
    child.wait().await
}

/// The end of the log, on lines of its own.
fn quoted(log: &Path) -> String {
    let text = child::log_tail(log);
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that does what the script says instead of being a coordinator; `$9` is the file that says it is ready.
    fn program(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn find(script: &str) -> Result<(Coordinator, PathBuf), LoadtestError> {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::Own { program: program(directory.path(), script), data_dir: None };
        let run = format!("{:016x}", fastrand::u64(..));
        let coordinator = Coordinator::find(&target, &run).await?;
        Ok((coordinator, std::env::temp_dir().join(format!("evenkeel-loadtest-{run}"))))
    }

    #[tokio::test]
    async fn an_own_coordinator_says_where_it_listens_and_leaves_nothing() {
        let script = r#"echo '{"grpc":"127.0.0.1:7","http":"127.0.0.1:8","pid":1}' > "$9"; exec sleep 100"#;
        let (coordinator, directory) = find(script).await.unwrap();
        assert_eq!(coordinator.url(), "http://127.0.0.1:7");
        assert!(coordinator.is_own() && directory.exists());
        coordinator.stop().await;
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn one_that_does_not_start_is_quoted() {
        let Err(error) = find("echo 'the port is busy' >&2; exit 3").await else {
            panic!("it started");
        };
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("the port is busy"), "{text}");
    }

    #[tokio::test]
    async fn a_directory_in_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target =
            Target::Own { program: program(directory.path(), ""), data_dir: Some(directory.path().to_owned()) };
        let error = Coordinator::find(&target, "run").await.err().unwrap().to_string();
        assert!(error.contains("not empty"), "{error}");
    }
}
