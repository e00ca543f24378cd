//! Costs in the engine: what attempts cost is written down as they end, and stored by the minute.

use std::time::Duration;

use bytes::Bytes;
use evenkeel_shared::{Cost, CostUnit, LabelRule, Micros, Outcome, Usage};

use super::{
    budgets::end,
    fixture::{Cluster, agent, task},
};
use crate::{
    cost::{AGENT_PRICES_MAX, Prices},
    engine::{ControlCommand, Event},
    model::CostEntry,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn usd(units: f64) -> Micros {
    Micros::from_units(units)
}

fn cluster(prices: Prices) -> Cluster {
    let mut c = Cluster::new();
    c.join(agent("a").slots(4));
    c.control(ControlCommand::SetPrices(prices)).unwrap();
    c
}

/// Resources, reported and idle of a subject that are not stored yet.
fn live(c: &Cluster, subject: &str) -> (f64, f64, f64) {
    let costs = c.engine.live_costs(c.now);
    let entries: Vec<&CostEntry> = costs.entries.iter().filter(|entry| entry.subject == subject).collect();
    let sum = |of: fn(&CostEntry) -> Micros| entries.iter().map(|entry| of(entry)).sum::<Micros>().units();
    (sum(|e| e.resources), sum(|e| e.reported), sum(|e| e.idle))
}

#[test]
fn an_attempt_costs_what_it_had_and_what_it_reports() {
    let mut c = cluster(Prices { agent_hour: usd(8.0), ..Prices::default() });
    let id = c.submit(task("work").tenant("acme"));
    c.start(id);
    let (agent, attempt) = c.assignment(id);
    let cost = Cost::from([(CostUnit::usd(), usd(0.5))]);
    let usage = Some(Box::new(Usage { cost, ..Usage::default() }));
    let session = c.sessions[&agent];
    c.handle(Event::Result { session, attempt, outcome: Outcome::Succeeded(Bytes::new()), run: HOUR, usage });
    for subject in ["tenant:acme", "kind:work", "agent:a", "fleet"] {
        let (resources, reported, _) = live(&c, subject);
        assert_eq!((resources, reported), (2.0, 0.5), "{subject}: an hour of one slot in four");
    }
    let tasks = c.engine.live_costs(c.now).tasks;
    assert_eq!(tasks[0].subject, format!("task:{id}"));
}

#[test]
fn every_minute_is_handed_out_to_be_stored_and_free_slots_are_idle() {
    let mut c = cluster(Prices { agent_hour: usd(60.0), ..Prices::default() });
    let id = c.submit(task("work"));
    end(&mut c, id, Outcome::Succeeded(Bytes::new()), Some(1.0));
    assert_eq!(live(&c, "tenant:default").1, 1.0);
    c.advance_alive(MINUTE * 2);
    assert_eq!(live(&c, "tenant:default"), (0.0, 0.0, 0.0), "that minute is over");
    let stored: Vec<&CostEntry> = c.store.costs().iter().filter(|entry| entry.subject == "fleet").collect();
    assert_eq!(stored.iter().map(|entry| entry.reported).sum::<Micros>(), usd(1.0));
    let idle = stored.iter().map(|entry| entry.idle).sum::<Micros>().units() + live(&c, "fleet").2;
    assert!((1.7..=2.0).contains(&idle), "two minutes of an agent that did nothing cost 2, not {idle}");
}

#[test]
fn prices_outlive_a_restart_and_too_many_rules_are_refused() {
    let prices = Prices { core_hour: usd(0.04), ..Prices::default() };
    let mut c = cluster(prices.clone());
    let rule = (LabelRule::equals("gpu", "yes"), usd(1.0));
    let too_many = Prices { agent_prices: vec![rule; AGENT_PRICES_MAX + 1], ..Prices::default() };
    let error = c.control(ControlCommand::SetPrices(too_many)).unwrap_err();
    assert_eq!(error.violations[0].field, "agent_prices");
    c.restart();
    assert_eq!(*c.engine.prices(), prices);
}

#[test]
fn without_prices_and_reports_nothing_is_written() {
    let mut c = cluster(Prices::default());
    let id = c.submit(task("work"));
    end(&mut c, id, Outcome::Succeeded(Bytes::new()), None);
    c.advance_alive(MINUTE * 2);
    assert!(c.engine.live_costs(c.now).entries.is_empty() && c.store.costs().is_empty());
}

#[test]
fn without_prices_the_tasks_that_count_are_those_whose_attempts_do() {
    let mut c = cluster(Prices::default());
    let [reports, silent] = [c.submit(task("work")), c.submit(task("work"))];
    end(&mut c, reports, Outcome::Succeeded(Bytes::new()), Some(0.5));
    end(&mut c, silent, Outcome::Succeeded(Bytes::new()), None);
    let costs = c.engine.live_costs(c.now);
    let fleet = costs.entries.iter().find(|entry| entry.subject == "fleet").unwrap();
    assert_eq!((fleet.tasks, fleet.attempts, fleet.reported), (1, 1, usd(0.5)), "half a dollar a task");
}
