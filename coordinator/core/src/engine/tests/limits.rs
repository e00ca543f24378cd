//! Limits in the engine: what is held up, what is not, and when it goes on.

use evenkeel_shared::{AgentId, Code, Kind, TaskId, TaskState, Tenant};

use super::fixture::{Cluster, agent, ms, task};
use crate::{
    admission::{Limit, LimitScope},
    engine::{Change, ControlCommand, limits},
    model::{ClusterEventKind, Record},
};

pub fn scope() -> LimitScope {
    LimitScope::default()
}

pub fn of_tenant(name: &str) -> LimitScope {
    LimitScope { tenant: Some(Tenant::new(name).unwrap()), ..scope() }
}

pub fn of_kind(name: &str) -> LimitScope {
    LimitScope { kind: Some(Kind::new(name).unwrap()), ..scope() }
}

pub fn at_a_time(name: &str, scope: LimitScope, max: u32) -> ControlCommand {
    ControlCommand::PutLimit(Limit { name: name.into(), scope, concurrency_max: Some(max), rate_per_s: None, burst: 1 })
}

pub fn a_second(name: &str, scope: LimitScope, rate: f64, burst: u32) -> ControlCommand {
    ControlCommand::PutLimit(Limit { name: name.into(), scope, concurrency_max: None, rate_per_s: Some(rate), burst })
}

/// A cluster with one agent of so many slots and these limits.
fn cluster(slots: u32, limits: impl IntoIterator<Item = ControlCommand>) -> Cluster {
    let mut c = Cluster::new();
    c.join(agent("a").slots(slots));
    for limit in limits {
        c.control(limit).unwrap();
    }
    c
}

fn submit(c: &mut Cluster, tenant: &str, n: usize) -> Vec<TaskId> {
    (0..n).map(|_| c.submit(task("work").tenant(tenant))).collect()
}

fn placed(c: &Cluster, tasks: &[TaskId]) -> usize {
    let placements = c.placements();
    tasks.iter().filter(|task| placements.contains_key(task)).count()
}

#[test]
fn a_throttled_tenant_holds_up_nobody_and_goes_on_when_a_place_is_free() {
    let mut c = cluster(8, [at_a_time("l", of_tenant("t"), 2)]);
    let theirs = submit(&mut c, "t", 5);
    let others = submit(&mut c, "u", 4);
    assert_eq!((placed(&c, &theirs), placed(&c, &others)), (2, 4));
    let words = c.explain(theirs[2]).waiting_for.unwrap();
    assert!(words.contains("limit `l`") && words.contains("2 of 2"), "{words}");
    c.succeed(theirs[0]);
    assert_eq!(placed(&c, &theirs), 2, "one came for the one that went");
    c.control(at_a_time("l", of_tenant("t"), 10)).unwrap();
    assert_eq!(placed(&c, &theirs), 4, "raised");
    assert_eq!(c.events_of(ClusterEventKind::Limit), 2);
}

#[test]
fn an_agent_with_room_is_no_candidate_for_what_a_limit_holds() {
    let mut c = cluster(8, [at_a_time("l", of_tenant("t"), 1)]);
    let theirs = submit(&mut c, "t", 2);
    let told = c.explain(theirs[1]);
    let why = "would take it; the task waits for limit `l`: 1 of 1 attempts at a time";
    assert_eq!(told.candidates[0].refusal, Some(("limit", why.to_owned())));
    assert_eq!(told.refused_by_reason["limit"], 1);
    assert_eq!(c.explain(theirs[0]).candidates[0].refusal, None, "what runs is held by nothing");
}

#[test]
fn a_lowered_limit_lets_what_runs_go_on() {
    let mut c = cluster(8, []);
    let tasks = submit(&mut c, "t", 4);
    c.control(at_a_time("l", of_tenant("t"), 1)).unwrap();
    let more = submit(&mut c, "t", 1);
    for task in &tasks[..3] {
        c.succeed(*task);
        assert_eq!(placed(&c, &more), 0);
    }
    c.succeed(tasks[3]);
    assert_eq!(placed(&c, &more), 1);
    c.control(ControlCommand::RemoveLimit("l".into())).unwrap();
    let last = submit(&mut c, "t", 2);
    assert_eq!(placed(&c, &last), 2);
}

#[test]
fn a_place_counts_until_the_agent_has_stopped_what_was_cancelled() {
    let mut c = cluster(8, [at_a_time("l", of_kind("work"), 1)]);
    let tasks = submit(&mut c, "t", 2);
    c.cancel(tasks[0]).unwrap();
    assert_eq!(placed(&c, &tasks), 0);
    c.stop_what_was_cancelled();
    assert_eq!(placed(&c, &tasks), 1);
}

#[test]
fn a_rate_limit_lets_a_burst_go_and_then_so_many_a_second() {
    let mut c = cluster(100, [a_second("l", of_kind("work"), 10.0, 5)]);
    let tasks = submit(&mut c, "t", 40);
    assert_eq!(placed(&c, &tasks), 5);
    let words = c.explain(tasks[39]).waiting_for.unwrap();
    assert!(words.contains("limit `l`") && words.contains("10 attempts a second"), "{words}");
    c.advance_alive(ms(2_000));
    assert_eq!(placed(&c, &tasks), 25);
    c.advance_alive(ms(2_000));
    assert_eq!(placed(&c, &tasks), 40);
}

#[test]
fn each_kind_has_its_own() {
    let each = LimitScope { each_kind: true, ..scope() };
    let mut c = Cluster::new();
    c.join(agent("a").slots(8).kinds(&["work", "k1"]));
    c.control(at_a_time("l", each, 1)).unwrap();
    let tasks: Vec<_> = ["work", "work", "k1", "k1"].iter().map(|kind| c.submit(task(kind))).collect();
    let expected = [TaskState::Assigned, TaskState::Queued, TaskState::Assigned, TaskState::Queued];
    assert_eq!(tasks.iter().map(|task| c.state(*task)).collect::<Vec<_>>(), expected);
}

#[test]
fn an_agent_that_is_limited_gets_no_more_and_others_do() {
    let only = LimitScope { agent: Some(AgentId::new("a").unwrap()), ..scope() };
    let mut c = cluster(8, [at_a_time("l", only, 2)]);
    let tasks = submit(&mut c, "t", 5);
    assert_eq!(placed(&c, &tasks), 2);
    let words = c.explain(tasks[4]);
    assert!(words.refused_by_reason.contains_key("limit"), "{words:?}");
    c.join(agent("b").slots(8));
    assert_eq!(placed(&c, &tasks), 5);
}

/// Tasks that wait under the only limit, as shown, and as the manager is told.
fn waiting(c: &Cluster) -> (u64, u64) {
    let gated = c.engine.gated(c.now);
    (gated.limits[0].1, c.engine.more_samples(&gated).limits[0].waiting)
}

#[test]
fn what_waits_for_agents_that_are_at_their_limit_is_shown_once_and_is_no_reason_against_more_agents() {
    let shared = LimitScope { agent_label: Some(("gpu".into(), "yes".into())), ..scope() };
    let each = LimitScope { each_agent: true, ..shared.clone() };
    for (limit, runs) in [(each, 2), (shared, 1)] {
        let mut c = Cluster::new();
        for id in ["a", "b"] {
            c.join(agent(id).slots(4).label("gpu", "yes"));
        }
        c.join(agent("c").slots(1).kinds(&["other"]));
        c.control(at_a_time("l", limit, 1)).unwrap();
        assert_eq!(waiting(&c), (0, 0), "nothing waits");
        let tasks = submit(&mut c, "t", 5);
        // Those that no agent at its limit could take wait for something else.
        let others = [task("other"), task("other"), task("work").slots(5)];
        others.into_iter().for_each(|task| {
            c.submit(task);
        });
        assert_eq!(placed(&c, &tasks), runs);
        assert_eq!(waiting(&c), (5 - runs as u64, 0));
    }
}

#[test]
fn what_waits_for_a_limit_of_tasks_is_held_up_by_it() {
    let mut c = cluster(8, [at_a_time("l", of_kind("work"), 2)]);
    submit(&mut c, "t", 5);
    assert_eq!(waiting(&c), (3, 3));
}

#[test]
fn agents_of_a_label_share_a_limit() {
    let gpu = LimitScope { agent_label: Some(("gpu".into(), "yes".into())), ..scope() };
    let mut c = Cluster::new();
    for id in ["a", "b"] {
        c.join(agent(id).slots(4).label("gpu", "yes"));
    }
    c.control(at_a_time("l", gpu, 3)).unwrap();
    let tasks = submit(&mut c, "t", 6);
    assert_eq!(placed(&c, &tasks), 3);
    let first = tasks[0];
    c.succeed(first);
    assert_eq!(placed(&c, &tasks), 3, "whoever freed a place filled it");
    // The agent of the group that has work left for others has none for this one.
    c.control(ControlCommand::RemoveLimit("l".into())).unwrap();
    assert_eq!(placed(&c, &tasks), 5);
}

#[test]
fn a_place_of_a_label_that_its_agent_does_not_fill_goes_to_another_soon() {
    let gpu = LimitScope { agent_label: Some(("gpu".into(), "yes".into())), ..scope() };
    let mut c = Cluster::new();
    c.join(agent("a").label("gpu", "yes").kinds(&["k1"]));
    c.join(agent("b").label("gpu", "yes").kinds(&["work"]));
    c.control(at_a_time("l", gpu, 1)).unwrap();
    let (first, second) = (c.submit(task("k1")), c.submit(task("work")));
    c.succeed(first);
    c.expect(second, TaskState::Queued);
    c.advance(ms(20));
    c.expect(second, TaskState::Assigned);
}

#[test]
fn a_restart_counts_what_runs() {
    let mut c = cluster(8, [at_a_time("l", of_tenant("t"), 2)]);
    let tasks = submit(&mut c, "t", 4);
    c.restart();
    assert_eq!(c.engine.limit_views(c.now)[0].0.in_use, 2);
    let held: Vec<_> = tasks[..2].iter().map(|task| c.assignment(*task).1).collect();
    c.join(agent("a").slots(8).holding(&held));
    assert_eq!(placed(&c, &tasks), 2);
    c.succeed(tasks[0]);
    assert_eq!(placed(&c, &tasks), 2);
}

#[test]
fn what_is_refused_changes_nothing_and_says_which_field() {
    let mut c = cluster(8, []);
    let refused = c.control(at_a_time("no name", of_tenant("t"), 2)).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(c.changes.is_empty() && c.engine.limit_views(c.now).is_empty());
    let missing = c.control(ControlCommand::RemoveLimit("l".into())).unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
    assert!(c.changes.is_empty());
}

#[test]
fn declarations_count_their_versions_and_throttling_is_written_once_a_second() {
    let mut c = cluster(8, [at_a_time("l", of_tenant("t"), 1)]);
    let mut notes = Vec::new();
    for _ in 0..20 {
        let one = submit(&mut c, "t", 1);
        notes.extend(c.changes.clone());
        c.succeed(one[0]);
        notes.extend(c.changes.clone());
        c.advance(ms(100));
        notes.extend(c.changes.clone());
    }
    let written = notes.iter().filter_map(|change| match change {
        Change::Record(record) => match &**record {
            Record::Allocation(record) => Some(record.subject.as_str()),
            _ => None,
        },
        _ => None,
    });
    let written: Vec<&str> = written.collect();
    assert!((2..=3).contains(&written.len()), "in two seconds");
    assert!(written.iter().all(|subject| *subject == "limit:l"), "{written:?}");
    c.control(at_a_time("l", of_tenant("t"), 2)).unwrap();
    c.control(ControlCommand::RemoveLimit("l".into())).unwrap();
    assert_eq!(declared(&c), Some((3, true)));
    c.restart();
    assert!(c.engine.limit_views(c.now).is_empty(), "what was taken back stays so");
    c.control(at_a_time("l", of_tenant("t"), 2)).unwrap();
    assert_eq!(declared(&c), Some((4, false)), "and its versions count on");
}

/// The version of what was declared just now, and whether it was taken back.
fn declared(c: &Cluster) -> Option<(u64, bool)> {
    c.changes.iter().find_map(|change| match change {
        Change::Record(record) => match &**record {
            Record::Declared(declaration) => Some((declaration.version, declaration.body.is_none())),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn an_agent_is_not_held_for_a_task_that_may_not_go() {
    let mut c = cluster(4, [at_a_time("l", of_tenant("t"), 1)]);
    c.join(agent("elsewhere").kinds(&["other"]));
    let running = submit(&mut c, "t", 1);
    let large = c.submit(task("work").tenant("t").slots(4));
    let small: Vec<_> = (0..40).map(|_| c.submit(task("work").tenant("u"))).collect();
    for done in &small[..30] {
        c.advance_alive(ms(500));
        c.succeed(*done);
    }
    c.expect(large, TaskState::Queued);
    assert_eq!(placed(&c, &small[30..]), 3, "all slots but the one in use are at work");
    c.succeed(running[0]);
    c.expect(large, TaskState::Queued);
}

#[test]
fn what_opens_at_once_is_placed_in_steps() {
    let many = limits::PLACED_PER_EVENT_MAX + 10;
    let mut c = cluster(4_096, [at_a_time("l", of_kind("work"), 1)]);
    let tasks = submit(&mut c, "t", many);
    c.control(ControlCommand::RemoveLimit("l".into())).unwrap();
    assert!(placed(&c, &tasks) >= limits::PLACED_PER_EVENT_MAX);
    c.advance(ms(1));
    assert_eq!(placed(&c, &tasks), many);
}
