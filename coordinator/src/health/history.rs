//! What becomes of findings over time: worse is believed at once, better only after a while.
//!
//! A number that swings around its threshold would otherwise change the status with every sample, and each change is an event in
//! the history and a page for somebody. Rejected: two thresholds for each number. They double the settings, and still flap where
//! the swing is wider than their distance; a time bounds the rate of changes whatever the number does.

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::{Finding, Level};

/// A part's status over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    level: Level,
    since: Timestamp,
    /// The finding behind the level: once a number is better again, why it was not.
    reasons: Vec<String>,
    /// Since when all findings have been better than the level, and the worst of them with its reasons.
    better: Option<(Timestamp, Level, Vec<String>)>,
}

/// A change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: Level,
    /// Now.
    pub to: Level,
}

impl History {
    /// Healthy from here on.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// Takes a finding in; says whether the status changed. A status is `recover_after` old at least, and has been better for
    /// as long, before it gets better.
    pub fn take(&mut self, now: Timestamp, finding: &Finding, recover_after: Duration) -> Option<Change> {
        if finding.level >= self.level {
            self.better = None;
            self.reasons.clone_from(&finding.reasons);
            return self.become_level(now, finding.level);
        }
        if finding.exact {
            self.reasons.clone_from(&finding.reasons);
            return self.become_level(now, finding.level);
        }
        let (since, worst, reasons) = self.better.get_or_insert_with(|| (now, Level::Healthy, Vec::new()));
        // Of what is seen meanwhile the worst counts: the best of it may be a moment.
        if finding.level >= *worst {
            (*worst, *reasons) = (finding.level, finding.reasons.clone());
        }
        if now.since(*since) < recover_after {
            return None;
        }
        let worst = *worst;
        self.reasons = std::mem::take(reasons);
        self.become_level(now, worst)
    }

    fn become_level(&mut self, now: Timestamp, level: Level) -> Option<Change> {
        if level == self.level {
            return None;
        }
        self.better = None;
        self.since = now;
        let from = std::mem::replace(&mut self.level, level);
        Some(Change { from, to: level })
    }

    /// The status.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Why.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AFTER: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000 * seconds)
    }

    fn finding(level: Level) -> Finding {
        let reason = (level > Level::Healthy).then(|| level.name().to_owned());
        Finding { level, reasons: reason.into_iter().collect(), ..Finding::default() }
    }

    /// The statuses after each finding, one a second.
    fn statuses(findings: &[Level]) -> Vec<Level> {
        let mut history = History::new(at(0));
        let take = |(second, level): (u64, &Level)| {
            history.take(at(second), &finding(*level), AFTER);
            history.level()
        };
        (1..).zip(findings).map(take).collect()
    }

    #[test]
    fn worse_is_believed_at_once_and_better_after_a_while() {
        use Level::{Degraded as D, Healthy as H, Unhealthy as U};
        assert_eq!(statuses(&[H, D, U]), [H, D, U]);
        assert_eq!(statuses(&[U, H, H, H, H, H, H]), [U, U, U, U, U, U, H], "better for five seconds");
        assert_eq!(statuses(&[U, H, H, U, H, H, H, H, H, H]), [U, U, U, U, U, U, U, U, U, H], "counted anew");
        assert_eq!(statuses(&[U, H, D, H, H, H, H]), [U, U, U, U, U, U, D], "to the worst of what was seen");
    }

    #[test]
    fn a_fact_is_believed_at_once_both_ways() {
        let mut history = History::new(at(0));
        history.take(at(1), &finding(Level::Unhealthy).exactly(), AFTER);
        let change = history.take(at(2), &Finding::healthy().exactly(), AFTER);
        assert_eq!(change, Some(Change { from: Level::Unhealthy, to: Level::Healthy }));
        assert_eq!((history.since(), history.reasons()), (at(2), &[][..]));
    }

    #[test]
    fn while_it_recovers_the_reason_is_still_there() {
        let mut history = History::new(at(0));
        history.take(at(1), &finding(Level::Degraded), AFTER);
        history.take(at(2), &Finding::healthy(), AFTER);
        assert_eq!((history.level(), history.reasons()), (Level::Degraded, &["degraded".to_owned()][..]));
    }

    proptest! {
        #[test]
        fn it_is_never_better_than_what_is_found_and_gets_better_only_so_often(levels in prop::collection::vec(0..3_usize, 0..200)) {
            let mut history = History::new(at(0));
            let mut bettered = None;
            for (second, level) in (1..).zip(levels) {
                let found = finding(Level::ALL[level]);
                let change = history.take(at(second), &found, AFTER);
                prop_assert!(history.level() >= found.level);
                prop_assert_eq!(history.reasons().is_empty(), history.level() == Level::Healthy);
                if change.is_some_and(|change| change.to < change.from) {
                    prop_assert!(bettered.is_none_or(|before: u64| second - before >= AFTER.as_secs()));
                    bettered = Some(second);
                }
            }
        }
    }
}
