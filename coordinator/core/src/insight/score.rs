//! How well the fleet and each agent fare, in points from 0 to 100, and why.
//!
//! A score is the weighted mean of its parts, and never more than [`ABOVE_WORST_MAX`] points above the worst of them: a fleet
//! whose disk stands still is not well because five other things are. A part that is not measured does not count. Parts get
//! their points from thresholds ([`Threshold::score`]), so an operator who moves a threshold moves the score with it.

use std::time::Duration;

use evenkeel_shared::{Health, Timestamp};

use super::{
    metric::{Metric, Subject},
    series::Book,
    thresholds::{Threshold, Thresholds},
};
use crate::model::AgentView;

/// A score is at most so many points above its worst part.
const ABOVE_WORST_MAX: f64 = 50.0;
/// What a part says is the mean of so long, so that a score does not flicker.
const SMOOTHED: Duration = Duration::from_secs(60);
/// Failures of an agent are rare and count for longer.
const FAILURES_SMOOTHED: Duration = Duration::from_secs(600);
/// An agent that has been silent for so long loses all points for it; heartbeats come every second or two.
const SILENT: Duration = Duration::from_secs(10);

/// A part of a score.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is about.
    pub name: &'static str,
    /// 0 to 100.
    pub score: f64,
    /// Its share in the whole; those of all parts sum up to 1.
    pub weight: f64,
    /// Why it has no more.
    pub reason: String,
}

/// A score with its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// 0 to 100.
    pub score: f64,
    /// What it is made of.
    pub parts: Vec<Part>,
}

impl Score {
    /// Of parts whose weights need not sum up to 1.
    fn of(mut parts: Vec<Part>) -> Self {
        let weights: f64 = parts.iter().map(|part| part.weight).sum();
        parts.iter_mut().for_each(|part| part.weight /= weights.max(1e-9));
        let mean: f64 = parts.iter().map(|part| part.score * part.weight).sum();
        let worst = parts.iter().map(|part| part.score).fold(100.0, f64::min);
        // Rounded, so that all points are 100 and not a little less.
        let score = (mean.min(worst + ABOVE_WORST_MAX) * 1e6).round() / 1e6;
        Self { score: score.clamp(0.0, 100.0), parts }
    }
}

/// The fleet's score.
#[must_use]
pub fn of_fleet(book: &Book, thresholds: &Thresholds, now: Timestamp) -> Score {
    // Agents and waiting are what users feel first; the coordinator's own parts matter as soon as they are short.
    let parts = [
        ("agents", Metric::AgentsDown, 30.0),
        ("waiting", Metric::OldestWaitMs, 20.0),
        ("errors", Metric::ErrorRate, 20.0),
        ("room", Metric::Utilisation, 10.0),
        ("cpu", Metric::Cpu, 5.0),
        ("memory", Metric::Memory, 5.0),
        ("store", Metric::CommitMs, 5.0),
        ("engine", Metric::EngineBusy, 5.0),
    ];
    let parts = parts.into_iter().filter_map(|(name, metric, weight)| {
        let value = recent(book, &Subject::Fleet, metric, SMOOTHED, now)?;
        part(name, value, thresholds.get(metric)?, weight)
    });
    let mut parts: Vec<Part> = parts.collect();
    if book.last(&Subject::Fleet, Metric::Agents) == Some(0.0) {
        let reason = "no agent is connected".to_owned();
        parts.push(Part { name: "connected", score: 0.0, weight: 100.0, reason });
    }
    Score::of(parts)
}

/// An agent's score.
#[must_use]
pub fn of_agent(agent: &AgentView, book: &Book, thresholds: &Thresholds, now: Timestamp) -> Score {
    let (points, words) = match agent.health {
        Health::Healthy => (100.0, "healthy".to_owned()),
        Health::Lost => (0.0, "it has no session".to_owned()),
        Health::Degraded => (60.0, conditions("degraded", agent)),
        Health::Unhealthy => (20.0, conditions("unhealthy", agent)),
    };
    let mut parts = vec![Part { name: "health", score: points, weight: 40.0, reason: words }];
    let subject = Subject::Agent(agent.spec.id.clone());
    let measured = [
        ("cpu", Metric::Cpu, 15.0, SMOOTHED),
        ("memory", Metric::Memory, 15.0, SMOOTHED),
        ("failures", Metric::ErrorRate, 20.0, FAILURES_SMOOTHED),
    ];
    parts.extend(measured.into_iter().filter_map(|(name, metric, weight, smoothed)| {
        let value = recent(book, &subject, metric, smoothed, now)?;
        part(name, value, thresholds.get(metric)?, weight)
    }));
    if agent.health != Health::Lost {
        let silent = now.since(agent.last_heard_at);
        let points = 100.0 * (1.0 - silent.as_secs_f64() / SILENT.as_secs_f64()).clamp(0.0, 1.0);
        // A beat or two in which nothing came is the interval, not silence.
        let points = if silent < SILENT / 3 { 100.0 } else { points };
        let reason = format!("heard {:.1} s ago", silent.as_secs_f64());
        parts.push(Part { name: "heartbeat", score: points, weight: 10.0, reason });
    }
    Score::of(parts)
}

/// The mean of the newest points, at least one whole one.
fn recent(book: &Book, subject: &Subject, metric: Metric, smoothed: Duration, now: Timestamp) -> Option<f64> {
    let later = now.plus(Duration::from_secs(1));
    book.recent(subject, metric, now.minus(smoothed), later).filter(|value| value.is_finite())
}

fn part(name: &'static str, value: f64, threshold: &Threshold, weight: f64) -> Option<Part> {
    let score = threshold.score(value);
    let words = |bound: &str, limit: f64| format!("{} is {value:.3}, {bound} {limit}", threshold.metric);
    let depth = threshold.depth(value);
    let side = if threshold.below { "below" } else { "above" };
    let reason = if depth >= 1.0 {
        words(&format!("{side} critical"), threshold.critical)
    } else if depth > 0.0 {
        words(&format!("{side} the warning of"), threshold.warning)
    } else {
        words("well within", threshold.warning)
    };
    Some(Part { name, score, weight, reason })
}

fn conditions(word: &str, agent: &AgentView) -> String {
    if agent.conditions.is_empty() { word.to_owned() } else { format!("{word}: {}", agent.conditions.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::fixture::{agent, at};

    fn fleet(metric: Metric, value: f64) -> Score {
        let mut book = Book::default();
        let usual = |other: Metric| match other {
            other if other == metric => Some(value),
            Metric::Agents => Some(3.0),
            Metric::CommitMs => None,
            _ => Some(0.0),
        };
        (0..60).for_each(|second| book.fleet(at(second), &Metric::ALL.map(usual)));
        of_fleet(&book, &Thresholds::default(), at(60))
    }

    #[test]
    fn a_fleet_that_is_well_has_all_points_and_parts_say_what_takes_them() {
        let well = fleet(Metric::Queued, 5.0);
        assert_eq!(well.score, 100.0, "{well:?}");
        assert!((well.parts.iter().map(|part| part.weight).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(well.parts.iter().all(|part| part.name != "store"), "what is not measured does not count");
        let failing = fleet(Metric::ErrorRate, 0.15);
        let part = failing.parts.iter().find(|part| part.name == "errors").unwrap();
        assert_eq!(
            (part.score.round(), part.reason.as_str()),
            (70.0, "error_rate is 0.150, above the warning of 0.05")
        );
        assert!((90.0..95.0).contains(&failing.score), "{failing:?}");
    }

    #[test]
    fn one_part_that_is_lost_takes_the_whole_with_it() {
        assert_eq!(fleet(Metric::EngineBusy, 1.2).score, ABOVE_WORST_MAX, "nothing goes on without the engine");
        let empty = fleet(Metric::Agents, 0.0);
        assert!(empty.score <= ABOVE_WORST_MAX, "{empty:?}");
    }

    #[test]
    fn an_agent_is_judged_by_health_load_failures_and_silence() {
        let score = |view: &AgentView, second| of_agent(view, &Book::default(), &Thresholds::default(), at(second));
        assert_eq!(score(&agent("a").view(), 2).score, 100.0);
        let degraded = score(&agent("a").health(Health::Degraded).view(), 2).score;
        let unhealthy = score(&agent("a").health(Health::Unhealthy).view(), 2).score;
        let lost = score(&agent("a").lost().view(), 2).score;
        let silent = score(&agent("a").view(), 9);
        assert!(100.0 > degraded && degraded > unhealthy && unhealthy > lost, "{degraded} {unhealthy} {lost}");
        assert_eq!(lost, 0.0);
        assert!(silent.score < 90.0 && silent.parts[1].reason == "heard 9.0 s ago", "{silent:?}");
        let id = agent("a").view().spec.id.clone();
        let mut book = Book::default();
        book.agents(at(0), [(&id, [Some(0.5), Some(0.95), Some(0.5), Some(0.25)])].into_iter());
        let strained = of_agent(&agent("a").view(), &book, &Thresholds::default(), at(1));
        assert!((60.0..80.0).contains(&strained.score), "{strained:?}");
    }
}
