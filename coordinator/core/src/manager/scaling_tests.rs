use super::*;
use crate::capacity::Override;

#[path = "scaling_world.rs"]
mod world;

use world::{World, policy, settings};

#[test]
fn a_fleet_grows_with_what_waits_and_each_decision_is_recorded_twice() {
    let mut world = World::new(settings()).with_agents(1, 2);
    world.waiting = 10;
    world.seconds(3);
    assert_eq!(world.outcomes()[..2], [(1, 8, "decided"), (1, 8, "done")], "{:?}", world.said);
    assert_eq!(world.recorded[0].id, world.recorded[1].id);
    assert_eq!(world.recorded[0].id >> ID_BITS, 3, "numbers carry the incarnation");
    assert_eq!(world.agents.len(), 8);
    assert!(world.said[0].contains("from 1 to 8 agents"), "{:?}", world.said);
}

#[test]
fn an_agent_goes_only_once_it_is_drained_and_empty() {
    let mut world = World::new(settings()).with_agents(3, 0);
    world.agent("local-1").running_tasks = 1;
    world.agent("local-2").running_tasks = 1;
    world.agent("local-3").running_tasks = 1;
    // Two slots' worth of work for three agents.
    for _ in 0..30 {
        world.second();
    }
    let going: Vec<String> = world.recorded[0].agents.iter().map(ToString::to_string).collect();
    assert_eq!(going.len(), 1, "{:?}", world.said);
    assert_eq!(world.agent(&going[0]).admin, AdminState::Draining);
    assert!(world.told.is_empty(), "it still runs something");
    world.agent(&going[0]).running_tasks = 0;
    world.second();
    assert_eq!(world.told.len(), 1, "it is empty");
    world.obey();
    world.seconds(1);
    assert_eq!(world.agents.len(), 2);
    assert_eq!(world.outcomes()[..2], [(3, 2, "decided"), (3, 2, "done")]);
}

#[test]
fn what_is_left_at_the_deadline_has_moved_on_and_holds_nothing_up() {
    let mut world = World::new(settings()).with_agents(3, 1);
    let deadline_s = u32::try_from(settings().change.drain.as_secs()).unwrap();
    for _ in 0..deadline_s {
        world.second();
    }
    assert!(world.told.is_empty() && !world.recorded.is_empty());
    for _ in 0..20 {
        world.second();
    }
    assert_eq!(world.told.len(), 1);
}

#[test]
fn nothing_else_is_decided_while_a_change_is_carried_out() {
    let mut world = World::new(settings()).with_agents(1, 2);
    world.waiting = 2;
    world.second();
    assert_eq!(world.told.len(), 1);
    world.waiting = 100;
    for _ in 0..30 {
        world.second();
    }
    assert_eq!(world.told.len(), 1, "the actuator is at work");
    assert!(world.scaling.view(world.now).waiting_for.contains("`local` is at work"));
}

#[test]
fn work_that_comes_back_calls_a_drain_off() {
    let mut world = World::new(settings()).with_agents(4, 1);
    while world.recorded.is_empty() {
        world.second();
    }
    assert!(world.agents.iter().any(|agent| agent.admin == AdminState::Draining));
    world.waiting = 50;
    for _ in 0..20 {
        world.second();
    }
    assert!(world.agents.iter().all(|agent| agent.admin == AdminState::Active), "they go on");
    assert_eq!(world.recorded[1].outcome, ScalingOutcome::Failed);
    assert!(world.recorded[1].error.contains("came back"), "{}", world.recorded[1].error);
    assert_eq!(world.told.len(), 1, "and more are asked for");
    assert_eq!(world.told[0].action, Action::Up);
}

#[test]
fn an_actuator_that_fails_is_left_in_peace_for_longer_and_longer() {
    let mut world = World::new(settings()).with_agents(1, 2);
    (world.waiting, world.refuses) = (10, true);
    world.seconds(60);
    let failed: Vec<u64> =
        world.recorded.iter().filter(|it| it.outcome == ScalingOutcome::Failed).map(|it| it.at.unix_millis()).collect();
    assert!((3..=4).contains(&failed.len()), "{failed:?}");
    assert!(failed.windows(3).all(|at| at[2] - at[1] > at[1] - at[0]), "{failed:?}");
    assert!(world.scaling.view(world.now).waiting_for.contains("the last change failed"));
    world.refuses = false;
    world.seconds(60);
    assert_eq!(world.agents.len(), 8);
}

#[test]
fn agents_that_stay_away_are_a_failure_and_no_reason_for_ever_more() {
    let mut world = World::new(settings()).with_agents(1, 2);
    world.waiting = 10;
    for _ in 0..400 {
        world.second();
        // The actuator says that it has started them, and nobody comes.
        for decision in std::mem::take(&mut world.told) {
            let mut out = Outputs::default();
            world.scaling.acted(world.now, decision.id, Ok(()), &mut out);
            world.hear(out);
        }
    }
    let ups = world.recorded.iter().filter(|it| it.outcome == ScalingOutcome::Decided).count();
    assert!((2..=4).contains(&ups), "{ups}");
    assert!(world.recorded[1].error.contains("1 of 8 agents are there"), "{}", world.recorded[1].error);
}

#[test]
fn unhealthy_agents_are_there_and_never_more_come_than_are_allowed() {
    let mut world = World::new(settings()).with_agents(1, 2);
    world.waiting = 100;
    for _ in 0..300 {
        world.seconds(1);
        for agent in &mut world.agents {
            agent.health = Health::Unhealthy;
        }
        assert!(world.agents.len() <= 8, "{} agents", world.agents.len());
    }
    let mut cordoned = World::new(settings()).with_agents(8, 2);
    cordoned.agents.iter_mut().take(4).for_each(|agent| agent.admin = AdminState::Cordoned);
    cordoned.waiting = 100;
    cordoned.seconds(60);
    assert_eq!(cordoned.agents.len(), 8);
    assert!(cordoned.scaling.view(cordoned.now).waiting_for.contains("as many agents as are allowed"));
}

#[test]
fn nothing_is_decided_after_a_start_or_while_much_of_the_fleet_is_gone() {
    let quiet = ScalingSettings { quiet: Duration::from_secs(10), ..settings() };
    let mut world = World::new(quiet).with_agents(1, 2);
    world.waiting = 10;
    world.seconds(9);
    assert!(world.recorded.is_empty());
    world.panic = true;
    world.seconds(10);
    assert!(world.recorded.is_empty());
    world.panic = false;
    world.seconds(2);
    assert!(!world.recorded.is_empty());
}

#[test]
fn without_a_policy_it_is_shown_and_not_done() {
    let mut world = World::new(ScalingSettings { policy: None, ..settings() }).with_agents(1, 2);
    world.waiting = 100;
    world.seconds(120);
    assert!(world.recorded.is_empty() && world.said.is_empty());
    let view = world.scaling.view(world.now);
    assert!(view.verdict.wanted > 1 && !view.decides, "{:?}", view.verdict);
    assert!(view.waiting_for.contains("no policy has been set"));
}

#[test]
fn advice_is_given_once_and_changes_nothing() {
    let mut world = World::new(ScalingSettings { carrier: Carrier::Nobody, ..settings() }).with_agents(1, 2);
    world.waiting = 100;
    world.seconds(60);
    assert_eq!(world.outcomes(), [(1, 8, "advised")]);
    assert!(world.agents.len() == 1 && world.told.is_empty());
}

#[test]
fn an_orchestrator_chooses_itself_who_goes() {
    let mut world = World::new(ScalingSettings { carrier: Carrier::Choosing, ..settings() }).with_agents(3, 0);
    for _ in 0..30 {
        world.second();
    }
    assert_eq!((world.told.len(), world.told[0].agents.len()), (1, 0), "{:?}", world.said);
    assert_eq!(world.scaling.wanted(), world.told[0].agents_after);
    assert!(world.agents.iter().all(|agent| agent.admin == AdminState::Active));
}

#[test]
fn what_was_declared_is_in_force_after_a_restart() {
    let mut world = World::new(ScalingSettings { policy: None, ..settings() });
    let mut out = Outputs::default();
    let put = world.scaling.put_policy(world.now, policy(), "a trial".into(), &mut out);
    let again = world.scaling.put_policy(world.now, Policy { agents_max: 5, ..put.clone() }, String::new(), &mut out);
    assert_eq!((put.version, again.version), (1, 2));
    let until = world.now.plus(Duration::from_secs(60));
    let fixed = Override { agents: 4, until, reason: "a show".into(), set: world.now };
    world.scaling.put_override(world.now, Some(fixed.clone()), "a show".into(), &mut out);
    let declared: Vec<Declaration> = out
        .records
        .into_iter()
        .filter_map(|record| if let Record::Declared(declared) = record { Some(declared) } else { None })
        .collect();
    let recovery = ManagerRecovery { incarnation: 4, declarations: declared[1..].to_vec(), scaling: None };
    world.scaling = Scaling::new(world.now, ScalingSettings { policy: None, ..settings() }, &recovery);
    let view = world.scaling.view(world.now);
    assert_eq!((view.policy, view.decides), (again, true));
    assert_eq!(view.override_, Some(fixed));
    world.seconds(2);
    assert_eq!(world.agents.len(), 4, "as many as were fixed");
}

#[test]
fn agents_that_were_to_go_have_work_again_after_a_restart_and_it_is_decided_anew() {
    let mut world = World::new(settings()).with_agents(4, 1);
    while world.recorded.is_empty() {
        world.second();
    }
    assert!(world.agents.iter().any(|agent| agent.admin == AdminState::Draining));
    world.restart();
    world.second();
    assert!(world.agents.iter().all(|agent| agent.admin == AdminState::Active), "{:?}", world.said);
    assert_eq!(world.recorded[0].id, world.recorded[1].id, "its record says what became of it");
    assert_eq!(world.recorded[1].outcome, ScalingOutcome::Failed);
    assert!(world.recorded[1].error.contains("restarted"), "{}", world.recorded[1].error);
    world.seconds(30);
    assert!(world.recorded[2].id > world.recorded[1].id, "{:?}", world.outcomes());
    assert!(world.recorded[2..].iter().all(|it| it.outcome != ScalingOutcome::Failed), "{:?}", world.outcomes());
}

#[test]
fn what_a_policy_has_done_and_when_it_changed_the_fleet_last_is_known_after_a_restart() {
    let mut world = World::new(settings()).with_agents(1, 2);
    world.seconds(120);
    world.waiting = 10;
    world.seconds(3);
    assert_eq!(world.recorded.last().unwrap().outcome, ScalingOutcome::Done);
    let before = world.scaling.view(world.now);
    world.restart();
    let after = world.scaling.view(world.now);
    assert_eq!(after.effect.changes, before.effect.changes);
    assert_eq!(after.last.map(|last| last.id), before.last.map(|last| last.id));
    assert!((120.0..=before.effect.seen_s).contains(&after.effect.seen_s), "{:?}", after.effect);
    // Of another policy it says nothing.
    let mut other = Scaler::new(Policy { version: 9, ..policy() });
    other.recover(world.recorded.last().unwrap());
    assert_eq!((other.effect().seen_s, other.effect().changes), (0.0, 1));
}
