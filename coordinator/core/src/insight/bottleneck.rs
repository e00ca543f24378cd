//! What holds the fleet up.
//!
//! A resource holds up if it is past its threshold *and* something suffers from it: slots that are all in use while nobody waits are
//! a fleet well used. So each turn yields readings of what can hold up, and for each of them whether it does ([`readings`]); the
//! watch follows them over time:
//!
//! - One begins once it has held up for the threshold's time, and ends once it has been a tenth better than its warning for as long:
//!   one that wavers about the threshold is one bottleneck, not many.
//! - Its severity is by how far it is past the warning and for how long: half way to critical is medium, critical is high, twice as
//!   far is critical; and one step more once it has lasted for five minutes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use evenkeel_shared::Timestamp;

use super::{
    metric::{Metric, Subject},
    thresholds::Threshold,
};
use crate::model::{ClusterEventKind, Notice};

mod readings;
mod words;

use self::words::advice;
pub use self::{
    readings::{Reading, Surroundings, readings},
    words::title,
};

/// Things that can hold up and are followed, at most: beyond it new ones are not, until others are forgotten.
pub const WATCHED_MAX: usize = 1_024;
/// For so long it is known how often something held up.
pub const FREQUENCY_WINDOW: Duration = Duration::from_secs(3_600);
/// Beginnings remembered of one; more in an hour are not told apart.
const BEGINNINGS_MAX: usize = 64;
/// One that lasts so long is one step worse.
const LASTING: Duration = Duration::from_secs(300);
/// To end, it must be better than the warning by this share of it.
const RELEASE: f64 = 0.1;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth looking at.
    Medium,
    /// Something should be done.
    High,
    /// At once.
    Critical,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    fn of(depth: f64, lasted: Duration) -> Self {
        let by_depth = match depth {
            depth if depth >= 2.0 => return Self::Critical,
            depth if depth >= 1.0 => Self::High,
            depth if depth >= 0.5 => Self::Medium,
            _ => Self::Low,
        };
        if lasted < LASTING {
            return by_depth;
        }
        match by_depth {
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }
}

/// What holds up, or did.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// What is measured.
    pub metric: Metric,
    /// Of what.
    pub subject: Subject,
    /// How bad it is, or was at the worst.
    pub severity: Severity,
    /// How much it was last.
    pub value: f64,
    /// The warning that it passed.
    pub threshold: f64,
    /// When it began to hold up.
    pub since: Timestamp,
    /// It does.
    pub active: bool,
    /// How often it began in the last hour.
    pub frequency: u32,
    /// What to do.
    pub advice: String,
}

/// One that is followed.
#[derive(Debug)]
struct Track {
    over_since: Option<Timestamp>,
    under_since: Option<Timestamp>,
    active_since: Option<Timestamp>,
    /// Of the last time.
    since: Timestamp,
    worst: Severity,
    value: f64,
    threshold: Threshold,
    beginnings: VecDeque<Timestamp>,
    seen_at: Timestamp,
}

/// Follows what holds up. See the module.
#[derive(Debug, Default)]
pub struct Watch {
    tracks: BTreeMap<(Metric, Subject), Track>,
}

impl Watch {
    /// Takes in the readings of a moment; says what begins and what ends. What is not read any more is better.
    pub fn observe(&mut self, now: Timestamp, readings: &[Reading], notices: &mut Vec<Notice>) {
        for reading in readings {
            let key = (reading.metric, reading.subject.clone());
            let depth = reading.threshold.depth(reading.value);
            let over = reading.suffered && depth >= 0.0;
            if !self.tracks.contains_key(&key) {
                if !over || self.tracks.len() >= WATCHED_MAX {
                    continue;
                }
                self.tracks.insert(key.clone(), Track::new(now, reading));
            }
            let Some(track) = self.tracks.get_mut(&key) else { continue };
            let margin = RELEASE * reading.threshold.warning;
            let better = if reading.threshold.below { reading.value - margin } else { reading.value + margin };
            let under = !reading.suffered || reading.threshold.depth(better) < 0.0;
            (track.value, track.threshold, track.seen_at) = (reading.value, reading.threshold, now);
            track.step(now, &key, over, under, notices);
        }
        for (key, track) in &mut self.tracks {
            if track.seen_at < now {
                track.step(now, key, false, true, notices);
            }
            while track.beginnings.front().is_some_and(|begun| *begun < now.minus(FREQUENCY_WINDOW)) {
                track.beginnings.pop_front();
            }
        }
        self.tracks.retain(|_, track| {
            track.active_since.is_some() || track.over_since.is_some() || !track.beginnings.is_empty()
        });
    }

    /// What holds up now, the worst first; and, if wanted, what did within the last hour.
    #[must_use]
    pub fn list(&self, now: Timestamp, ended_too: bool) -> Vec<Bottleneck> {
        let shown = self
            .tracks
            .iter()
            .filter(|(_, track)| track.active_since.is_some() || (ended_too && !track.beginnings.is_empty()));
        let mut all: Vec<Bottleneck> = shown.map(|(key, track)| track.shown(now, key)).collect();
        all.sort_by(|a, b| b.active.cmp(&a.active).then(b.severity.cmp(&a.severity)).then(a.since.cmp(&b.since)));
        all
    }
}

impl Track {
    fn new(now: Timestamp, reading: &Reading) -> Self {
        Self {
            over_since: None,
            under_since: None,
            active_since: None,
            since: now,
            worst: Severity::Low,
            value: reading.value,
            threshold: reading.threshold,
            beginnings: VecDeque::new(),
            seen_at: now,
        }
    }

    fn step(&mut self, now: Timestamp, key: &(Metric, Subject), over: bool, under: bool, notices: &mut Vec<Notice>) {
        let lasting = self.threshold.lasting();
        let since = |known: Option<Timestamp>, holds: bool| holds.then(|| known.unwrap_or(now));
        self.over_since = since(self.over_since, over);
        self.under_since = since(self.under_since, under);
        match self.active_since {
            None => {
                let Some(since) = self.over_since.filter(|since| now.since(*since) >= lasting) else { return };
                (self.active_since, self.since) = (Some(now), since);
                self.worst = self.severity(now);
                if self.beginnings.len() >= BEGINNINGS_MAX {
                    self.beginnings.pop_front();
                }
                self.beginnings.push_back(now);
                let (metric, subject) = key;
                let words = format!(
                    "{subject} is held up: {metric} is {:.3} ({}, {}): {}",
                    self.value,
                    if self.threshold.below { "below the threshold" } else { "over the threshold" },
                    self.severity(now).name(),
                    advice(*metric, subject)
                );
                notices.push(Notice::new(ClusterEventKind::Bottleneck, words));
            }
            Some(_) => {
                self.worst = self.worst.max(self.severity(now));
                if self.under_since.is_none_or(|since| now.since(since) < lasting) {
                    return;
                }
                self.active_since = None;
                let (metric, subject) = key;
                let lasted = now.since(self.since).as_secs();
                let words = format!(
                    "{subject} is no longer held up by {metric}, after {lasted} s; it was {} at the worst",
                    self.worst.name()
                );
                notices.push(Notice::new(ClusterEventKind::Bottleneck, words));
            }
        }
    }

    fn severity(&self, now: Timestamp) -> Severity {
        Severity::of(self.threshold.depth(self.value), now.since(self.since))
    }

    fn shown(&self, now: Timestamp, (metric, subject): &(Metric, Subject)) -> Bottleneck {
        let active = self.active_since.is_some();
        Bottleneck {
            metric: *metric,
            subject: subject.clone(),
            severity: if active { self.severity(now) } else { self.worst },
            value: self.value,
            threshold: self.threshold.warning,
            since: self.since,
            active,
            frequency: self.beginnings.len() as u32,
            advice: advice(*metric, subject),
        }
    }
}

#[cfg(test)]
#[path = "bottleneck_tests.rs"]
mod tests;
