//! What the fleet is like: health, measurements, trends, bottlenecks.

use std::time::Duration;

use evenkeel_core::{
    insight::{
        FleetHealth, HORIZON_MAX, Outlook,
        bottleneck::{Bottleneck, Severity},
        caches,
        metric::{Metric, Subject},
        pools::{Pool, PoolBy},
        ring::Point,
        sample::CacheSample,
        score::{Part, Score},
        thresholds::{FOR_DEFAULT, Threshold, Thresholds},
    },
    manager::Manager,
};
use evenkeel_proto::v1;
use evenkeel_shared::{Error, Timestamp, Violation, wire::cut_note};

use super::Resources;
use crate::store::{TimeRange, UsageQuery};

/// Points of each metric in one answer: as many as a chart has room for, and 40 KB.
const POINTS_MAX: u64 = 500;
/// Metrics in one question.
const METRICS_MAX: usize = Metric::ALL.len();
/// Points of a forecast.
const FORECAST_POINTS: u32 = 24;
/// How far ahead is looked where that is not said; also how far back measurements are asked for.
const HOUR: Duration = Duration::from_secs(3_600);
/// Characters of a label's name.
const LABEL_MAX: usize = 128;

pub(super) async fn get_fleet_health(
    resources: &Resources,
    request: v1::GetFleetHealthRequest,
) -> Result<v1::FleetHealth, Error> {
    let by = match request.pool_label {
        label if label.is_empty() => PoolBy::Kind,
        label if label.len() > LABEL_MAX => {
            return Err(Violation::new("pool_label", format!("must have at most {LABEL_MAX} characters")).into());
        }
        label => PoolBy::Label(label),
    };
    let health = resources.manager.ask(move |manager, now, _| manager.insight.health(now, &by)).await?;
    Ok(fleet_health(health))
}

pub(super) async fn query_metrics(
    resources: &Resources,
    request: v1::QueryMetricsRequest,
) -> Result<v1::QueryMetricsResponse, Error> {
    let subject = subject(&request.subject)?;
    let metrics = metrics(&request.metrics, &subject)?;
    let now = resources.gateway.clock.now();
    let (from, to) = range(request.from_unix_ms, request.to_unix_ms, now)?;
    let span_ms = to.since(from).as_millis() as u64;
    let least = span_ms.div_ceil(POINTS_MAX).max(1);
    let step = match request.step_ms {
        0 => Duration::from_millis(tidy(least)),
        step if step >= least => Duration::from_millis(step),
        step => {
            let words = format!("{step} makes more than {POINTS_MAX} points; it must be at least {least}, or 0");
            return Err(Violation::new("step_ms", words).into());
        }
    };
    let asked = (subject.clone(), metrics.clone());
    let kept = resources.manager.ask(move |manager, _, _| {
        let (subject, metrics) = asked;
        metrics.iter().map(|metric| manager.insight.points(&subject, *metric, from, to, step)).collect::<Vec<_>>()
    });
    let mut series = Vec::with_capacity(metrics.len());
    for (metric, (kept, begins)) in metrics.into_iter().zip(kept.await?) {
        let mut points = Vec::new();
        let before = begins.unwrap_or(to).min(to);
        if from < before {
            points = stored(resources, &subject, metric, TimeRange { from, before }, step).await?;
        }
        // A step that both know in part: what is in memory is finer, and the store's part is not lost.
        if let (Some(last), Some(first)) = (points.last(), kept.first())
            && last.at >= first.at
        {
            points.pop();
        }
        points.extend(kept);
        series.push(v1::MetricSeries {
            metric: metric.name().to_owned(),
            subject: subject.to_string(),
            points: points.into_iter().map(point).collect(),
        });
    }
    Ok(v1::QueryMetricsResponse { series })
}

/// What the store has of a metric. Rows of 15 minutes may begin before the range that they reach into; they are left out.
async fn stored(
    resources: &Resources,
    subject: &Subject,
    metric: Metric,
    range: TimeRange,
    step: Duration,
) -> Result<Vec<Point>, Error> {
    let query = UsageQuery {
        subject: subject.to_string(),
        metric: metric.name().to_owned(),
        range,
        step,
        limit: POINTS_MAX as usize,
    };
    let rows = resources.gateway.reads.ask(move |store| store.usage(&query)).await?;
    Ok(rows.into_iter().map(|row| Point { at: row.at, mean: row.mean, min: row.min, max: row.max }).collect())
}

pub(super) async fn get_trend(resources: &Resources, request: v1::GetTrendRequest) -> Result<v1::Trend, Error> {
    let subject = subject(&request.subject)?;
    let metric = metric("metric", &request.metric)?;
    let horizon = match request.horizon_ms {
        0 => HOUR,
        ms if u128::from(ms) <= HORIZON_MAX.as_millis() => Duration::from_millis(ms),
        ms => {
            let words = format!("{ms} is more than {}", HORIZON_MAX.as_millis());
            return Err(Violation::new("horizon_ms", words).into());
        }
    };
    let asked = subject.clone();
    let outlook = resources.manager.ask(move |manager, now, _| manager.insight.trend(&asked, metric, horizon, now));
    Ok(trend(&outlook.await??, &subject, metric, horizon))
}

pub(super) async fn list_bottlenecks(
    resources: &Resources,
    request: v1::ListBottlenecksRequest,
) -> Result<v1::ListBottlenecksResponse, Error> {
    let ended_too = request.include_ended;
    let found = resources.manager.ask(move |manager, now, _| manager.insight.bottlenecks(now, ended_too)).await?;
    Ok(v1::ListBottlenecksResponse { bottlenecks: found.into_iter().map(bottleneck).collect() })
}

pub(super) async fn get_thresholds(
    resources: &Resources,
    _: v1::GetThresholdsRequest,
) -> Result<v1::Thresholds, Error> {
    resources.manager.ask(|manager: &mut Manager, _, _| thresholds(manager.insight.thresholds())).await
}

pub(super) async fn put_thresholds(
    resources: &Resources,
    request: v1::PutThresholdsRequest,
) -> Result<v1::Thresholds, Error> {
    let reason = cut_note(request.reason);
    let declared = request.thresholds.unwrap_or_default().thresholds;
    if declared.len() > Metric::ALL.len() {
        let words = format!("there are {} metrics, and each has one threshold", Metric::ALL.len());
        return Err(Violation::new("thresholds.thresholds", words).into());
    }
    let declared = declared.iter().enumerate().map(|(at, threshold)| {
        Ok(Threshold {
            metric: metric(&format!("thresholds.thresholds[{at}].metric"), &threshold.metric)?,
            warning: threshold.warning,
            critical: threshold.critical,
            for_ms: if threshold.for_ms == 0 { FOR_DEFAULT.as_millis() as u64 } else { threshold.for_ms },
            below: threshold.below,
        })
    });
    let declared = declared.collect::<Result<Vec<_>, Error>>()?;
    let put = resources.manager.ask(move |manager: &mut Manager, now, out| {
        manager.insight.put_thresholds(now, declared, reason, out)?;
        Ok::<_, Error>(thresholds(manager.insight.thresholds()))
    });
    put.await?.map_err(|mut error| {
        let within = |violation: Violation| violation.within("thresholds");
        error.violations = std::mem::take(&mut error.violations).into_iter().map(within).collect();
        error
    })
}

fn subject(words: &str) -> Result<Subject, Error> {
    let subject = Subject::parse(words).filter(|subject| !matches!(subject, Subject::Limit(_)));
    subject.ok_or_else(|| {
        let known = "must be `fleet`, `tenant:NAME`, `kind:NAME`, `agent:ID` or `pool:NAME`";
        Violation::new("subject", format!("`{}` {known}", words.escape_default())).into()
    })
}

fn metric(field: &str, name: &str) -> Result<Metric, Error> {
    Metric::named(name).ok_or_else(|| {
        let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        let words = format!("`{}` is none of {}", name.escape_default(), known.join(", "));
        Violation::new(field, words).into()
    })
}

fn metrics(names: &[String], subject: &Subject) -> Result<Vec<Metric>, Error> {
    if names.is_empty() {
        return Ok(subject.metrics().to_vec());
    }
    if names.len() > METRICS_MAX {
        return Err(Violation::new("metrics", format!("must be at most {METRICS_MAX}")).into());
    }
    let named = names.iter().enumerate().map(|(at, name)| {
        let field = format!("metrics[{at}]");
        let metric = metric(&field, name)?;
        if subject.metrics().contains(&metric) {
            return Ok(metric);
        }
        let known: Vec<&str> = subject.metrics().iter().map(|metric| metric.name()).collect();
        Err(Violation::new(field, format!("`{metric}` is not recorded of {subject}, but {}", known.join(", "))).into())
    });
    named.collect()
}

/// From when to when is asked for.
fn range(from_ms: i64, to_ms: i64, now: Timestamp) -> Result<(Timestamp, Timestamp), Error> {
    let at = |field, ms: i64| {
        u64::try_from(ms)
            .ok()
            .filter(|ms| *ms <= MS_MAX)
            .map(Timestamp::from_unix_millis)
            .ok_or_else(|| Error::from(Violation::new(field, format!("{ms} is no time"))))
    };
    // Now included: what was measured in this very second.
    let to = if to_ms == 0 { now.plus(Duration::from_secs(1)) } else { at("to_unix_ms", to_ms)? };
    let from = if from_ms == 0 { to.minus(HOUR) } else { at("from_unix_ms", from_ms)? };
    if from >= to {
        return Err(Violation::new("from_unix_ms", "must be before `to_unix_ms`").into());
    }
    Ok((from, to))
}

/// The year 9999: times beyond it are mistakes of units.
const MS_MAX: u64 = 253_402_300_799_000;

/// The next step that people count in.
fn tidy(least_ms: u64) -> u64 {
    const STEPS_S: [u64; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400];
    let tidy = STEPS_S.into_iter().map(|seconds| seconds * 1_000).find(|step| *step >= least_ms);
    // Beyond them whole days.
    tidy.unwrap_or_else(|| least_ms.div_ceil(86_400_000) * 86_400_000)
}

fn unix_ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

fn fleet_health(health: FleetHealth) -> v1::FleetHealth {
    v1::FleetHealth {
        score: health.score.score,
        parts: parts(health.score),
        pools: health.pools.into_iter().map(pool).collect(),
        agents: health
            .agents
            .into_iter()
            .map(|(agent, score)| v1::AgentHealth {
                agent_id: agent.to_string(),
                score: score.score,
                parts: parts(score),
            })
            .collect(),
        bottlenecks: health.bottlenecks.into_iter().map(bottleneck).collect(),
        caches: health.caches.iter().map(cache).collect(),
    }
}

fn parts(score: Score) -> Vec<v1::HealthPart> {
    let part =
        |Part { name, score, weight, reason }| v1::HealthPart { name: String::from(name), score, weight, reason };
    score.parts.into_iter().map(part).collect()
}

fn pool(pool: Pool) -> v1::Pool {
    v1::Pool {
        agents: pool.agents,
        slots_total: pool.slots_total,
        slots_used: pool.slots_used,
        utilisation: pool.utilisation(),
        cpu_share_mean: pool.cpu,
        memory_share_mean: pool.memory,
        queued: pool.queued.round() as u64,
        name: pool.name,
    }
}

fn bottleneck(found: Bottleneck) -> v1::Bottleneck {
    let severity = match found.severity {
        Severity::Low => v1::Severity::Low,
        Severity::Medium => v1::Severity::Medium,
        Severity::High => v1::Severity::High,
        Severity::Critical => v1::Severity::Critical,
    };
    v1::Bottleneck {
        metric: found.metric.name().to_owned(),
        subject: found.subject.to_string(),
        severity: severity.into(),
        value: found.value,
        threshold: found.threshold,
        since_unix_ms: unix_ms(found.since),
        frequency: found.frequency,
        active: found.active,
        advice: found.advice,
    }
}

fn cache(cache: &CacheSample) -> v1::CacheStatistics {
    v1::CacheStatistics {
        name: cache.name.to_owned(),
        entries: cache.entries,
        capacity: cache.capacity,
        hits: cache.hits,
        misses: cache.misses,
        evictions: cache.evictions,
        hit_ratio: caches::hit_ratio(cache),
        advice: caches::advice(cache),
    }
}

fn thresholds(thresholds: &Thresholds) -> v1::Thresholds {
    let threshold = |Threshold { metric, warning, critical, for_ms, below }: &Threshold| v1::Threshold {
        metric: metric.name().to_owned(),
        warning: *warning,
        critical: *critical,
        for_ms: *for_ms,
        below: *below,
    };
    v1::Thresholds { thresholds: thresholds.iter().map(threshold).collect() }
}

fn point(point: Point) -> v1::MetricPoint {
    v1::MetricPoint { at_unix_ms: unix_ms(point.at), mean: point.mean, min: point.min, max: point.max }
}

fn trend(outlook: &Outlook, subject: &Subject, metric: Metric, horizon: Duration) -> v1::Trend {
    let trend = &outlook.trend;
    let ahead = (1..=FORECAST_POINTS).map(|at| trend.forecast(horizon * at / FORECAST_POINTS));
    v1::Trend {
        metric: metric.name().to_owned(),
        subject: subject.to_string(),
        level: trend.level,
        slope_per_hour: trend.slope_per_hour,
        season_ms: trend.season.as_ref().map_or(0, |season| season.period.as_millis() as u64),
        forecast: ahead
            .map(|forecast| v1::ForecastPoint {
                at_unix_ms: unix_ms(forecast.at),
                value: forecast.value,
                low: forecast.low,
                high: forecast.high,
            })
            .collect(),
        exhausted_unix_ms: outlook.exhausted_at.map_or(0, unix_ms),
        points: trend.points as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
        refused.unwrap_err().violations[0].field.clone()
    }

    #[test]
    fn what_is_asked_for_is_checked_by_field() {
        let now = Timestamp::from_unix_millis(1_700_000_000_000);
        assert_eq!(field(subject("cat:x")), "subject");
        assert_eq!(field(subject("limit:x")), "subject");
        assert_eq!(field(metrics(&["cpu".to_owned(), "no".to_owned()], &Subject::Fleet)), "metrics[1]");
        let tenant = subject("tenant:acme").unwrap();
        assert_eq!(field(metrics(&["cpu".to_owned()], &tenant)), "metrics[0]");
        assert_eq!(metrics(&[], &tenant).unwrap().len(), 3);
        assert_eq!(field(range(5, 5, now)), "from_unix_ms");
        assert_eq!(field(range(-1, 0, now)), "from_unix_ms");
        assert_eq!(field(range(0, i64::MAX, now)), "to_unix_ms");
        let (from, to) = range(0, 0, now).unwrap();
        assert_eq!((to.since(from), to.since(now)), (HOUR, Duration::from_secs(1)));
    }

    #[test]
    fn steps_are_such_as_people_count_in() {
        assert_eq!([1, 1_000, 7_200, 170_000].map(tidy), [1_000, 1_000, 10_000, 300_000]);
        assert_eq!(tidy(20_000_000), 86_400_000);
    }
}
