//! The fleet: strategies in use, what operators want, health.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_shared::{AgentLoad, Code, FailureClass, Outcome, StrategyConfig, TaskState};

use super::fixture::{Cluster, agent, ms, task};
use crate::{
    engine::{AdminCommand, AgentMessage, Event, Message},
    model::ClusterEventKind,
};

#[test]
fn the_least_loaded_strategy_keeps_the_fleet_even() {
    let mut c = Cluster::new();
    for id in ["a", "b", "c", "d"] {
        c.join(agent(id).slots(4));
    }
    for _ in 0..8 {
        c.submit(task("work"));
    }
    for id in ["a", "b", "c", "d"] {
        assert_eq!(c.placements().values().filter(|agent| *agent == id).count(), 2, "{id}");
    }
}

#[test]
fn every_strategy_uses_the_whole_fleet_and_loses_nothing() {
    for name in StrategyConfig::NAMES {
        let mut c = Cluster::with_strategy(name);
        for n in 0..5 {
            c.join(agent(&format!("a{n}")).slots(2).tier(n % 3));
        }
        let tasks: Vec<_> = (0..30).map(|n| c.submit(task("work").priority(n % 10))).collect();
        assert_eq!(c.agents_busy().len(), 5, "{name}");
        while let Some(task) = c.placements().keys().next().copied() {
            c.succeed(task);
        }
        for t in tasks {
            assert_eq!(c.state(t), TaskState::Succeeded, "{name}");
        }
    }
}

#[test]
fn swapping_the_strategy_loses_and_reorders_nothing() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let mut running = c.submit(task("work"));
    let queued: Vec<_> = (0..16).map(|_| c.submit(task("work"))).collect();
    for (n, expected) in queued.into_iter().enumerate() {
        c.set_strategy(StrategyConfig::NAMES[n % StrategyConfig::NAMES.len()]);
        c.succeed(running);
        assert_eq!(c.placements().keys().copied().collect::<Vec<_>>(), [expected]);
        running = expected;
    }
}

#[test]
fn the_strategy_set_at_run_time_survives_a_restart() {
    let mut c = Cluster::new();
    c.set_strategy("bin_pack");
    c.restart();
    assert_eq!(c.engine.status(c.now).strategy, "bin_pack");
}

#[test]
fn the_best_tier_is_used_first_and_keeps_its_top_slots_for_urgent_tasks() {
    let mut c = Cluster::with_strategy("priority");
    c.join(agent("best").slots(10).tier(0));
    c.join(agent("rest").slots(10).tier(1));
    let plain: Vec<_> = (0..10).map(|_| c.submit(task("work"))).collect();
    let of = |c: &Cluster, id: &str| c.placements().values().filter(|agent| *agent == id).count();
    assert_eq!((of(&c, "best"), of(&c, "rest")), (9, 1));
    let urgent = c.submit(task("work").priority(9));
    assert_eq!(c.agent_with(urgent), "best");
    assert_eq!(plain.len(), 10);
}

#[test]
fn a_cordoned_agent_gets_nothing_new_and_finishes_what_it_has() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let running = c.submit(task("work"));
    c.admin("a", AdminCommand::Cordon).unwrap();
    let waiting = c.submit(task("work"));
    c.succeed(running);
    c.expect(waiting, TaskState::Queued);
    assert_eq!(c.explain(waiting).refused_by_reason["cordoned"], 1);
    c.restart();
    c.join(agent("a"));
    c.expect(waiting, TaskState::Queued);
    c.admin("a", AdminCommand::Resume).unwrap();
    c.expect(waiting, TaskState::Assigned);
}

#[test]
fn what_a_drained_agent_still_runs_at_the_deadline_moves_on() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.join(agent("b"));
    c.admin("a", AdminCommand::Drain(Some(ms(1_000)))).unwrap();
    assert!(c.messages.iter().any(|m| matches!(m, Message::ToAgent { message: AgentMessage::Drain { .. }, .. })));
    c.advance_alive(ms(900));
    assert_eq!(c.agent_with(t), "a");
    c.advance_alive(ms(200));
    assert_eq!(c.agent_with(t), "b");
    c.succeed(t);
    assert_eq!(c.finished[&t].crashes, 0);
}

#[test]
fn an_agent_that_was_resumed_keeps_its_work() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.join(agent("b"));
    c.admin("a", AdminCommand::Drain(Some(ms(1_000)))).unwrap();
    c.admin("a", AdminCommand::Resume).unwrap();
    c.advance_alive(ms(2_000));
    assert_eq!(c.agent_with(t), "a");
}

#[test]
fn an_agent_that_drains_hands_back_what_it_has_not_begun() {
    let mut c = Cluster::new();
    c.join(agent("a").prefetch(Some(1)));
    let running = c.submit(task("work"));
    let ahead = c.submit(task("work"));
    c.join(agent("b"));
    let session = c.sessions["a"];
    c.handle(Event::AgentDraining { session, reason: "SIGTERM".into() });
    assert!(
        c.messages.iter().any(|m| matches!(m, Message::ToAgent { message: AgentMessage::Drain { .. }, .. })),
        "an answer"
    );
    let (_, attempt) = c.assignment(ahead);
    c.report("a", attempt, Outcome::HandedBack("drains".into()));
    assert_eq!(c.agent_with(ahead), "b");
    c.succeed(running);
    c.disconnect("a");
    assert_eq!((c.events_of(ClusterEventKind::AgentLeft), c.events_of(ClusterEventKind::AgentLost)), (1, 0));
    let changed = c.engine.take_changed_agents();
    assert!(changed.iter().any(|(id, view)| id.as_str() == "a" && view.is_none()), "it is no longer shown");
}

#[test]
fn what_may_be_tried_only_once_more_is_not_taken_ahead() {
    let mut c = Cluster::new();
    c.join(agent("a").prefetch(Some(1)));
    let running = c.submit(task("work"));
    let [direct, queued] = [1, 2].map(|attempts| c.submit(task("work").attempts(attempts)));
    c.expect(direct, TaskState::Queued);
    assert_eq!(c.agent_with(queued), "a", "it may be given back once");
    let behind = c.submit(task("work").attempts(1));
    c.succeed(running);
    for t in [queued, direct, behind] {
        assert_eq!(c.agent_with(t), "a");
        c.succeed(t);
        assert_eq!(c.finished[&t].attempts_made, 1);
    }
}

#[test]
fn commands_for_an_agent_that_is_not_known_are_refused() {
    let mut c = Cluster::new();
    assert_eq!(c.admin("nobody", AdminCommand::Cordon).unwrap_err().code, Code::NotFound);
    assert!(c.changes.is_empty());
}

#[test]
fn a_strained_agent_comes_after_the_others_and_an_unhealthy_one_gets_nothing() {
    let mut c = Cluster::new();
    for id in ["strained", "b", "c"] {
        c.join(agent(id).slots(2));
    }
    let load = |memory_share| AgentLoad { memory_share, ..AgentLoad::default() };
    for _ in 0..20 {
        c.heartbeat("strained", load(0.9));
    }
    let tasks: Vec<_> = (0..4).map(|_| c.submit(task("work"))).collect();
    assert_eq!(c.agents_busy(), BTreeSet::from(["b".into(), "c".into()]));
    for _ in 0..20 {
        c.heartbeat("strained", load(0.99));
    }
    let waiting = c.submit(task("work"));
    assert_eq!(c.explain(waiting).refused_by_reason["unhealthy"], 1);
    assert_eq!(tasks.len(), 4);
}

#[test]
fn where_most_agents_are_unhealthy_health_is_ignored() {
    let mut c = Cluster::new();
    for id in ["a", "b"] {
        c.join(agent(id));
    }
    for _ in 0..20 {
        for id in ["a", "b"] {
            c.heartbeat(id, AgentLoad { memory_share: 0.99, ..AgentLoad::default() });
        }
    }
    let t = c.submit(task("work"));
    c.expect(t, TaskState::Assigned);
}

#[test]
fn an_agent_that_fails_everything_rests_for_a_while() {
    let mut c = Cluster::new();
    for id in ["bad", "b", "c"] {
        c.join(agent(id).slots(4));
    }
    while c.events_of(ClusterEventKind::AgentEjected) == 0 {
        assert!(c.accepted.len() < 200, "it is still used");
        c.submit(task("work"));
        for (t, agent) in c.placements() {
            if agent == "bad" {
                c.fail(t, FailureClass::Retryable);
            } else {
                c.succeed(t);
            }
        }
        c.advance_alive(ms(200));
    }
    while let Some(t) = c.placements().keys().next().copied() {
        c.succeed(t);
    }
    let tasks: Vec<_> = (0..8).map(|_| c.submit(task("work"))).collect();
    assert!(!c.agents_busy().contains("bad"));
    for t in tasks {
        c.succeed(t);
    }
    c.advance_alive(ms(60_000));
    for _ in 0..12 {
        c.submit(task("work"));
    }
    assert!(c.agents_busy().contains("bad"), "it is tried again");
}

#[test]
fn tasks_are_taken_ahead_only_where_it_was_asked_for_or_the_work_is_brief() {
    let mut c = Cluster::new();
    c.join(agent("a").prefetch(None));
    let first = c.submit(task("work"));
    let second = c.submit(task("work"));
    c.expect(second, TaskState::Queued);
    // The fixture's attempts take 10 ms, more than the bound of 5 ms.
    c.succeed(first);
    let third = c.submit(task("work"));
    c.expect(third, TaskState::Queued);

    let mut c = Cluster::new();
    c.join(agent("a").prefetch(Some(1)));
    let [running, ahead, waiting] = [(); 3].map(|()| c.submit(task("work")));
    assert_eq!(c.agent_with(ahead), "a");
    c.expect(waiting, TaskState::Queued);
    assert!(c.explain(ahead).summary.contains("waits at a for a slot"));
    c.succeed(running);
    c.start(ahead);
    assert_eq!(c.agent_with(waiting), "a");
    let view = c.view("a");
    assert_eq!((view.running_tasks, view.prefetched_tasks), (1, 1));
    assert!(c.explain(waiting).summary.contains("waits at a for a slot"), "what waited there first has the place");
}

#[test]
fn work_that_its_agent_does_not_measure_is_as_long_as_it_had_its_place() {
    let unmeasured = Duration::ZERO;
    for (took_ms, ahead) in [(4, true), (20, false)] {
        let mut c = Cluster::new();
        c.join(agent("a").prefetch(None));
        let first = c.submit(task("work"));
        c.advance(ms(took_ms));
        c.succeed_in(first, unmeasured);
        let [_running, next] = [(); 2].map(|()| c.submit(task("work")));
        c.expect(next, if ahead { TaskState::Assigned } else { TaskState::Queued });
    }
}

#[test]
fn nothing_is_taken_ahead_of_work_that_may_be_long() {
    let mut c = Cluster::new();
    c.join(agent("a").kinds(&["long", "work"]).prefetch(None));
    for _ in 0..3 {
        let brief = c.submit(task("work"));
        c.succeed_in(brief, ms(1));
    }
    let running = c.submit(task("work"));
    let ahead = c.submit(task("work"));
    assert_eq!(c.agent_with(ahead), "a");
    c.succeed_in(running, ms(1));
    c.succeed_in(ahead, ms(1));
    c.submit(task("long"));
    let waiting = c.submit(task("work"));
    c.expect(waiting, TaskState::Queued);
}

#[test]
fn messages_of_sessions_that_are_over_are_counted_and_change_nothing() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let session = c.sessions["a"];
    c.kill("a");
    c.handle(Event::Heartbeat { session, load: Box::default() });
    assert!(c.messages.is_empty() && c.changes.is_empty());
    assert_eq!(c.engine.status(c.now).counters.refused_messages, 1);
}

#[test]
fn an_agent_long_gone_is_forgotten_but_not_what_was_wanted_of_it() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    c.admin("a", AdminCommand::Cordon).unwrap();
    c.kill("a");
    c.engine.take_changed_agents();
    c.advance(Duration::from_secs(3_700));
    let changed = c.engine.take_changed_agents();
    assert!(matches!(&changed[..], [(id, None)] if id.as_str() == "a"), "{changed:?}");
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.expect(t, TaskState::Queued);
}

#[test]
fn room_that_a_tier_no_longer_holds_back_is_offered_to_all_of_the_tier() {
    let mut c = Cluster::with_strategy("priority");
    c.join(agent("a").slots(10).kinds(&["k1"]));
    c.join(agent("b").slots(10).kinds(&["k2"]));
    let on_b: Vec<_> = (0..9).map(|_| c.submit(task("k2").priority(0))).collect();
    for _ in 0..9 {
        c.submit(task("k1").priority(0));
    }
    let waiting = c.submit(task("k1").priority(0));
    c.expect(waiting, TaskState::Queued);
    c.succeed(on_b[0]);
    c.expect(waiting, TaskState::Assigned);
}

#[test]
fn an_urgent_task_gets_what_is_held_back_for_it_though_an_aged_one_is_ahead_of_it() {
    let mut c = Cluster::with_strategy("priority");
    c.join(agent("a").slots(10));
    for _ in 0..9 {
        c.submit(task("work").priority(0));
    }
    let first = c.submit(task("work").priority(9));
    let aged = c.submit(task("work").priority(0));
    c.advance_alive(ms(600_000));
    let urgent = c.submit(task("work").priority(8));
    c.succeed(first);
    c.expect(urgent, TaskState::Assigned);
    c.expect(aged, TaskState::Queued);
}

#[test]
fn a_tier_that_became_too_small_to_hold_anything_back_offers_what_it_held() {
    let mut c = Cluster::with_strategy("priority");
    c.join(agent("a").slots(5).kinds(&["k1"]).prefetch(Some(0)));
    c.join(agent("b").slots(1).kinds(&["k2"]).prefetch(Some(0)));
    c.join(agent("c").slots(4).kinds(&["k3"]).prefetch(Some(1)));
    for kind in ["k1", "k1", "k1", "k1", "k2"] {
        c.submit(task(kind).priority(0));
    }
    for _ in 0..8 {
        c.submit(task("k3").priority(9));
    }
    let waiting = c.submit(task("k1").priority(0));
    c.expect(waiting, TaskState::Queued);
    c.disconnect("b");
    c.expect(waiting, TaskState::Assigned);
}

#[test]
fn what_is_wanted_of_an_agent_that_is_away_can_be_changed_and_holds_when_it_comes_back() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    c.admin("a", AdminCommand::Drain(None)).unwrap();
    c.restart();
    c.admin("a", AdminCommand::Resume).unwrap();
    c.restart();
    c.join(agent("a"));
    let task = c.submit(task("work"));
    assert_eq!(c.agent_with(task), "a");
    assert_eq!(c.admin("nobody", AdminCommand::Resume).unwrap_err().code, Code::NotFound);
}
