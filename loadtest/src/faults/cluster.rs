//! A cluster under test: one coordinator and hosts of agents, as processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::time::sleep;

use super::{
    agent::KIND,
    client::Clients,
    lab::{FaultError, Lab},
    process::{Process, evenkeel, free_port},
};

/// Longest start of a coordinator, the recovery of its store included.
const START_MAX: Duration = Duration::from_secs(60);
/// The file that says it is ready is looked for this often.
const READY_POLL: Duration = Duration::from_millis(5);

/// How a coordinator is to be started.
#[derive(Clone, Debug, Default)]
pub struct CoordinatorOptions {
    /// Its settings, in TOML; empty: the defaults.
    pub config: String,
    /// More of its environment, such as failpoints or a library to load first.
    pub env: Vec<(String, String)>,
    /// Where it keeps its data; none: a directory of the lab's.
    pub data_dir: Option<PathBuf>,
}

/// A coordinator as a process. It keeps its addresses and its data over restarts.
pub struct Coordinator {
    process: Process,
    program: PathBuf,
    directory: PathBuf,
    data_dir: PathBuf,
    grpc: String,
    http: String,
    /// How it is started the next time.
    pub options: CoordinatorOptions,
}

/// What the coordinator writes once it is ready.
#[derive(Deserialize)]
struct Ready {
    grpc: String,
    http: String,
}

impl Coordinator {
    /// Starts one on free ports.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start(lab: &Lab, options: CoordinatorOptions) -> Result<Self, FaultError> {
        Self::start_named(lab, "coordinator", options).await
    }

    /// Starts one of several, each with a directory of this name.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn start_named(lab: &Lab, name: &str, options: CoordinatorOptions) -> Result<Self, FaultError> {
        let directory = lab.subdirectory(name)?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| directory.join("data"));
        // Ports of its own, and not 0: a restart must be found where the first start was.
        let port = || free_port().map_err(FaultError::io("find a port for", &directory));
        let (grpc, http) = (format!("127.0.0.1:{}", port()?), format!("127.0.0.1:{}", port()?));
        let process = spawn(&lab.program, &directory, &data_dir, (&grpc, &http), &options)?;
        let mut this = Self { process, program: lab.program.clone(), directory, data_dir, grpc, http, options };
        this.until_ready().await?;
        Ok(this)
    }

    /// Starts it again, where it was. Answers how long it took to take work again.
    ///
    /// # Errors
    /// If it still runs, or does not get ready.
    pub async fn restart(&mut self) -> Result<Duration, FaultError> {
        let began = Instant::now();
        self.respawn()?;
        self.until_ready().await?;
        Ok(began.elapsed())
    }

    /// Starts it again and does not wait until it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    fn respawn(&mut self) -> Result<(), FaultError> {
        let addresses = (self.grpc.as_str(), self.http.as_str());
        self.process = spawn(&self.program, &self.directory, &self.data_dir, addresses, &self.options)?;
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// If it ends instead, or takes too long.
    async fn until_ready(&mut self) -> Result<(), FaultError> {
        let file = self.directory.join("ready.json");
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(Ready { grpc, http }) = serde_json::from_slice(&fs::read(&file).unwrap_or_default()) {
                (self.grpc, self.http) = (grpc, http);
                return Ok(());
            }
            if let Some(status) = self.process.try_ended() {
                return Err(FaultError::Died { what: "the coordinator".into(), status, log: self.process.log_tail() });
            }
            if Instant::now() > deadline {
                return Err(FaultError::Never { what: "the coordinator is ready".into(), waited: START_MAX });
            }
            sleep(READY_POLL).await;
        }
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn kill(&mut self) -> Result<(), FaultError> {
        self.process.kill().await
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn terminate(&mut self) -> Result<ExitStatus, FaultError> {
        self.process.terminate().await
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where gRPC is served.
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Where HTTP is served.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The URL for clients and agents that nothing stands in the way of.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Clients of it; they find it again after a restart.
    ///
    /// # Errors
    /// If its address is none.
    pub fn clients(&self) -> Result<Clients, FaultError> {
        Clients::new(&self.url(), self.http.clone())
    }
}

fn spawn(
    program: &Path,
    directory: &Path,
    data_dir: &Path,
    (grpc, http): (&str, &str),
    options: &CoordinatorOptions,
) -> Result<Process, FaultError> {
    let (ready, config) = (directory.join("ready.json"), directory.join("coordinator.toml"));
    // It is not there at the first start.
    let _ = fs::remove_file(&ready);
    fs::write(&config, &options.config).map_err(FaultError::io("write", &config))?;
    let mut command = evenkeel(program, ["coordinator", "--grpc", grpc, "--http", http]);
    command.arg("--config").arg(&config).arg("--data-dir").arg(data_dir).arg("--ready-file").arg(&ready);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    Process::start(command, &directory.join("coordinator.log"))
}

/// How a host of agents is to be started.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Agents in the process: `NAME-0`, `NAME-1`, ...
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// Tasks wanted ahead per slot; none: the coordinator decides.
    pub prefetch: Option<u8>,
    /// The kind of tasks that they take.
    pub kind: &'static str,
    /// More of its environment, such as a library to load first.
    pub env: Vec<(String, String)>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { agents: 1, slots: 2, prefetch: None, kind: KIND, env: Vec::new() }
    }
}

/// A process with agents in it. See [`super::agent`] for what they run.
pub struct Host {
    name: String,
    process: Process,
    program: PathBuf,
    directory: PathBuf,
    url: String,
    options: HostOptions,
}

impl Host {
    /// Starts one whose agents dial `url`, which may be a proxy. It does not wait until they have a session: see
    /// [`Clients::until_agents`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(lab: &Lab, url: &str, name: &str, options: HostOptions) -> Result<Self, FaultError> {
        let directory = lab.subdirectory("agents")?;
        let process = spawn_host(&lab.program, &directory, url, name, &options)?;
        let program = lab.program.clone();
        Ok(Self { name: name.to_owned(), process, program, directory, url: url.to_owned(), options })
    }

    /// Starts it again under the same names.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn restart(&mut self) -> Result<(), FaultError> {
        self.process = spawn_host(&self.program, &self.directory, &self.url, &self.name, &self.options)?;
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Where the hosts of a lab write down what their agents execute.
pub(super) fn execution_logs(lab: &Lab) -> Result<Vec<PathBuf>, FaultError> {
    let directory = lab.subdirectory("agents")?;
    let entries = fs::read_dir(&directory).map_err(FaultError::io("list", &directory))?;
    let mut logs: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    logs.sort();
    Ok(logs)
}

fn spawn_host(
    program: &Path,
    directory: &Path,
    url: &str,
    name: &str,
    options: &HostOptions,
) -> Result<Process, FaultError> {
    // Sessions and what became of the attempts that agents brought with them are said at level info.
    let log = ["--log", "warn,evenkeel_agent=info"];
    let mut command = evenkeel(program, log);
    command.args(["loadtest", "fault-agents", "--coordinator", url, "--name", name]);
    command.arg("--agents").arg(options.agents.to_string()).arg("--slots").arg(options.slots.to_string());
    command.args(["--kind", options.kind]).arg("--executions").arg(directory.join(format!("{name}.jsonl")));
    if let Some(prefetch) = options.prefetch {
        command.arg("--prefetch").arg(prefetch.to_string());
    }
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    Process::start(command, &directory.join(format!("{name}.log")))
}
