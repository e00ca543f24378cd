//! Request sizes in the engine: what a task reserves is settled when it is accepted, and stays.

use std::sync::Arc;

use evenkeel_shared::{Code, FailureClass, Kind, TaskBudget, TaskId};

use super::fixture::{AgentBuilder, Cluster, TaskBuilder, agent, task};
use crate::{
    engine::{ControlCommand, Put, StoredKey},
    model::ClusterEventKind,
    sizing::{SIZES_MAX, Size, SizedResource},
};

const GIB: u64 = 1 << 30;

/// A task that asks for so much memory.
fn asking(gib: u64) -> TaskBuilder {
    let mut builder = task("work");
    Arc::make_mut(&mut builder.0.spec).requirements.resources.memory_bytes = gib * GIB;
    builder
}

/// An agent with room for as many tasks as its memory bears.
fn with_memory(id: &str, gib: u64) -> AgentBuilder {
    let mut builder = agent(id).slots(100);
    builder.spec.capacity.memory_bytes = gib * GIB;
    builder
}

fn size(kind: &str, gib: u64) -> Size {
    Size::of(Kind::new(kind).unwrap()).with(SizedResource::MemoryBytes, Some(gib * GIB))
}

fn put(c: &mut Cluster, gib: u64) {
    c.control(ControlCommand::PutSize(size("work", gib))).unwrap();
}

fn remove(c: &mut Cluster) {
    c.control(ControlCommand::RemoveSize(Kind::new("work").unwrap())).unwrap();
}

/// What is set aside on the agent, in GiB.
fn set_aside(c: &Cluster, id: &str) -> u64 {
    let fleet = c.engine.fleet(c.now);
    fleet.iter().find(|agent| agent.spec.id.as_str() == id).unwrap().reserved.memory_bytes / GIB
}

fn reserves(c: &Cluster, task: TaskId) -> Option<String> {
    c.explain(task).reserves
}

#[test]
fn who_puts_a_size_is_answered_with_it_and_its_version() {
    let mut c = Cluster::new();
    for (gib, version) in [(1, 1), (2, 2)] {
        assert_eq!(c.put(ControlCommand::PutSize(size("work", gib))), Put::Size(size("work", gib), version));
    }
    remove(&mut c);
    assert_eq!(c.put(ControlCommand::PutSize(size("work", 4))), Put::Size(size("work", 4), 4), "versions count on");
}

#[test]
fn tasks_accepted_under_a_size_reserve_it_and_those_before_what_they_asked_for() {
    let mut c = Cluster::new();
    c.join(with_memory("a", 8));
    let tasks: Vec<_> = (0..3).map(|_| c.submit(asking(4))).collect();
    put(&mut c, 1);
    assert_eq!((c.placements().len(), set_aside(&c, "a")), (2, 8), "the third waits for what it asked for");
    c.succeed(tasks[0]);
    assert_eq!(set_aside(&c, "a"), 8, "and gets it");
    c.succeed(tasks[1]);
    let small: Vec<_> = (0..5).map(|_| c.submit(asking(4))).collect();
    assert_eq!((c.placements().len(), set_aside(&c, "a")), (1 + 4, 4 + 4));
    let words = "requested 4096 MiB, reserves 1024 MiB: request size of kind `work`, version 1";
    assert_eq!((reserves(&c, small[0]).as_deref(), reserves(&c, tasks[2])), (Some(words), None));
    assert_eq!(c.accepted[&small[0]].spec.requirements.resources.memory_bytes, GIB, "it is what the agent is told");
    remove(&mut c);
    let after = c.submit(asking(4));
    c.succeed(small[0]);
    assert_eq!(c.placements().len(), 5, "the one that waited has the size of its time");
    assert_eq!((reserves(&c, after), c.events_of(ClusterEventKind::Size)), (None, 2));
}

#[test]
fn a_task_keeps_what_it_reserves_through_retries_and_restarts() {
    let mut c = Cluster::new();
    c.join(with_memory("a", 8));
    put(&mut c, 1);
    let (kept, retried) = (c.submit(asking(4)), c.submit(asking(4)));
    put(&mut c, 2);
    c.restart();
    let held = [c.assignment(kept).1, c.assignment(retried).1];
    c.join(with_memory("a", 8).holding(&held));
    assert_eq!(set_aside(&c, "a"), 2);
    c.fail(retried, FailureClass::Retryable);
    c.advance_alive(super::fixture::ms(2_000));
    assert_eq!((c.assignment(retried).1.attempt.0, set_aside(&c, "a")), (2, 2));
    let words = reserves(&c, retried).unwrap();
    assert!(words.ends_with("reserves 1024 MiB: request size of kind `work`, version 1"), "{words}");
    c.submit(asking(4));
    assert_eq!(set_aside(&c, "a"), 4, "the size in force is recovered, and goes by its last version");
    remove(&mut c);
    c.restart();
    assert!(c.engine.sizes().is_empty(), "and so is that there is none");
    put(&mut c, 3);
    assert_eq!(c.engine.sizes(), [(size("work", 3), 4)], "versions count on");
}

#[test]
fn the_same_submission_is_the_same_task_before_a_size_and_after() {
    let mut c = Cluster::new();
    c.join(with_memory("a", 8));
    let keyed = || asking(4).key("k", 7).stored_key(StoredKey::None);
    let first = c.submit(keyed());
    put(&mut c, 1);
    let again = c.try_submit(keyed()).unwrap();
    assert_eq!((again.task, again.duplicate, set_aside(&c, "a")), (first, true, 4));
}

#[test]
fn a_task_that_may_use_less_than_the_size_reserves_no_more() {
    let mut c = Cluster::new();
    c.join(with_memory("a", 8));
    put(&mut c, 4);
    let mut bound = asking(1);
    let budget = TaskBudget { memory_max_bytes: Some(2 * GIB), ..TaskBudget::default() };
    Arc::make_mut(&mut bound.0.spec).budget = Some(Box::new(budget));
    c.submit(bound);
    assert_eq!(set_aside(&c, "a"), 2);
}

#[test]
fn a_size_that_no_agent_of_the_kind_could_hold_is_refused() {
    let mut c = Cluster::new();
    put(&mut c, 16);
    c.join(with_memory("a", 8));
    let refused = c.control(ControlCommand::PutSize(size("work", 9))).unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("no agent that takes tasks of kind `work` has 9216 MiB"), "{refused}");
    assert_eq!(c.engine.sizes(), [(size("work", 16), 1)], "nothing has changed");
    c.control(ControlCommand::PutSize(size("other", 9))).unwrap();
    c.join(with_memory("b", 9));
    put(&mut c, 9);
}

#[test]
fn sizes_are_bounded_and_one_that_is_not_there_is_not_removed() {
    let mut c = Cluster::new();
    for number in 0..SIZES_MAX {
        c.control(ControlCommand::PutSize(size(&format!("k{number}"), 1))).unwrap();
    }
    let refused = c.control(ControlCommand::PutSize(size("work", 1))).unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
    c.control(ControlCommand::PutSize(size("k0", 2))).unwrap();
    let missing = c.control(ControlCommand::RemoveSize(Kind::new("work").unwrap())).unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
}
