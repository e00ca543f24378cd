//! The work of a day: tasks with the time at which they come and the time that they take.

use std::{fmt, str::FromStr, time::Duration};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::{task_time::mix, trace::TraceTask};

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Spikes of a busy day.
const SPIKES: usize = 8;

/// What a generated day is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayShape {
    /// Up in the morning, down in the evening, with a dent at noon; random arrivals.
    Smooth,
    /// The same with a load that wanders by some per cent, and with spikes: up to three times as much for 3 to 20 minutes.
    Busy,
}

impl DayShape {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Smooth, Self::Busy];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Busy => "busy",
        }
    }
}

impl FromStr for DayShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no day; write smooth or busy");
        Self::ALL.into_iter().find(|shape| shape.name() == text).ok_or_else(unknown)
    }
}

impl fmt::Display for DayShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// When it comes, in seconds from the day's beginning.
    pub at_s: f64,
    /// How long it runs, in seconds.
    pub service_s: f64,
}

/// All tasks, by the time at which they come.
#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// How long it is, in seconds.
    pub length_s: u64,
}

impl Day {
    /// A generated day: `rate` tasks a second on the mean, which run for `service` on the mean (exponentially distributed).
    #[must_use]
    pub fn generate(shape: DayShape, rate: f64, service: Duration, seed: u64) -> Self {
        let mut arrivals = Rng::with_seed(mix(seed ^ 1));
        let mut services = Rng::with_seed(mix(seed ^ 2));
        let rates = rates(shape, rate, seed);
        let mut tasks = Vec::with_capacity((rate * DAY_S as f64 * 1.1) as usize);
        for (second, rate) in rates.into_iter().enumerate() {
            let mut at_s = exponential(&mut arrivals) / rate;
            while at_s < 1.0 {
                let service_s = exponential(&mut services) * service.as_secs_f64();
                tasks.push(Task { at_s: second as f64 + at_s, service_s });
                at_s += exponential(&mut arrivals) / rate;
            }
        }
        Self { tasks, length_s: DAY_S }
    }

    /// A recorded one, from its first task to its last.
    #[must_use]
    pub fn recorded(trace: &[TraceTask]) -> Self {
        let tasks: Vec<Task> = trace
            .iter()
            .map(|task| Task { at_s: task.submitted_at.as_secs_f64(), service_s: task.service.as_secs_f64() })
            .collect();
        let length_s = tasks.last().map_or(0, |task| task.at_s as u64 + 1);
        Self { tasks, length_s }
    }

    /// Work in all, in seconds of a slot.
    #[must_use]
    pub fn work_s(&self) -> f64 {
        self.tasks.iter().map(|task| task.service_s).sum()
    }
}

/// The rate of each second.
fn rates(shape: DayShape, mean: f64, seed: u64) -> Vec<f64> {
    let turn = std::f64::consts::TAU / DAY_S as f64;
    let hour = |s: u64| s as f64 - 9.0 * 3_600.0;
    // Least at about three in the morning, most in the afternoon; about six times as much.
    let curve = |s: u64| 1.0 + 0.65 * (turn * hour(s)).sin() - 0.12 * (2.0 * turn * hour(s)).cos();
    let mut rates: Vec<f64> = (0..DAY_S).map(|s| mean * curve(s).max(0.05)).collect();
    if shape == DayShape::Busy {
        let mut rng = Rng::with_seed(mix(seed ^ 3));
        // Wanders by some 8 per cent with a memory of a few minutes (an autoregressive process).
        let mut off = 0.0;
        for rate in &mut rates {
            off = off * 0.995 + 0.014 * (rng.f64() - 0.5);
            *rate *= f64::max(1.0 + off, 0.2);
        }
        for _ in 0..SPIKES {
            let begin = rng.u64(0..DAY_S - 1_200) as usize;
            let length = rng.usize(180..1_200);
            let height = 1.5 + 1.5 * rng.f64();
            rates[begin..begin + length].iter_mut().for_each(|rate| *rate *= height);
        }
    }
    rates
}

/// With mean 1, by the inverse of the distribution function; 1 - f64() is never 0.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}
