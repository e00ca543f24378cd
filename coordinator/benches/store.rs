//! What a commit costs: the whole life of a task, written with different numbers of tasks in one transaction.
//!
//! Group commit makes one wait for the disk serve everything that has queued up meanwhile, so the cost of a task falls as
//! the load grows. What must hold: with 64 tasks in a commit the writer is not what limits a coordinator, at well above
//! ten thousand tasks a second.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel_coordinator::store::{
    Store,
    sqlite::{Durability, SqliteStore},
};
use evenkeel_core::{
    engine::{AcceptedTask, Change},
    model::{TaskEvent, TaskEventKind},
};
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Decision, EventPosition, Kind, TaskId, TaskSpec,
    TaskState, Timestamp,
};

const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
/// Events in the life of a task that succeeds at once.
const EVENTS: [(TaskEventKind, TaskState); 4] = [
    (TaskEventKind::Accepted, TaskState::Queued),
    (TaskEventKind::Assigned, TaskState::Assigned),
    (TaskEventKind::AttemptEnded, TaskState::Running),
    (TaskEventKind::Finished, TaskState::Succeeded),
];

/// The changes of one task from its acceptance to its success, without its events.
fn life(number: u64, spec: &Arc<TaskSpec>, agent: &AgentId) -> [Change; 4] {
    let at = START.plus(Duration::from_micros(number * 20));
    let id = TaskId::new(at, u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let attempt = AttemptRef { task: id, attempt: AttemptNumber(1), assignment: AssignmentId(number) };
    let accepted = AcceptedTask {
        id,
        spec: spec.clone(),
        payload: vec![1; 100].into(),
        fingerprint: 7,
        order: number,
        at,
        redrive_of: None,
    };
    let run = Duration::from_millis(3);
    [
        Change::Accept(Arc::new(accepted)),
        Change::Assign { attempt, agent: agent.clone(), at, decision: Decision::default(), reserved: Vec::new() },
        Change::EndAttempt {
            attempt,
            at,
            started_at: Some(at),
            end: AttemptEnd::Succeeded,
            failure: None,
            run,
            usage: None,
        },
        Change::Finish {
            task: id,
            at,
            state: TaskState::Succeeded,
            output: vec![2; 50].into(),
            failure: None,
            crashes: 0,
        },
    ]
}

/// The same with an event for each change.
fn changes(number: u64, spec: &Arc<TaskSpec>, agent: &AgentId) -> impl Iterator<Item = Change> {
    let life = life(number, spec, agent);
    let Change::Finish { task, at, .. } = life[3] else { unreachable!("the last change is the end") };
    life.into_iter().zip(EVENTS).zip(number * EVENTS.len() as u64..).flat_map(
        move |((change, (kind, state)), position)| {
            let event = TaskEvent {
                position: EventPosition(position),
                at,
                task,
                kind,
                state,
                attempt: AttemptNumber(1),
                agent: None,
                progress: 0.0,
                message: String::new(),
            };
            [change, Change::TaskEvent(event)]
        },
    )
}

fn commit(criterion: &mut Criterion) {
    let dir = tempfile::TempDir::new().expect("a directory for the store");
    let mut store = SqliteStore::open(dir.path(), Durability::Full).expect("the store opens");
    store.claim(START).expect("the store is claimed");
    let spec = Arc::new(TaskSpec::of_kind(Kind::new("echo").expect("a legal kind")));
    let agent = AgentId::new("agent-1").expect("a legal name");
    let mut number = 1_u64;
    let mut group = criterion.benchmark_group("commit_whole_lives");
    for tasks in [1_u64, 8, 64, 512] {
        group.throughput(Throughput::Elements(tasks));
        group.bench_function(format!("{tasks}_tasks"), |bencher| {
            let batch = || {
                number += tasks;
                (number - tasks..number).flat_map(|number| changes(number, &spec, &agent)).collect::<Vec<_>>()
            };
            bencher.iter_batched(
                batch,
                |batch| store.commit(black_box(&batch)).expect("committed"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
