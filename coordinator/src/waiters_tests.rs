use bytes::Bytes;
use evenkeel_shared::{Kind, TaskSpec, TaskState, Timestamp};

use super::*;

fn finished(id: u128, output: &'static [u8]) -> Arc<FinishedTask> {
    Arc::new(FinishedTask {
        id: TaskId::from_u128(id),
        spec: Arc::new(TaskSpec::of_kind(Kind::new("echo").unwrap())),
        fingerprint: 0,
        state: TaskState::Succeeded,
        output: Bytes::from_static(output),
        failure: None,
        attempts_made: 1,
        crashes: 0,
        agent: None,
        accepted_at: Timestamp::ZERO,
        finished_at: Timestamp::ZERO,
    })
}

#[tokio::test]
async fn everybody_who_waits_hears_of_the_end_once() {
    let waiters = Waiters::default();
    let task = TaskId::from_u128(1);
    let mut all: Vec<_> = (0..3).map(|_| waiters.open(2, 100)).collect();
    for (sink, _) in &all {
        waiters.register(task, sink.clone());
        waiters.register(task, sink.clone());
    }
    waiters.notify(&finished(1, b"out"));
    waiters.notify(&finished(1, b"out"));
    for (_, results) in &mut all {
        assert_eq!(results.next().await.unwrap().id, task);
        assert!(results.try_next().is_none());
    }
    assert!(waiters.is_empty());
}

#[test]
fn a_waiter_that_is_gone_is_forgotten_and_the_others_stay() {
    let waiters = Waiters::default();
    let task = TaskId::from_u128(1);
    let (stays, mut results) = waiters.open(1, 100);
    let (goes, _) = waiters.open(1, 100);
    waiters.register(task, stays);
    drop(Waiting::register(&waiters, goes, &[task]));
    waiters.notify(&finished(1, b""));
    assert!(results.try_next().is_some());
}

#[test]
fn held_output_is_bounded_and_freed_as_it_is_taken() {
    let waiters = Waiters::default();
    let (sink, mut results) = waiters.open(10, 6);
    sink.push(finished(1, b"1234"));
    assert!(results.try_next().is_some());
    sink.push(finished(2, b"1234"));
    assert!(!results.overflow().is_cancelled(), "what was taken no longer counts");
    sink.push(finished(3, b"1234"));
    assert!(results.overflow().is_cancelled());
}

/// A task ends while somebody starts to wait for it: whichever comes first, the waiter learns of it, by being told or by
/// looking.
#[test]
fn no_end_falls_between_registering_and_looking() {
    for round in 0..200 {
        let waiters = Waiters::default();
        let over = std::sync::atomic::AtomicBool::new(false);
        let (sink, mut results) = waiters.open(1, 100);
        let task = TaskId::from_u128(round);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                over.store(true, Ordering::SeqCst);
                waiters.notify(&finished(round, b""));
            });
            waiters.register(task, sink);
            let seen_over = over.load(Ordering::SeqCst);
            if !seen_over {
                while results.try_next().is_none() {
                    std::thread::yield_now();
                }
            }
        });
    }
}
