//! One contender in one round: processes of its own, started, watched and ended.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    BenchError, BenchPlan,
    agents::AgentsPlan,
    client::{Measured, Told},
    contender::{
        BASE_LASTS, CALLS_IN_FLIGHT, Contender, HEARTBEATS_LAST, IDLE_AGENTS, Measure, OVERLOAD_AGENTS,
        OVERLOAD_FACTOR, OVERLOAD_LASTS, OVERLOAD_TASK_TIME, SETTLE, URGENT_RATE,
    },
    disk,
    host::{ClientPlan, Load, Protocol},
    process::{self, Client, Program, Server},
    sample::Sample,
};

/// What was measured, by name; units are last in the names.
pub(super) type Figures = BTreeMap<&'static str, f64>;

/// What a round of a contender came to.
#[derive(Debug)]
pub(super) enum Came {
    /// To these figures.
    Figures(Figures),
    /// A promise was broken, or the measure came to nothing; and why.
    Failed { why: String, broken: bool },
}

/// A contender in a round.
pub(super) struct Round<'a> {
    pub plan: &'a BenchPlan,
    pub contender: &'a Contender,
    /// Of this round alone; removed in the end.
    pub directory: Directory,
}

/// A directory that goes with it.
pub(super) struct Directory(pub PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays where the data is kept.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a client measured and what the processes used meanwhile.
struct Watched {
    measured: Measured,
    server: Sample,
    agents: Sample,
    client: Sample,
}

/// Why there are no figures.
enum Stop {
    Error(BenchError),
    Failed { why: String, broken: bool },
}

impl From<BenchError> for Stop {
    fn from(error: BenchError) -> Self {
        Self::Error(error)
    }
}

impl Round<'_> {
    /// Measures.
    ///
    /// # Errors
    /// If it cannot be measured at all.
    pub(super) async fn run(&self) -> Result<Came, BenchError> {
        let figures = match self.contender.measure {
            Measure::Tasks { protocol, load, alone } => self.tasks(protocol, load, alone).await,
            Measure::Idle { protocol } => self.idle(protocol).await,
            Measure::Heartbeats { agents } => self.heartbeats(agents).await,
            Measure::Overload { tasks_max } => self.overload(tasks_max).await,
        };
        match figures {
            Ok(figures) => Ok(Came::Figures(figures)),
            Err(Stop::Failed { why, broken }) => Ok(Came::Failed { why, broken }),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn program(&self) -> &Path {
        &self.plan.program
    }

    async fn server(&self, protocol: Protocol, config: &str) -> Result<Server, BenchError> {
        Server::start(self.program(), protocol, &self.directory.0, config).await
    }

    async fn agents(&self, protocol: Protocol, plan: &AgentsPlan) -> Result<Program, BenchError> {
        process::agents(self.program(), protocol, plan, &self.directory.0).await
    }

    fn fleet(&self, server: &Server, agents: u32) -> AgentsPlan {
        AgentsPlan {
            url: server.url.clone(),
            agents,
            agents_per_connection: self.plan.agents_per_connection(agents),
            slots: self.plan.slots,
            task_time: Duration::ZERO,
        }
    }

    async fn tasks(&self, protocol: Protocol, load: Load, alone: bool) -> Result<Figures, Stop> {
        let mut figures = Figures::new();
        if protocol.is_kept() {
            let fsync = disk::probe(&self.directory.0).map_err(BenchError::io("write to the disk"))?;
            figures.extend([("fsync_p50_us", fsync.p50_us), ("fsync_p99_us", fsync.p99_us)]);
        }
        let server = self.server(protocol, "").await?;
        let agents = self.agents(protocol, &self.fleet(&server, self.plan.agents)).await?;
        let (tasks, in_flight) = match (load, alone) {
            (Load::Stream, _) => (self.plan.tasks, self.plan.in_flight),
            (_, false) => (self.plan.tasks / 5, CALLS_IN_FLIGHT),
            (_, true) => (self.plan.tasks / 200, 1),
        };
        let plan = ClientPlan {
            protocol,
            load,
            tasks: tasks.max(1),
            warm_up: tasks / 4,
            in_flight,
            batch: self.plan.batch,
            rate: 0.0,
            urgent_rate: 0.0,
            seconds: 0.0,
        };
        let watched = self.watch(&server, &agents, &plan).await?;
        let tasks = watched.measured.tasks as f64;
        figures.extend([
            ("tasks_per_s", tasks / watched.measured.seconds),
            ("p50_us", watched.measured.p50_us),
            ("p99_us", watched.measured.p99_us),
            ("server_cpu_us_per_task", watched.server.cpu_us / tasks),
            ("agents_cpu_us_per_task", watched.agents.cpu_us / tasks),
            ("client_cpu_us_per_task", watched.client.cpu_us / tasks),
            ("all_cpu_us_per_task", (watched.server.cpu_us + watched.agents.cpu_us + watched.client.cpu_us) / tasks),
            ("server_resident_mib", mib(watched.server.resident_bytes)),
            ("server_voluntary_switches_per_task", watched.server.voluntary as f64 / tasks),
            ("server_involuntary_switches_per_task", watched.server.involuntary as f64 / tasks),
        ]);
        agents.end().await;
        server.process.end().await;
        Ok(figures)
    }

    /// Runs a client to its end and watches all processes while what counts goes on.
    async fn watch(&self, server: &Server, agents: &Program, plan: &ClientPlan) -> Result<Watched, Stop> {
        let mut client = Client::start(self.program(), &server.url, plan, &self.directory.0)?;
        let samples = |client: &Client| -> Result<[Sample; 3], BenchError> {
            Ok([server.process.sample()?, agents.sample()?, client.process().sample()?])
        };
        let mut before = [Sample::default(); 3];
        let mut watched = None;
        loop {
            match client.told().await? {
                Told::Began => before = samples(&client)?,
                Told::Measured(measured) => {
                    let after = samples(&client)?;
                    let [server, agents, client] = [0, 1, 2].map(|i: usize| after[i].since(before[i]));
                    watched = Some(Watched { measured, server, agents, client });
                }
                Told::Verified { .. } => break,
                Told::Failed { why, broken } => return Err(Stop::Failed { why, broken }),
            }
        }
        client.end().await;
        let silent = || Stop::Failed { why: "the client verified what it did not measure".to_owned(), broken: false };
        watched.ok_or_else(silent)
    }

    async fn idle(&self, protocol: Protocol) -> Result<Figures, Stop> {
        let server = self.server(protocol, "").await?;
        sleep(BASE_LASTS).await;
        let before = server.process.sample()?;
        let plan = self.fleet(&server, IDLE_AGENTS);
        let agents = self.agents(protocol, &plan).await?;
        sleep(SETTLE).await;
        let after = server.process.sample()?;
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        agents.end().await;
        server.process.end().await;
        Ok(Figures::from([
            ("resident_kib_per_agent", grown as f64 / 1_024.0 / f64::from(IDLE_AGENTS)),
            ("server_resident_mib", mib(after.resident_bytes)),
            ("agents_per_connection", f64::from(plan.agents_per_connection)),
        ]))
    }

    async fn heartbeats(&self, count: u32) -> Result<Figures, Stop> {
        let server = self.server(Protocol::Durable, "").await?;
        sleep(BASE_LASTS / 2).await;
        let (base_cpu_share, _) = cpu_share(&server, BASE_LASTS).await?;
        let plan = self.fleet(&server, count);
        let agents = self.agents(Protocol::Durable, &plan).await?;
        sleep(SETTLE).await;
        let (share, sample) = cpu_share(&server, HEARTBEATS_LAST).await?;
        agents.end().await;
        server.process.end().await;
        Ok(Figures::from([
            ("server_cpu_percent", share * 100.0),
            ("server_cpu_us_per_heartbeat", (share - base_cpu_share) * 1e6 / f64::from(count)),
            ("server_resident_mib", mib(sample.resident_bytes)),
            ("agents_per_connection", f64::from(plan.agents_per_connection)),
        ]))
    }

    async fn overload(&self, tasks_max: Option<u32>) -> Result<Figures, Stop> {
        let config = tasks_max.map_or_else(String::new, |max| format!("[engine]\ntasks_max = {max}\n"));
        let protocol = Protocol::Ephemeral;
        let server = self.server(protocol, &config).await?;
        let fleet = self.fleet(&server, OVERLOAD_AGENTS);
        let fleet = AgentsPlan { slots: 1, task_time: OVERLOAD_TASK_TIME, ..fleet };
        let agents = self.agents(protocol, &fleet).await?;
        let calm = ClientPlan {
            protocol,
            load: Load::Open,
            tasks: 0,
            warm_up: 0,
            in_flight: 0,
            batch: 1,
            rate: 0.0,
            urgent_rate: URGENT_RATE,
            seconds: OVERLOAD_LASTS.as_secs_f64(),
        };
        let unloaded = self.watch(&server, &agents, &calm).await?.measured;
        let can_do = f64::from(OVERLOAD_AGENTS) / OVERLOAD_TASK_TIME.as_secs_f64();
        let full = ClientPlan {
            load: Load::Stream,
            tasks: (can_do * OVERLOAD_LASTS.as_secs_f64() / 2.0) as u64,
            warm_up: can_do as u64,
            in_flight: u64::from(OVERLOAD_AGENTS) * 6,
            ..calm
        };
        let peak = self.watch(&server, &agents, &full).await?.measured;
        let peak_per_s = peak.tasks as f64 / peak.seconds;
        let over = ClientPlan { rate: OVERLOAD_FACTOR * peak_per_s, ..calm };
        let over = self.watch(&server, &agents, &over).await?;
        let (during, resident) = (over.measured, over.server.resident_bytes);
        agents.end().await;
        server.process.end().await;
        let goodput_per_s = (during.tasks + during.urgent) as f64 / during.seconds;
        Ok(Figures::from([
            ("peak_per_s", peak_per_s),
            ("goodput_per_s", goodput_per_s),
            ("refused_per_s", during.refused as f64 / during.seconds),
            ("urgent_unloaded_p50_us", unloaded.urgent_p50_us),
            ("urgent_unloaded_p99_us", unloaded.urgent_p99_us),
            ("urgent_p50_us", during.urgent_p50_us),
            ("urgent_p99_us", during.urgent_p99_us),
            ("urgent_per_s", during.urgent as f64 / during.seconds),
            ("urgent_refused_per_s", during.urgent_refused as f64 / during.seconds),
            ("server_resident_mib", mib(resident)),
        ]))
    }
}

/// The share of one core that a server takes for so long.
async fn cpu_share(server: &Server, lasts: Duration) -> Result<(f64, Sample), BenchError> {
    let (before, began) = (server.process.sample()?, Instant::now());
    sleep(lasts).await;
    let used = server.process.sample()?.since(before);
    Ok((used.cpu_us / 1e6 / began.elapsed().as_secs_f64(), used))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
