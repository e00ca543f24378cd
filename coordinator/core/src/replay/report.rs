//! What would have come of a history.

use std::fmt;

use serde::Serialize;

use super::{
    Done, Micros,
    past::{Past, micros},
    quantile,
};

/// A task is better or worse off if its response differs by more than this share of it, and by more than a millisecond.
const NOTICEABLE_SHARE: f64 = 0.01;
const NOTICEABLE_US: f64 = 1_000.0;

/// A history beside what other strategies would have made of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShadowReport {
    /// Tasks replayed.
    pub tasks: u64,
    /// Tasks that were not, because no agent is known to have had them.
    pub left_out: u64,
    /// Agents that had them.
    pub agents: usize,
    /// Their slots, as far as they were seen in use.
    pub slots: u64,
    /// The slowest agent takes so many times as long as the fastest.
    pub speed_spread: f64,
    /// What a recorded task waited although there was room: networks, disks, the coordinator. It is part of all times here.
    pub overhead_ms: f64,
    /// What was recorded. `None`: the trace does not tell how long tasks waited.
    pub then: Option<Times>,
    /// How evenly agents were used.
    pub then_load: LoadSpread,
    /// What would have been, a row for each strategy.
    pub replayed: Vec<ShadowRow>,
}

/// What one strategy would have made of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShadowRow {
    /// Its name.
    pub strategy: &'static str,
    /// Tasks that would have gone to another agent.
    pub elsewhere: u64,
    /// Tasks that would have been over noticeably sooner: by more than 1 % of their response and 1 ms.
    pub better: u64,
    /// Tasks that would have been over noticeably later.
    pub worse: u64,
    /// Tasks that would have found no agent.
    pub stuck: u64,
    /// How long they would have taken.
    pub times: Times,
    /// How evenly agents would have been used.
    pub load: LoadSpread,
}

/// Waits and responses, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Mean time before the start.
    pub wait_mean_ms: f64,
    /// 99 % waited no longer.
    pub wait_p99_ms: f64,
    /// Mean time to the end.
    pub response_mean_ms: f64,
    /// Half were over within this time.
    pub response_p50_ms: f64,
    /// 99 % were.
    pub response_p99_ms: f64,
    /// 99.9 % were.
    pub response_p999_ms: f64,
    /// The longest.
    pub response_max_ms: f64,
}

/// Time in use of agents' slots.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LoadSpread {
    /// The busiest agent over the mean.
    pub busiest: f64,
    /// The least busy agent over the mean.
    pub least: f64,
    /// Standard deviation over the mean.
    pub variation: f64,
}

impl Times {
    /// Of waits and responses in microseconds.
    fn of(mut waits: Vec<f32>, mut responses: Vec<f32>) -> Self {
        let mean = |us: &[f32]| us.iter().copied().map(f64::from).sum::<f64>() / us.len().max(1) as f64 / 1e3;
        let (wait_mean_ms, response_mean_ms) = (mean(&waits), mean(&responses));
        let mut response = |share| quantile(&mut responses, share) / 1e3;
        Self {
            wait_mean_ms,
            wait_p99_ms: quantile(&mut waits, 0.99) / 1e3,
            response_mean_ms,
            response_p50_ms: response(0.5),
            response_p99_ms: response(0.99),
            response_p999_ms: response(0.999),
            response_max_ms: response(1.0),
        }
    }
}

impl LoadSpread {
    /// Of time in use, per slot of each agent.
    fn of(past: &Past, busy_us: &[u64]) -> Self {
        let of_agents = past.agents.iter().zip(busy_us);
        let loads: Vec<f64> = of_agents.map(|(agent, &us)| us as f64 / f64::from(agent.slots.max(1))).collect();
        let count = loads.len().max(1) as f64;
        let mean = (loads.iter().sum::<f64>() / count).max(1e-9);
        let variance = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / count;
        let ends = loads.iter().fold((f64::MAX, 0.0_f64), |(least, most), &load| (least.min(load), most.max(load)));
        Self { busiest: ends.1 / mean, least: ends.0 / mean, variation: variance.sqrt() / mean }
    }
}

/// Keeps account of a replay.
pub(super) struct Replayed<'a> {
    past: &'a Past,
    waits: Vec<f32>,
    responses: Vec<f32>,
    busy_us: Vec<u64>,
    elsewhere: u64,
    better: u64,
    worse: u64,
}

impl<'a> Replayed<'a> {
    pub fn new(past: &'a Past) -> Self {
        let (waits, responses) = (Vec::with_capacity(past.jobs.len()), Vec::with_capacity(past.jobs.len()));
        Self { past, waits, responses, busy_us: vec![0; past.agents.len()], elsewhere: 0, better: 0, worse: 0 }
    }

    pub fn enter(&mut self, done: Done) {
        let overhead = self.past.overhead_us;
        let (at, response) = (done.index as usize, (done.finished - done.submitted + overhead) as f64);
        self.waits.push((done.started - done.submitted + overhead) as f32);
        self.responses.push(response as f32);
        self.busy_us[done.agent as usize] += done.finished - done.started;
        self.elsewhere += u64::from(self.past.agent_of[at] != done.agent);
        let Some((_, then)) = then(self.past, at) else { return };
        let gained = then as f64 - response;
        if gained.abs() > NOTICEABLE_US.max(NOTICEABLE_SHARE * then as f64) {
            self.better += u64::from(gained > 0.0);
            self.worse += u64::from(gained < 0.0);
        }
    }

    pub fn close(self, strategy: &'static str, stuck: u64) -> ShadowRow {
        let Self { past, waits, responses, busy_us, elsewhere, better, worse } = self;
        let load = LoadSpread::of(past, &busy_us);
        ShadowRow { strategy, elsewhere, better, worse, stuck, times: Times::of(waits, responses), load }
    }
}

/// A task's recorded wait and response, if they are known.
fn then(past: &Past, at: usize) -> Option<(Micros, Micros)> {
    let task = &past.tasks[at];
    task.queued.map(|queued| (micros(queued), micros(queued + task.service)))
}

impl ShadowReport {
    pub(super) fn new(past: &Past, replayed: Vec<ShadowRow>) -> Self {
        let known = || (0..past.tasks.len()).filter_map(|at| then(past, at));
        let (waits, responses): (Vec<f32>, Vec<f32>) = known().map(|(wait, all)| (wait as f32, all as f32)).unzip();
        let mut busy_us = vec![0; past.agents.len()];
        for (task, &agent) in past.tasks.iter().zip(&past.agent_of) {
            busy_us[agent as usize] += micros(task.service);
        }
        let speeds = past.agents.iter().map(|agent| agent.slowness);
        let ends =
            speeds.fold((f64::MAX, 0.0_f64), |(least, most), slowness| (least.min(slowness), most.max(slowness)));
        Self {
            tasks: past.tasks.len() as u64,
            left_out: past.left_out,
            agents: past.agents.len(),
            slots: past.agents.iter().map(|agent| u64::from(agent.slots)).sum(),
            speed_spread: ends.1 / ends.0,
            overhead_ms: past.overhead_us as f64 / 1e3,
            then: (!waits.is_empty()).then(|| Times::of(waits, responses)),
            then_load: LoadSpread::of(past, &busy_us),
            replayed,
        }
    }
}

impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, left_out, agents, slots, speed_spread, overhead_ms, then, then_load, replayed } = self;
        write!(f, "{tasks} tasks on {agents} agents of {slots} slots in all, speeds 1 to {speed_spread:.1}")?;
        writeln!(f, "; {left_out} tasks left out, no agent had them.")?;
        writeln!(
            f,
            "Times in milliseconds, {overhead_ms:.2} of each for what is not replayed; load of agents over the mean.\n"
        )?;
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6} {:>6} {:>9} {:>8} {:>8}",
            "",
            "wait mean",
            "wait p99",
            "mean",
            "p50",
            "p99",
            "p99.9",
            "least",
            "most",
            "dev",
            "elsewhere",
            "better",
            "worse"
        )?;
        match then {
            Some(times) => writeln!(f, "{:<16} {times} {then_load}", "recorded")?,
            None => writeln!(f, "{:<16} {:>65} {then_load}", "recorded", "waits are not in the trace")?,
        }
        for (at, row) in replayed.iter().enumerate() {
            let ShadowRow { strategy, elsewhere, better, worse, stuck, times, load } = row;
            let share = |count: u64| format!("{:.1} %", count as f64 * 100.0 / (*tasks).max(1) as f64);
            let (elsewhere, better, worse) = (share(*elsewhere), share(*better), share(*worse));
            write!(f, "{strategy:<16} {times} {load} {elsewhere:>9} {better:>8} {worse:>8}")?;
            if *stuck > 0 {
                write!(f, "  {stuck} found no agent")?;
            }
            if at + 1 < replayed.len() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wait_mean_ms, wait_p99_ms, response_mean_ms, response_p50_ms, response_p99_ms, .. } = self;
        write!(f, "{wait_mean_ms:>10.2} {wait_p99_ms:>10.2} {response_mean_ms:>10.2} {response_p50_ms:>10.2} ")?;
        write!(f, "{response_p99_ms:>10.2} {:>10.2}", self.response_p999_ms)
    }
}

impl fmt::Display for LoadSpread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.2} {:>6.2} {:>6.2}", self.least, self.busiest, self.variation)
    }
}
