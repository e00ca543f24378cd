//! Records for tests: a run that never was.

use std::collections::BTreeMap;

use super::{
    AgentLoad, Build, Decision, Histograms, Machine, Mark, MarkKind, Phase, ProcessUsage, RECORD_VERSION, RunRecord,
    Slice, Totals, Window, collect,
};
use crate::{
    levels::{LevelOutcome, Measure, ServiceLevel, Severity},
    report::Latency,
    scenario::{Arrivals, Curve, Fleet, Network, Process, Scenario, Work},
    task_time::TaskTime,
};

/// What a run was like.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub scenario: String,
    pub seconds: u32,
    pub tasks_per_s: u32,
    /// End to end, of the median task.
    pub median_ms: f64,
    /// Standard deviation of the logarithm of a task's time.
    pub spread: f64,
    /// The same of a second's median, which lasts: each second keeps 0.7 of the one before.
    pub drift: f64,
    /// Processor time of a task.
    pub cpu_us: f64,
    pub memory_mib: f64,
    pub seed: u64,
    pub started_at_ms: u64,
    pub faults: bool,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            scenario: "smoke".to_owned(),
            seconds: 60,
            tasks_per_s: 200,
            median_ms: 10.0,
            spread: 0.5,
            drift: 0.05,
            cpu_us: 150.0,
            memory_mib: 100.0,
            seed: 1,
            started_at_ms: 1_769_860_800_000,
            faults: false,
        }
    }
}

impl Example {
    pub(crate) fn run(&self) -> (RunRecord, Histograms) {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut whole = Histograms::default();
        let mut windows = Vec::new();
        let mut level = 0.0;
        for second in 0..self.seconds {
            level = 0.7 * level + 0.51_f64.sqrt() * self.drift * normal(&mut rng);
            let trouble = self.faults && (self.seconds / 2..self.seconds / 2 + 4).contains(&second);
            let stretch = self.second(&mut rng, level + if trouble { 2.0 } else { 0.0 });
            whole.add_interval(f64::from(second), 1.0, &stretch);
            windows.push(self.window(&mut rng, second, trouble, &stretch));
        }
        (self.record(windows, &whole), whole)
    }

    fn second(&self, rng: &mut fastrand::Rng, level: f64) -> Histograms {
        let mut stretch = Histograms::default();
        let noise = f64::from(self.tasks_per_s).sqrt() * normal(rng);
        let tasks = (f64::from(self.tasks_per_s) + noise).max(1.0) as u32;
        for task in 0..tasks {
            let ms = self.median_ms * (level + self.spread * normal(rng)).exp();
            let slices = [
                Slice::All,
                Slice::Tenant(["acme", "<b>&\"globex\"</b>"][task as usize % 2].to_owned()),
                Slice::Priority([5, 9][usize::from(task % 10 == 0)]),
                Slice::Work(["simple", "risky"][usize::from(task % 5 == 0)].to_owned()),
            ];
            for slice in slices {
                let mut record = |phase, share: f64| stretch.record(&slice, phase, (ms * share * 1e3) as u64);
                record(Phase::Acceptance, 0.1);
                record(Phase::Queueing, 0.3);
                record(Phase::Execution, 0.6);
                record(Phase::EndToEnd, 1.0);
            }
        }
        stretch
    }

    fn window(&self, rng: &mut fastrand::Rng, second: u32, trouble: bool, stretch: &Histograms) -> Window {
        let latency = |phase| Some((phase, Latency::of(stretch.get(&Slice::All, phase)?)));
        let completed = stretch.get(&Slice::All, Phase::EndToEnd).map_or(0, |us| us.len());
        let noise = 1.0 + 0.02 * normal(rng);
        Window {
            at_s: f64::from(second + 1),
            length_s: 1.0,
            offered: completed + u64::from(trouble) * 30,
            accepted: completed,
            refused: u64::from(trouble) * 5,
            completed,
            failed: u64::from(trouble),
            retried: u64::from(trouble) * 20,
            latency_ms: Phase::ALL.into_iter().filter_map(latency).collect(),
            queue_depth: rng.u64(0..20) + u64::from(trouble) * 400,
            running: rng.u64(10..30),
            agents: if trouble { 80 } else { 100 },
            available: !trouble,
            coordinator_cpu_cores: Some(completed as f64 * self.cpu_us * noise / 1e6),
            coordinator_memory_bytes: Some((self.memory_mib * noise * 1_048_576.0) as u64),
            harness_cpu_cores: Some(0.4),
        }
    }

    fn record(&self, windows: Vec<Window>, whole: &Histograms) -> RunRecord {
        let completed: u64 = windows.iter().map(|window| window.completed).sum();
        let cpu_s = windows.iter().filter_map(|window| window.coordinator_cpu_cores).sum();
        let peak = windows.iter().filter_map(|window| window.coordinator_memory_bytes).max().unwrap_or(0);
        RunRecord {
            version: RECORD_VERSION,
            id: collect::run_id(self.started_at_ms, &self.scenario, self.seed as u16),
            started_at_ms: self.started_at_ms,
            scenario: self.scenario(),
            seed: self.seed,
            command: ["loadtest", "run", "--scenario", &self.scenario].map(str::to_owned).to_vec(),
            build: Build { version: "0.1.0".to_owned(), commit: Some("0123456789ab".to_owned()), optimized: true },
            machine: Machine {
                cpu: "Some CPU".to_owned(),
                cpus: 2,
                memory_bytes: 8 << 30,
                os: "Linux 6.1".to_owned(),
                file_system: Some("ext4".to_owned()),
            },
            duration_s: f64::from(self.seconds),
            totals: Totals { offered: completed, accepted: completed, completed, ..Totals::default() },
            latency_ms: whole.latencies(),
            agent_load: self.load(&windows),
            windows,
            marks: self.marks(),
            levels: vec![outcome("p99 of all tasks", 500.0, 42.5, true), outcome("p50 <script>", 5.0, 10.0, false)],
            change: None,
            coordinator: Some(ProcessUsage {
                cpu_s,
                memory_peak_bytes: peak,
                memory_idle_bytes: 60 << 20,
                context_switches: 12_345,
            }),
            verdict: if self.faults { Decision::NoGo } else { Decision::Go },
            reasons: if self.faults { vec!["p50 <script> was 10 ms, at most 5 ms".to_owned()] } else { Vec::new() },
        }
    }

    fn scenario(&self) -> Scenario {
        Scenario {
            name: self.scenario.clone(),
            description: "An example <i>with</i> markup & more.".to_owned(),
            duration_s: f64::from(self.seconds),
            strategy: None,
            fleet: Fleet {
                agents: 100,
                slots: 1,
                agents_per_connection: 1,
                specialists_share: 0.0,
                regions: BTreeMap::new(),
                curve: Curve::default(),
                churn: Default::default(),
            },
            arrivals: Arrivals {
                rate_per_s: f64::from(self.tasks_per_s),
                process: Process::Poisson,
                curve: Curve::default(),
                spikes: Vec::new(),
            },
            work: vec![Work {
                name: "simple".to_owned(),
                weight: 1.0,
                time: TaskTime::Fixed(std::time::Duration::from_millis(5)),
                priority: 5,
                tenants: BTreeMap::new(),
                payload_bytes: 64,
                ephemeral: false,
                prefers_region: false,
                failure_share: 0.0,
                escalation: None,
            }],
            network: Network::default(),
            faults: Vec::new(),
            levels: Vec::new(),
            webhook: None,
            change: None,
        }
    }

    fn load(&self, windows: &[Window]) -> AgentLoad {
        let rows = 25;
        let busy = |row: usize, second: usize| {
            let wave = ((row as f64 * 1.7 + second as f64 * 0.3).sin() + 1.0) / 2.0;
            (windows[second].available || row < 20).then_some((0.2 + 0.6 * wave) as f32)
        };
        AgentLoad {
            column_s: 1.0,
            agents_per_row: 4,
            rows: (0..rows).map(|row| (0..windows.len()).map(|second| busy(row, second)).collect()).collect(),
            finished_by_agent: (0..100).map(|agent| 90 + agent % 17).collect(),
        }
    }

    fn marks(&self) -> Vec<Mark> {
        let at = f64::from(self.seconds);
        let mark = |share: f64, kind, text: &str| Mark { at_s: share * at, kind, text: text.to_owned() };
        if !self.faults {
            return Vec::new();
        }
        vec![
            mark(0.2, MarkKind::Stage, "spike of urgent tasks"),
            mark(0.35, MarkKind::Change, "strategy random in place of least_loaded"),
            mark(0.5, MarkKind::Fault, "the coordinator is killed"),
            mark(0.53, MarkKind::Level, "p99 of all tasks is broken: <812 ms>"),
            mark(0.55, MarkKind::Rollback, "strategy least_loaded again"),
            mark(0.62, MarkKind::Level, "p99 of all tasks holds again"),
        ]
    }
}

fn outcome(name: &str, at_most: f64, value: f64, kept: bool) -> LevelOutcome {
    LevelOutcome {
        level: ServiceLevel {
            name: name.to_owned(),
            measure: Measure::Percentile { phase: Phase::EndToEnd, percent: 99.0 },
            at_most: Some(at_most),
            at_least: None,
            severity: Severity::Critical,
            grace_s: 5.0,
            from_s: 0.0,
            stops_run: false,
            rolls_back: false,
            work: None,
            priority: None,
        },
        value: Some(value),
        worst: Some(value * 3.0),
        violations: if kept { Vec::new() } else { vec![(10.0, 20.5)] },
        kept,
    }
}

/// Standard normal (Box and Muller).
pub(crate) fn normal(rng: &mut fastrand::Rng) -> f64 {
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
