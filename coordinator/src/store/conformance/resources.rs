//! What is kept of resources: declarations, budgets, measurements, costs, decisions.

use std::time::Duration;

use evenkeel_core::{
    engine::Change,
    model::{
        AllocationRecord, BudgetSpent, ClusterEvent, ClusterEventKind, CostEntry, Declaration, DeclarationKind, Record,
        ScalingRecord, UsageSample,
    },
};
use evenkeel_shared::{AttemptEnd, Cost, CostUnit, Micros, TaskState, Usage};

use super::{
    super::{
        AllocationFilter, CostQuery, DeclarationQuery, RecommendationFilter, RecordPage, Records, StoreError,
        StoreReader, Subjects, TimeRange, UsageQuery,
    },
    Open,
    fixture::{Fixture, a_task, at, end, finish},
};

pub const SECOND: u64 = 1_000;

pub fn declared(kind: DeclarationKind, name: &str, version: u64, body: Option<&str>) -> Declaration {
    let body = body.map(str::to_owned);
    Declaration { kind, name: name.into(), version, body, at: at(version), reason: format!("reason {version}") }
}

pub fn keep(fixture: &mut Fixture, records: impl IntoIterator<Item = Record>) {
    fixture.commit(records.into_iter().map(|record| Change::Record(Box::new(record))));
}

pub fn sample(from_ms: u64, mean: f64) -> UsageSample {
    UsageSample {
        at: at(from_ms),
        length: Duration::from_secs(10),
        subject: "fleet".into(),
        metric: "cpu".into(),
        mean,
        min: mean - 1.0,
        max: mean + 1.0,
    }
}

pub fn read_usage(reader: &dyn StoreReader, range: TimeRange, step: Duration) -> Vec<UsageSample> {
    let query = UsageQuery { subject: "fleet".into(), metric: "cpu".into(), range, step, limit: 1_000 };
    reader.usage(&query).unwrap()
}

pub fn cost(subject: &str, from_ms: u64, resources: u64) -> CostEntry {
    CostEntry {
        at: at(from_ms),
        length: Duration::from_secs(60),
        subject: subject.into(),
        unit: CostUnit::usd(),
        resources: Micros(resources),
        reported: Micros(1),
        idle: Micros(2),
        tasks: 3,
        attempts: 4,
    }
}

pub fn read_costs(reader: &dyn StoreReader, subjects: Subjects, step: Option<Duration>) -> Vec<CostEntry> {
    reader.costs(&CostQuery { subjects, unit: None, range: TimeRange::ALL, step, limit: 1_000 }).unwrap()
}

fn in_force(reader: &dyn StoreReader, kind: DeclarationKind) -> Vec<Declaration> {
    reader.declarations(&DeclarationQuery { kind, name: None, history: false, limit: 100 }).unwrap()
}

/// Reads a list page by page, and says how the pages were filled.
fn pages<T>(size: u32, mut read: impl FnMut(RecordPage) -> Records<T>) -> Vec<T> {
    let (mut all, mut older_than) = (Vec::new(), None);
    loop {
        let page = read(RecordPage { older_than, size });
        assert!(page.records.len() <= size as usize);
        all.extend(page.records);
        older_than = page.next;
        if older_than.is_none() {
            return all;
        }
    }
}

pub fn what_an_attempt_used_is_kept(open: Open) {
    let mut fixture = Fixture::new(open);
    let cost = Cost::from([(CostUnit::usd(), Micros(7)), (CostUnit::new("tokens").unwrap(), Micros(u64::MAX))]);
    let usage = Usage { cpu: Duration::from_micros(1_234), memory_max_bytes: 1 << 33, cost };
    for usage in [None, Some(Usage { memory_max_bytes: 5, ..Usage::default() }), Some(usage)] {
        let task = fixture.accepted(a_task()).id;
        let attempt = fixture.assigned(task, 1, "a");
        let Change::EndAttempt { attempt, at, started_at, end, failure, run, .. } =
            end(attempt, AttemptEnd::Succeeded, Duration::ZERO)
        else {
            unreachable!("an end")
        };
        let with =
            Change::EndAttempt { attempt, at, started_at, end, failure, run, usage: usage.clone().map(Box::new) };
        fixture.commit([with]);
        let attempts = fixture.reader().attempts(task).unwrap();
        assert_eq!(attempts[0].ended.as_ref().unwrap().usage, usage);
    }
}

pub fn what_was_declared_last_is_in_force(open: Open) {
    use DeclarationKind::{Budget, Limit, Prices, ScalingPolicy};
    let mut fixture = Fixture::new(open);
    let replaced = declared(Limit, "a", 1, Some("{\"n\":1}"));
    let limit = declared(Limit, "a", 2, Some("{\"n\":2}"));
    let gone = declared(Limit, "ab", 1, Some("{}"));
    let taken_back = declared(Limit, "ab", 2, None);
    let prices = declared(Prices, "", 1, Some("{}"));
    let budget = declared(Budget, "a:b/c", 1, Some("{}"));
    let policy = declared(ScalingPolicy, "", 3, Some("{}"));
    let all = [&replaced, &limit, &gone, &taken_back, &prices, &budget, &policy];
    keep(&mut fixture, all.map(|declaration| Record::Declared(declaration.clone())));

    let reader = fixture.reader();
    assert_eq!(in_force(&*reader, Limit), std::slice::from_ref(&limit));
    assert_eq!(in_force(&*reader, Budget), std::slice::from_ref(&budget));
    let history = |name: Option<&str>| {
        let query = DeclarationQuery { kind: Limit, name: name.map(str::to_owned), history: true, limit: 100 };
        reader.declarations(&query).unwrap()
    };
    assert_eq!(history(Some("a")), [limit.clone(), replaced.clone()], "the newest first, and none of `ab`");
    assert_eq!(history(None), [taken_back.clone(), gone, limit.clone(), replaced]);
    let one = DeclarationQuery { kind: Limit, name: None, history: true, limit: 1 };
    assert_eq!(reader.declarations(&one).unwrap(), std::slice::from_ref(&taken_back));
    drop(reader);

    // What was taken back counts on.
    let expected = [limit, taken_back, budget, prices, policy];
    assert_eq!(fixture.crash().declarations, expected);
    assert_eq!(fixture.restart().declarations, expected);
}

pub fn a_name_that_was_taken_back_may_begin_anew(open: Open) {
    use DeclarationKind::Budget;
    let mut fixture = Fixture::new(open);
    let again = declared(Budget, "b", 1, Some("{\"again\":true}"));
    for declaration in [declared(Budget, "b", 1, Some("{}")), declared(Budget, "b", 2, None), again.clone()] {
        keep(&mut fixture, [Record::Declared(declaration)]);
    }
    assert_eq!(in_force(&*fixture.reader(), Budget), std::slice::from_ref(&again), "written last, whatever its number");
    assert_eq!(fixture.crash().declarations, [again]);
}

pub fn what_budgets_have_spent_survives(open: Open) {
    let mut fixture = Fixture::new(open);
    let spent = |budget: &str, hour: u64, spent, overrun| BudgetSpent {
        budget: budget.into(),
        window_start: at(hour * 3_600 * SECOND),
        spent: Micros(spent),
        overrun: Micros(overrun),
    };
    let expected = [spent("a", 0, 9, 1), spent("a", 1, 7, 0), spent("b", 0, 3, 0)];
    keep(&mut fixture, [spent("b", 0, 3, 0), spent("a", 0, 5, 0), spent("a", 1, 7, 0)].map(Record::Spent));
    keep(&mut fixture, [Record::Spent(expected[0].clone())]);
    assert_eq!(fixture.crash().spent, expected);
    let many: Vec<_> = (2..100).map(|hour| spent("a", hour, hour, 0)).collect();
    keep(&mut fixture, many.iter().cloned().map(Record::Spent));
    let recovered = fixture.restart().spent;
    let (of_a, of_b) = recovered.split_at(super::super::WINDOWS_RECOVERED_MAX);
    assert_eq!((of_a, of_b), (&many[many.len() - of_a.len()..], &expected[2..]), "the last windows");
}

pub fn records_are_of_the_transaction_that_they_come_with(open: Open) {
    let mut fixture = Fixture::new(open);
    let over = fixture.over(a_task(), TaskState::Cancelled, at(5));
    let declaration = declared(DeclarationKind::Limit, "l", 1, Some("{}"));
    let records = [Record::Declared(declaration), Record::Usage(sample(0, 1.0))];
    let changes: Vec<_> = records
        .into_iter()
        .map(|record| Change::Record(Box::new(record)))
        .chain([finish(over, TaskState::Failed, at(6))])
        .collect();
    assert!(matches!(fixture.store().commit(&changes), Err(StoreError::Mismatch { .. })));
    let reader = fixture.reader();
    assert_eq!(in_force(&*reader, DeclarationKind::Limit), []);
    assert_eq!(read_usage(&*reader, TimeRange::ALL, Duration::ZERO), []);
}

pub fn usage_is_read_by_time_and_step(open: Open) {
    let mut fixture = Fixture::new(open);
    let samples: Vec<_> = (0..12_u32).map(|n| sample(u64::from(n) * 10 * SECOND, f64::from(n))).collect();
    let others = [
        UsageSample { subject: "agent:a".into(), ..sample(0, 70.0) },
        UsageSample { metric: "memory".into(), ..sample(0, 80.0) },
        UsageSample { mean: f64::NAN, ..sample(500 * SECOND, 0.0) },
        UsageSample { max: f64::INFINITY, ..sample(600 * SECOND, 0.0) },
    ];
    keep(&mut fixture, samples.iter().chain(&others).cloned().map(Record::Usage));
    let reader = fixture.reader();
    assert_eq!(read_usage(&*reader, TimeRange::ALL, Duration::ZERO), samples);
    let range = TimeRange { from: at(30 * SECOND), before: at(60 * SECOND) };
    assert_eq!(read_usage(&*reader, range, Duration::ZERO), samples[3..6]);

    // Steps are multiples of themselves since the epoch, and the first sample begins 20 s into its minute.
    let by_minute = read_usage(&*reader, TimeRange::ALL, Duration::from_secs(60));
    let seen: Vec<_> = by_minute.iter().map(|s| (s.length.as_secs(), s.mean, s.min, s.max)).collect();
    assert_eq!(seen, [(40, 1.5, -1.0, 4.0), (60, 6.5, 3.0, 10.0), (20, 10.5, 9.0, 12.0)]);
    assert!(by_minute.iter().all(|s| s.at.unix_millis() % 60_000 == 0), "{by_minute:?}");
    let query = UsageQuery {
        subject: "fleet".into(),
        metric: "cpu".into(),
        range: TimeRange::ALL,
        step: Duration::from_secs(60),
        limit: 2,
    };
    assert_eq!(reader.usage(&query).unwrap(), by_minute[..2]);
}

pub fn a_stretch_that_was_measured_in_two_parts_is_one(open: Open) {
    let mut fixture = Fixture::new(open);
    let first = UsageSample { length: Duration::from_secs(30), ..sample(0, 1.0) };
    keep(&mut fixture, [first, sample(0, 9.0)].map(Record::Usage));
    let joined = UsageSample { length: Duration::from_secs(40), min: 0.0, max: 10.0, ..sample(0, 3.0) };
    assert_eq!(read_usage(&*fixture.reader(), TimeRange::ALL, Duration::ZERO), [joined]);
}

pub fn costs_are_added_up(open: Open) {
    let mut fixture = Fixture::new(open);
    let minute = 60 * SECOND;
    let tokens = CostEntry { unit: CostUnit::new("tokens").unwrap(), ..cost("tenant:b", 0, 1_000) };
    let entries = [
        cost("tenant:a", 0, 10),
        cost("tenant:a", 0, 5),
        cost("tenant:a", minute, 20),
        cost("tenant:ab", 0, 100),
        cost("kind:a", 0, 7),
        tokens.clone(),
    ];
    keep(&mut fixture, entries.map(Record::Cost));
    let reader = fixture.reader();
    let sum = |entry: CostEntry, n: u64, resources| CostEntry {
        resources: Micros(resources),
        reported: Micros(n),
        idle: Micros(2 * n),
        tasks: 3 * n,
        attempts: 4 * n,
        ..entry
    };
    let whole = CostEntry { length: Duration::from_secs(120), ..cost("tenant:a", 0, 0) };
    let all = [tokens, sum(cost("tenant:ab", 0, 0), 1, 100), sum(whole, 3, 35)];
    assert_eq!(read_costs(&*reader, Subjects::Beginning("tenant:".into()), None), all, "the largest first");
    assert_eq!(read_costs(&*reader, Subjects::One("tenant:a".into()), None), [all[2].clone()]);
    let by_minute = read_costs(&*reader, Subjects::One("tenant:a".into()), Some(Duration::from_secs(60)));
    let resources: Vec<_> = by_minute.iter().map(|entry| entry.resources.0).collect();
    assert_eq!(resources, [15, 20]);
    let usd = CostQuery {
        subjects: Subjects::Beginning(String::new()),
        unit: Some(CostUnit::usd()),
        range: TimeRange { from: at(0), before: at(minute) },
        step: None,
        limit: 2,
    };
    let found: Vec<_> = reader.costs(&usd).unwrap().into_iter().map(|entry| entry.subject).collect();
    assert_eq!(found, ["tenant:ab", "tenant:a"]);
}

pub fn scaling_events_are_read_in_pages_newest_first(open: Open) {
    let mut fixture = Fixture::new(open);
    let record = |id: u64, body: &str| ScalingRecord {
        id,
        at: at(id / 2 * SECOND),
        agents_before: 1,
        agents_after: 2,
        body: body.into(),
    };
    keep(&mut fixture, (0..10).map(|id| Record::Scaling(record(id, "decided"))));
    keep(&mut fixture, [Record::Scaling(record(4, "done"))]);
    let expected: Vec<_> = (0..10).rev().map(|id| record(id, if id == 4 { "done" } else { "decided" })).collect();
    let reader = fixture.reader();
    for size in [1, 3, 10, 11] {
        assert_eq!(pages(size, |page| reader.scaling_events(TimeRange::ALL, page).unwrap()), expected, "{size} a page");
    }
    let range = TimeRange { from: at(SECOND), before: at(3 * SECOND) };
    assert_eq!(pages(3, |page| reader.scaling_events(range, page).unwrap()), expected[4..8]);
    assert_eq!(fixture.crash().scaling.as_ref(), expected.first(), "a restart knows the newest");
}

pub fn what_was_throttled_and_moved_is_one_history(open: Open) {
    let mut fixture = Fixture::new(open);
    let record = |id: u64, what, subject: &str| AllocationRecord {
        id,
        at: at(id * SECOND),
        what,
        subject: subject.into(),
        message: "so it was".into(),
    };
    keep(&mut fixture, [record(1, "throttled", "limit:a"), record(3, "opened", "limit:a")].map(Record::Allocation));
    keep(&mut fixture, [Record::Allocation(record(4, "cooldown", "key:k"))]);
    let failover = ClusterEvent { at: at(2 * SECOND), ..fixture.cluster_event(ClusterEventKind::Failover, Some("a")) };
    let joined = fixture.cluster_event(ClusterEventKind::AgentJoined, Some("a"));
    fixture.commit([failover, joined].map(Change::ClusterEvent));
    let reader = fixture.reader();
    let read = |range, subject: Option<&str>, size| {
        let filter = AllocationFilter { range, subject: subject.map(str::to_owned) };
        let found = pages(size, |page| reader.allocation_events(&filter, page).unwrap());
        found.into_iter().map(|record| format!("{} {}", record.what, record.subject)).collect::<Vec<_>>()
    };
    let all = ["cooldown key:k", "opened limit:a", "failover agent:a", "throttled limit:a"];
    for size in 1..=5 {
        assert_eq!(read(TimeRange::ALL, None, size), all, "{size} a page");
    }
    assert_eq!(read(TimeRange::ALL, Some("limit:a"), 1), [all[1], all[3]]);
    assert_eq!(read(TimeRange::ALL, Some("agent:a"), 1), [all[2]]);
    assert_eq!(read(TimeRange { from: at(2 * SECOND), before: at(4 * SECOND) }, None, 9), all[1..3]);
}

pub fn recommendations_are_read_by_their_last_state(open: Open) {
    let mut fixture = Fixture::new(open);
    let found = |name: &str, version, kind: &str, state: &str| {
        let body = format!("{{\"kind\":\"{kind}\",\"state\":\"{state}\"}}");
        declared(DeclarationKind::Recommendation, name, version, Some(&body))
    };
    let (one, two) = (found("1", 2, "cost", "applied"), found("2", 1, "cost", "open"));
    let three = found("3", 1, "schedule", "open");
    let gone = declared(DeclarationKind::Recommendation, "4", 2, None);
    for declaration in [found("1", 1, "cost", "open"), two.clone(), three.clone(), one.clone(), gone] {
        keep(&mut fixture, [Record::Declared(declaration)]);
    }
    let reader = fixture.reader();
    let read = |state: Option<&str>, kind: Option<&str>| {
        let filter = RecommendationFilter { state: state.map(str::to_owned), kind: kind.map(str::to_owned) };
        pages(1, |page| reader.recommendations(&filter, page).unwrap())
    };
    assert_eq!(read(None, None), [one.clone(), three.clone(), two.clone()]);
    assert_eq!(read(Some("open"), None), [three, two.clone()]);
    assert_eq!(read(None, Some("cost")), [one, two.clone()]);
    assert_eq!(read(Some("open"), Some("cost")), [two]);
}
