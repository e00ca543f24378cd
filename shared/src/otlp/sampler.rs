//! Which traces are kept.
//!
//! Who comes with a decision has it respected, who comes without one gets it by a draw; both only as often a second as is
//! allowed, so that a client that keeps everything loses spans of its own, and costs the fleet nothing. A bucket of one
//! second's worth, refilled steadily.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Decides what is kept.
#[derive(Debug)]
pub struct Sampler {
    ratio: f64,
    per_s: f64,
    bucket: Mutex<Bucket>,
    over_cap: AtomicU64,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Sampler {
    /// Keeps this share (0 to 1) of what comes without a decision, and at most so many traces a second in all.
    #[must_use]
    pub fn new(ratio: f64, per_s: u32, now: Instant) -> Self {
        let per_s = f64::from(per_s);
        Self { ratio, per_s, bucket: Mutex::new(Bucket { tokens: per_s, at: now }), over_cap: AtomicU64::new(0) }
    }

    /// Whether to keep what comes without a decision. What is not drawn, as nearly nothing is, does not even look at the
    /// clock.
    #[must_use]
    pub fn draws(&self, now: impl FnOnce() -> Instant) -> bool {
        self.ratio > 0.0 && (self.ratio >= 1.0 || fastrand::f64() < self.ratio) && self.allows(now())
    }

    /// Whether there is room for one more that is to be kept.
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = passed.mul_add(self.per_s, bucket.tokens).min(self.per_s);
        bucket.at = bucket.at.max(now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        } else {
            self.over_cap.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    /// Traces that were not kept because there were too many.
    #[must_use]
    pub fn over_cap(&self) -> u64 {
        self.over_cap.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        let start = Instant::now();
        let sampler = Sampler::new(1.0, 10, start);
        let kept = |at: Duration| (0..1_000).filter(|_| sampler.draws(|| start + at)).count();
        assert_eq!(kept(Duration::ZERO), 10);
        assert_eq!(kept(Duration::from_millis(500)), 5);
        assert_eq!(kept(Duration::from_secs(60)), 10, "a pause saves up no more than a second");
        assert_eq!(sampler.over_cap(), 990 + 995 + 990);
    }

    #[test]
    fn a_share_of_what_is_undecided() {
        let start = Instant::now();
        let sampler = Sampler::new(0.25, u32::MAX, start);
        let kept = (0..10_000).filter(|_| sampler.draws(|| start)).count();
        assert!((2_000..3_000).contains(&kept), "{kept}");
        let none = Sampler::new(0.0, u32::MAX, start);
        assert!(!none.draws(|| start) && none.allows(start), "what is decided elsewhere is kept all the same");
    }
}
