//! When tasks are due: an open loop.
//!
//! Arrivals are drawn from the seed alone and never wait for the coordinator, so a run offers the same load whatever
//! becomes of it, and a slow coordinator cannot slow down the clients that measure it. A rate that changes is drawn by
//! thinning (Lewis and Shedler, 1979): candidates come at the highest rate, and each is kept with the probability that
//! the rate at its time is of that. Rejected: steps of constant rate, which are coarse where a curve is steep.

use fastrand::Rng;

use crate::{
    scenario::{Arrivals as Settings, Curve, Process},
    task_time::mix,
};

/// Largest burst or session that is drawn: one that is longer would be the whole run.
const GEOMETRIC_MAX: f64 = 100_000.0;

/// A task, or a session, that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// Since the start of the run.
    pub at_s: f64,
    /// The spike it belongs to, if it is of one.
    pub spike: Option<usize>,
}

/// All arrivals of a run, in order.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    streams: Vec<Stream>,
}

/// One process of arrivals: that of the run, or that of a spike.
#[derive(Clone, Debug)]
struct Stream {
    spike: Option<usize>,
    rng: Rng,
    /// Moments a second, where the curve is at its highest.
    rate_max: f64,
    curve: Curve,
    curve_max: f64,
    /// The whole run: curves are of its length.
    duration_s: f64,
    until_s: f64,
    /// Mean number of arrivals at the same moment.
    size_mean: f64,
    at_s: f64,
    /// Arrivals that are left of this moment.
    left: u64,
}

impl Arrivals {
    /// Arrivals of a run of this length. A recorded trace has only its spikes here: its tasks are in the file.
    pub(crate) fn new(settings: &Settings, duration_s: f64, seed: u64) -> Self {
        let size_mean = match settings.process {
            Process::Bursts { mean_size } => mean_size,
            Process::Poisson | Process::Sessions { .. } | Process::Trace { .. } => 1.0,
        };
        let stream = |spike: Option<usize>, rate: f64, curve: &Curve, from_s: f64, until_s: f64| {
            let curve_max = curve.0.iter().map(|point| point.1).fold(0.0, f64::max);
            let curve_max = if curve.0.is_empty() { 1.0 } else { curve_max };
            let salt = spike.map_or(0, |spike| spike as u64 + 1);
            Stream {
                spike,
                rng: Rng::with_seed(mix(seed ^ mix(salt))),
                rate_max: rate * curve_max / size_mean,
                curve: curve.clone(),
                curve_max,
                duration_s,
                until_s: until_s.min(duration_s),
                size_mean,
                at_s: from_s,
                left: 0,
            }
        };
        let traced = matches!(settings.process, Process::Trace { .. });
        let whole = stream(None, settings.rate_per_s, &settings.curve, 0.0, duration_s);
        let spikes = settings.spikes.iter().enumerate().map(|(at, spike)| {
            let from_s = spike.at_share * duration_s;
            let until_s = from_s + spike.length_share * duration_s;
            stream(Some(at), settings.rate_per_s * spike.times, &Curve::default(), from_s, until_s)
        });
        let mut streams: Vec<_> = (!traced).then_some(whole).into_iter().chain(spikes).collect();
        streams.iter_mut().for_each(Stream::advance);
        Self { streams }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // A run has a handful of streams, so the earliest is simply looked for.
        let ahead = self.streams.iter_mut().filter(|stream| stream.left > 0);
        let stream = ahead.min_by(|a, b| a.at_s.total_cmp(&b.at_s))?;
        let arrival = Arrival { at_s: stream.at_s, spike: stream.spike };
        stream.left -= 1;
        if stream.left == 0 {
            stream.advance();
        }
        Some(arrival)
    }
}

impl Stream {
    /// Goes to the next moment with arrivals; there is none when `left` stays 0.
    fn advance(&mut self) {
        if self.rate_max <= 0.0 {
            return;
        }
        loop {
            // The inverse of the distribution function; 1 - f64() is never 0.
            self.at_s += -(1.0 - self.rng.f64()).ln() / self.rate_max;
            if self.at_s >= self.until_s {
                return;
            }
            let share = (self.at_s / self.duration_s).clamp(0.0, 1.0);
            if self.rng.f64() * self.curve_max < self.curve.at(share) {
                self.left = geometric(self.size_mean, &mut self.rng);
                return;
            }
        }
    }
}

/// A whole number from 1 up with this mean.
pub(crate) fn geometric(mean: f64, rng: &mut Rng) -> u64 {
    if mean <= 1.0 {
        return 1;
    }
    let drawn = (1.0 - rng.f64()).ln() / (1.0 - 1.0 / mean).ln();
    drawn.min(GEOMETRIC_MAX).floor() as u64 + 1
}

#[cfg(test)]
#[path = "arrivals_tests.rs"]
mod tests;
