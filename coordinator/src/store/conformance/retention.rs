//! What is kept of resources for how long, and in which detail.

use std::time::Duration;

use evenkeel_core::model::{
    AllocationRecord, BudgetSpent, CostEntry, Declaration, DeclarationKind, Record, ScalingRecord, UsageSample,
};
use evenkeel_shared::{Micros, Timestamp};

use super::{
    super::{
        AllocationFilter, COARSE, DeclarationQuery, Expiry, RecordPage, StoreReader, Subjects, TimeRange, UsageQuery,
    },
    Open,
    fixture::{Fixture, START, at},
    resources::{SECOND, cost, declared, keep, read_costs, read_usage, sample},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Expiry of this alone.
fn expiry() -> Expiry {
    let never = Timestamp::ZERO;
    Expiry { tasks: never, fine: never, fine_costs: never, history: never }
}

/// Prunes until nothing is left to do; answers how many calls that took.
fn prune(fixture: &mut Fixture, expiry: Expiry) -> usize {
    (1..).find(|_| !fixture.store().prune(expiry, 100).unwrap().more).unwrap()
}

/// What must not change by thinning out: the integral of each series, its extremes, and how long it was measured.
fn integral(samples: &[UsageSample]) -> (f64, f64, f64, Duration) {
    let sum: f64 = samples.iter().map(|s| s.mean * s.length.as_secs_f64()).sum();
    let min = samples.iter().map(|s| s.min).fold(f64::INFINITY, f64::min);
    let max = samples.iter().map(|s| s.max).fold(f64::NEG_INFINITY, f64::max);
    (sum, min, max, samples.iter().map(|s| s.length).sum())
}

pub fn samples_are_thinned_out_and_none_is_lost(open: Open) {
    let mut fixture = Fixture::new(open);
    let samples: Vec<_> = (0..1_000_u32)
        .map(|n| {
            let length = Duration::from_secs(5 + u64::from(n % 7));
            UsageSample { length, ..sample(u64::from(n) * 10 * SECOND, f64::from(n % 13)) }
        })
        .collect();
    keep(&mut fixture, samples.iter().cloned().map(Record::Usage));
    let fine = at(5_000 * SECOND);
    for _ in 0..2 {
        prune(&mut fixture, Expiry { fine, ..expiry() });
        let found = read_usage(&*fixture.reader(), TimeRange::ALL, Duration::ZERO);
        // Whole quarters of an hour are thinned out; the one that `fine` is in stays.
        let edge = fine.unix_micros() / COARSE.as_micros() as u64 * COARSE.as_micros() as u64;
        let (coarse, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|s| s.at.unix_micros() < edge);
        let (old, new): (Vec<_>, Vec<_>) = samples.iter().cloned().partition(|s| s.at.unix_micros() < edge);
        assert_eq!(kept, new, "what is younger stays as it is");
        assert_eq!(coarse.len(), 6, "5,000 s begin in six quarters of an hour: {coarse:?}");
        assert!(coarse.iter().all(|s| s.at.unix_micros() % COARSE.as_micros() as u64 == 0));
        let ((sum, min, max, length), (sum_before, min_before, max_before, length_before)) =
            (integral(&coarse), integral(&old));
        assert!((sum - sum_before).abs() < 1e-6, "{sum} instead of {sum_before}");
        assert_eq!((min, max, length), (min_before, max_before, length_before));
    }
}

pub fn costs_are_thinned_out_and_none_is_lost(open: Open) {
    let mut fixture = Fixture::new(open);
    keep(&mut fixture, (0..100).map(|n| Record::Cost(cost("tenant:a", n * 60 * SECOND, n + 1))));
    let total = |fixture: &mut Fixture, step| read_costs(&*fixture.reader(), Subjects::One("tenant:a".into()), step);
    let before = total(&mut fixture, None);
    assert_eq!(before[0].resources, Micros(100 * 101 / 2));
    prune(&mut fixture, Expiry { fine_costs: at(1_000_000 * SECOND), ..expiry() });
    let finest = total(&mut fixture, Some(Duration::from_micros(1)));
    assert_eq!(finest.len(), 8, "{finest:?}");
    let after = total(&mut fixture, None);
    let sums = |entry: &CostEntry| (entry.resources, entry.reported, entry.idle, entry.tasks, entry.attempts);
    assert_eq!(sums(&after[0]), sums(&before[0]));
    // What comes late to a stretch that is thinned out is added to it all the same.
    let late = CostEntry { at: finest[0].at, ..cost("tenant:a", 0, 7) };
    keep(&mut fixture, [Record::Cost(late)]);
    assert_eq!(total(&mut fixture, None)[0].resources, Micros(100 * 101 / 2 + 7));
}

pub fn thinning_out_takes_bounded_steps_and_goes_on(open: Open) {
    let mut fixture = Fixture::new(open);
    let subjects = 40;
    let samples = |subject: u64| (0..300).map(move |n| (subject, n));
    let all = (0..subjects).flat_map(samples).map(|(subject, n)| {
        Record::Usage(UsageSample { subject: format!("agent:{subject}"), ..sample(n * 10 * SECOND, 1.0) })
    });
    keep(&mut fixture, all);
    let expiry = Expiry { fine: START.plus(DAY), ..expiry() };
    let first = fixture.store().prune(expiry, 100).unwrap();
    assert!(first.more, "12,000 samples are more than one call thins out");
    let calls = prune(&mut fixture, expiry);
    assert!(calls < 30, "{calls} calls");
    for subject in 0..subjects {
        let query = UsageQuery {
            subject: format!("agent:{subject}"),
            metric: "cpu".into(),
            range: TimeRange::ALL,
            step: Duration::ZERO,
            limit: 1_000,
        };
        let found = fixture.reader().usage(&query).unwrap();
        assert!(found.len() <= 5, "agent {subject} has {} samples", found.len());
        assert_eq!(integral(&found).3, Duration::from_secs(3_000), "agent {subject}");
    }
}

pub fn history_goes_after_its_time(open: Open) {
    let mut fixture = Fixture::new(open);
    let scaling = |id: u64| ScalingRecord { id, at: at(id), agents_before: 0, agents_after: 1, body: "{}".into() };
    let allocation = |id: u64| AllocationRecord {
        id,
        at: at(id),
        what: "throttled",
        subject: "limit:a".into(),
        message: String::new(),
    };
    let days = |days| START.plus(DAY * days);
    keep(&mut fixture, (0..250).map(|id| Record::Scaling(scaling(id))));
    keep(&mut fixture, (0..250).map(|id| Record::Allocation(allocation(id))));
    let early = days(1).since(START).as_millis() as u64;
    keep(&mut fixture, [Record::Usage(sample(early, 1.0)), Record::Cost(cost("fleet", early, 1))]);
    keep(&mut fixture, [Record::Usage(UsageSample { at: days(50), ..sample(0, 1.0) })]);
    prune(&mut fixture, Expiry { tasks: at(240), history: at(245), fine: days(60), fine_costs: days(60) });
    let reader = fixture.reader();
    let page = RecordPage { older_than: None, size: 1_000 };
    assert_eq!(reader.scaling_events(TimeRange::ALL, page).unwrap().records.len(), 5);
    let filter = AllocationFilter { range: TimeRange::ALL, subject: None };
    assert_eq!(reader.allocation_events(&filter, page).unwrap().records.len(), 10);
    drop(reader);
    let usage = |fixture: &mut Fixture| read_usage(&*fixture.reader(), TimeRange::ALL, Duration::ZERO).len();
    assert_eq!(usage(&mut fixture), 2);
    // Of measurements and costs, what is past its time goes when their turn to be thinned out comes.
    prune(&mut fixture, Expiry { tasks: days(2), history: days(2), fine: days(61), fine_costs: days(61) });
    assert_eq!(usage(&mut fixture), 1);
    assert_eq!(read_costs(&*fixture.reader(), Subjects::One("fleet".into()), None), []);
}

pub fn what_is_in_force_is_never_past_its_time(open: Open) {
    use DeclarationKind::{Budget, Limit};
    let mut fixture = Fixture::new(open);
    let declarations = [
        declared(Limit, "kept", 1, Some("1")),
        declared(Limit, "kept", 2, Some("2")),
        declared(Limit, "gone", 1, Some("1")),
        declared(Limit, "gone", 2, None),
        declared(Budget, "b", 1, Some("1")),
    ];
    keep(&mut fixture, declarations.map(Record::Declared));
    let spent = |budget: &str, hour: u64| BudgetSpent {
        budget: budget.into(),
        window_start: at(hour * 3_600 * SECOND),
        spent: Micros(hour + 1),
        overrun: Micros(0),
    };
    let windows = [spent("b", 0), spent("b", 1), spent("undeclared", 0)];
    keep(&mut fixture, windows.clone().map(Record::Spent));
    let read = |reader: &dyn StoreReader, kind, history| {
        let found = reader.declarations(&DeclarationQuery { kind, name: None, history, limit: 100 }).unwrap();
        let mut shown: Vec<_> = found.iter().map(|d: &Declaration| format!("{} {}", d.name, d.version)).collect();
        shown.sort_unstable();
        shown
    };
    // Step by step nothing that was taken back comes to life again.
    while fixture.store().prune(Expiry { history: START.plus(DAY), ..expiry() }, 1).unwrap().more {
        assert_eq!(read(&*fixture.reader(), Limit, false), ["kept 2"]);
    }
    assert_eq!(read(&*fixture.reader(), Limit, true), ["kept 2"]);
    assert_eq!(read(&*fixture.reader(), Budget, true), ["b 1"]);
    let recovery = fixture.crash();
    assert_eq!(recovery.spent, windows[1..2]);
    assert_eq!(recovery.declarations.len(), 2);
}

pub fn what_was_taken_back_stays_so_where_the_clock_went_back(open: Open) {
    use DeclarationKind::Limit;
    let mut fixture = Fixture::new(open);
    // Declared, then taken back at a time that is before it, as after a start with a clock that was set.
    let before = Declaration { at: at(100), ..declared(Limit, "gone", 1, Some("1")) };
    let taken_back = Declaration { at: at(50), ..declared(Limit, "gone", 2, None) };
    keep(&mut fixture, [before, taken_back].map(Record::Declared));
    prune(&mut fixture, Expiry { history: at(75), ..expiry() });
    let recovered = fixture.crash().declarations;
    assert!(recovered.iter().all(|known| known.body.is_none()), "in force again: {recovered:?}");
    // What takes back goes a round later than what it took back.
    for _ in 0..2 {
        prune(&mut fixture, Expiry { history: at(101), ..expiry() });
    }
    let query = DeclarationQuery { kind: Limit, name: None, history: true, limit: 10 };
    assert_eq!(fixture.reader().declarations(&query).unwrap(), [], "both are past their time");
}
