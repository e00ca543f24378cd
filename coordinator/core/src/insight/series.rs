//! All series: which subjects are recorded, how finely, for how long, and what of it goes to the store.
//!
//! | subject | in memory | to the store |
//! |---|---|---|
//! | the fleet | 1 s for an hour, 60 s for three days | 60 s |
//! | kinds, pools | 10 s for an hour | 60 s |
//! | tenants | 60 s for an hour | 60 s |
//! | agents | 60 s for an hour | 15 min, of the first [`AGENTS_STORED_MAX`] |
//!
//! Memory is bounded by the numbers below: a point is 16 bytes, so an agent takes about 4.7 KiB, a tenant 3.5, a kind or pool 35, the
//! fleet 3 MiB. 10,000 agents and 1,000 tenants: 50 MiB, reached after an hour. Three days of minutes are kept of the
//! fleet alone, because a season of a day is looked for there.
//!
//! A subject that has not been measured for an hour has nothing left to show and is forgotten.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use evenkeel_shared::{AgentId, Timestamp};

use super::{
    metric::{Metric, Subject},
    ring::{Point, Ring},
};
use crate::model::UsageSample;

/// Agents recorded: twice what a coordinator is measured with. Others are part of the fleet's figures only.
pub const AGENTS_MAX: usize = 20_000;
/// Tenants, kinds and pools recorded, each: names come from clients, so their number is not the operator's.
const GROUPS_MAX: usize = 1_024;
/// Agents whose measurements go to the store: four rows each every 15 minutes, so 4.4 rows a second, and 35 million in three
/// months.
const AGENTS_STORED_MAX: usize = 1_000;
/// Rows handed to the store in a turn: minutes of all subjects end at once, and one transaction should not have thousands.
pub const ROWS_PER_TURN: usize = 100;
/// Rows that wait for their turn; beyond it the oldest are given up. A minute of every subject there can be.
const ROWS_WAITING_MAX: usize = 20_000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// How long fine points are kept, and for how long a subject that is not measured is.
const HOUR: Duration = Duration::from_secs(3_600);
const THREE_DAYS: Duration = Duration::from_secs(3 * 86_400);
/// Length of coarse rows.
const QUARTER: Duration = Duration::from_secs(900);

/// The rings of a subject, one of each sort for each of its metrics.
#[derive(Clone, Debug)]
pub struct Series {
    fine: Vec<Ring>,
    /// What ends here goes to the store. Empty: nothing does.
    long: Vec<Ring>,
    seen_at: Timestamp,
}

impl Series {
    fn of(subject: &Subject, stored: bool) -> Self {
        let (fine, long) = match subject {
            Subject::Fleet => (SECOND, Some((MINUTE, THREE_DAYS))),
            Subject::Kind(_) | Subject::Pool(_) => (10 * SECOND, Some((MINUTE, MINUTE))),
            Subject::Tenant(_) | Subject::Limit(_) => (MINUTE, Some((MINUTE, MINUTE))),
            Subject::Agent(_) => (MINUTE, stored.then_some((QUARTER, QUARTER))),
        };
        let rings = |step: Duration, span: Duration| {
            let len = (span.as_secs() / step.as_secs()) as usize;
            subject.metrics().iter().map(|_| Ring::new(step, len)).collect::<Vec<_>>()
        };
        Self {
            fine: rings(fine, HOUR),
            long: long.map(|(step, span)| rings(step, span)).unwrap_or_default(),
            seen_at: Timestamp::ZERO,
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.fine.iter().chain(&self.long).map(Ring::memory_bytes).sum::<usize>()
    }
}

/// Rows that go to the store.
#[derive(Debug, Default)]
struct Rows {
    waiting: VecDeque<UsageSample>,
    dropped: u64,
}

impl Rows {
    fn push(&mut self, row: UsageSample) {
        if self.waiting.len() >= ROWS_WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(row);
    }
}

/// All series. See the module.
#[derive(Debug)]
pub struct Book {
    fleet: Series,
    groups: BTreeMap<Subject, Series>,
    agents: BTreeMap<AgentId, Series>,
    rows: Rows,
    /// Measurements of subjects for which there was no room.
    unrecorded: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            fleet: Series::of(&Subject::Fleet, true),
            groups: BTreeMap::new(),
            agents: BTreeMap::new(),
            rows: Rows::default(),
            unrecorded: 0,
        }
    }
}

/// A measurement: `None` where there was nothing to measure.
pub type Value = Option<f64>;

impl Book {
    /// Takes in what was measured of the fleet, in the order of its metrics.
    pub fn fleet(&mut self, at: Timestamp, values: &[Value]) {
        enter(&mut self.fleet, || Subject::Fleet, at, values, &mut self.rows);
    }

    /// Takes in what was measured of a tenant, kind or pool, in the order of its metrics.
    pub fn group(&mut self, at: Timestamp, subject: &Subject, values: &[Value]) {
        if let Some(series) = self.groups.get_mut(subject) {
            enter(series, || subject.clone(), at, values, &mut self.rows);
        } else {
            if self.groups.keys().filter(|other| same_sort(other, subject)).count() >= GROUPS_MAX {
                self.unrecorded += 1;
                return;
            }
            let mut series = Series::of(subject, true);
            enter(&mut series, || subject.clone(), at, values, &mut self.rows);
            self.groups.insert(subject.clone(), series);
        }
    }

    /// Takes in what was measured of agents, which come by id: both are walked side by side, without a look-up for each.
    pub fn agents<'a>(&mut self, at: Timestamp, measured: impl Iterator<Item = (&'a AgentId, [Value; 4])>) {
        let mut new = Vec::new();
        let mut known = self.agents.iter_mut().peekable();
        for (id, values) in measured {
            while known.peek().is_some_and(|(known, _)| *known < id) {
                known.next();
            }
            match known.peek_mut() {
                Some((known, series)) if *known == id => {
                    enter(series, || Subject::Agent(id.clone()), at, &values, &mut self.rows);
                }
                _ => new.push((id.clone(), values)),
            }
        }
        for (id, values) in new {
            if self.agents.len() >= AGENTS_MAX {
                self.unrecorded += 1;
                continue;
            }
            let subject = Subject::Agent(id.clone());
            let mut series = Series::of(&subject, self.agents.len() < AGENTS_STORED_MAX);
            enter(&mut series, || subject.clone(), at, &values, &mut self.rows);
            self.agents.insert(id, series);
        }
    }

    /// Forgets who has not been measured for so long that nothing is left to show.
    pub fn forget(&mut self, now: Timestamp) {
        let before = now.minus(HOUR);
        self.groups.retain(|_, series| series.seen_at >= before);
        self.agents.retain(|_, series| series.seen_at >= before);
    }

    /// The next rows for the store.
    pub fn take_rows(&mut self) -> impl Iterator<Item = UsageSample> {
        let count = self.rows.waiting.len().min(ROWS_PER_TURN);
        self.rows.waiting.drain(..count)
    }

    /// Points of a metric from `from` on and before `to`, oldest first, and how long each is: the finest that reach back so far,
    /// or else those that reach back furthest. Empty if it is not recorded.
    #[must_use]
    pub fn points(&self, subject: &Subject, metric: Metric, from: Timestamp, to: Timestamp) -> (Vec<Point>, Duration) {
        let Some((fine, long)) = self.rings(subject, metric) else { return (Vec::new(), SECOND) };
        let begins = |ring: &Ring| ring.begins().unwrap_or(to);
        let ring = match long {
            Some(long) if from < begins(fine) && begins(long).plus(long.step()) < begins(fine) => long,
            _ => fine,
        };
        (ring.points(from, to).collect(), ring.step())
    }

    /// When what is kept of a metric begins. `None` if nothing is.
    #[must_use]
    pub fn begins(&self, subject: &Subject, metric: Metric) -> Option<Timestamp> {
        let (fine, long) = self.rings(subject, metric)?;
        fine.begins().into_iter().chain(long.and_then(Ring::begins)).min()
    }

    /// The newest value of a metric.
    #[must_use]
    pub fn last(&self, subject: &Subject, metric: Metric) -> Value {
        self.rings(subject, metric)?.0.last()
    }

    /// The mean of the newest so many points, the one that is not over included.
    #[must_use]
    pub fn recent(&self, subject: &Subject, metric: Metric, from: Timestamp, to: Timestamp) -> Value {
        let (sum, count) =
            self.rings(subject, metric)?.0.points(from, to).fold((0.0, 0_u32), |(sum, n), p| (sum + p.mean, n + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    fn rings(&self, subject: &Subject, metric: Metric) -> Option<(&Ring, Option<&Ring>)> {
        let series = match subject {
            Subject::Fleet => &self.fleet,
            Subject::Agent(id) => self.agents.get(id)?,
            group => self.groups.get(group)?,
        };
        let at = subject.metrics().iter().position(|other| *other == metric)?;
        Some((&series.fine[at], series.long.get(at)))
    }

    /// Bytes that all of it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let all = self.groups.values().chain(self.agents.values());
        self.fleet.memory_bytes() + all.map(Series::memory_bytes).sum::<usize>()
    }

    /// Measurements that were not recorded, and rows that were given up, for want of room.
    #[must_use]
    pub const fn lost(&self) -> (u64, u64) {
        (self.unrecorded, self.rows.dropped)
    }

    /// Puts back what an earlier incarnation recorded of the fleet in a metric, oldest first.
    pub fn restore(&mut self, metric: Metric, rows: &[UsageSample]) {
        if let Some(ring) = self.fleet.long.get_mut(metric as usize) {
            ring.restore(rows.iter().map(|row| Point { at: row.at, mean: row.mean, min: row.min, max: row.max }));
        }
    }
}

fn same_sort(a: &Subject, b: &Subject) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn enter(series: &mut Series, subject: impl Fn() -> Subject, at: Timestamp, values: &[Value], rows: &mut Rows) {
    series.seen_at = at;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = *value else { continue };
        if let Some(ring) = series.fine.get_mut(place) {
            ring.push(at, value);
        }
        let Some(ring) = series.long.get_mut(place) else { continue };
        if let Some(over) = ring.push(at, value) {
            let (subject, length) = (subject(), ring.step());
            let metric = subject.metrics()[place].name().to_owned();
            let Point { at, mean, min, max } = over;
            rows.push(UsageSample { at, length, subject: subject.to_string(), metric, mean, min, max });
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::Tenant;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000_020_000 + seconds * 1_000)
    }

    fn agent(n: u32) -> AgentId {
        AgentId::new(&format!("agent-{n:05}")).unwrap()
    }

    fn fleet_of(count: u32) -> Vec<AgentId> {
        (0..count).map(agent).collect()
    }

    fn observe(book: &mut Book, at: Timestamp, agents: &[AgentId], share: f64) {
        book.agents(at, agents.iter().map(|id| (id, [Some(share); 4])));
    }

    #[test]
    fn agents_come_go_and_are_told_apart() {
        let mut book = Book::default();
        let all = fleet_of(3);
        observe(&mut book, at(0), &all[1..2], 0.5);
        observe(&mut book, at(1), &all, 0.25);
        observe(&mut book, at(2), &all[..1], 1.0);
        let last = |n: usize| book.last(&Subject::Agent(all[n].clone()), Metric::Cpu).unwrap();
        assert_eq!([last(0), last(1), last(2)], [0.625, 0.375, 0.25]);
        book.forget(at(3_602));
        assert_eq!(book.agents.len(), 1, "who was not seen for an hour is forgotten");
    }

    #[test]
    fn the_finest_points_that_reach_back_are_shown() {
        let mut book = Book::default();
        let mut values = [None; Metric::ALL.len()];
        for second in 0..7_200 {
            values[0] = Some(second as f64);
            book.fleet(at(second), &values);
        }
        let (points, step) = book.points(&Subject::Fleet, Metric::Utilisation, at(7_000), at(9_000));
        assert_eq!((points.len(), step), (200, SECOND));
        let (points, step) = book.points(&Subject::Fleet, Metric::Utilisation, at(0), at(9_000));
        assert_eq!((points.len(), step), (120, MINUTE));
        assert_eq!((points[0].mean, points[0].min, points[0].max), (29.5, 0.0, 59.0));
        assert_eq!(book.begins(&Subject::Fleet, Metric::Utilisation), Some(at(0)));
    }

    #[test]
    fn rows_go_to_the_store_a_minute_each_and_few_at_a_time() {
        let mut book = Book::default();
        let tenants: Vec<Subject> = (0..100).map(|n| Subject::Tenant(Tenant::new(&format!("t{n}")).unwrap())).collect();
        for second in [0, 30, 60] {
            tenants.iter().for_each(|tenant| book.group(at(second), tenant, &[Some(second as f64), None, Some(1.0)]));
        }
        let first: Vec<UsageSample> = book.take_rows().collect();
        assert_eq!(first.len(), ROWS_PER_TURN);
        assert_eq!((first[0].subject.as_str(), first[0].metric.as_str()), ("tenant:t0", "queued"));
        assert_eq!((first[0].mean, first[0].max, first[0].length, first[0].at), (15.0, 30.0, MINUTE, at(0)));
        assert_eq!(book.take_rows().count(), 100);
        assert_eq!(book.take_rows().count(), 0);
    }

    #[test]
    fn memory_is_bounded_and_as_large_as_is_said() {
        let mut book = Book::default();
        let agents = fleet_of(1_000);
        for minute in 0..90 {
            observe(&mut book, at(minute * 60), &agents, 0.5);
        }
        let each = (book.memory_bytes() - book.fleet.memory_bytes()) / agents.len();
        assert!(each < 5 * 1_024, "{each} bytes an agent");
        for n in 0..2 * GROUPS_MAX {
            book.group(at(0), &Subject::Pool(n.to_string()), &[Some(1.0)]);
        }
        assert_eq!((book.groups.len(), book.lost().0), (GROUPS_MAX, GROUPS_MAX as u64));
        let mut book = Book::default();
        observe(&mut book, at(0), &fleet_of(AGENTS_MAX as u32 + 7), 0.5);
        assert_eq!((book.agents.len(), book.lost().0), (AGENTS_MAX, 7));
    }

    #[test]
    fn what_an_earlier_incarnation_recorded_is_put_back() {
        let mut book = Book::default();
        let row = |minute: u64| UsageSample {
            at: at(minute * 60),
            length: MINUTE,
            subject: "fleet".to_owned(),
            metric: "cpu".to_owned(),
            mean: minute as f64,
            min: 0.0,
            max: 0.0,
        };
        book.restore(Metric::Cpu, &(0..100).map(row).collect::<Vec<_>>());
        let (points, step) = book.points(&Subject::Fleet, Metric::Cpu, at(0), at(100_000));
        assert_eq!((points.len(), step), (100, MINUTE));
        assert_eq!(book.take_rows().count(), 0, "they are in the store already");
    }
}
