//! What is foreseen of demand.

use std::time::Duration;

use super::*;
use crate::capacity::foresight::Foresight;

const AHEAD: Duration = Duration::from_secs(300);

/// What is foreseen five minutes ahead, after so many minutes of `work`.
fn foreseen(minutes: u64, work: impl Fn(u64) -> f64) -> Option<f64> {
    let mut foresight = Foresight::default();
    (0..=minutes * 60).for_each(|s| foresight.observe(at(s), work(s)));
    foresight.look(at(minutes * 60), work(minutes * 60), AHEAD).map(|foreseen| foreseen.slots)
}

#[test]
fn a_rise_goes_on_and_what_is_even_stays() {
    // 30 slots more each hour: 2.5 in five minutes.
    let rise = foreseen(60, |s| 20.0 + s as f64 / 120.0).unwrap();
    assert!((rise - 52.5).abs() < 1.0, "{rise}");
    let even = foreseen(60, |s| if s % 2 == 0 { 19.0 } else { 21.0 }).unwrap();
    assert!((even - 20.0).abs() < 0.5, "{even}");
}

#[test]
fn too_little_says_nothing_and_a_forecast_is_at_most_twice_what_there_is() {
    assert_eq!(foreseen(14, |_| 20.0), None);
    let leap = foreseen(30, |s| if s < 1_800 { s as f64 / 10.0 } else { 10.0 }).unwrap();
    assert_eq!(leap, 20.0);
}

#[test]
fn a_policy_that_looks_ahead_grows_before_one_that_does_not() {
    let grown = |predictive| {
        let mut fleet = Fleet::new(Policy { predictive, start_up_ms: 600_000, ..policy("ml-gpu-optimised") }, 4);
        fleet.run(0..7_200, |s| 8.0 + s as f64 / 400.0);
        fleet.changes.iter().find(|change| change.1 >= 7).map(|change| change.0)
    };
    let (ahead, after) = (grown(true).unwrap(), grown(false).unwrap());
    assert!(ahead + 300 < after, "{ahead} s and {after} s");
}
