//! All rounds of a bench, in turn.

use std::{fs, path::PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use super::{
    BenchError, BenchReport, CONTENDERS, Contender,
    contender::{IDLE_AGENTS, Measure},
    disk, nats,
    report::{Machine, Row},
    round::{Came, Directory, Figures, Round},
};
use crate::files;

/// Files beside the agents' connections.
const OTHER_FILES: u64 = 256;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// This program.
    pub program: PathBuf,
    /// Names of contenders; none: all.
    pub only: Vec<String>,
    /// How often each.
    pub rounds: u32,
    /// Agents, where tasks are measured.
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// Tasks that count on a stream; a fifth of them as calls, and one in two hundred where one is in flight.
    pub tasks: u64,
    /// Tasks in flight on a stream.
    pub in_flight: u64,
    /// Tasks in one message of a stream.
    pub batch: u64,
    /// Where durable tasks are kept; none: a directory for temporary files.
    pub data_dir: Option<PathBuf>,
    /// The command, for the report.
    pub command: String,
}

/// Hears how far a bench is.
pub trait Heard: Sync {
    /// A contender has been measured in a round, and what stands out of it.
    fn measured(&self, round: u32, contender: &Contender, figure: &str);
}

impl BenchPlan {
    /// Those that are wanted: that can be measured, and that cannot because their program is not installed.
    fn contenders(&self) -> Result<(Vec<&'static Contender>, Vec<&'static Contender>), BenchError> {
        for name in &self.only {
            if !CONTENDERS.iter().any(|contender| contender.name == name) {
                return Err(BenchError::Unknown { name: name.clone() });
            }
        }
        let wanted =
            |contender: &&Contender| self.only.is_empty() || self.only.iter().any(|name| name == contender.name);
        let there = |contender: &&Contender| !contender.needs_nats() || nats::program().is_some();
        Ok(CONTENDERS.iter().filter(wanted).partition(there))
    }

    fn check(&self) -> Result<(), BenchError> {
        let wrong = |what: &str| Err(BenchError::Plan { what: what.to_owned() });
        if self.rounds == 0 || self.agents == 0 || self.slots == 0 {
            return wrong("--rounds, --agents and --slots must be at least 1");
        }
        if !(1_000..=1 << 32).contains(&self.tasks) {
            return wrong("--tasks must be from 1000 to 4294967296");
        }
        if !(1..=1_000).contains(&self.batch) || !(self.batch..=60_000).contains(&self.in_flight) {
            return wrong("--batch must be from 1 to 1000, and --in-flight from that to 60000: a stream holds no more");
        }
        Ok(())
    }

    /// One, unless the limit of open files asks for more.
    pub(super) fn agents_per_connection(&self, agents: u32) -> u32 {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1_024, 1_024));
        let room = hard.saturating_sub(OTHER_FILES).max(1);
        u32::try_from(u64::from(agents).div_ceil(room)).unwrap_or(1).max(1)
    }
}

/// Measures all contenders in every round.
///
/// # Errors
/// If the plan makes no sense, or the processes cannot be started or end before their time.
pub async fn run(plan: &BenchPlan, heard: &dyn Heard) -> Result<BenchReport, BenchError> {
    plan.check()?;
    let (contenders, absent) = plan.contenders()?;
    for contender in &absent {
        heard.measured(0, contender, "skipped: nats-server is not installed");
    }
    let connections = contenders.iter().map(|contender| connections(plan, contender)).max().unwrap_or(1);
    files::allow_connections(connections)?;
    let base = base(plan)?;
    let before = Machine::look(disk::file_system(&base.0));
    let mut rows: Vec<Row> = contenders.iter().map(|contender| Row::new(contender)).collect();
    for number in 1..=plan.rounds {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            let directory = base.0.join(format!("{}-{number}", contender.name));
            fs::create_dir_all(&directory)
                .map_err(|source| BenchError::Directory { path: directory.clone(), source })?;
            let round = Round { plan, contender, directory: Directory(directory) };
            match round.run().await? {
                Came::Figures(figures) => {
                    heard.measured(number, contender, &headline(&figures));
                    row.rounds.push(Some(figures));
                }
                Came::Failed { why, broken } => {
                    heard.measured(number, contender, &format!("FAILED: {why}"));
                    row.rounds.push(None);
                    row.failed(why, broken);
                }
            }
        }
    }
    Ok(BenchReport::new(plan, before, rows, &absent))
}

fn connections(plan: &BenchPlan, contender: &Contender) -> u32 {
    let agents = match contender.measure {
        Measure::Idle { .. } => IDLE_AGENTS,
        Measure::Heartbeats { agents } => agents,
        Measure::Tasks { .. } | Measure::Overload { .. } => plan.agents,
    };
    agents.div_ceil(plan.agents_per_connection(agents))
}

/// What stands out.
fn headline(figures: &Figures) -> String {
    let names = [
        "tasks_per_s",
        "p50_us",
        "server_cpu_us_per_task",
        "resident_kib_per_agent",
        "server_cpu_percent",
        "server_cpu_us_per_heartbeat",
        "peak_per_s",
        "goodput_per_s",
        "urgent_unloaded_p99_us",
        "urgent_p99_us",
    ];
    let known = names.iter().filter_map(|name| Some(format!("{name} {:.1}", figures.get(name)?)));
    known.collect::<Vec<_>>().join(", ")
}

/// Where all data is.
fn base(plan: &BenchPlan) -> Result<Directory, BenchError> {
    let name = format!("evenkeel-bench-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let path = plan.data_dir.clone().unwrap_or_else(std::env::temp_dir).join(name);
    fs::create_dir_all(&path).map_err(|source| BenchError::Directory { path: path.clone(), source })?;
    Ok(Directory(path))
}
