//! Exponential backoff with full jitter.
//!
//! The wait before try `n` is drawn evenly from zero to `min(cap, base * multiplier^n)`. Full jitter spreads clients that
//! failed together best (Brooker, "Exponential Backoff And Jitter", 2015). The draw is an argument, so that the core
//! stays deterministic.

use std::time::Duration;

/// The shape of a backoff. Build with [`Backoff::new`], which puts the numbers in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    multiplier: f64,
}

impl Backoff {
    /// A backoff from `base` up to `cap`, growing by `multiplier`. A multiplier below 1 (or not a number) counts as 1, a
    /// cap below the base as the base.
    #[must_use]
    pub fn new(base: Duration, cap: Duration, multiplier: f64) -> Self {
        let multiplier = if multiplier.is_finite() { multiplier.max(1.0) } else { 1.0 };
        Self { base, cap: cap.max(base), multiplier }
    }

    /// The most to wait before try `n`, 0 being the first after a failure.
    #[must_use]
    pub fn ceiling(&self, n: u32) -> Duration {
        let factor = self.multiplier.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let seconds = self.base.as_secs_f64() * factor;
        if seconds.is_finite() && seconds < self.cap.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.cap
        }
    }

    /// The wait before try `n`, for a draw from 0 to 1.
    #[must_use]
    pub fn delay(&self, n: u32, draw: f64) -> Duration {
        self.ceiling(n).mul_f64(draw.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_cap_and_stays_there() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 2.0);
        let ceilings: Vec<_> = (0..6).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(1));
        assert_eq!(backoff.delay(1, 0.5), Duration::from_millis(100));
    }

    #[test]
    fn nonsense_is_put_in_order() {
        let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(1), f64::NAN);
        assert_eq!(backoff.ceiling(7), Duration::from_secs(2));
        assert_eq!(backoff.delay(7, -3.0), Duration::ZERO);
    }
}
