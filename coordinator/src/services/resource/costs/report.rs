//! What was spent, on what, and what it comes to.
//!
//! The stored minutes and the one that is being written are joined here: the store is asked for what ended before that minute,
//! so that none is counted twice.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::{cost::book::STRETCH, engine::LiveCosts, model::CostEntry};
use evenkeel_proto::v1::{self, CostsBy};
use evenkeel_shared::{
    CostUnit, Error, Micros, Timestamp, Violation, limits::COST_UNITS_MAX, wire::quantities::timestamp,
};

use crate::{
    services::resource::Resources,
    store::{CostQuery, ROWS_MAX, Subjects, TimeRange},
};

/// The time that is reported on unless said otherwise.
const RANGE_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// What estimates are made of: recent, and long enough for an hourly rhythm.
const ESTIMATE_RANGE: Duration = Duration::from_secs(3_600);
const HOUR: Duration = Duration::from_secs(3_600);
const HOURS_PER_DAY: f64 = 24.0;
/// Of a mean year.
const HOURS_PER_MONTH: f64 = 730.5;
const ROWS_DEFAULT: u32 = 100;
const REPORT_ROWS_MAX: u32 = 1_000;
/// The whole, as a subject.
const FLEET: &str = "fleet";

/// What is asked for, checked.
struct Asked {
    by: CostsBy,
    from: Timestamp,
    to: Timestamp,
    name: String,
    limit: usize,
}

impl Asked {
    fn new(request: v1::GetCostsRequest, now: Timestamp) -> Result<Self, Violation> {
        let by =
            CostsBy::try_from(request.by).map_err(|_| Violation::new("by", format!("{} is not known", request.by)))?;
        let to = timestamp("to_unix_ms", request.to_unix_ms)?.unwrap_or(now);
        let from = timestamp("from_unix_ms", request.from_unix_ms)?.unwrap_or(to.minus(RANGE_DEFAULT));
        if from >= to {
            return Err(Violation::new("from_unix_ms", "must be before `to_unix_ms`"));
        }
        let limit = if request.limit == 0 { ROWS_DEFAULT } else { request.limit };
        if limit > REPORT_ROWS_MAX {
            return Err(Violation::new("limit", format!("{limit} is out of range; use 1 to {REPORT_ROWS_MAX}")));
        }
        let by = if by == CostsBy::Unspecified { CostsBy::Tenant } else { by };
        Ok(Self { by, from, to, name: request.name, limit: limit as usize })
    }

    /// What subjects of this sort begin with.
    const fn prefix(&self) -> &'static str {
        match self.by {
            CostsBy::Unspecified | CostsBy::Tenant => "tenant:",
            CostsBy::Kind => "kind:",
            CostsBy::Agent => "agent:",
            CostsBy::Task => "task:",
        }
    }

    fn subjects(&self) -> Subjects {
        let prefix = self.prefix();
        if self.name.is_empty() { Subjects::Beginning(prefix.to_owned()) } else { self.one() }
    }

    fn one(&self) -> Subjects {
        Subjects::One(format!("{}{}", self.prefix(), self.name))
    }

    /// Of what the totals are: the one that was named, or all.
    fn whole(&self) -> Subjects {
        if self.name.is_empty() || self.by == CostsBy::Task { Subjects::One(FLEET.to_owned()) } else { self.one() }
    }
}

/// Costs of a subject, over all that was joined.
#[derive(Debug, Default)]
struct Sum {
    resources: Micros,
    idle: Micros,
    tasks: u64,
    attempts: u64,
    reported: BTreeMap<CostUnit, Micros>,
    /// When the earliest of it began.
    since: Option<Timestamp>,
}

impl Sum {
    fn of<'a>(entries: impl IntoIterator<Item = &'a CostEntry>) -> Self {
        let mut sum = Self::default();
        entries.into_iter().for_each(|entry| sum.add(entry));
        sum
    }

    fn add(&mut self, entry: &CostEntry) {
        self.resources += entry.resources;
        self.idle += entry.idle;
        self.tasks += entry.tasks;
        self.attempts += entry.attempts;
        if entry.reported > Micros::ZERO {
            *self.reported.entry(entry.unit.clone()).or_default() += entry.reported;
        }
        self.since = Some(self.since.map_or(entry.at, |since| since.min(entry.at)));
    }

    /// In the unit of the prices.
    fn total(&self, unit: &CostUnit) -> Micros {
        self.resources.plus(self.reported.get(unit).copied().unwrap_or_default())
    }

    fn row(&self, name: &str, unit: &CostUnit) -> v1::CostRow {
        let total = self.total(unit).units();
        let reported = self.reported.iter().map(|(unit, amount)| (unit.as_str().to_owned(), amount.units()));
        v1::CostRow {
            name: name.to_owned(),
            tasks: self.tasks,
            attempts: self.attempts,
            resources: self.resources.units(),
            reported: reported.collect(),
            total,
            total_per_task: if self.tasks == 0 { 0.0 } else { total / self.tasks as f64 },
        }
    }
}

pub(in crate::services::resource) async fn get_costs(
    resources: &Resources,
    request: v1::GetCostsRequest,
) -> Result<v1::Costs, Error> {
    let (live, now) = resources.gateway.look_at(|engine, now| (engine.live_costs(now), now)).await?;
    let asked = Asked::new(request, now)?;
    let range = (asked.from, asked.to);
    let rows = if asked.by == CostsBy::Task {
        rows(live.tasks.iter(), &asked, &live.prices.unit)
    } else {
        let entries = read(resources, &live, asked.subjects(), range, asked.limit * (COST_UNITS_MAX + 1)).await?;
        rows(entries.iter(), &asked, &live.prices.unit)
    };
    let whole = read(resources, &live, asked.whole(), range, ROWS_MAX).await?;
    let recent = (now.minus(ESTIMATE_RANGE), now);
    let recent = read(resources, &live, asked.whole(), recent, ROWS_MAX).await?;
    Ok(report(rows, &Sum::of(&whole), &Sum::of(&recent), &live.prices.unit, now))
}

/// What the store has of the range, and what is not stored yet.
async fn read(
    resources: &Resources,
    live: &LiveCosts,
    subjects: Subjects,
    (from, to): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<CostEntry>, Error> {
    let is_asked = |entry: &&CostEntry| {
        let named = match &subjects {
            Subjects::Beginning(with) => entry.subject.starts_with(with.as_str()),
            Subjects::One(subject) => entry.subject == *subject,
        };
        // A stretch that has begun before the range counts, if it ends in it.
        named && entry.at < to && entry.at.plus(STRETCH) > from
    };
    let live_entries: Vec<CostEntry> = live.entries.iter().filter(is_asked).cloned().collect();
    let stored_before = live.entries.first().map_or(to, |entry| entry.at.min(to));
    let query = CostQuery {
        subjects,
        unit: None,
        range: TimeRange { from, before: stored_before },
        step: None,
        limit: limit.min(ROWS_MAX),
    };
    let mut entries = resources.gateway.reads.ask(move |store| store.costs(&query)).await?;
    entries.extend(live_entries);
    Ok(entries)
}

/// One row a name, the most expensive first.
fn rows<'a>(entries: impl Iterator<Item = &'a CostEntry>, asked: &Asked, unit: &CostUnit) -> Vec<v1::CostRow> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for entry in entries {
        let name = entry.subject.strip_prefix(asked.prefix()).unwrap_or(&entry.subject);
        if asked.name.is_empty() || asked.name == name {
            sums.entry(name).or_default().add(entry);
        }
    }
    let mut sums: Vec<(&str, Sum)> = sums.into_iter().collect();
    let rank = |sum: &Sum| (sum.total(unit), sum.reported.values().copied().sum::<Micros>());
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(rank(sum)));
    sums.iter().take(asked.limit).map(|(name, sum)| sum.row(name, unit)).collect()
}

fn report(rows: Vec<v1::CostRow>, whole: &Sum, recent: &Sum, unit: &CostUnit, now: Timestamp) -> v1::Costs {
    let (used, idle) = (whole.resources.units(), whole.idle.units());
    // As long as there are costs, at most an hour, and never less than a stretch: an hour cannot be told from a moment.
    let seen = recent.since.map_or(HOUR, |since| now.since(since).clamp(STRETCH, ESTIMATE_RANGE));
    let hourly = recent.total(unit).plus(recent.idle).units() * HOUR.as_secs_f64() / seen.as_secs_f64();
    v1::Costs {
        rows,
        total: whole.total(unit).units(),
        idle,
        // Of nothing, nothing is wasted.
        efficiency: if idle > 0.0 { used / (used + idle) } else { 1.0 },
        hourly_estimate: hourly,
        daily_estimate: hourly * HOURS_PER_DAY,
        monthly_estimate: hourly * HOURS_PER_MONTH,
        unit: unit.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_276_800_000);

    fn asked(by: CostsBy, limit: u32) -> Asked {
        Asked::new(v1::GetCostsRequest { by: by.into(), limit, ..v1::GetCostsRequest::default() }, NOW).unwrap()
    }

    fn entry(subject: &str, unit: &str, resources: f64, reported: f64, idle: f64) -> CostEntry {
        CostEntry {
            at: NOW.minus(STRETCH * 30),
            length: STRETCH,
            subject: subject.into(),
            unit: CostUnit::new(unit).unwrap(),
            resources: Micros::from_units(resources),
            reported: Micros::from_units(reported),
            idle: Micros::from_units(idle),
            tasks: u64::from(unit == "usd"),
            attempts: u64::from(unit == "usd") * 2,
        }
    }

    #[test]
    fn rows_join_units_and_stretches_and_the_most_expensive_come_first() {
        let entries = [
            entry("tenant:a", "usd", 1.0, 0.5, 0.0),
            entry("tenant:b", "usd", 4.0, 0.0, 0.0),
            entry("tenant:a", "tokens", 0.0, 1_000.0, 0.0),
            entry("tenant:a", "usd", 3.0, 0.5, 0.0),
            entry("tenant:c", "usd", 0.5, 0.0, 0.0),
        ];
        let rows = rows(entries.iter(), &asked(CostsBy::Tenant, 2), &CostUnit::usd());
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((rows[0].total, rows[0].resources, rows[0].tasks, rows[0].attempts), (5.0, 4.0, 2, 4));
        assert_eq!((rows[0].reported["tokens"], rows[0].reported["usd"], rows[0].total_per_task), (1_000.0, 1.0, 2.5));
    }

    #[test]
    fn estimates_are_of_the_time_that_was_seen() {
        let whole = Sum::of(&[entry("fleet", "usd", 3.0, 1.0, 1.0)]);
        let costs = report(Vec::new(), &whole, &whole, &CostUnit::usd(), NOW);
        assert_eq!((costs.total, costs.idle, costs.efficiency), (4.0, 1.0, 0.75));
        // Five in half an hour.
        assert_eq!((costs.hourly_estimate, costs.daily_estimate), (10.0, 240.0));
        let nothing = report(Vec::new(), &Sum::default(), &Sum::default(), &CostUnit::usd(), NOW);
        assert_eq!((nothing.total, nothing.efficiency, nothing.hourly_estimate), (0.0, 1.0, 0.0));
    }

    #[test]
    fn questions_of_no_use_are_refused_by_their_field() {
        let check = |request: v1::GetCostsRequest, field| {
            assert_eq!(Asked::new(request, NOW).map(drop).unwrap_err().field, field);
        };
        check(v1::GetCostsRequest { by: 9, ..v1::GetCostsRequest::default() }, "by");
        check(v1::GetCostsRequest { limit: 1_001, ..v1::GetCostsRequest::default() }, "limit");
        check(v1::GetCostsRequest { from_unix_ms: 5, to_unix_ms: 5, ..v1::GetCostsRequest::default() }, "from_unix_ms");
        check(v1::GetCostsRequest { to_unix_ms: -5, ..v1::GetCostsRequest::default() }, "to_unix_ms");
    }
}
