//! Lists of tasks.

use std::time::Duration;

use evenkeel_shared::{AttemptEnd, Kind, TaskId, TaskState, Tenant};

use super::{
    super::{Page, StoreReader, TaskFilter},
    Open,
    fixture::{Fixture, a_task, agent, at, end, requeue},
};

const FIRST: Page = Page { older_than: None, size: 100 };

#[track_caller]
fn check(reader: &dyn StoreReader, filter: &TaskFilter, expected: &[TaskId]) {
    let page = reader.list(filter, FIRST).unwrap();
    let found: Vec<_> = page.tasks.iter().map(|task| task.id).collect();
    assert_eq!((found.as_slice(), page.next), (expected, None), "{filter:?}");
}

pub fn lists_are_filtered(open: Open) {
    let mut fixture = Fixture::new(open);
    let queued = fixture.accepted(a_task().tenant("t")).id;
    let assigned = fixture.accepted(a_task().kind("k")).id;
    fixture.assigned(assigned, 1, "a");
    let succeeded = fixture.over(a_task().tenant("t").kind("k"), TaskState::Succeeded, at(5));
    let failed = fixture.over(a_task(), TaskState::Failed, at(5));
    let expired = fixture.over(a_task().tenant("t"), TaskState::Expired, at(5));
    let accepted_at = |id| fixture.store().reader().task(id).unwrap().unwrap().accepted_at;
    let (from, before) = ([assigned, failed]).map(accepted_at).into();

    let reader = fixture.reader();
    let all = TaskFilter::default();
    let (tenant, kind) = (Some(Tenant::new("t").unwrap()), Some(Kind::new("k").unwrap()));
    let states = |states: &[_]| TaskFilter { states: states.to_vec(), ..TaskFilter::default() };
    let check = |filter: TaskFilter, expected: &[_]| check(reader.as_ref(), &filter, expected);
    check(all.clone(), &[expired, failed, succeeded, assigned, queued]);
    check(TaskFilter { tenant: tenant.clone(), ..all.clone() }, &[expired, succeeded, queued]);
    check(TaskFilter { kind: kind.clone(), ..all.clone() }, &[succeeded, assigned]);
    check(TaskFilter { tenant: tenant.clone(), kind, ..all.clone() }, &[succeeded]);
    check(TaskFilter { agent: Some(agent("a")), ..all.clone() }, &[assigned]);
    check(TaskFilter { accepted_from: Some(from), accepted_before: Some(before), ..all }, &[succeeded, assigned]);
    check(states(&[TaskState::Failed]), &[failed]);
    check(states(&[TaskState::Succeeded, TaskState::Queued, TaskState::Expired]), &[expired, succeeded, queued]);
    check(states(&[TaskState::Cancelled]), &[]);
    check(TaskFilter { tenant, ..states(&TaskState::ALL) }, &[expired, succeeded, queued]);
}

pub fn lists_come_in_pages_newest_first(open: Open) {
    let mut fixture = Fixture::new(open);
    let mut tasks: Vec<_> = (0..10)
        .map(|n| {
            let states = [TaskState::Failed, TaskState::Succeeded, TaskState::Expired];
            fixture.over(a_task(), states[n % 3], at(5))
        })
        .collect();
    tasks.reverse();
    let reader = fixture.reader();
    let filters = [
        TaskFilter::default(),
        TaskFilter {
            states: vec![TaskState::Succeeded, TaskState::Failed, TaskState::Expired],
            ..TaskFilter::default()
        },
    ];
    for filter in filters {
        for size in 1..=11 {
            let (mut found, mut older_than) = (Vec::new(), None);
            loop {
                let page = reader.list(&filter, Page { older_than, size }).unwrap();
                assert!(page.tasks.len() <= size as usize);
                found.extend(page.tasks.iter().map(|task| task.id));
                older_than = page.next;
                if older_than.is_none() {
                    break;
                }
            }
            assert_eq!(found, tasks, "in pages of {size}");
        }
    }
}

pub fn live_states_that_the_store_cannot_tell_apart_stand_for_each_other(open: Open) {
    let mut fixture = Fixture::new(open);
    let queued = fixture.accepted(a_task()).id;
    let [assigned, waiting] = [(); 2].map(|()| {
        let id = fixture.accepted(a_task()).id;
        (id, fixture.assigned(id, 1, "a"))
    });
    fixture.commit([end(waiting.1, AttemptEnd::Failed, Duration::ZERO), requeue(waiting.0, Some(at(60)), 0)]);
    let reader = fixture.reader();
    for state in [TaskState::Queued, TaskState::RetryWait] {
        check(reader.as_ref(), &TaskFilter { states: vec![state], ..TaskFilter::default() }, &[waiting.0, queued]);
    }
    for state in [TaskState::Assigned, TaskState::Running] {
        check(reader.as_ref(), &TaskFilter { states: vec![state], ..TaskFilter::default() }, &[assigned.0]);
    }
}
