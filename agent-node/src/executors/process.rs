//! Runs one program for one attempt, and leaves nothing of it behind.
//!
//! The program leads a process group of its own. When it exits, is to be stopped, or its future is dropped, the whole group
//! is killed, so that helpers it started do not live on. What leaves the group (`setsid`) escapes, and so does everything
//! when the agent itself is killed with SIGKILL: the kernel's parent-death signal would need unsafe code, and a container
//! or a service manager does that job better.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use super::{report::ReportFile, watch};

use crate::{
    meter::Exceeded,
    task::{ExecutionError, TaskContext},
};

/// Time between SIGTERM and SIGKILL; within the grace that an attempt has to stop.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// What is kept of the error output: its end, where programs say why they give up, within the 1 KiB of a failure message.
const STDERR_TAIL_BYTES: usize = 800;
/// Size of one read from a pipe: what a Linux pipe hands out at once in practice.
const READ_BYTES: usize = 8 << 10;

/// A program to run.
pub(super) struct Program<'a> {
    pub program: &'a str,
    pub args: &'a [String],
    pub directory: Option<&'a Path>,
    pub env: &'a BTreeMap<String, String>,
    /// Variables of the agent that it inherits; all others are withheld.
    pub env_inherited: &'a [String],
    pub stdin: &'a [u8],
    pub output_bytes_max: usize,
}

/// A program that exited by itself.
pub(super) struct Exited {
    status: ExitStatus,
    /// A failure that its own report explains better than its exit code does.
    reported: Option<ExecutionError>,
    stdout: Vec<u8>,
    stderr_tail: String,
}

impl Exited {
    /// The output, if it succeeded; else the failure. `retryable` decides about an exit code.
    pub fn output(self, program: &str, retryable: impl Fn(i32) -> bool) -> Result<Bytes, ExecutionError> {
        if self.status.success() {
            return Ok(self.stdout.into());
        }
        if let Some(error) = self.reported {
            return Err(error);
        }
        let said = if self.stderr_tail.is_empty() { String::new() } else { format!(": {}", self.stderr_tail) };
        match self.status.code() {
            Some(code) => {
                let message = format!("`{program}` exited with code {code}{said}");
                let class = if retryable(code) { ExecutionError::retryable } else { ExecutionError::non_retryable };
                Err(class(message).exit_code(code))
            }
            None => {
                let signal = self.status.signal().unwrap_or_default();
                Err(ExecutionError::retryable(format!("`{program}` was killed by signal {signal}{said}")))
            }
        }
    }
}

/// The environment that programs inherit unless configured otherwise: what they need to work at all. All else is withheld,
/// since an agent's environment may hold secrets.
pub(super) fn env_inherited() -> Vec<String> {
    ["PATH", "HOME", "LANG", "TMPDIR"].map(str::to_owned).into()
}

/// Runs a program to its end.
pub(super) async fn run(program: &Program<'_>, task: &TaskContext) -> Result<Exited, ExecutionError> {
    let mut report = ReportFile::new();
    let mut child = command(program, task, &report).spawn().map_err(|error| spawn_error(program, &error))?;
    let mut group = Group::led_by(&child)?;
    let leader = group.leader;
    watch::limit(leader, task.budget.as_deref());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async {
        let exit = async {
            watch::exit(leader, task.meter()).await;
            let status = child.wait().await.map_err(|error| Interrupted::Io("its exit", error))?;
            // Helpers left behind would hold the pipes open.
            group.kill();
            Ok(status)
        };
        let feed = async {
            feed(stdin, program.stdin).await;
            Ok(())
        };
        tokio::try_join!(exit, feed, read_all(stdout, program.output_bytes_max), read_tail(stderr))
    };
    let cancelled = task.cancelled();
    let result = tokio::select! {
        result = work => result,
        exceeded = watch::watch(leader, task, &mut report) => Err(Interrupted::Exceeded(exceeded)),
        () = cancelled.cancelled() => Err(Interrupted::Stopped),
    };
    // What it wrote before its end counts, whatever the end was.
    let reported = report.finish(task);
    let name = program.program;
    match result {
        Ok((status, (), stdout, stderr_tail)) => {
            let reported = watch::exceeded_by(status, task).map(ExecutionError::budget_exceeded).or(reported);
            Ok(Exited { status, reported, stdout, stderr_tail })
        }
        Err(Interrupted::Exceeded(exceeded)) => {
            group.kill();
            Err(ExecutionError::budget_exceeded(exceeded))
        }
        Err(Interrupted::Stopped) => {
            group.terminate(&mut child).await;
            Err(ExecutionError::retryable(format!("`{name}` was stopped")))
        }
        Err(Interrupted::OutputLimit) => {
            let limit = program.output_bytes_max;
            let message = format!("`{name}` wrote more than its output limit of {limit} bytes and was killed");
            Err(ExecutionError::non_retryable(message))
        }
        Err(Interrupted::Io(what, error)) => {
            Err(ExecutionError::retryable(format!("cannot read {what} of `{name}`: {error}")))
        }
    }
}

fn command(program: &Program<'_>, task: &TaskContext, report: &ReportFile) -> Command {
    let trace = task.trace.as_deref();
    let mut command = Command::new(program.program);
    command
        .args(program.args)
        .env_clear()
        .envs(program.env_inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(program.env)
        .env("EVENKEEL_TASK_ID", task.attempt.task.to_string())
        .env("EVENKEEL_ATTEMPT", task.attempt.attempt.to_string())
        .env("EVENKEEL_ASSIGNMENT_ID", task.attempt.assignment.to_string())
        .env("EVENKEEL_KIND", task.kind.as_str())
        .env("EVENKEEL_TENANT", task.tenant.as_str())
        .envs(report.path().map(|path| ("EVENKEEL_REPORT", path)))
        .envs(trace.map(|trace| ("TRACEPARENT", trace.parent())))
        .envs(trace.map(|trace| ("TRACESTATE", trace.state())).filter(|(_, state)| !state.is_empty()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = program.directory {
        command.current_dir(directory);
    }
    command
}

fn spawn_error(program: &Program<'_>, error: &io::Error) -> ExecutionError {
    let name = program.program;
    match (error.kind(), program.directory) {
        (io::ErrorKind::NotFound, Some(directory)) if !directory.is_dir() => ExecutionError::non_retryable(format!(
            "`{name}` cannot start: there is no directory `{}` on this agent",
            directory.display()
        )),
        (io::ErrorKind::NotFound, _) => {
            ExecutionError::non_retryable(format!("there is no program `{name}` on this agent"))
        }
        (io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput, _) => {
            ExecutionError::non_retryable(format!("`{name}` cannot start: {error}"))
        }
        _ => ExecutionError::retryable(format!("`{name}` cannot start: {error}")),
    }
}

/// Why a program did not run to its end.
enum Interrupted {
    Stopped,
    Exceeded(Exceeded),
    OutputLimit,
    Io(&'static str, io::Error),
}

/// Writes the input. A program that does not read it is within its rights, so a closed pipe is no error.
async fn feed(pipe: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(input).await;
    }
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> Result<Vec<u8>, Interrupted> {
    let mut output = Vec::new();
    let Some(pipe) = pipe else { return Ok(output) };
    // One byte more than allowed tells "just fits" from "too much".
    let mut limited = pipe.take(bytes_max as u64 + 1);
    limited.read_to_end(&mut output).await.map_err(|error| Interrupted::Io("the output", error))?;
    if output.len() > bytes_max { Err(Interrupted::OutputLimit) } else { Ok(output) }
}

async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> Result<String, Interrupted> {
    let mut tail = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let read = pipe.read(&mut chunk).await.map_err(|error| Interrupted::Io("the error output", error))?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&tail).trim().to_owned());
        }
        tail.extend_from_slice(&chunk[..read]);
        let surplus = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..surplus);
    }
}

/// A process group, killed when dropped.
struct Group {
    /// `None` once it has been killed: its number may soon belong to others.
    leader: Option<Pid>,
}

impl Group {
    fn led_by(child: &Child) -> Result<Self, ExecutionError> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| ExecutionError::retryable("the program's process number is not known"))?;
        Ok(Self { leader: Some(Pid::from_raw(pid)) })
    }

    /// Kills what is left of the group.
    fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            // The usual error is that nothing is left.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }

    /// Asks the group to stop, waits a little for its leader, and kills what is left.
    async fn terminate(&mut self, leader: &mut Child) {
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGTERM);
        }
        let stopped = timeout(KILL_GRACE, leader.wait()).await;
        self.kill();
        if stopped.is_err() {
            // After SIGKILL this returns soon; the attempt's own grace bounds it.
            let _ = leader.wait().await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
