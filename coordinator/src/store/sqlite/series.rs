//! What was measured and spent, over time.
//!
//! Rows are clustered by series and time, so that a question about one series reads its rows and no others, however many
//! there are of others. The price is that each round of samples touches as many pages as there are series; for samples each
//! ten seconds or minute that is little. Clustering by time alone was rejected: an hour of one series would be read from
//! among all of that hour.
//!
//! Thinning out joins the rows of a quarter of an hour to one, series by series. Each series says up to where it is done,
//! so the work can stop anywhere and goes on where most is left.

use std::time::Duration;

use evenkeel_core::model::{CostEntry, UsageSample};
use evenkeel_shared::{CostUnit, Micros, Timestamp};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter, types::Value};

use super::{
    super::{COARSE, CostQuery, Expiry, ROWS_MAX, SAMPLES_MAX, StoreError, Subjects, UsageQuery},
    codes,
};

/// What is larger counts as this: products with lengths stay finite, so that no mean is ever "not a number", which the
/// table would refuse and the commit with it.
const VALUE_MAX: f64 = 1e18;
/// What is larger counts as this: a double holds it exactly, and a thousand of them do not overflow.
const AMOUNT_MAX: i64 = 1 << 53;
/// Rows that one call thins out, about: two milliseconds of the processor, for which commits wait.
const THINNED_ROWS_MAX: i64 = 1_024;
/// Of one series at a time, so that one that nobody has thinned out for long takes several calls.
const THINNED_SPAN: Duration = Duration::from_secs(6 * 3_600);

/// Records a sample; one of the same series and beginning is joined with it, as after a restart within its stretch. One
/// that is no number is passed over.
pub fn add_usage(transaction: &Transaction<'_>, sample: &UsageSample) -> Result<(), StoreError> {
    let values = [sample.mean, sample.min, sample.max];
    if !values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let [mean, min, max] = values.map(|value| value.clamp(-VALUE_MAX, VALUE_MAX));
    let sql = "INSERT INTO resource_usage (series, at, length, mean, min, max)
               SELECT id, ?3, ?4, ?5, ?6, ?7 FROM usage_series WHERE subject = ?1 AND measure = ?2
               ON CONFLICT DO UPDATE SET
                   mean = (mean * length + excluded.mean * excluded.length) / (length + excluded.length),
                   min = min(min, excluded.min), max = max(max, excluded.max),
                   length = min(length + excluded.length, 1 << 53)";
    let (at, length) = (codes::micros(sample.at), length_us(sample.length));
    add(transaction, "usage_series", (&sample.subject, &sample.metric), || {
        let values = params![sample.subject, sample.metric, at, length, mean, min, max];
        Ok(transaction.prepare_cached(sql)?.execute(values)?)
    })
}

/// Adds costs to what is recorded for their stretch.
pub fn add_cost(transaction: &Transaction<'_>, entry: &CostEntry) -> Result<(), StoreError> {
    let sql = "INSERT INTO cost_analytics (series, at, length, resources, reported, idle, tasks, attempts)
               SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM cost_series WHERE subject = ?1 AND measure = ?2
               ON CONFLICT DO UPDATE SET
                   length = max(length, excluded.length), resources = min(resources + excluded.resources, 1 << 53),
                   reported = min(reported + excluded.reported, 1 << 53), idle = min(idle + excluded.idle, 1 << 53),
                   tasks = min(tasks + excluded.tasks, 1 << 53), attempts = min(attempts + excluded.attempts, 1 << 53)";
    let unit = entry.unit.as_str();
    let amount = |amount: u64| codes::int(amount).min(AMOUNT_MAX);
    let amounts = [entry.resources.0, entry.reported.0, entry.idle.0, entry.tasks, entry.attempts].map(amount);
    let [resources, reported, idle, tasks, attempts] = amounts;
    let (at, length) = (codes::micros(entry.at), length_us(entry.length));
    add(transaction, "cost_series", (&entry.subject, unit), || {
        let values = params![entry.subject, unit, at, length, resources, reported, idle, tasks, attempts];
        Ok(transaction.prepare_cached(sql)?.execute(values)?)
    })
}

/// Inserts a row of a series, and the series before it if there is none yet.
fn add(
    transaction: &Transaction<'_>,
    table: &str,
    (subject, measure): (&str, &str),
    insert: impl Fn() -> Result<usize, StoreError>,
) -> Result<(), StoreError> {
    if insert()? == 0 {
        let sql = format!("INSERT INTO {table} (subject, measure) VALUES (?1, ?2)");
        transaction.prepare_cached(&sql)?.execute([subject, measure])?;
        insert()?;
    }
    Ok(())
}

/// A stretch has a length, or nothing could be weighted by it.
fn length_us(length: Duration) -> i64 {
    codes::duration_us(length).clamp(1, AMOUNT_MAX)
}

pub fn usage(connection: &Connection, query: &UsageQuery) -> Result<Vec<UsageSample>, StoreError> {
    let sql = "SELECT at, length, mean, min, max FROM resource_usage
               WHERE series = (SELECT id FROM usage_series WHERE subject = ?1 AND measure = ?2) AND at >= ?3 AND at < ?4
               ORDER BY at";
    let (from, before) = (codes::micros(query.range.from), codes::micros(query.range.before));
    let limit = query.limit.min(SAMPLES_MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let mut samples: Vec<UsageSample> = Vec::new();
    for sample in
        statement.query_and_then(params![query.subject, query.metric, from, before], |row| usage_sample(row, query))?
    {
        let sample = sample?;
        let full = samples.len() >= limit;
        match samples.last_mut() {
            Some(last) if last.at == sample.at => join(last, &sample),
            _ if full => break,
            _ => samples.push(sample),
        }
    }
    Ok(samples)
}

/// A sample that begins with its step.
fn usage_sample(row: &Row<'_>, query: &UsageQuery) -> Result<UsageSample, StoreError> {
    let at = codes::uint(row.get(0)?)?;
    let step = u64::try_from(query.step.as_micros()).unwrap_or(u64::MAX);
    let into_step = at.checked_rem(step).unwrap_or(0);
    Ok(UsageSample {
        at: Timestamp::from_unix_micros(at - into_step),
        length: Duration::from_micros(codes::uint(row.get(1)?)?),
        subject: query.subject.clone(),
        metric: query.metric.clone(),
        mean: row.get(2)?,
        min: row.get(3)?,
        max: row.get(4)?,
    })
}

fn join(one: &mut UsageSample, other: &UsageSample) {
    let (before, added) = (one.length.as_secs_f64(), other.length.as_secs_f64());
    one.mean = (one.mean * before + other.mean * added) / (before + added);
    one.min = one.min.min(other.min);
    one.max = one.max.max(other.max);
    one.length = one.length.saturating_add(other.length);
}

pub fn costs(connection: &Connection, query: &CostQuery) -> Result<Vec<CostEntry>, StoreError> {
    let (from_subject, before_subject) = match &query.subjects {
        Subjects::Beginning(with) => (with, format!("{with}{}", char::MAX)),
        Subjects::One(subject) => (subject, format!("{subject}\0")),
    };
    let step = query.step.map(length_us);
    // Each series is looked up in the rows: it is the smaller side by far, which the planner cannot know.
    let (at, length, group, order) = match step {
        Some(_) => ("c.at / ?7 * ?7", "?7", "s.id, 3", "3, 1, 2"),
        None => {
            ("min(c.at)", "max(c.at + c.length) - min(c.at)", "s.id", "total(resources) + total(reported) DESC, 1, 2")
        }
    };
    let sql = format!(
        "SELECT s.subject, s.measure, {at}, {length}, total(resources), total(reported), total(idle), total(tasks),
                total(attempts)
         FROM cost_series s CROSS JOIN cost_analytics c ON c.series = s.id
         WHERE s.subject >= ?1 AND s.subject < ?2 AND (?3 IS NULL OR s.measure = ?3) AND c.at >= ?4 AND c.at < ?5
               AND ?7 IS ?7
         GROUP BY {group} ORDER BY {order} LIMIT ?6"
    );
    let (from, before) = (codes::micros(query.range.from), codes::micros(query.range.before));
    let unit = query.unit.as_ref().map(CostUnit::as_str);
    let limit = query.limit.min(ROWS_MAX) as i64;
    let mut statement = connection.prepare_cached(&sql)?;
    let values = params![from_subject, before_subject, unit, from, before, limit, step];
    statement.query_and_then(values, cost_entry)?.collect()
}

fn cost_entry(row: &Row<'_>) -> Result<CostEntry, StoreError> {
    let unit: String = row.get(1)?;
    // Sums are doubles, exact up to 2^53, because a sum of integers is an error where it overflows.
    let sum = |at: usize| Ok::<_, StoreError>(row.get::<_, f64>(at)? as u64);
    Ok(CostEntry {
        at: codes::timestamp(row.get(2)?)?,
        length: Duration::from_micros(codes::uint(row.get(3)?)?),
        subject: row.get(0)?,
        unit: CostUnit::new(&unit).map_err(|_| StoreError::unreadable("a unit of costs", &unit))?,
        resources: Micros(sum(4)?),
        reported: Micros(sum(5)?),
        idle: Micros(sum(6)?),
        tasks: sum(7)?,
        attempts: sum(8)?,
    })
}

/// A table of rows and that of their series.
struct Thinned {
    series: &'static str,
    rows: &'static str,
    /// What the columns after the beginning become when rows are joined.
    joined: &'static str,
    columns: usize,
}

/// Samples, then costs.
const THINNED: [Thinned; 2] = [
    Thinned {
        series: "usage_series",
        rows: "resource_usage",
        joined: "sum(length), sum(mean * length) / sum(length), min(min), max(max)",
        columns: 6,
    },
    Thinned {
        series: "cost_series",
        rows: "cost_analytics",
        joined: "max(at + length) - min(at), total(resources), total(reported), total(idle), total(tasks), total(attempts)",
        columns: 8,
    },
];

/// Thins out what is older than `expiry.fine`, and removes what is older than `expiry.history`; a bounded part of it.
/// Answers whether there is more.
pub fn thin(transaction: &Transaction<'_>, expiry: Expiry) -> Result<bool, StoreError> {
    // Only whole stretches, or what comes later would be joined with what was joined before.
    let whole = |until: Timestamp| codes::micros(until) / length_us(COARSE) * length_us(COARSE);
    let mut more = false;
    for (table, fine) in THINNED.iter().zip([expiry.fine, expiry.fine_costs]) {
        more |= table.thin(transaction, whole(fine), codes::micros(expiry.history))?;
    }
    Ok(more)
}

impl Thinned {
    fn thin(&self, transaction: &Transaction<'_>, fine: i64, history: i64) -> Result<bool, StoreError> {
        let next = format!(
            "SELECT id, thinned_to, (SELECT min(at) FROM {rows} WHERE series = id AND at >= thinned_to) FROM {series}
             WHERE thinned_to < ?1 ORDER BY thinned_to LIMIT 1",
            rows = self.rows,
            series = self.series
        );
        let mut budget = THINNED_ROWS_MAX;
        while budget > 0 {
            let found: Option<(i64, i64, Option<i64>)> = transaction
                .prepare_cached(&next)?
                .query_map([fine], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .next()
                .transpose()?;
            let Some((series, thinned_to, oldest)) = found else { return Ok(false) };
            // A series that is done costs a look.
            budget -= 1;
            let up_to = match oldest {
                Some(oldest) if oldest < fine => {
                    let up_to = (oldest / length_us(COARSE) * length_us(COARSE) + length_us(THINNED_SPAN)).min(fine);
                    budget -= self.join(transaction, series, (thinned_to, up_to))?;
                    up_to
                }
                _ => fine,
            };
            self.note(transaction, series, up_to)?;
            if up_to == fine {
                self.remove(transaction, series, history)?;
            }
        }
        Ok(true)
    }

    /// Joins the rows of a series between two times; answers how many there were.
    fn join(&self, transaction: &Transaction<'_>, series: i64, (from, before): (i64, i64)) -> Result<i64, StoreError> {
        let (rows, joined) = (self.rows, self.joined);
        let coarse = length_us(COARSE);
        let within = "series = ?1 AND at >= ?2 AND at < ?3";
        let sql = format!("SELECT series, at / {coarse} * {coarse}, {joined} FROM {rows} WHERE {within} GROUP BY 2");
        let joined: Vec<Vec<Value>> = transaction
            .prepare_cached(&sql)?
            .query_map([series, from, before], |row| (0..self.columns).map(|at| row.get(at)).collect())?
            .collect::<Result<_, _>>()?;
        let removed = transaction
            .prepare_cached(&format!("DELETE FROM {rows} WHERE {within}"))?
            .execute([series, from, before])?;
        let places = vec!["?"; self.columns].join(", ");
        let mut insert = transaction.prepare_cached(&format!("INSERT INTO {rows} VALUES ({places})"))?;
        for row in joined {
            insert.execute(params_from_iter(row))?;
        }
        Ok(codes::int(removed as u64))
    }

    fn note(&self, transaction: &Transaction<'_>, series: i64, up_to: i64) -> Result<(), StoreError> {
        let sql = format!("UPDATE {} SET thinned_to = ?2 WHERE id = ?1", self.series);
        transaction.prepare_cached(&sql)?.execute([series, up_to])?;
        Ok(())
    }

    /// Removes what is past its time of a series, and the series if nothing is left of it.
    fn remove(&self, transaction: &Transaction<'_>, series: i64, history: i64) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE series = ?1 AND at < ?2", self.rows);
        transaction.prepare_cached(&sql)?.execute([series, history])?;
        let sql = format!(
            "DELETE FROM {} WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM {} WHERE series = ?1)",
            self.series, self.rows
        );
        transaction.prepare_cached(&sql)?.execute([series])?;
        Ok(())
    }
}
