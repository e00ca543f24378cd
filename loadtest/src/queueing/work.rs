//! What arrives when, and how much of it there is.

use evenkeel_core::replay::{Job, Micros};
use fastrand::Rng;

use super::{
    draws::{Purpose, rng},
    law::{Demands, exponential},
};

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
