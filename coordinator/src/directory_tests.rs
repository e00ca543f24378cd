use std::time::Duration;

use evenkeel_core::model::TaskEventKind;
use evenkeel_shared::{AttemptNumber, EventPosition, Kind};
use proptest::prelude::*;

use super::*;

const AT: Timestamp = Timestamp::from_unix_millis(1_000);

fn directory(tasks: usize, bytes: usize) -> Directory {
    Directory::new(&[], KeptLimits { tasks, bytes })
}

fn spec(delivery: Delivery) -> Arc<TaskSpec> {
    Arc::new(TaskSpec { delivery, ..TaskSpec::of_kind(Kind::new("echo").unwrap()) })
}

fn accept(directory: &Directory, id: u128, delivery: Delivery) {
    directory.accepted(&Arc::new(AcceptedTask {
        id: TaskId::from_u128(id),
        spec: spec(delivery),
        payload: Bytes::from_static(b"in"),
        fingerprint: 0,
        order: 0,
        at: AT,
        redrive_of: None,
    }));
}

fn finish(directory: &Directory, id: u128, delivery: Delivery, output: usize) {
    finish_as(directory, id, spec(delivery), output);
}

fn finish_as(directory: &Directory, id: u128, spec: Arc<TaskSpec>, output: usize) {
    directory.finished(&Arc::new(FinishedTask {
        id: TaskId::from_u128(id),
        spec,
        fingerprint: id,
        state: TaskState::Succeeded,
        output: Bytes::from(vec![0; output]),
        failure: None,
        attempts_made: 1,
        crashes: 0,
        agent: None,
        accepted_at: AT,
        finished_at: AT.plus(Duration::from_secs(1)),
    }));
}

fn event(id: u128, kind: TaskEventKind, state: TaskState) -> TaskEvent {
    TaskEvent {
        position: EventPosition(1),
        at: AT,
        task: TaskId::from_u128(id),
        kind,
        state,
        attempt: AttemptNumber(2),
        agent: Some(AgentId::new("a-1").unwrap()),
        progress: 0.5,
        message: "half".into(),
    }
}

fn listed(directory: &Directory, before: Option<u128>, room: usize) -> Vec<u128> {
    let mut seen = Vec::new();
    directory.ephemeral_before(before.map(TaskId::from_u128), |known| {
        seen.push(match known {
            Known::Live(task) => task.id.as_u128(),
            Known::Over(task) => task.id.as_u128(),
        });
        seen.len() < room
    });
    seen
}

#[test]
fn a_live_task_follows_its_events() {
    let directory = directory(1, 1);
    accept(&directory, 1, Delivery::Durable);
    let Some(Known::Live(task)) = directory.get(TaskId::from_u128(1)) else { panic!("it is live") };
    assert_eq!(task.state, TaskState::Queued);
    directory.apply(&event(1, TaskEventKind::Assigned, TaskState::Assigned));
    directory.apply(&event(1, TaskEventKind::Progress, TaskState::Running));
    let Some(Known::Live(task)) = directory.get(TaskId::from_u128(1)) else { panic!("it is live") };
    assert_eq!((task.state, task.attempts_made, task.progress), (TaskState::Running, 2, 0.5));
    assert_eq!(task.agent.unwrap().as_str(), "a-1");
}

#[test]
fn a_durable_task_leaves_when_it_is_over_and_an_ephemeral_one_is_kept() {
    let directory = directory(10, 100);
    for (id, delivery) in [(1, Delivery::Durable), (2, Delivery::Ephemeral)] {
        accept(&directory, id, delivery);
        finish(&directory, id, delivery, 1);
    }
    assert_eq!(directory.get(TaskId::from_u128(1)), None);
    assert!(matches!(directory.get(TaskId::from_u128(2)), Some(Known::Over(_))));
    assert_eq!(directory.live_count(), 0);
}

#[test]
fn lists_of_ephemeral_tasks_are_newest_first_and_page() {
    let directory = directory(1_000, 1_000);
    (1..=600).for_each(|id| accept(&directory, id, Delivery::Ephemeral));
    accept(&directory, 601, Delivery::Durable);
    finish(&directory, 600, Delivery::Ephemeral, 1);
    assert_eq!(listed(&directory, None, 3), [600, 599, 598]);
    assert_eq!(listed(&directory, Some(3), 9), [2, 1]);
    assert_eq!(listed(&directory, None, usize::MAX).len(), 600);
}

#[test]
fn the_key_of_an_ephemeral_task_holds_for_as_long_as_the_task_is_kept() {
    let directory = directory(2, 1_000);
    let keyed = |key: &str| {
        let spec = TaskSpec::of_kind(Kind::new("echo").unwrap());
        Arc::new(TaskSpec { delivery: Delivery::Ephemeral, idempotency_key: key.into(), ..spec })
    };
    let found =
        |key| directory.by_key(&Tenant::default(), key).map(|(task, fingerprint)| (task.as_u128(), fingerprint));
    finish_as(&directory, 1, keyed("one"), 0);
    finish_as(&directory, 2, keyed(""), 0);
    assert_eq!((found("one"), found("")), (Some((1, 1)), None));
    assert_eq!(directory.by_key(&Tenant::new("other").unwrap(), "one"), None);
    finish_as(&directory, 3, keyed("three"), 0);
    assert_eq!((found("one"), found("three")), (None, Some((3, 3))), "the oldest makes room, and so does its key");
}

proptest! {
    #[test]
    fn what_is_kept_stays_within_both_bounds(outputs in prop::collection::vec(0_usize..40, 0..60)) {
        let directory = directory(7, 100);
        for (id, output) in outputs.iter().enumerate() {
            accept(&directory, id as u128, Delivery::Ephemeral);
            finish(&directory, id as u128, Delivery::Ephemeral, *output);
        }
        let kept = listed(&directory, None, usize::MAX);
        let bytes: usize = kept.iter().map(|id| outputs[*id as usize]).sum();
        prop_assert!(kept.len() <= 7 && bytes <= 100);
        // The newest are kept, and as many of them as fit.
        let newest: Vec<u128> = (0..outputs.len() as u128).rev().take(kept.len()).collect();
        prop_assert_eq!(&kept, &newest);
        if let Some(next) = outputs.len().checked_sub(kept.len() + 1) {
            prop_assert!(kept.len() == 7 || bytes + outputs[next] > 100);
        }
    }
}
