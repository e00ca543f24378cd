//! The wheel against an ordered map, and the edges of time.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_123);
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn wheel() -> TimerWheel<u32> {
    TimerWheel::new(START)
}

/// Sets timers at these offsets, and expects them to fire in this order, each exactly at its offset.
fn check(offsets: &[Duration], order: &[u32]) {
    let mut wheel = wheel();
    for (&offset, value) in offsets.iter().zip(0..) {
        wheel.insert(START.plus(offset), value);
    }
    for &value in order {
        let at = START.plus(offsets[value as usize]);
        while wheel.next_due().unwrap() < at {
            assert_eq!(wheel.pop_due(wheel.next_due().unwrap().max(at.minus(ms(1)))), None, "{value} was early");
        }
        assert_eq!(wheel.pop_due(at), Some(value));
    }
    assert_eq!(wheel.pop_due(Timestamp::MAX), None);
    assert!(wheel.is_empty());
}

#[test]
fn timers_fire_in_order_of_time_and_ties_in_order_of_setting() {
    check(&[ms(5), ms(1), ms(5), ms(0)], &[3, 1, 0, 2]);
}

#[test]
fn the_far_future_is_as_exact_as_the_near() {
    check(&[500 * YEAR, YEAR, ms(70), YEAR + ms(1), ms(64 * 64 * 64)], &[2, 4, 1, 3, 0]);
}

#[test]
fn a_timer_rounds_up_to_its_millisecond_and_never_fires_early() {
    let mut wheel = wheel();
    wheel.insert(START.plus(Duration::from_micros(1_001)), 7);
    assert_eq!(wheel.pop_due(START.plus(Duration::from_micros(1_999))), None);
    assert_eq!(wheel.pop_due(START.plus(ms(2))), Some(7));
}

#[test]
fn the_past_and_the_end_of_time_can_be_asked_for() {
    let mut wheel = wheel();
    wheel.insert(Timestamp::MAX, 2);
    wheel.insert(Timestamp::ZERO, 1);
    assert_eq!(wheel.pop_due(START), Some(1));
    assert_eq!(wheel.pop_due(START.plus(1_000 * YEAR)), None);
    assert_eq!(wheel.pop_due(Timestamp::MAX), Some(2));
}

#[test]
fn a_key_does_not_cancel_the_next_timer_in_its_place() {
    let mut wheel = wheel();
    let key = wheel.insert(START.plus(ms(10)), 1);
    assert_eq!(wheel.cancel(key), Some(1));
    assert_eq!(wheel.cancel(key), None);
    let reused = wheel.insert(START.plus(ms(20)), 2);
    assert_eq!(wheel.cancel(key), None);
    assert_eq!(wheel.pop_due(START.plus(ms(20))), Some(2));
    assert_eq!(wheel.cancel(reused), None);
    assert_eq!(wheel.nodes.len(), 1, "the place was not used again");
}

#[derive(Clone, Debug)]
enum Step {
    /// At this many microseconds from now; negative is in the past.
    Insert(i64),
    /// The nth of all timers ever set, cyclically.
    Cancel(usize),
    /// Lets this many microseconds pass and takes what is due.
    Advance(u64),
    /// Goes to where the wheel asks to be called.
    FollowNextDue,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Digits of every size, so that all levels and their borders are met.
    let spread = || (0u32..56, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1));
    vec(
        prop_oneof![
            4 => spread().prop_map(|us| Step::Insert(us as i64)),
            1 => (0i64..5_000_000).prop_map(|us| Step::Insert(-us)),
            2 => any::<usize>().prop_map(Step::Cancel),
            2 => spread().prop_map(Step::Advance),
            2 => Just(Step::FollowNextDue),
        ],
        1..120,
    )
}

/// What a wheel has to do, done by an ordered map from (tick, order of setting).
#[derive(Default)]
struct Model {
    timers: BTreeMap<(u64, u32), u32>,
}

impl Model {
    fn pop_due(&mut self, now: Timestamp) -> Option<u32> {
        let (&key, _) = self.timers.first_key_value().filter(|((tick, _), _)| *tick <= now.unix_millis())?;
        self.timers.remove(&key)
    }
}

proptest! {
    #[test]
    fn the_wheel_does_what_an_ordered_map_does(steps in steps()) {
        let (mut wheel, mut model, mut now) = (wheel(), Model::default(), START);
        let mut keys: Vec<(TimerKey, (u64, u32))> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(us) => {
                    let distance = Duration::from_micros(us.unsigned_abs());
                    let at = if us < 0 { now.minus(distance) } else { now.plus(distance) };
                    let id = keys.len() as u32;
                    let tick = at.unix_micros().div_ceil(1_000).max(now.unix_millis());
                    keys.push((wheel.insert(at, id), (tick, id)));
                    model.timers.insert((tick, id), id);
                }
                Step::Cancel(n) if !keys.is_empty() => {
                    let (key, place) = keys[n % keys.len()];
                    prop_assert_eq!(wheel.cancel(key), model.timers.remove(&place));
                }
                Step::Cancel(_) => {}
                Step::Advance(us) => now = now.plus(Duration::from_micros(us)),
                Step::FollowNextDue => {
                    let next = wheel.next_due();
                    let first = model.timers.first_key_value().map(|((tick, _), _)| *tick);
                    prop_assert_eq!(next.is_some(), first.is_some());
                    prop_assert!(next.map(Timestamp::unix_millis) <= first, "a timer would be late");
                    now = now.max(next.unwrap_or(now));
                }
            }
            if matches!(step, Step::Advance(_) | Step::FollowNextDue) {
                loop {
                    let fired = wheel.pop_due(now);
                    prop_assert_eq!(fired, model.pop_due(now));
                    if fired.is_none() {
                        break;
                    }
                }
                prop_assert!(wheel.next_due().is_none_or(|next| next > now), "no progress");
            }
            prop_assert_eq!(wheel.len(), model.timers.len());
        }
    }
}
