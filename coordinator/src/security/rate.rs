//! How fast one client may go: token buckets.
//!
//! A bucket fills at a rate up to its burst. A request for many takes them all as soon as there is anything like a burst's
//! worth, and leaves the bucket in debt: so any size of request passes sooner or later, and the rate holds over time all the
//! same. Rejected: queues of waiting requests, since a client that is told when to come back holds nothing here meanwhile.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A bucket.
#[derive(Debug, Default)]
pub struct Bucket(Mutex<Option<Level>>);

#[derive(Clone, Copy, Debug)]
struct Level {
    /// How many there are; below zero: owed.
    there: f64,
    at: Instant,
}

/// How fast, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 0: as fast as one likes.
    pub per_s: u32,
    /// How many at once, after a time without any.
    pub burst: u32,
}

impl Bucket {
    /// Takes so many.
    ///
    /// # Errors
    /// When they will be there.
    pub fn take(&self, count: usize, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.per_s == 0 || count == 0 {
            return Ok(());
        }
        let (per_s, burst) = (f64::from(rate.per_s), f64::from(rate.burst));
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = level.unwrap_or(Level { there: burst, at: now });
        let filled = now.saturating_duration_since(before.at).as_secs_f64().mul_add(per_s, before.there).min(burst);
        let needed = (count as f64).min(burst);
        let taken = if filled >= needed { count as f64 } else { 0.0 };
        *level = Some(Level { there: filled - taken, at: now.max(before.at) });
        if filled >= needed { Ok(()) } else { Err(Duration::from_secs_f64((needed - filled) / per_s)) }
    }

    /// Whether it is as full as one that was never used.
    #[must_use]
    pub fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let level = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        level.is_none_or(|level| {
            let passed = now.saturating_duration_since(level.at).as_secs_f64();
            rate.per_s == 0 || passed.mul_add(f64::from(rate.per_s), level.there) >= f64::from(rate.burst)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 10, burst: 5 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(bucket.take(1, RATE, start), Ok(()));
        }
        assert_eq!(bucket.take(1, RATE, start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(1, RATE, start + Duration::from_millis(100)), Ok(()));
        assert!(bucket.take(1, RATE, start + Duration::from_millis(100)).is_err());
    }

    #[test]
    fn more_than_a_burst_passes_once_and_is_paid_back() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!(bucket.take(25, RATE, start), Ok(()));
        // 20 are owed: two seconds until there are none, and a tenth for one.
        assert_eq!(bucket.take(1, RATE, start), Err(Duration::from_millis(2_100)));
        assert_eq!(bucket.take(1, RATE, start + Duration::from_millis(2_100)), Ok(()));
    }

    #[test]
    fn over_a_long_time_no_more_pass_than_the_rate_and_a_burst() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        let asked = (0..10_000).map(|ms| start + Duration::from_millis(ms));
        let passed = asked.filter(|at| bucket.take(1, RATE, *at).is_ok()).count();
        assert!((100..=105).contains(&passed), "{passed}");
    }

    #[test]
    fn without_a_rate_all_passes_and_what_was_refused_takes_nothing() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        assert_eq!(bucket.take(usize::MAX, Rate { per_s: 0, burst: 1 }, now), Ok(()));
        assert_eq!(bucket.take(5, RATE, now), Ok(()));
        for _ in 0..100 {
            assert!(bucket.take(3, RATE, now).is_err());
        }
        assert_eq!(bucket.take(3, RATE, now + Duration::from_millis(300)), Ok(()));
    }
}
