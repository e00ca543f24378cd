//! Rates and means from counts.

use std::time::Duration;

use super::*;
use crate::capacity::{Meter, Observation};

/// A steady fleet after `s` seconds: 10 tasks a second that run for 2 s and wait for 1 s before, one attempt in five in vain.
fn steady(s: u64) -> Observation {
    Observation {
        agents: 8,
        slots_total: 32,
        slots_used: 20,
        waiting: 10,
        in_system: 30,
        asked: s * 10,
        ended: s * 10,
        attempts_ended: s * 10,
        attempts_failed: s * 2,
        ..Observation::default()
    }
}

#[test]
fn means_follow_from_counts_by_littles_law() {
    let mut meter = Meter::default();
    let load = (0..=90).map(|s| meter.observe(at(s), steady(s), 2, None)).last().unwrap();
    assert_eq!((load.agents, load.starting, load.slots_per_agent), (8, 2, 4.0));
    assert_eq!(load.arrivals_per_s, 10.0);
    assert_eq!(load.service_mean, Some(Duration::from_secs(2)));
    assert_eq!(load.response_mean, Duration::from_secs(3));
    assert_eq!(load.error_share, 0.2);
}

#[test]
fn few_ends_say_little_so_the_longer_record_counts() {
    let mut meter = Meter::default();
    let run_mean = Some(Duration::from_secs(600));
    let slow = |s: u64| Observation { attempts_ended: s / 30, ended: s / 30, run_mean, ..steady(s) };
    let load = (0..=90).map(|s| meter.observe(at(s), slow(s), 0, None)).last().unwrap();
    assert_eq!((load.service_mean, load.response_mean), (run_mean, Duration::from_secs(600)));
    let mut meter = Meter::default();
    assert_eq!(meter.observe(at(0), Observation { run_mean: None, ..slow(0) }, 0, None).service_mean, None);
}

#[test]
fn tasks_that_join_the_held_ones_ask_for_no_agents() {
    let mut meter = Meter::default();
    let held = |s: u64| Observation { held: s * 6, ..steady(s) };
    let load = (0..=60).map(|s| meter.observe(at(s), held(s), 0, None)).last().unwrap();
    assert_eq!(load.arrivals_per_s, 4.0);
}

#[test]
fn an_empty_fleet_remembers_what_an_agent_gives() {
    let mut meter = Meter::default();
    meter.observe(at(0), steady(0), 0, None);
    let empty = Observation { agents: 0, slots_total: 0, slots_used: 0, ..steady(1) };
    assert_eq!(meter.observe(at(1), empty, 0, None).slots_per_agent, 4.0);
}

#[test]
fn memory_is_bounded_however_often_it_is_asked() {
    let mut meter = Meter::default();
    for s in 0..10_000 {
        let load = meter.observe(at(0).plus(Duration::from_millis(s)), steady(s), 0, None);
        assert!(load.arrivals_per_s.is_finite());
    }
}
