//! The processes of a measure: this program again, with what it says on stdout read line by line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{
    BenchError,
    agents::AgentsPlan,
    client::Told,
    host::{ClientPlan, Protocol},
    nats,
    sample::Sample,
};
use crate::child;

/// Longest wait for a line: the longest measure, and then some.
const LINE_MAX: Duration = Duration::from_secs(180);
/// The file that says where NATS listens is looked for this often.
const PORTS_POLL: Duration = Duration::from_millis(20);

/// A running program, killed when dropped.
pub(super) struct Program {
    name: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Program {
    fn start(program: &Path, name: &'static str, args: &[String], directory: &Path) -> Result<Self, BenchError> {
        let log = directory.join(format!("{name}.log"));
        let failed = || BenchError::io(format!("start {name}"));
        let file = fs::File::create(&log).map_err(failed())?;
        let mut command = Command::new(program);
        child::without_settings(&mut command)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed())?;
        let stdout = child.stdout.take().ok_or_else(|| failed()(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { name, child, lines: BufReader::new(stdout).lines(), log })
    }

    /// The next line that it says.
    async fn line(&mut self) -> Result<String, BenchError> {
        match timeout(LINE_MAX, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(_) => Err(self.failed("ended before its time")),
            Err(_) => Err(self.failed(&format!("said nothing for {} s", LINE_MAX.as_secs()))),
        }
    }

    fn failed(&self, what: &str) -> BenchError {
        let tail = child::log_tail(&self.log);
        let log = if tail.is_empty() { tail } else { format!(":\n{tail}") };
        BenchError::Process { process: self.name, what: what.to_owned(), log }
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// If it is gone.
    pub(super) fn sample(&self) -> Result<Sample, BenchError> {
        let pid = self.child.id().ok_or_else(|| self.failed("ended before its time"))?;
        Sample::of(pid).map_err(BenchError::io(format!("look at {}", self.name)))
    }

    /// Ends it, and waits until its memory and its ports are free.
    pub(super) async fn end(mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill().await;
    }
}

/// A server and where it is.
pub(super) struct Server {
    pub process: Program,
    pub url: String,
}

/// What a coordinator says once it is ready.
#[derive(Deserialize)]
struct Ready {
    grpc: String,
}

impl Server {
    /// Starts a coordinator or the yardstick; `config` is for the coordinator.
    ///
    /// # Errors
    /// If it does not come up.
    pub(super) async fn start(
        program: &Path,
        protocol: Protocol,
        directory: &Path,
        config: &str,
    ) -> Result<Self, BenchError> {
        if protocol == Protocol::Yardstick {
            let args = ["loadtest", "bench-server"].map(str::to_owned);
            let mut process = Program::start(program, "the yardstick", &args, directory)?;
            let url = process.line().await?;
            return Ok(Self { process, url });
        }
        if protocol.is_nats() {
            return Self::nats(directory, protocol.is_kept()).await;
        }
        let settings = directory.join("settings.toml");
        fs::write(&settings, config).map_err(BenchError::io("write the settings"))?;
        let any = "127.0.0.1:0";
        let mut args = ["-o", "jsonl", "coordinator", "--grpc", any, "--http", any].map(str::to_owned).to_vec();
        args.extend(["--config".to_owned(), settings.display().to_string()]);
        args.extend(["--data-dir".to_owned(), directory.join("data").display().to_string()]);
        let mut process = Program::start(program, "the coordinator", &args, directory)?;
        let line = process.line().await?;
        let ready: Ready =
            serde_json::from_str(&line).map_err(|error| process.failed(&format!("said `{line}`: {error}")))?;
        Ok(Self { process, url: format!("http://{}", ready.grpc) })
    }
}

/// Where NATS says it listens.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    async fn nats(directory: &Path, kept: bool) -> Result<Self, BenchError> {
        let missing = || BenchError::io("start NATS")(std::io::ErrorKind::NotFound.into());
        let program = nats::program().ok_or_else(missing)?;
        let process = Program::start(&program, "NATS", &nats::arguments(directory, kept), directory)?;
        let pid = process.child.id().ok_or_else(|| process.failed("ended before its time"))?;
        let (file, began) = (nats::ports_file(directory, pid), Instant::now());
        loop {
            // A file that is half written is no JSON yet.
            let ports = serde_json::from_slice::<Ports>(&fs::read(&file).unwrap_or_default());
            if let Some(url) = ports.ok().and_then(|ports| ports.nats.into_iter().next()) {
                return Ok(Self { process, url });
            }
            if began.elapsed() > LINE_MAX {
                return Err(process.failed("did not say where it listens"));
            }
            sleep(PORTS_POLL).await;
        }
    }
}

/// Starts agents and waits until all are welcome.
///
/// # Errors
/// If they are not.
pub(super) async fn agents(
    program: &Path,
    protocol: Protocol,
    plan: &AgentsPlan,
    directory: &Path,
) -> Result<Program, BenchError> {
    let args = [
        ("--protocol", protocol.to_string()),
        ("--url", plan.url.clone()),
        ("--agents", plan.agents.to_string()),
        ("--agents-per-connection", plan.agents_per_connection.to_string()),
        ("--slots", plan.slots.to_string()),
        ("--task-time-us", plan.task_time.as_micros().to_string()),
    ];
    let mut process = Program::start(program, "the agents", &command("bench-agents", args), directory)?;
    match process.line().await?.as_str() {
        "ready" => Ok(process),
        other => Err(process.failed(&format!("said `{other}`"))),
    }
}

/// A client that works.
pub(super) struct Client(Program);

impl Client {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(program: &Path, url: &str, plan: &ClientPlan, directory: &Path) -> Result<Self, BenchError> {
        let args = [
            ("--protocol", plan.protocol.to_string()),
            ("--url", url.to_owned()),
            ("--load", plan.load.to_string()),
            ("--tasks", plan.tasks.to_string()),
            ("--warm-up", plan.warm_up.to_string()),
            ("--in-flight", plan.in_flight.to_string()),
            ("--batch", plan.batch.to_string()),
            ("--rate", plan.rate.to_string()),
            ("--urgent-rate", plan.urgent_rate.to_string()),
            ("--seconds", plan.seconds.to_string()),
        ];
        Program::start(program, "the client", &command("bench-client", args), directory).map(Self)
    }

    /// The next thing that it tells.
    ///
    /// # Errors
    /// If it tells nothing, or what is none.
    pub(super) async fn told(&mut self) -> Result<Told, BenchError> {
        let line = self.0.line().await?;
        serde_json::from_str(&line).map_err(|error| self.0.failed(&format!("said `{line}`: {error}")))
    }

    /// The process.
    pub(super) const fn process(&self) -> &Program {
        &self.0
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.0.end().await;
    }
}

fn command<const N: usize>(name: &str, args: [(&str, String); N]) -> Vec<String> {
    let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["loadtest".to_owned(), name.to_owned()].into_iter().chain(args).collect()
}
