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

use evenkeel_shared::{Kind, Timestamp};

use super::{
    metric::{Metric, Subject},
    pools::Pool,
    sample::{GroupSample, LimitSample},
    thresholds::{FOR_DEFAULT, Threshold, Thresholds},
};
use crate::{manager::Notice, model::ClusterEventKind};

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

/// Something that can hold up, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is measured.
    pub metric: Metric,
    /// Of what.
    pub subject: Subject,
    /// How much.
    pub value: f64,
    /// What it is held against.
    pub threshold: Threshold,
    /// Something suffers from it, if it is past the threshold.
    pub suffered: bool,
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

/// What holds up, in words for a title.
#[must_use]
pub fn title(metric: Metric, subject: &Subject) -> String {
    match (metric, subject) {
        (Metric::Utilisation, _) => format!("{subject} is short of slots"),
        (Metric::Cpu, _) => format!("{subject} is short of processor"),
        (Metric::Memory, _) => format!("{subject} is short of memory"),
        (Metric::Agents, Subject::Kind(kind)) => format!("no agent takes tasks of kind {kind}"),
        (Metric::Queued, Subject::Limit(name)) => format!("the limit {name} holds tasks up"),
        (Metric::AgentsDown, _) => "many agents are down".to_owned(),
        (Metric::ErrorRate, _) => "many attempts fail".to_owned(),
        (Metric::CommitMs, _) => "the store is slow".to_owned(),
        (Metric::EngineBusy, _) => "the engine's thread is at its limit".to_owned(),
        (metric, subject) => format!("{metric} of {subject} is past its threshold"),
    }
}

/// What to do about what holds up, in words.
#[must_use]
pub fn advice(metric: Metric, subject: &Subject) -> String {
    match (metric, subject) {
        (Metric::Utilisation, Subject::Fleet) => {
            "all slots are in use while tasks wait: start agents, or raise the scaling policy's agents_max".to_owned()
        }
        (Metric::Utilisation, subject) => {
            format!("all slots of {subject} are in use while its tasks wait: start agents there")
        }
        (Metric::Cpu, _) => {
            "agents are short of processor: start more, give each fewer slots, or request cpu in tasks".to_owned()
        }
        (Metric::Memory, _) => {
            "agents are short of memory: start more, give each fewer slots, or request memory in tasks".to_owned()
        }
        (Metric::Agents, Subject::Kind(kind)) => {
            format!("no connected agent takes tasks of kind {kind}: start one that does")
        }
        (Metric::Queued, Subject::Limit(name)) => {
            format!(
                "tasks wait under the limit {name} while the fleet has room: raise it if what it protects allows that"
            )
        }
        (Metric::AgentsDown, _) => "agents are unhealthy or lost: see which in the list of agents, and why".to_owned(),
        (Metric::ErrorRate, _) => {
            "attempts fail: see the failures of recent tasks, and whether one agent or kind has most".to_owned()
        }
        (Metric::CommitMs, _) => {
            "the store's disk is slow, and every answer waits for it: put the database on a faster one".to_owned()
        }
        (Metric::EngineBusy, _) => {
            "the engine's thread is at its limit: submit in larger batches, or divide the fleet among coordinators"
                .to_owned()
        }
        (metric, subject) => format!("{metric} of {subject} is past its threshold"),
    }
}

/// What the fleet can be held up by, besides what is read off its series.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Thresholds in force.
    pub thresholds: &'a Thresholds,
    /// The newest values of the fleet, in the order of [`Metric::ALL`].
    pub fleet: &'a [Option<f64>],
    /// Pools by label.
    pub pools: &'a [Pool],
    /// Kinds that are waited for and that no connected agent takes.
    pub untaken: &'a [&'a GroupSample],
    /// Declared limits.
    pub limits: &'a [LimitSample],
}

/// What can hold the fleet up, and whether it does.
#[must_use]
pub fn readings(of: &Surroundings<'_>) -> Vec<Reading> {
    let value = |metric: Metric| of.fleet.get(metric as usize).copied().flatten();
    let waits = value(Metric::Queued).is_some_and(|queued| queued > 0.0);
    let mut readings = Vec::new();
    // Waiting times and lengths of queues are what is suffered, not what it is suffered from.
    let fleet = [
        (Metric::Utilisation, waits),
        (Metric::Cpu, true),
        (Metric::Memory, true),
        (Metric::AgentsDown, true),
        (Metric::ErrorRate, true),
        (Metric::CommitMs, true),
        (Metric::EngineBusy, true),
    ];
    for (metric, suffered) in fleet {
        if let (Some(value), Some(threshold)) = (value(metric), of.thresholds.get(metric)) {
            readings.push(Reading { metric, subject: Subject::Fleet, value, threshold: *threshold, suffered });
        }
    }
    if let Some(threshold) = of.thresholds.get(Metric::Utilisation).filter(|_| of.pools.len() > 1) {
        readings.extend(of.pools.iter().map(|pool| Reading {
            metric: Metric::Utilisation,
            subject: Subject::Pool(pool.name.clone()),
            value: pool.utilisation(),
            threshold: *threshold,
            suffered: pool.queued >= 1.0,
        }));
    }
    readings.extend(of.untaken.iter().filter_map(|kind| {
        let subject = Subject::Kind(Kind::new(&kind.name).ok()?);
        Some(Reading { metric: Metric::Agents, subject, value: 0.0, threshold: NO_AGENT, suffered: true })
    }));
    let busy = of.thresholds.get(Metric::Utilisation).map_or(1.0, |threshold| threshold.warning);
    let room = value(Metric::Utilisation).is_some_and(|used| used < busy);
    readings.extend(of.limits.iter().filter(|limit| limit.waiting > 0 || limit.closed).map(|limit| Reading {
        metric: Metric::Queued,
        subject: Subject::Limit(limit.name.clone()),
        value: limit.waiting as f64,
        threshold: waiting_under(limit),
        suffered: room && limit.closed && limit.waiting > 0,
    }));
    readings
}

/// A kind that is waited for has an agent, or all of it is held up.
const NO_AGENT: Threshold = Threshold {
    metric: Metric::Agents,
    warning: 1.0,
    critical: 0.0,
    for_ms: FOR_DEFAULT.as_millis() as u64,
    below: true,
};

/// A limit throttles; that is what it is for. It holds up once as many wait as may run, and badly at ten times that.
fn waiting_under(limit: &LimitSample) -> Threshold {
    let usual = f64::from(limit.concurrency_max.max(1));
    Threshold {
        metric: Metric::Queued,
        warning: usual,
        critical: 10.0 * usual,
        for_ms: FOR_DEFAULT.as_millis() as u64,
        below: false,
    }
}

#[cfg(test)]
#[path = "bottleneck_tests.rs"]
mod tests;
