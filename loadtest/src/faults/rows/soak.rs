//! What grows when nothing seems to happen.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    time::{Duration, Instant},
};

use evenkeel_shared::TaskId;
use futures_util::FutureExt as _;
use tokio::time::{sleep, sleep_until};

use super::super::{
    Fault, Lab, Seen,
    client::Clients,
    cluster::{Coordinator, CoordinatorOptions, Host, HostOptions, execution_logs},
    judge::SETTLE_MAX,
    lab::FaultError,
    load::{Load, LoadOptions, task},
};
use crate::history::{Expect, History, RecordedTask, check, collect, read_executions};

/// A steady load for long, with agents that die and others that come in their place.
pub const SOAK: Fault = Fault {
    name: "soak",
    fault: "a steady load on 100 agents, of which one a minute is killed: it comes back, or another in its place",
    passes_when: "resident memory of the coordinator and of the agents, threads, descriptors and store size flat after a warm-up; no \
                  promise broken",
    on_request: true,
    run: |lab| soak(lab).boxed(),
};

/// Finished tasks are kept for two minutes and looked for once a minute, so before this the store only grows.
const WARM_UP_MIN: Duration = Duration::from_secs(240);
/// Or this part of the soak, if that is longer.
const WARM_UP_PART: u32 = 4;
/// A shorter soak has too few samples after its warm-up.
const SOAK_MIN: Duration = Duration::from_secs(600);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Of so many samples in a row the least one counts: what stays. It is as long as two readings of the record, each of which
/// takes some MiB for a moment; how many samples meet such a moment is chance.
const FLOOR_SAMPLES: usize = 9;
/// Tasks per second.
const RATE: f64 = 60.0;
/// Six hosts that stay, and four agents with a process each, of which one is killed in turn.
const STEADY_HOSTS: u32 = 6;
const STEADY_AGENTS: u32 = 16;
const CHURNING: u32 = 4;
const CHURN_EVERY: Duration = Duration::from_secs(60);
/// The record is read this often: often enough to see each task before it is removed.
const RECORD_EVERY: Duration = Duration::from_secs(45);
/// Lists and caches are full from the start, because one that fills slowly is not told from one that leaks; and history is
/// looked back at from the start and often, because the first look takes room that those after it use again.
const CONFIG: &str = "\
[store]
cache_bytes = 4194304
[engine]
lost_agent_memory_ms = 60000
[limits]
recent_events_max = 4096
[resources]
look_back_interval_ms = 60000
";
/// What a quantity may differ by from the first to the last quarter, and still be flat: a share of it, and this much that is
/// noise at any size.
const FLAT_SHARE: f64 = 0.05;
const NOISE_BYTES: f64 = 2_097_152.0;
const NOISE_FILES: f64 = 4.0;
/// Those that the runtime keeps for a moment after it has done without.
const NOISE_THREADS: f64 = 1.0;

async fn soak(lab: &mut Lab) -> Result<Seen, FaultError> {
    lab.need_failpoints()?;
    if lab.soak < SOAK_MIN {
        let why = format!("a soak of less than {} s shows nothing after its warm-up", SOAK_MIN.as_secs());
        return Err(FaultError::Skipped { why });
    }
    let config = CONFIG.to_owned();
    let env = vec![("EVENKEEL_FAILPOINTS".to_owned(), "short-retention=on".to_owned())];
    let options = CoordinatorOptions { config, env, ..CoordinatorOptions::default() };
    let mut coordinator = Coordinator::start(lab, options).await?;
    let clients = coordinator.clients()?;
    let many = HostOptions { agents: STEADY_AGENTS, slots: 2, ..HostOptions::default() };
    let one = HostOptions { agents: 1, ..many.clone() };
    let mut steady = Vec::new();
    for host in 0..STEADY_HOSTS {
        steady.push(Host::start(lab, &coordinator.url(), &format!("steady{host}"), many.clone())?);
    }
    let mut churning = Vec::new();
    for host in 0..CHURNING {
        churning.push(Host::start(lab, &coordinator.url(), &format!("churn{host}"), one.clone())?);
    }
    clients.until_agents(STEADY_HOSTS * STEADY_AGENTS + CHURNING).await?;

    let load = LoadOptions { rate: Some(RATE), clients: 2, batch: 3, task: |_| task(100), ..LoadOptions::default() };
    let load = Load::start(clients.clone(), load);
    let (began, mut samples, mut record) = (Instant::now(), Vec::new(), Record::default());
    let (mut deaths, mut recorded_at) = (0, began);
    let warm_up = WARM_UP_MIN.max(lab.soak / WARM_UP_PART);
    while began.elapsed() < lab.soak {
        let next = Instant::now() + SAMPLE_EVERY;
        if began.elapsed() >= CHURN_EVERY * (deaths + 1) {
            let at = (deaths % CHURNING) as usize;
            churning[at].process().kill().await?;
            if deaths % 2 == 0 {
                churning[at].restart()?;
            } else {
                churning[at] = Host::start(lab, &coordinator.url(), &format!("new{deaths}"), one.clone())?;
            }
            deaths += 1;
        }
        if recorded_at.elapsed() >= RECORD_EVERY {
            recorded_at = Instant::now();
            record.read(&clients).await?;
        }
        if began.elapsed() >= warm_up {
            samples.push(Sample::of(&mut coordinator, &mut steady));
        }
        sleep_until(next.into()).await;
    }
    let mut history = load.finish(SETTLE_MAX).await;
    sleep(Duration::from_secs(1)).await;
    record.read(&clients).await?;
    for log in execution_logs(lab)? {
        read_executions(&log, &mut history).map_err(|error| FaultError::Other(error.to_string()))?;
    }
    let changed = record.changed;
    history.recorded = record.tasks.into_values().collect();
    let verdict = check(&history, Expect { all_over: true, ..Expect::default() });

    let trends = Trend::all(&samples);
    let shown: Vec<String> = trends.iter().map(ToString::to_string).collect();
    let text = format!(
        "{} s, {deaths} agents killed, {} tasks, {} samples from {} s on; {}; {changed} records changed after the end of their task",
        began.elapsed().as_secs(),
        history.recorded.len(),
        samples.len(),
        warm_up.as_secs(),
        shown.join("; ")
    );
    Ok(Seen::new(changed == 0 && trends.iter().all(Trend::is_flat), text).judged(verdict))
}

/// What the coordinator has recorded, read before it forgets.
#[derive(Default)]
struct Record {
    tasks: BTreeMap<TaskId, RecordedTask>,
    /// Tasks that were over and are now recorded otherwise.
    changed: u64,
}

impl Record {
    async fn read(&mut self, clients: &Clients) -> Result<(), FaultError> {
        let mut history = History::default();
        collect(clients.channel().into(), &mut history).await?;
        for task in history.recorded {
            let before = self.tasks.get(&task.id).filter(|before| before.state.is_terminal());
            if before.is_some_and(|before| *before != task) {
                self.changed += 1;
            }
            self.tasks.insert(task.id, task);
        }
        Ok(())
    }
}

/// How large everything is at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    coordinator_bytes: f64,
    agents_bytes: f64,
    threads: f64,
    files: f64,
    store_bytes: f64,
}

impl Sample {
    fn of(coordinator: &mut Coordinator, hosts: &mut [Host]) -> Self {
        Self {
            coordinator_bytes: coordinator.process().resident_bytes() as f64,
            agents_bytes: hosts.iter_mut().map(|host| host.process().resident_bytes() as f64).sum(),
            threads: coordinator.process().threads() as f64,
            files: coordinator.process().open_files() as f64,
            store_bytes: directory_bytes(coordinator.data_dir()) as f64,
        }
    }
}

fn directory_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// Where one quantity goes.
struct Trend {
    name: &'static str,
    unit: f64,
    noise: f64,
    first: f64,
    last: f64,
    /// What the straight line through all floors gains from the first to the last of them.
    gain: f64,
    /// What stays of each stretch of the soak.
    floors: Vec<f64>,
    /// The most there was in one.
    peak: f64,
}

impl Trend {
    fn all(samples: &[Sample]) -> Vec<Self> {
        let of = |name, unit, noise, value: fn(&Sample) -> f64| {
            Self::new(name, unit, noise, &samples.iter().map(value).collect::<Vec<_>>())
        };
        let mib = f64::from(1 << 20);
        vec![
            of("coordinator MiB", mib, NOISE_BYTES, |sample| sample.coordinator_bytes),
            of("agents MiB", mib, NOISE_BYTES, |sample| sample.agents_bytes),
            of("threads", 1.0, NOISE_THREADS, |sample| sample.threads),
            of("descriptors", 1.0, NOISE_FILES, |sample| sample.files),
            of("store MiB", mib, NOISE_BYTES, |sample| sample.store_bytes),
        ]
    }

    fn new(name: &'static str, unit: f64, noise: f64, values: &[f64]) -> Self {
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let floors: Vec<f64> = values.chunks_exact(FLOOR_SAMPLES).map(least).collect();
        let quarter = (floors.len() / 4).max(1).min(floors.len());
        let (first, last) = (mean(&floors[..quarter]), mean(&floors[floors.len() - quarter..]));
        let peak = values.iter().copied().fold(0.0, f64::max);
        Self { name, unit, noise, first, last, gain: gain(&floors), floors, peak }
    }

    /// Less gained than noise explains, by both measures: a step at the end moves the line little, a slow climb the quarters.
    fn is_flat(&self) -> bool {
        let may = self.first * FLAT_SHARE + self.noise;
        !self.floors.is_empty() && self.last - self.first <= may && self.gain <= may
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The slope of the line of least squares, times its length.
fn gain(values: &[f64]) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let average = mean(values);
    let at = |index: usize| index as f64 - middle;
    let along: f64 = values.iter().enumerate().map(|(index, value)| at(index) * (value - average)).sum();
    let square: f64 = (0..values.len()).map(|index| at(index) * at(index)).sum();
    if square > 0.0 { along / square * 2.0 * middle } else { 0.0 }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, first, last, gain, floors, peak, .. } = self;
        let word = if self.is_flat() { "flat" } else { "NOT flat" };
        write!(
            f,
            "{name} {word}: first quarter {:.1}, last {:.1}, line {:+.1}, peak {:.1} (",
            first / unit,
            last / unit,
            gain / unit,
            peak / unit
        )?;
        // Ten of them show the shape.
        let step = floors.len().div_ceil(10).max(1);
        let shown: Vec<String> = floors.iter().step_by(step).map(|floor| format!("{:.1}", floor / unit)).collect();
        write!(f, "{})", shown.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: impl Fn(u32) -> f64) -> Trend {
        let values: Vec<f64> = (0..90).map(|at| value(at) * f64::from(1 << 20)).collect();
        Trend::new("bytes", 1.0, NOISE_BYTES, &values)
    }

    #[test]
    fn what_goes_up_and_down_is_flat() {
        assert!(bytes(|_| 60.0).is_flat());
        assert!(bytes(|at| 60.0 + 2.0 * f64::from(at % 6)).is_flat(), "a sawtooth");
        assert!(bytes(|at| if at > 60 && at % 5 > 0 { 75.0 } else { 60.0 }).is_flat(), "bursts, by chance late ones");
        assert!(bytes(|at| 60.0 - 0.2 * f64::from(at)).is_flat(), "less and less");
    }

    #[test]
    fn what_climbs_is_not() {
        assert!(!bytes(|at| 60.0 + 0.1 * f64::from(at)).is_flat(), "nine in the end");
        assert!(!bytes(|at| if at < 70 { 60.0 } else { 90.0 }).is_flat(), "a step");
        assert!(!bytes(|at| 60.0 + 2.0 * f64::from(at % 6) + 0.2 * f64::from(at)).is_flat(), "a sawtooth that climbs");
    }

    #[test]
    fn no_samples_show_nothing() {
        assert!(!Trend::new("none", 1.0, NOISE_BYTES, &[]).is_flat());
        assert!(!Trend::new("few", 1.0, NOISE_BYTES, &[1.0; FLOOR_SAMPLES - 1]).is_flat());
    }

    #[test]
    fn the_line_gains_what_the_values_do() {
        assert!((gain(&[1.0, 2.0, 3.0, 4.0]) - 3.0).abs() < 1e-9);
        assert!(gain(&[5.0]).abs() < 1e-9);
    }
}
