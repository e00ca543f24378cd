//! Looks after a run: does harm in time, closes windows, has them judged, and keeps what the record is made of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{
    books::Tally,
    client::WINDOW,
    harm::Harms,
    load::LoadPicture,
    marks::Marks,
    presence::{Order, Presence},
    process::{self, Usage},
    sampler::Sampler,
};
use crate::{
    agent::Fleet,
    ledger::Ledger,
    levels::Judge,
    progress::{Progress, Pulse},
    record::{Histograms, MarkKind, Phase, ProcessUsage, Slice, Window},
    scenario::Scenario,
};

/// The run's eyes and hands.
pub(crate) struct Monitor {
    pub fleet: Fleet,
    pub judge: Judge,
    pub marks: Marks,
    /// Latencies of the run until its last window.
    pub latencies: Histograms,
    pub windows: Vec<Window>,
    pub picture: LoadPicture,
    pub coordinator: Meter,
    pub harms: Harms,
    presence: Presence,
    ledger: Arc<Ledger>,
    sampler: Sampler,
    harness: Meter,
    interrupted: CancellationToken,
    progress: Arc<dyn Progress>,
    started: Instant,
    duration_s: f64,
    stages: Vec<(f64, String)>,
    before: Tally,
    closed_s: f64,
    draining: bool,
    stopped: bool,
}

/// What a monitor looks after.
pub(crate) struct Parts {
    pub fleet: Fleet,
    pub judge: Judge,
    pub marks: Marks,
    pub harms: Harms,
    pub presence: Presence,
    pub ledger: Arc<Ledger>,
    pub sampler: Sampler,
    pub coordinator: Meter,
    pub interrupted: CancellationToken,
    pub progress: Arc<dyn Progress>,
    pub started: Instant,
}

impl Monitor {
    pub(crate) fn new(scenario: &Scenario, parts: Parts) -> Self {
        let Parts { fleet, judge, marks, harms, presence, ledger, sampler, coordinator, .. } = parts;
        let Parts { interrupted, progress, started, .. } = parts;
        let picture = LoadPicture::new(scenario.fleet.agents, scenario.fleet.slots, WINDOW.as_secs_f64());
        let mut harness = Meter::of(std::process::id());
        harness.read();
        Self {
            fleet,
            judge,
            marks,
            latencies: Histograms::default(),
            windows: Vec::new(),
            picture,
            coordinator,
            harms,
            presence,
            ledger,
            sampler,
            harness,
            interrupted,
            progress,
            started,
            duration_s: scenario.duration_s,
            stages: stages(scenario),
            before: Tally::default(),
            closed_s: 0.0,
            draining: false,
            stopped: false,
        }
    }

    /// The run has to end: no more tasks, what is in flight is waited for.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped || self.interrupted.is_cancelled()
    }

    fn since_start_s(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.started).as_secs_f64()
    }

    /// Does what is due: faults, churn, marks.
    pub(crate) fn tick(&mut self, now: Instant, is_open: bool) {
        let now_s = self.since_start_s(now);
        while let Some((_, text)) = self.stages.pop_if(|(at_s, _)| *at_s <= now_s) {
            self.marks.add(MarkKind::Stage, text);
        }
        if !is_open && !self.draining {
            self.draining = true;
            self.marks.add(MarkKind::Stage, "no more tasks; what is in flight is waited for".into());
        }
        let mut orders = self.presence.step(now_s, is_open);
        if is_open {
            orders.extend(self.harms.due(now_s, &mut self.presence, &self.fleet));
        } else {
            self.harms.end(&self.fleet);
        }
        for order in orders {
            match order {
                Order::Leave(agent, away) => self.fleet.want(agent, |wanted| wanted.away = Some(away)),
                Order::Come(agent) => self.fleet.want(agent, |wanted| wanted.away = None),
                Order::Break(agent) => self.fleet.want(agent, |wanted| wanted.breaks += 1),
            }
        }
    }

    /// Closes the window that ends now.
    pub(crate) fn close(&mut self, now: Instant, tally: Tally, latencies: Histograms) {
        let now_s = self.since_start_s(now);
        let window = self.window(now_s, tally, &latencies);
        self.latencies.add_interval(self.closed_s, window.length_s, &latencies);
        self.picture.add(window.length_s, self.ledger.load(now));
        let observed = self.judge.observe(&window, &latencies);
        observed.marks.into_iter().for_each(|mark| self.marks.push(mark));
        observed.lines.iter().for_each(|line| self.progress.say(line));
        self.stopped |= observed.stop.is_some();
        let violated = self.judge.violated().map(str::to_owned).collect();
        self.progress.pulse(&Pulse { window: &window, duration_s: self.duration_s, violated });
        self.windows.push(window);
        (self.before, self.closed_s) = (tally, now_s);
    }

    fn window(&mut self, now_s: f64, tally: Tally, latencies: &Histograms) -> Window {
        let before = self.before;
        let length_s = (now_s - self.closed_s).max(f64::EPSILON);
        let sample = self.sampler.take();
        let of_phase = |phase| Some((phase, crate::report::Latency::of(latencies.get(&Slice::All, phase)?)));
        Window {
            at_s: now_s,
            length_s,
            offered: tally.offered - before.offered,
            accepted: tally.accepted - before.accepted,
            refused: tally.refused - before.refused,
            completed: tally.completed - before.completed,
            failed: tally.failed - before.failed,
            retried: tally.retried - before.retried,
            latency_ms: Phase::ALL.into_iter().filter_map(of_phase).collect(),
            queue_depth: sample.queue_depth,
            running: sample.running,
            agents: self.fleet.connected(),
            available: sample.available(),
            coordinator_cpu_cores: self.coordinator.read().map(|cpu_s| cpu_s / length_s),
            coordinator_memory_bytes: self.coordinator.memory_bytes(),
            harness_cpu_cores: self.harness.read().map(|cpu_s| cpu_s / length_s),
        }
    }
}

/// When spikes begin and end, the last one first.
fn stages(scenario: &Scenario) -> Vec<(f64, String)> {
    let mut stages = Vec::new();
    for spike in &scenario.arrivals.spikes {
        let of = spike.work.as_ref().map_or_else(String::new, |work| format!(" of {work}"));
        let from_s = spike.at_share * scenario.duration_s;
        stages.push((from_s, format!("a spike{of} begins: {} times the rate in addition", spike.times)));
        stages.push((from_s + spike.length_share * scenario.duration_s, format!("the spike{of} ends")));
    }
    stages.sort_by(|a, b| b.0.total_cmp(&a.0));
    stages
}

/// Reads what a process takes. The process may be replaced by another one, as a coordinator that was killed.
pub(crate) struct Meter {
    /// 0: there is none, or none on this machine.
    pid: Arc<AtomicU32>,
    read_of: u32,
    last: Option<Usage>,
    /// Of processes that are gone.
    gone: Usage,
    idle_bytes: u64,
    peak_bytes: u64,
}

impl Meter {
    pub(crate) fn new(pid: Arc<AtomicU32>) -> Self {
        Self { pid, read_of: 0, last: None, gone: Usage::default(), idle_bytes: 0, peak_bytes: 0 }
    }

    fn of(pid: u32) -> Self {
        Self::new(Arc::new(AtomicU32::new(pid)))
    }

    /// Reads it; the processor time since it was last read.
    pub(crate) fn read(&mut self) -> Option<f64> {
        let pid = self.pid.load(Relaxed);
        let now = (pid != 0).then(|| process::usage(pid)).flatten()?;
        if let Some(last) = self.last.filter(|_| self.read_of != pid) {
            self.gone.cpu_s += last.cpu_s;
            self.gone.context_switches += last.context_switches;
            self.last = None;
        }
        let before_s = self.last.map_or(0.0, |last| last.cpu_s);
        if self.read_of == 0 {
            self.idle_bytes = now.memory_bytes;
        }
        self.peak_bytes = self.peak_bytes.max(now.memory_bytes);
        (self.read_of, self.last) = (pid, Some(now));
        Some((now.cpu_s - before_s).max(0.0))
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.last.filter(|_| self.pid.load(Relaxed) == self.read_of).map(|last| last.memory_bytes)
    }

    /// What it took in all; `None` if it was never seen.
    pub(crate) fn total(&self) -> Option<ProcessUsage> {
        let last = self.last?;
        Some(ProcessUsage {
            cpu_s: self.gone.cpu_s + last.cpu_s,
            memory_peak_bytes: self.peak_bytes,
            memory_idle_bytes: self.idle_bytes,
            context_switches: self.gone.context_switches + last.context_switches,
        })
    }
}
