//! Lanes that are shut: whose tasks have no turn.

use super::*;

#[test]
fn a_shut_lane_has_no_turn_and_holds_up_nobody() {
    let mut bench = Bench::new(None, &[]);
    let of = |tenant, level| Spec { tenant, level, ..PLAIN };
    bench.set_shut(0, 0, true);
    for spec in [of(0, 9), of(0, 5), of(1, 5), of(1, 3)] {
        bench.push(spec);
    }
    assert_eq!(bench.drain(&[0]), [2, 3], "of tenant 1 alone");
    assert_eq!(bench.queue.class_oldest_open(ClassIx(0)), None);
    bench.set_shut(0, 0, false);
    assert_eq!(bench.drain(&[0]), [0, 1]);
}

#[test]
fn a_tenant_that_was_shut_out_has_no_credit() {
    let mut bench = Bench::new(None, &[]);
    let of = |tenant| Spec { tenant, ..PLAIN };
    bench.push(of(0));
    bench.set_shut(0, 0, true);
    let _: Vec<_> = (0..4).map(|_| bench.push(of(1))).collect();
    assert_eq!((bench.take_of(&[0]), bench.take_of(&[0])), (Some(1), Some(2)));
    let _: Vec<_> = (0..3).map(|_| bench.push(of(0))).collect();
    bench.set_shut(0, 0, false);
    assert_eq!(bench.drain(&[0]), [0, 3, 5, 4, 6, 7], "turn by turn, as if it had only come now");
}

#[test]
fn a_tenant_that_was_shut_out_is_not_before_one_that_came_meanwhile() {
    let mut bench = Bench::new(None, &[]);
    let of = |tenant| Spec { tenant, ..PLAIN };
    let first = bench.push(of(0));
    bench.set_shut(0, 0, true);
    let _: Vec<_> = (0..3).map(|_| bench.push(of(1))).collect();
    assert_eq!((bench.take_of(&[0]), bench.take_of(&[0])), (Some(1), Some(2)));
    let (newcomer, next) = (bench.push(of(2)), bench.push(of(0)));
    bench.queue.remove(first);
    bench.set_shut(0, 0, false);
    assert_eq!(bench.drain(&[0]), [newcomer.0, next.0, 3], "equals go by acceptance");
}

#[test]
fn what_is_shut_out_does_not_age_what_is_not() {
    let mut bench = Bench::new(Some(INTERVAL), &[]);
    let bulk = |tenant| Spec { tenant, level: 0, ..PLAIN };
    bench.push(bulk(0));
    bench.set_shut(0, 0, true);
    bench.now = START.plus(INTERVAL * 20);
    let (fresh, urgent) = (bench.push(bulk(1)), bench.push(Spec { tenant: 1, level: 8, ..PLAIN }));
    assert_eq!(bench.drain(&[0]), [urgent.0, fresh.0]);
}
