//! What arrives when, and how much of it there is.

use fastrand::Rng;

use super::{
    draws::{Purpose, rng},
    law::{Demands, exponential},
};

/// Simulated time in microseconds, like the engine's own.
pub(super) type Micros = u64;

/// One task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub at: Micros,
    /// Time that it takes an agent of speed 1, in microseconds.
    pub demand_us: f64,
    /// Which of the fleet's sorts of task it is.
    pub sort: u32,
}

impl Job {
    /// How long it takes an agent that takes so many times as long as one of speed 1.
    pub fn service(&self, slowness: f64) -> Micros {
        ((self.demand_us * slowness).round() as Micros).max(1)
    }
}

/// Poisson arrivals with demands of one law. The same seed gives the same tasks, to whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Poisson {
    arrivals: Rng,
    sizes: Rng,
    demands: Demands,
    mean_gap_us: f64,
    mean_service_us: f64,
    /// Not rounded, so that rounding does not add up.
    now_us: f64,
    left: u64,
}

impl Poisson {
    /// So many tasks, with this mean gap between two of them.
    pub fn new(seed: u64, demands: Demands, mean_service_us: f64, mean_gap_us: f64, tasks: u64) -> Self {
        let (arrivals, sizes) = (rng(seed, Purpose::Arrivals), rng(seed, Purpose::Demands));
        Self { arrivals, sizes, demands, mean_gap_us, mean_service_us, now_us: 0.0, left: tasks }
    }
}

impl Iterator for Poisson {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        self.left = self.left.checked_sub(1)?;
        self.now_us += exponential(&mut self.arrivals) * self.mean_gap_us;
        let demand_us = self.demands.draw(&mut self.sizes) * self.mean_service_us;
        Some(Job { at: self.now_us.round() as Micros, demand_us, sort: 0 })
    }
}
