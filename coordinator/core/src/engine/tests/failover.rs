//! Agents that go, one by one or all at once, and what becomes of their work.

use bytes::Bytes;
use evenkeel_shared::{AttemptNumber, Outcome, TaskState};

use super::{
    fixture::{Cluster, agent, ms, task},
    sessions::welcome,
};
use crate::{engine::Settings, model::ClusterEventKind};

#[test]
fn the_work_of_a_dead_agent_moves_on() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.join(agent("b"));
    c.kill("a");
    assert_eq!(c.agent_with(t), "b");
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
    assert_eq!(c.events_of(ClusterEventKind::Failover), 1);
    c.succeed(t);
    assert_eq!(c.finished[&t].crashes, 1);
}

#[test]
fn an_agent_that_dials_again_within_the_grace_goes_on() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.join(agent("b"));
    let (_, attempt) = c.assignment(t);
    c.disconnect("a");
    c.advance(ms(100));
    c.join(agent("a").holding(&[attempt]));
    assert_eq!(welcome(&c), (1, 0));
    c.advance(ms(1_000));
    assert_eq!(c.assignment(t), ("a".to_owned(), attempt));
    c.succeed(t);
    assert_eq!(c.finished[&t].attempts_made, 1);
}

#[test]
fn an_agent_that_comes_back_too_late_must_drop_its_work() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (_, old) = c.assignment(t);
    c.join(agent("b"));
    c.kill("a");
    c.join(agent("a").holding(&[old]));
    assert_eq!(welcome(&c), (0, 1));
    c.report("a", old, Outcome::Succeeded(Bytes::from_static(b"late")));
    assert_eq!(c.acknowledged(), Some(false));
    c.succeed(t);
    assert_eq!(c.finished[&t].output, Bytes::from_static(b"done"));
}

#[test]
fn an_assignment_that_was_lost_on_the_way_is_made_again_and_is_no_crash() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.disconnect("a");
    c.join(agent("a"));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2));
    c.succeed(t);
    assert_eq!(c.finished[&t].crashes, 0);
}

#[test]
fn a_process_that_was_replaced_took_its_work_with_it() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.disconnect("a");
    c.join(agent("a").process(2));
    c.succeed(t);
    assert_eq!(c.finished[&t].crashes, 1);
}

#[test]
fn a_task_that_kills_three_agents_is_quarantined_and_the_others_go_on() {
    let mut c = Cluster::new();
    for id in ["a", "b", "c", "d", "e"] {
        c.join(agent(id).slots(2));
    }
    let poison = c.submit(task("work"));
    for _ in 0..3 {
        let victim = c.agent_with(poison);
        c.start(poison);
        c.kill(&victim);
        c.advance_alive(ms(11_000));
    }
    c.expect(poison, TaskState::Quarantined);
    assert_eq!(c.events_of(ClusterEventKind::Quarantine), 1);
    let other = c.submit(task("work"));
    c.expect(other, TaskState::Assigned);
}

#[test]
fn what_only_waited_at_a_dead_agent_is_no_suspect() {
    let mut c = Cluster::new();
    c.join(agent("a").prefetch(Some(1)));
    let running = c.submit(task("work"));
    let ahead = c.submit(task("work"));
    assert_eq!(c.agent_with(ahead), "a");
    c.join(agent("b").slots(2));
    c.kill("a");
    c.succeed(running);
    c.succeed(ahead);
    assert_eq!((c.finished[&running].crashes, c.finished[&ahead].crashes), (1, 0));
}

#[test]
fn a_silent_agent_is_found_by_its_silence() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (_, old) = c.assignment(t);
    let silent_since = c.now;
    c.join(agent("b"));
    while c.agent_with(t) == "a" {
        c.advance(ms(100));
        c.heartbeat("b", evenkeel_shared::AgentLoad::default());
    }
    let found_after = c.now.since(silent_since);
    assert!(found_after <= ms(4_000), "{found_after:?}");
    assert!(!c.sessions.contains_key("a"), "its session is closed");
    c.join(agent("a").holding(&[old]));
    assert_eq!(welcome(&c), (0, 1));
}

#[test]
fn a_coordinator_that_slept_declares_nobody_dead_for_it() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.advance_alive(ms(5_000));
    c.now = c.now.plus(ms(60_000));
    c.heartbeat("a", evenkeel_shared::AgentLoad::default());
    c.advance(ms(1_000));
    assert_eq!(c.agent_with(t), "a");
    assert_eq!(c.events_of(ClusterEventKind::AgentLost), 0);
}

#[test]
fn a_task_is_not_to_blame_for_a_connection() {
    let mut c = Cluster::with(Settings { quarantine_after: 2, ..Settings::default() });
    c.join(agent("a"));
    c.join(agent("b"));
    let t = c.submit(task("work"));
    // Each in turn is given up and comes back as the process that it was.
    for _ in 0..4 {
        let (id, _) = c.assignment(t);
        c.kill(&id);
        c.join(agent(&id));
    }
    c.succeed(t);
    assert_eq!(c.finished[&t].crashes, 0);
}

#[test]
fn a_task_that_kills_processes_is_to_blame_however_soon_they_are_back() {
    let mut c = Cluster::with(Settings { quarantine_after: 2, ..Settings::default() });
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.kill("a");
    c.join(agent("a").process(2));
    c.kill("a");
    c.expect(t, TaskState::Quarantined);
}

#[test]
fn when_most_of_the_fleet_goes_at_once_its_work_moves_slowly_and_none_is_lost() {
    let mut c = Cluster::with(Settings { tasks_max: 100_000, ..Settings::default() });
    for n in 0..40 {
        c.join(agent(&format!("a{n}")).slots(200));
    }
    let tasks: Vec<_> = (0..1_200).map(|_| c.submit(task("work"))).collect();
    for n in 0..30 {
        c.disconnect(&format!("a{n}"));
    }
    c.advance_alive(ms(400));
    assert!(c.events_of(ClusterEventKind::PanicMode) > 0);
    let moved_at_once = c.events_of(ClusterEventKind::Failover);
    assert!(moved_at_once < 600, "{moved_at_once} moved at once");
    c.advance_alive(ms(120_000));
    for t in tasks {
        let agent = c.agent_with(t);
        assert!(c.sessions.contains_key(&agent), "{t} is with {agent}, which is gone");
    }
}

#[test]
fn when_most_of_the_fleet_falls_silent_not_even_the_first_of_its_work_moves_at_once() {
    let mut c = Cluster::new();
    let (gone, rest): (Vec<_>, Vec<_>) = (0..40).map(|n| format!("a{n}")).partition(|name| name.len() == 3);
    // Spread over an interval, as heartbeats are.
    for name in gone.iter().chain(&rest) {
        c.join(agent(name).slots(10));
        c.advance(ms(25));
    }
    for _ in 0..400 {
        c.submit(task("work"));
    }
    let heard_for = |c: &mut Cluster, names: &[String], steps: u32| {
        for _ in 0..steps {
            for name in names {
                c.heartbeat(name, evenkeel_shared::AgentLoad::default());
                c.advance(ms(25));
            }
        }
    };
    let all: Vec<_> = gone.iter().chain(&rest).cloned().collect();
    heard_for(&mut c, &all, 2);
    // Thirty of forty say nothing more; the others go on for as long as leases last and half an interval.
    heard_for(&mut c, &rest, 16);
    assert!(c.events_of(ClusterEventKind::PanicMode) > 0);
    assert!(c.events_of(ClusterEventKind::AgentLost) >= 20, "leases have run out");
    let moved = c.events_of(ClusterEventKind::Failover);
    assert!(moved <= 100, "{moved} moved within one and a half seconds, at 50 a second");
}

#[test]
fn when_the_first_are_back_from_a_mass_loss_the_others_still_find_their_work() {
    let mut c = Cluster::new();
    for n in 0..40 {
        c.join(agent(&format!("a{n}")).slots(10));
    }
    let tasks: Vec<_> = (0..400).map(|_| c.submit(task("work"))).collect();
    let held: Vec<_> = tasks.iter().map(|&t| c.assignment(t)).collect();
    (0..24).for_each(|n| c.disconnect(&format!("a{n}")));
    c.advance_alive(ms(300));
    for n in 0..24 {
        let name = format!("a{n}");
        let attempts: Vec<_> = held.iter().filter(|(agent, _)| *agent == name).map(|(_, attempt)| *attempt).collect();
        c.join(agent(&name).slots(10).holding(&attempts));
        c.advance(ms(10));
    }
    let moved = c.events_of(ClusterEventKind::Failover);
    assert!(moved <= 40, "{moved} moved in half a second, although all agents came back");
}

#[test]
fn an_agent_that_was_given_up_starts_slowly_again() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(20));
    c.kill("a");
    c.join(agent("a").slots(20).process(2));
    for _ in 0..40 {
        c.submit(task("work"));
    }
    let at_first = c.placements().len();
    assert!(at_first < 20, "{at_first} at once");
    c.advance_alive(ms(11_000));
    assert_eq!(c.placements().len(), 20);
}
