//! A token bucket: so many a second on average, so many at once after a pause (Turner, "New directions in communications",
//! IEEE Communications Magazine, 1986).
//!
//! Exact: the rate is kept in millionths of a token per second and time is counted in microseconds, so that the level is a
//! whole number of millionths of millionths of a token and nothing is ever rounded. With floating point a bucket that is
//! asked a million times a day drifts, and two histories with the same events need not agree.

use std::time::Duration;

use evenkeel_shared::Timestamp;

/// One token, in the unit of the level.
const TOKEN: u64 = 1_000_000_000_000;
/// Millionths of a token per second: the unit of the rate.
const RATE_UNIT: f64 = 1e6;

/// The highest rate: far beyond what one coordinator assigns.
pub const RATE_PER_S_MAX: f64 = 1e6;
/// The lowest rate: one in eleven days.
pub const RATE_PER_S_MIN: f64 = 1e-6;
/// The largest bucket. Its level in [`TOKEN`] fits 64 bits with room to spare.
pub const BURST_MAX: u32 = 1_000_000;

/// The bucket. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Millionths of a token per second.
    rate: u64,
    /// Level of a full bucket.
    full: u64,
    level: u64,
    /// When `level` was true.
    at: Timestamp,
}

impl TokenBucket {
    /// A full bucket. A rate outside of [`RATE_PER_S_MIN`] to [`RATE_PER_S_MAX`] and a burst outside of 1 to [`BURST_MAX`]
    /// count as the nearest that is inside.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a positive range before")]
    pub fn full(now: Timestamp, rate_per_s: f64, burst: u32) -> Self {
        let rate = (rate_per_s.clamp(RATE_PER_S_MIN, RATE_PER_S_MAX) * RATE_UNIT).round() as u64;
        let full = u64::from(burst.clamp(1, BURST_MAX)) * TOKEN;
        Self { rate: rate.max(1), full, level: full, at: now }
    }

    /// The same level, as far as it fits, in a bucket of another rate and size.
    #[must_use]
    pub fn resized(&self, now: Timestamp, rate_per_s: f64, burst: u32) -> Self {
        let full = Self::full(now, rate_per_s, burst);
        Self { level: self.level_at(now).min(full.full), ..full }
    }

    fn level_at(&self, now: Timestamp) -> u64 {
        let gained = u128::from(self.rate) * now.since(self.at).as_micros();
        let level = u128::from(self.level) + gained;
        u64::try_from(level).unwrap_or(u64::MAX).min(self.full)
    }

    /// Whether there is a token.
    #[must_use]
    pub fn has(&self, now: Timestamp) -> bool {
        self.level_at(now) >= TOKEN
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
        let has = self.level >= TOKEN;
        if has {
            self.level -= TOKEN;
        }
        has
    }

    /// Tokens at this time.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn tokens(&self, now: Timestamp) -> f64 {
        self.level_at(now) as f64 / TOKEN as f64
    }

    /// When there will be so many tokens, at most as many as it holds. Never before `now`.
    #[must_use]
    pub fn has_at(&self, now: Timestamp, tokens: u32) -> Timestamp {
        let wanted = (u64::from(tokens.max(1)) * TOKEN).min(self.full);
        let missing = wanted.saturating_sub(self.level_at(now));
        now.plus(Duration::from_micros(missing.div_ceil(self.rate)))
    }

    /// Tokens that come in so long a time, at least 1 and at most half of what it holds (then at least 1): how many to wait
    /// for where a bucket is looked at so often.
    #[must_use]
    pub fn gained_in(&self, time: Duration) -> u32 {
        let gained = u128::from(self.rate) * time.as_micros() / u128::from(TOKEN);
        let half = u128::from(self.full / TOKEN / 2);
        u32::try_from(gained.min(half)).unwrap_or(u32::MAX).max(1)
    }

    /// Whether it is full, and so no different from a new one.
    #[must_use]
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.level_at(now) == self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn at(us: u64) -> Timestamp {
        START.plus(Duration::from_micros(us))
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = TokenBucket::full(START, 10.0, 3);
        assert_eq!((0..5).filter(|_| bucket.take(START)).count(), 3);
        assert_eq!(bucket.has_at(START, 1), at(100_000));
        assert!(!bucket.take(at(99_999)));
        assert!(bucket.take(at(100_000)) && !bucket.take(at(100_000)));
    }

    #[test]
    fn nothing_is_lost_or_won_by_asking_often() {
        // A third of a token a second has no end in binary or decimal; a token in three seconds it is all the same.
        let mut bucket = TokenBucket::full(START, 333_333e-6, 1);
        assert!(bucket.take(START));
        let taken = (1..=30_000_000 / 7).filter(|step| bucket.take(at(step * 7))).count();
        assert_eq!(taken, 9, "30 s at 0.333333 a second is 9.99999 tokens");
    }

    #[test]
    fn a_pause_fills_it_and_no_more() {
        let mut bucket = TokenBucket::full(START, 1_000.0, 5);
        let later = START.plus(Duration::from_secs(1 << 40));
        while bucket.take(START) {}
        assert!(!bucket.is_full(START) && bucket.is_full(later));
        assert_eq!((0..9).filter(|_| bucket.take(later)).count(), 5);
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let mut bucket = TokenBucket::full(at(1_000_000), 1.0, 1);
        assert!(bucket.take(at(1_000_000)));
        assert!(!bucket.take(START) && !bucket.take(at(1_900_000)));
        assert!(bucket.take(at(2_000_000)));
    }

    #[test]
    fn another_size_keeps_the_level_as_far_as_it_fits() {
        let mut bucket = TokenBucket::full(START, 1.0, 10);
        assert_eq!((0..4).filter(|_| bucket.take(START)).count(), 4);
        assert!((bucket.resized(START, 1.0, 20).tokens(START) - 6.0).abs() < 1e-9);
        assert!((bucket.resized(START, 1.0, 2).tokens(START) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn extreme_settings_are_taken_for_the_nearest_that_make_sense() {
        for rate in [0.0, 1e-9, 1e12] {
            let mut bucket = TokenBucket::full(START, rate, 0);
            assert!(bucket.take(START) && !bucket.take(START));
            assert!(bucket.has_at(START, 1) > START);
        }
    }

    #[test]
    fn what_is_waited_for_is_within_what_it_holds() {
        for (rate, burst, expected) in [(10.0, 10, 1), (1_000.0, 1_000, 10), (1_000.0, 4, 2), (1_000.0, 1, 1)] {
            assert_eq!(TokenBucket::full(START, rate, burst).gained_in(Duration::from_millis(10)), expected);
        }
    }
}
