//! What the fleet is like, now and over time: measurements, health, bottlenecks, trends.
//!
//! Once a second [`Insight::observe`] is given a sample: the engine's published numbers and agents. Nothing is measured on the way
//! of a task; what a turn costs is a walk over the agents, whatever the load. Everything else is answered from what is
//! kept, when somebody asks.
//!
//! | file | what |
//! |---|---|
//! | `metric` | what is measured, and of what |
//! | `sample` | what a sample tells beside the engine's numbers and the agents |
//! | `measure` | from counters and states to values |
//! | `series`, `ring` | what is kept, how finely, for how long; what goes to the store |
//! | `thresholds` | from when on a value is a matter of concern |
//! | `score` | health in points, with its parts |
//! | `pools` | agents looked at together |
//! | `bottleneck` | what holds the fleet up |
//! | `trend` | where a value is going |
//! | `caches` | what the coordinator's own caches are good for |

pub mod bottleneck;
pub mod caches;
#[cfg(test)]
pub(crate) mod fixture;
mod measure;
pub mod metric;
pub mod pools;
pub mod ring;
pub mod sample;
pub mod score;
pub mod series;
pub mod thresholds;
pub mod trend;

use std::{cmp::Ordering, time::Duration};

use evenkeel_shared::{AgentId, Code, Error, Timestamp, Violation};

use self::{
    bottleneck::{Bottleneck, Surroundings, Watch, readings},
    metric::{Metric, Subject},
    pools::{Pool, PoolBy, pools},
    ring::{Point, thin},
    sample::CacheSample,
    score::Score,
    series::Book,
    thresholds::{Threshold, Thresholds},
    trend::{POINTS_MIN, Trend},
};
use crate::{
    manager::{FleetSample, Outputs},
    model::{Declaration, DeclarationKind, Record, UsageSample},
};

/// The label by whose values pools are recorded.
const POOL_LABEL: &str = "pool";
/// Agents shown with the health of the fleet: the worst of them.
const AGENTS_SHOWN_MAX: usize = 100;
/// Furthest that a trend is foretold: as far as three days of minutes can tell.
pub const HORIZON_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Who was not measured for so long is looked for so often.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// What the fleet is like now.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetHealth {
    /// In points.
    pub score: Score,
    /// The pools that were asked for, by name.
    pub pools: Vec<Pool>,
    /// The agents with the fewest points, the worst first; at most [`AGENTS_SHOWN_MAX`].
    pub agents: Vec<(AgentId, Score)>,
    /// What holds up, the worst first.
    pub bottlenecks: Vec<Bottleneck>,
    /// The coordinator's caches.
    pub caches: Vec<CacheSample>,
}

/// Where a metric is going, and when it is past its threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The trend.
    pub trend: Trend,
    /// When its forecast reaches the critical threshold, if it has one and does within the horizon.
    pub exhausted_at: Option<Timestamp>,
}

/// All of it. See the module.
#[derive(Debug)]
pub struct Insight {
    book: Book,
    watch: Watch,
    declared: Vec<Threshold>,
    declared_version: u64,
    thresholds: Thresholds,
    last: Option<FleetSample>,
    forgot_at: Timestamp,
}

impl Default for Insight {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Insight {
    /// Insight that has seen nothing yet, with the thresholds that are declared. A declaration that cannot be read is left out: it
    /// was written by a newer program.
    #[must_use]
    pub fn new(declarations: &[Declaration]) -> Self {
        let declared = declarations.iter().find(|declaration| declaration.kind == DeclarationKind::Thresholds);
        let version = declared.map_or(0, |declaration| declaration.version);
        let body = declared.and_then(|declaration| declaration.body.as_deref());
        let declared: Vec<Threshold> = body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        let (declared, thresholds) = match Thresholds::new(&declared) {
            Ok(thresholds) => (declared, thresholds),
            Err(_) => (Vec::new(), Thresholds::default()),
        };
        Self {
            book: Book::default(),
            watch: Watch::default(),
            declared,
            declared_version: version,
            thresholds,
            last: None,
            forgot_at: Timestamp::ZERO,
        }
    }

    /// Puts back what an earlier incarnation recorded of the fleet in a metric, oldest first, so that seasons survive a restart.
    pub fn restore(&mut self, metric: Metric, rows: &[UsageSample]) {
        self.book.restore(metric, rows);
    }

    /// Takes in how the fleet is now: measures, records, and says what begins or ends to hold it up.
    pub fn observe(&mut self, sample: &FleetSample, out: &mut Outputs) {
        let at = sample.at;
        let measured = measure::measure(sample, self.last.as_ref());
        self.book.fleet(at, &measured.fleet);
        for (subject, values) in &measured.groups {
            self.book.group(at, subject, &values[..subject.metrics().len()]);
        }
        let pools = pools(&sample.agents, &sample.more.kinds, &PoolBy::Label(POOL_LABEL.to_owned()));
        // One pool is the fleet again.
        if pools.len() > 1 {
            for pool in &pools {
                let values = [pool.utilisation(), pool.cpu, pool.memory, pool.queued, f64::from(pool.agents)];
                self.book.group(at, &Subject::Pool(pool.name.clone()), &values.map(Some));
            }
        }
        self.book.agents(at, measure::of_agents(sample, self.last.as_ref()));
        let untaken = measure::untaken(sample);
        let surroundings = Surroundings {
            thresholds: &self.thresholds,
            fleet: &measured.fleet,
            pools: &pools,
            untaken: &untaken,
            limits: &sample.more.limits,
        };
        self.watch.observe(at, &readings(&surroundings), &mut out.notices);
        if at.since(self.forgot_at) >= FORGET_INTERVAL {
            self.forgot_at = at;
            self.book.forget(at);
        }
        out.records.extend(self.book.take_rows().map(Record::Usage));
        // Into the same memory: a fleet's worth of pointers.
        match &mut self.last {
            Some(last) => last.clone_from(sample),
            None => self.last = Some(sample.clone()),
        }
    }

    /// The newest sample.
    #[must_use]
    pub const fn last(&self) -> Option<&FleetSample> {
        self.last.as_ref()
    }

    /// All series.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Thresholds in force.
    #[must_use]
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Declares thresholds; those of metrics that are not named are as usual again.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the field at fault.
    pub fn put_thresholds(
        &mut self,
        now: Timestamp,
        declared: Vec<Threshold>,
        reason: String,
        out: &mut Outputs,
    ) -> Result<(), Error> {
        let thresholds = Thresholds::new(&declared)?;
        let body = serde_json::to_string(&declared)
            .map_err(|error| Error::new(Code::Internal, format!("thresholds cannot be written down: {error}")))?;
        self.declared_version += 1;
        (self.declared, self.thresholds) = (declared, thresholds);
        out.records.push(Record::Declared(Declaration {
            kind: DeclarationKind::Thresholds,
            name: String::new(),
            version: self.declared_version,
            body: Some(body),
            at: now,
            reason,
        }));
        Ok(())
    }

    /// What the fleet is like now, with these pools. A walk over the agents: for people and dashboards.
    #[must_use]
    pub fn health(&self, now: Timestamp, by: &PoolBy) -> FleetHealth {
        let sample = self.last.as_ref();
        let agents = sample.map_or(&[][..], |sample| &sample.agents);
        let mut scored: Vec<(AgentId, Score)> = agents
            .iter()
            .map(|agent| (agent.spec.id.clone(), score::of_agent(agent, &self.book, &self.thresholds, now)))
            .collect();
        let worse = |a: &(AgentId, Score), b: &(AgentId, Score)| -> Ordering {
            a.1.score.total_cmp(&b.1.score).then_with(|| a.0.cmp(&b.0))
        };
        if scored.len() > AGENTS_SHOWN_MAX {
            scored.select_nth_unstable_by(AGENTS_SHOWN_MAX, worse);
            scored.truncate(AGENTS_SHOWN_MAX);
        }
        scored.sort_by(worse);
        FleetHealth {
            score: score::of_fleet(&self.book, &self.thresholds, now),
            pools: sample.map(|sample| pools(agents, &sample.more.kinds, by)).unwrap_or_default(),
            agents: scored,
            bottlenecks: self.bottlenecks(now, false),
            caches: sample.map(|sample| sample.more.shell.caches.clone()).unwrap_or_default(),
        }
    }

    /// What holds the fleet up, the worst first; and, if wanted, what did within the last hour.
    #[must_use]
    pub fn bottlenecks(&self, now: Timestamp, ended_too: bool) -> Vec<Bottleneck> {
        self.watch.list(now, ended_too)
    }

    /// Points of a metric that are in memory, at this step or the next coarser one that there is, and since when there are any.
    #[must_use]
    pub fn points(
        &self,
        subject: &Subject,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> (Vec<Point>, Option<Timestamp>) {
        let (points, kept_step) = self.book.points(subject, metric, from, to);
        let begins = self.book.begins(subject, metric);
        if step <= kept_step { (points, begins) } else { (thin(points.into_iter(), step), begins) }
    }

    /// Where a metric is going. The further the horizon, the further back it is looked: about four times as far, if there is as much.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the metric is not recorded of that subject, NOT_FOUND if nothing is known of the subject,
    /// FAILED_PRECONDITION if there are too few points yet.
    pub fn trend(
        &self,
        subject: &Subject,
        metric: Metric,
        horizon: Duration,
        now: Timestamp,
    ) -> Result<Outlook, Error> {
        if horizon > HORIZON_MAX || horizon.is_zero() {
            return Err(Violation::new("horizon_ms", format!("must be 1 to {}", HORIZON_MAX.as_millis())).into());
        }
        if !subject.metrics().contains(&metric) {
            return Err(Violation::new("metric", format!("`{metric}` is not recorded of {subject}")).into());
        }
        let begins =
            self.book.begins(subject, metric).ok_or_else(|| Error::not_found("series", subject.to_string()))?;
        // An hour at least: where the fine points are.
        let back = (horizon * 4).max(Duration::from_secs(3_540));
        let from = now.minus(back).max(begins);
        let (points, step) = self.book.points(subject, metric, from, now.plus(Duration::from_secs(1)));
        // The stretch that is not over says little where stretches are long.
        let points =
            if step > Duration::from_secs(1) { &points[..points.len().saturating_sub(1)] } else { &points[..] };
        let trend = Trend::of(points, step, metric.is_share()).ok_or_else(|| {
            let words = format!(
                "{} points of {metric} of {subject} are too few for a trend; there must be {POINTS_MIN}, of {} s each",
                points.len(),
                step.as_secs()
            );
            Error::new(Code::FailedPrecondition, words)
        })?;
        let threshold = self.thresholds.get(metric);
        let exhausted_at = threshold.and_then(|threshold| trend.reaches(threshold.critical, threshold.below, horizon));
        Ok(Outlook { trend, exhausted_at })
    }
}

#[cfg(test)]
mod tests;
