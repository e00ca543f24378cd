//! What old knowledge is worth: half as much after each half-life.
//!
//! A heartbeat tells how an agent was, not how it is. Whoever sends everything to the agent that looked idlest when it
//! was last heard makes a herd, and does worse than drawing at random once the knowledge is a few service times old
//! (Mitzenmacher, "How Useful Is Old Information?", IEEE TPDS 11(1), 2000). So a measured share drifts towards
//! [`NEUTRAL_SHARE`] as it ages and stops to matter, instead of counting fully and then, at some age, not at all: a
//! cliff would make scores jump without anything having happened.

use std::time::Duration;

use evenkeel_shared::{Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::settings::check_ms;

/// What a share is taken for when nothing is known: neither idle nor full.
const NEUTRAL_SHARE: f64 = 0.5;

/// How fast a heartbeat's shares lose their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StalenessSettings {
    /// After this long a share has moved halfway to [`NEUTRAL_SHARE`]. Two heartbeats by default: between two of them
    /// most of a share counts, after a few that were missed hardly any.
    pub half_life_ms: u64,
}

impl Default for StalenessSettings {
    fn default() -> Self {
        Self { half_life_ms: 2_000 }
    }
}

impl StalenessSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_ms("half_life_ms", self.half_life_ms)
    }

    /// A share (0 to 1) measured at `measured`, as it counts now. Never leaves the span between itself and neutral.
    #[must_use]
    pub fn share(&self, share: f64, measured: Timestamp, now: Timestamp) -> f64 {
        let weight = remaining(now.since(measured), Duration::from_millis(self.half_life_ms));
        NEUTRAL_SHARE + (share - NEUTRAL_SHARE) * weight
    }
}

/// What is left of 1 after `age`. A half-life of zero leaves nothing, save at age zero.
#[must_use]
pub fn remaining(age: Duration, half_life: Duration) -> f64 {
    if age.is_zero() {
        return 1.0;
    }
    if half_life.is_zero() {
        return 0.0;
    }
    (-(age.as_secs_f64() / half_life.as_secs_f64())).exp2()
}

/// How many of the latest attempts failed, where an attempt counts half after each half-life.
///
/// Time alone leaves the rate as it is, for both counts fade alike; what fades is the evidence. A sliding window was
/// rejected: it keeps every attempt of every agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DecayingRate {
    failed: f64,
    total: f64,
    updated: Timestamp,
}

impl DecayingRate {
    /// No attempts.
    #[must_use]
    pub const fn new() -> Self {
        Self { failed: 0.0, total: 0.0, updated: Timestamp::ZERO }
    }

    /// Counts one attempt.
    pub fn record(&mut self, now: Timestamp, half_life: Duration, failed: bool) {
        let weight = remaining(now.since(self.updated), half_life);
        self.failed = self.failed * weight + if failed { 1.0 } else { 0.0 };
        self.total = self.total * weight + 1.0;
        self.updated = self.updated.max(now);
    }

    /// Forgets evenly so much that at most `samples_max` attempts are left, so that recovery from a long bad spell takes
    /// no longer than from that many failures.
    pub fn limit(&mut self, samples_max: f64) {
        if self.total > samples_max {
            self.failed *= samples_max / self.total;
            self.total = samples_max;
        }
    }

    /// Takes out what was also counted in `part`, as far as it counts now.
    pub fn take_out(&mut self, now: Timestamp, half_life: Duration, part: &Self) {
        let ((failed, total), (part_failed, part_total)) = (self.counts(now, half_life), part.counts(now, half_life));
        self.failed = (failed - part_failed).max(0.0);
        self.total = (total - part_total).max(self.failed);
        self.updated = self.updated.max(now);
    }

    /// Failed attempts and all attempts, as they count now.
    #[must_use]
    pub fn counts(&self, now: Timestamp, half_life: Duration) -> (f64, f64) {
        let weight = remaining(now.since(self.updated), half_life);
        (self.failed * weight, self.total * weight)
    }

    /// The share of failures, where attempts missing from `samples_min` count as successes: little evidence makes a low
    /// rate, and a rate that nothing new is heard of falls to zero.
    #[must_use]
    pub fn rate(&self, now: Timestamp, half_life: Duration, samples_min: f64) -> f64 {
        let (failed, total) = self.counts(now, half_life);
        let of = total.max(samples_min);
        if of > 0.0 { failed / of } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_share_moves_halfway_to_neutral_with_each_half_life() {
        let settings = StalenessSettings { half_life_ms: 2_000 };
        let shares: Vec<_> = [0, 2, 4, 6].map(|s| settings.share(0.9, at(0), at(s))).into();
        for (share, expected) in shares.iter().zip([0.9, 0.7, 0.6, 0.55]) {
            assert!((share - expected).abs() < 1e-9, "{shares:?}");
        }
        assert!((settings.share(0.1, at(0), at(2)) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn a_rate_needs_evidence_and_fades_without_it() {
        let mut rate = DecayingRate::default();
        rate.record(at(0), HALF_LIFE, true);
        assert!((rate.rate(at(0), HALF_LIFE, 10.0) - 0.1).abs() < 1e-9, "one failure is a tenth of ten");
        for _ in 0..19 {
            rate.record(at(0), HALF_LIFE, true);
        }
        assert!((rate.rate(at(0), HALF_LIFE, 10.0) - 1.0).abs() < 1e-9);
        assert!((rate.rate(at(4), HALF_LIFE, 10.0) - 0.5).abs() < 1e-9, "a quarter of twenty is five of ten");
    }

    #[test]
    fn a_limited_rate_keeps_its_value_and_loses_its_weight() {
        let mut rate = DecayingRate::default();
        (0..400).for_each(|n| rate.record(at(0), HALF_LIFE, n % 2 == 0));
        rate.limit(100.0);
        let (failed, total) = rate.counts(at(0), HALF_LIFE);
        assert!((total - 100.0).abs() < 1e-9 && (failed - 50.0).abs() < 1e-9, "{failed} of {total}");
    }

    #[test]
    fn a_half_life_of_zero_is_refused() {
        assert_eq!(StalenessSettings::default().validate(), Ok(()));
        assert_eq!(StalenessSettings { half_life_ms: 0 }.validate().unwrap_err().field, "half_life_ms");
    }

    proptest! {
        #[test]
        fn a_decayed_share_lies_between_itself_and_neutral(share in 0.0..=1.0_f64, age_s in 0_u64..1_000_000) {
            let decayed = StalenessSettings::default().share(share, at(0), at(age_s));
            prop_assert!(decayed >= share.min(NEUTRAL_SHARE) && decayed <= share.max(NEUTRAL_SHARE));
        }

        #[test]
        fn a_rate_is_a_share_whatever_happens(events in proptest::collection::vec((0_u64..10, any::<bool>()), 0..200)) {
            let (mut rate, mut now) = (DecayingRate::default(), at(0));
            for (pause_s, failed) in events {
                now = now.plus(Duration::from_secs(pause_s));
                rate.record(now, HALF_LIFE, failed);
                prop_assert!((0.0..=1.0 + 1e-9).contains(&rate.rate(now, HALF_LIFE, 10.0)));
            }
        }
    }
}
