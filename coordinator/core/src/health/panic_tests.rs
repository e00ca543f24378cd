use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn at(ms: u64) -> Timestamp {
    START.plus(Duration::from_millis(ms))
}

/// A guard over a fleet of `fleet`, of which `lost` vanish, one every `apart_ms`. Answers when the last one did, too.
fn after_losing(lost: usize, fleet: usize, apart_ms: u64) -> (PanicGuard, Timestamp) {
    let mut guard = PanicGuard::new(PanicSettings::default());
    let mut now = at(0);
    for gone in 0..lost {
        now = now.plus(Duration::from_millis(apart_ms));
        guard.lost(now, fleet - gone);
    }
    (guard, now)
}

/// Permits given when one is asked for every millisecond.
fn permits(guard: &mut PanicGuard, from_ms: u64, to_ms: u64) -> usize {
    (from_ms..to_ms).filter(|&ms| guard.permit(at(ms)).is_ok()).count()
}

#[track_caller]
fn check(lost: usize, fleet: usize, apart_ms: u64, panics: bool) {
    let (guard, now) = after_losing(lost, fleet, apart_ms);
    assert_eq!(guard.active(now), panics, "{lost} of {fleet}, one every {apart_ms} ms");
}

#[test]
fn more_than_half_of_the_fleet_within_the_window_is_panic() {
    check(50, 100, 1, false);
    check(51, 100, 1, true);
    check(51, 100, 1_000, false);
    check(100_000, 100_000, 0, true);
}

#[test]
fn a_small_fleet_never_panics() {
    check(3, 3, 1, false);
    check(2, 4, 1, false);
    check(3, 4, 1, true);
}

#[test]
fn agents_that_come_and_go_are_not_missing() {
    let mut guard = PanicGuard::new(PanicSettings::default());
    for turn in 0..100 {
        guard.lost(at(turn * 10), 10);
        guard.returned(at(turn * 10 + 5));
        assert!(!guard.active(at(turn * 10 + 5)));
    }
}

#[test]
fn panic_ends_when_enough_agents_are_back() {
    let (mut guard, now) = after_losing(8, 10, 1);
    (0..2).for_each(|_| guard.returned(now));
    assert!(guard.active(now), "six of ten are still missing");
    guard.returned(now);
    assert!(!guard.active(now));
}

#[test]
fn a_second_loss_right_after_the_first_is_panic_again() {
    let (mut guard, now) = after_losing(24, 40, 1);
    (0..24).for_each(|_| guard.returned(now));
    assert!(!guard.active(now));
    (0..24).for_each(|gone| guard.lost(now, 40 - gone));
    assert!(guard.active(now), "who came back from the first loss does not make up for the second");
}

#[test]
fn agents_back_from_an_old_loss_do_not_make_up_for_a_new_one() {
    let (mut guard, now) = after_losing(20, 40, 1);
    let later = now.plus(Duration::from_secs(11));
    (0..20).for_each(|_| guard.returned(later));
    (0..24).for_each(|gone| guard.lost(later, 40 - gone));
    assert!(guard.active(later));
}

#[test]
fn a_fleet_that_is_silent_is_panic_before_its_leases_have_run_out() {
    let mut guard = PanicGuard::new(PanicSettings::default());
    guard.silent(at(0), 20, 40);
    assert!(!guard.active(at(0)), "half of the fleet");
    guard.lost(at(0), 40);
    guard.silent(at(0), 20, 39);
    assert!(guard.active(at(0)), "with the one that is gone more than half");
    (0..20).for_each(|gone| guard.lost(at(0), 39 - gone));
    guard.returned(at(1));
    assert!(!guard.active(at(1)), "twenty of forty are missing");
}

#[test]
fn when_enough_agents_are_back_what_waits_still_goes_at_its_rate() {
    let (mut guard, now) = after_losing(24, 40, 0);
    (0..4).for_each(|_| guard.returned(now));
    assert!(!guard.active(now), "twenty of forty are missing");
    let given = permits(&mut guard, 0, 1_000);
    assert!((50..=60).contains(&given), "the others may be on their way: {given}");
    assert_eq!(permits(&mut guard, 30_000, 31_000), 1_000, "who is not back by then is gone");
}

#[test]
fn panic_ends_when_nobody_has_vanished_for_long() {
    let (mut guard, last) = after_losing(8, 10, 1);
    assert!(guard.active(last.plus(Duration::from_millis(29_999))));
    let later = last.plus(Duration::from_secs(30));
    assert!(!guard.active(later));
    guard.lost(later, 2);
    assert!(!guard.active(later), "two agents are a fleet too small to panic");
}

#[test]
fn without_panic_everything_is_let_through() {
    let (mut guard, _) = after_losing(1, 10, 1);
    assert_eq!(permits(&mut guard, 0, 1_000), 1_000);
}

#[test]
fn in_panic_failover_goes_at_a_rate_that_the_survivors_can_bear() {
    let (mut small, _) = after_losing(8, 10, 0);
    let given = permits(&mut small, 0, 10_000);
    assert!((500..=510).contains(&given), "50 a second at least, not {given}");
    let (mut large, _) = after_losing(600, 1_000, 0);
    let given = permits(&mut large, 0, 10_000);
    assert!((4_000..=5_000).contains(&given), "one a second for each agent left, not {given}");
}

#[test]
fn a_refusal_says_when_the_next_permit_is_there() {
    let (mut guard, now) = after_losing(8, 10, 0);
    let next = std::iter::repeat_with(|| guard.permit(now)).find_map(Result::err).unwrap();
    assert_eq!(guard.permit(next.minus(Duration::from_micros(1))), Err(next));
    assert_eq!(guard.permit(next), Ok(()));
}

#[test]
fn load_is_ignored_when_most_of_the_fleet_is_unhealthy() {
    let ignored = [(0, 0), (0, 1), (1, 2), (4, 9), (5, 10)].map(|(usable, total)| ignore_load_health(usable, total));
    assert_eq!(ignored, [false, true, false, true, false]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let defaults = PanicSettings::default();
    assert_eq!(defaults.validate(), Ok(()));
    assert!(PanicSettings { lost_share: 0.0, ..defaults }.validate().is_err());
    assert!(PanicSettings { permits_per_s_min: 0, ..defaults }.validate().is_err());
    assert!(PanicSettings { fleet_min: 1, ..defaults }.validate().is_err());
}

proptest! {
    #[test]
    fn following_the_refusals_gets_every_task_through(fleet in 4_usize..500, tasks in 1_usize..500) {
        let (mut guard, mut now) = after_losing(fleet, fleet, 0);
        for _ in 0..tasks {
            if let Err(next) = guard.permit(now) {
                prop_assert!(next > now && next.since(now) <= Duration::from_millis(20), "50 a second");
                now = next;
                prop_assert_eq!(guard.permit(now), Ok(()));
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_the_slices(events in proptest::collection::vec((any::<bool>(), 0_u64..2_000), 0..500)) {
        let (mut guard, mut ms) = (PanicGuard::new(PanicSettings::default()), 0);
        for (lost, pause_ms) in events {
            ms += pause_ms;
            if lost { guard.lost(at(ms), 1_000) } else { guard.returned(at(ms)) }
            prop_assert!(guard.slices.len() <= SLICES as usize + 1);
        }
    }
}
