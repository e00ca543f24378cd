//! Who goes.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{AdminState, AgentId, AgentSpec, Health, Kind, Resources};

use super::*;
use crate::{
    capacity::{DrainCosts, drain::choose},
    model::{AgentView, KindStatistics},
    testing::fleet::idle_agent,
};

/// An idle agent of kind `work` that came `age_s` ago.
fn agent(name: &str, age_s: u64) -> AgentView {
    let spec = AgentSpec {
        kinds: vec![Kind::new("work").unwrap()],
        labels: [("price".to_owned(), "1".to_owned())].into(),
        ..AgentSpec::of(AgentId::new(name).unwrap(), Resources { slots: 4, ..Resources::default() })
    };
    let seen = KindStatistics { kind: Kind::new("work").unwrap(), completed: 10, mean: Duration::from_secs(5) };
    AgentView { last_heard_at: at(10_000), kinds_seen: vec![seen], ..idle_agent(spec, at(10_000 - age_s)) }
}

fn with(mut agent: AgentView, change: impl FnOnce(&mut AgentView)) -> AgentView {
    change(&mut agent);
    agent
}

fn spec(agent: &mut AgentView) -> &mut AgentSpec {
    Arc::make_mut(&mut agent.spec)
}

fn goes(agents: &[AgentView], count: usize, by_affinity: bool) -> Vec<String> {
    let agents: Vec<_> = agents.iter().cloned().map(Arc::new).collect();
    let price = |agent: &AgentView| agent.spec.labels["price"].parse().unwrap();
    let chosen = choose(at(10_000), &agents, count, &DrainCosts::of_strategy(by_affinity), price, |_| true);
    chosen.into_iter().map(|chosen| chosen.agent.to_string()).collect()
}

#[test]
fn the_idle_go_before_the_busy_and_the_young_before_the_old() {
    let agents = [
        with(agent("busy", 10), |it| it.running_tasks = 3),
        with(agent("ahead", 10), |it| it.prefetched_tasks = 1),
        agent("old", 9_000),
        agent("young", 100),
    ];
    assert_eq!(goes(&agents, 3, false), ["young", "old", "ahead"]);
}

#[test]
fn one_long_task_outweighs_many_short_ones() {
    let short = |it: &mut AgentView| {
        it.running_tasks = 4;
        it.kinds_seen[0].mean = Duration::from_millis(10);
    };
    let agents = [with(agent("short", 10), short), with(agent("long", 10), |it| it.running_tasks = 1)];
    assert_eq!(goes(&agents, 1, false), ["short"]);
}

#[test]
fn whoever_gets_nothing_new_goes_first_however_busy() {
    let busy = |it: &mut AgentView| it.running_tasks = 4;
    let agents = [
        agent("idle", 10),
        with(with(agent("degraded", 10), busy), |it| it.health = Health::Degraded),
        with(with(agent("cordoned", 10), busy), |it| it.admin = AdminState::Cordoned),
        with(with(agent("unhealthy", 10), busy), |it| it.health = Health::Unhealthy),
        with(agent("lost", 10), |it| it.health = Health::Lost),
    ];
    assert_eq!(goes(&agents, 3, false), ["unhealthy", "cordoned", "degraded"]);
}

#[test]
fn an_expensive_agent_goes_before_a_cheap_one_unless_it_has_much_to_do() {
    let dear = |it: &mut AgentView| drop(spec(it).labels.insert("price".into(), "3".into()));
    let agents = [agent("cheap", 10), with(agent("dear", 100), dear), agent("cheap-2", 50)];
    assert_eq!(goes(&agents, 1, false), ["dear"]);
    let mut busy = agents;
    busy[1].running_tasks = 20;
    assert_eq!(goes(&busy, 1, false), ["cheap"]);
}

#[test]
fn warm_agents_stay_where_tasks_are_bound_to_them() {
    let agents = [with(agent("warm", 9_000), |_| {}), with(agent("cold", 5), |it| it.running_tasks = 2)];
    assert_eq!(goes(&agents, 1, false), ["warm"], "two tasks of 5 s are worth more than nothing");
    assert_eq!(goes(&agents, 1, true), ["cold"], "a warm agent is worth a minute");
}

#[test]
fn the_last_of_a_kind_and_those_marked_stay() {
    let gpu = |it: &mut AgentView| spec(it).kinds = vec![Kind::new("gpu").unwrap()];
    let keep = |it: &mut AgentView| drop(spec(it).labels.insert("scaling".into(), "keep".into()));
    let agents = [
        with(agent("gpu", 1), gpu),
        with(agent("kept", 2), keep),
        with(agent("a", 3), |it| it.running_tasks = 1),
        with(agent("b", 4), |it| it.running_tasks = 2),
    ];
    assert_eq!(
        goes(&agents, 3, false),
        ["a", "b"],
        "one that is kept is of their kind; the gpu is the last of its own"
    );
    // Where all go, no kind holds one back.
    assert_eq!(goes(&agents[2..], 2, false), ["a", "b"]);
}
