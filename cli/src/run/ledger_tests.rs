use proptest::prelude::*;

use super::*;

/// A run against a coordinator that does as it is told; task ids are `place/generation`.
struct Run {
    ledger: Ledger,
    now: Instant,
    delivered: Vec<(usize, Delivered)>,
}

impl Run {
    fn new(total: usize, jobs: usize) -> Self {
        Self { ledger: Ledger::new(total, jobs), now: Instant::now(), delivered: Vec::new() }
    }

    fn due(&mut self) -> Vec<(usize, u32)> {
        self.ledger.due(self.now, usize::MAX)
    }

    fn accept(&mut self, place: usize, generation: u32, duplicate: bool) -> &mut Self {
        self.ledger.accepted(place, format!("{place}/{generation}"), duplicate);
        self
    }

    fn finish(&mut self, place: usize, generation: u32, state: v1::TaskState) -> &mut Self {
        let output = if state == v1::TaskState::Succeeded { output(place) } else { Bytes::new() };
        let task_id = format!("{place}/{generation}");
        self.ledger.finished(v1::TaskFinished { task_id, state: state.into(), output, ..v1::TaskFinished::default() });
        while let Some(next) = self.ledger.pop() {
            self.delivered.push(next);
        }
        self
    }

    fn outputs(&self) -> Vec<usize> {
        let output = |(place, delivered): &(usize, Delivered)| {
            assert_eq!(*delivered, Delivered::Output(output(*place)));
            *place
        };
        self.delivered.iter().map(output).collect()
    }
}

fn output(place: usize) -> Bytes {
    format!("output of {place}").into()
}

const OK: v1::TaskState = v1::TaskState::Succeeded;
const FAILED: v1::TaskState = v1::TaskState::Failed;

#[test]
fn no_more_than_the_jobs_are_open_and_results_come_in_order() {
    let mut run = Run::new(3, 2);
    assert_eq!(run.due(), [(0, 1), (1, 1)]);
    run.accept(0, 1, false).accept(1, 1, false).finish(1, 1, OK);
    assert!(run.delivered.is_empty());
    assert_eq!(run.due(), [(2, 1)]);
    run.accept(2, 1, false).finish(0, 1, OK).finish(2, 1, OK);
    assert_eq!(run.outputs(), [0, 1, 2]);
    assert!(run.ledger.is_done());
}

#[test]
fn a_result_may_come_before_its_acceptance() {
    let mut run = Run::new(1, 1);
    run.due();
    run.finish(0, 1, OK).accept(0, 1, false);
    assert_eq!(run.ledger.pop(), Some((0, Delivered::Output(output(0)))));
}

#[test]
fn a_broken_connection_sends_what_is_open_again_under_the_same_key() {
    let mut run = Run::new(3, 3);
    run.due();
    run.accept(0, 1, false).accept(1, 1, false).finish(0, 1, OK);
    run.ledger.disconnected();
    assert_eq!(run.due(), [(1, 1), (2, 1)]);
    // Both are known to the coordinator by now, but this very run sent them: their failure is news and final.
    run.accept(1, 1, true).accept(2, 1, true).finish(1, 1, FAILED).finish(2, 1, OK);
    assert_eq!(run.delivered[1], (1, Delivered::Failed("failed".into())));
    assert!(run.ledger.is_done());
}

#[test]
fn what_had_failed_before_is_tried_again_as_a_new_task_and_what_had_succeeded_is_not() {
    let mut run = Run::new(2, 2);
    run.due();
    run.accept(0, 1, true).accept(1, 1, true).finish(0, 1, FAILED).finish(1, 1, OK);
    assert_eq!(run.due(), [(0, 2)]);
    run.accept(0, 2, true).finish(0, 2, FAILED);
    assert_eq!(run.due(), [(0, 3)]);
    run.accept(0, 3, false).finish(0, 3, FAILED);
    assert_eq!(run.delivered[0], (0, Delivered::Failed("failed".into())));
    assert!(run.ledger.is_done());
}

#[test]
fn that_it_had_failed_before_outlives_a_broken_connection() {
    let mut run = Run::new(1, 1);
    run.due();
    run.accept(0, 1, true);
    run.ledger.disconnected();
    assert_eq!(run.due(), [(0, 1)]);
    run.accept(0, 1, true).finish(0, 1, FAILED);
    assert_eq!(run.due(), [(0, 2)]);
}

#[test]
fn a_full_queue_is_waited_for_and_a_wrong_task_is_not() {
    let mut run = Run::new(2, 2);
    run.due();
    let wait = Duration::from_secs(3);
    run.ledger.refused(0, &Error::exhausted("full", wait), run.now);
    run.ledger.refused(1, &Error::new(Code::InvalidArgument, "bad kind"), run.now);
    assert!(run.due().is_empty());
    assert_eq!(run.ledger.next_due(), Some(run.now + wait));
    run.now += wait;
    assert_eq!(run.due(), [(0, 1)]);
    run.accept(0, 1, false).finish(0, 1, OK);
    assert_eq!(run.delivered[1], (1, Delivered::Failed("refused: bad kind".into())));
}

#[test]
fn a_slow_first_task_stops_new_ones_when_too_much_is_held() {
    let mut run = Run::new(HELD_MAX * 2, 2);
    let mut begun = 0;
    loop {
        let due = run.due();
        if due.is_empty() {
            break;
        }
        for (place, generation) in due {
            begun += 1;
            run.accept(place, generation, false);
            if place > 0 {
                run.finish(place, generation, OK);
            }
        }
    }
    assert_eq!(begun, HELD_MAX + 1);
    run.finish(0, 1, OK);
    assert_eq!(run.outputs().len(), HELD_MAX + 1);
    assert!(!run.due().is_empty());
}

proptest! {
    /// Whatever breaks, is refused or had failed before: every place is delivered once, in order.
    #[test]
    fn every_place_is_delivered_once_in_order(
        total in 1..40usize,
        jobs in 1..10usize,
        steps in prop::collection::vec((0..6u8, any::<prop::sample::Index>()), 0..300),
    ) {
        let mut run = Run::new(total, jobs);
        let mut sent: Vec<(usize, u32)> = Vec::new();
        let mut accepted: Vec<(usize, u32)> = Vec::new();
        for (step, index) in steps {
            match step {
                0 => sent.extend(run.due()),
                1 if !sent.is_empty() => {
                    let (place, generation) = sent.swap_remove(index.index(sent.len()));
                    run.accept(place, generation, index.index(2) == 0);
                    accepted.push((place, generation));
                }
                2 if !sent.is_empty() => {
                    let (place, _) = sent.swap_remove(index.index(sent.len()));
                    run.ledger.refused(place, &Error::exhausted("full", Duration::ZERO), run.now);
                }
                3 | 4 if !accepted.is_empty() => {
                    let (place, generation) = accepted.swap_remove(index.index(accepted.len()));
                    run.finish(place, generation, if step == 3 { OK } else { FAILED });
                }
                5 => {
                    run.ledger.disconnected();
                    sent.clear();
                    accepted.clear();
                }
                _ => {}
            }
            prop_assert!(run.ledger.open.len() <= jobs);
        }
        run.ledger.disconnected();
        while !run.ledger.is_done() {
            for (place, generation) in run.due() {
                run.accept(place, generation, true).finish(place, generation, OK);
            }
        }
        let places: Vec<usize> = run.delivered.iter().map(|(place, _)| *place).collect();
        prop_assert_eq!(places, (0..total).collect::<Vec<_>>());
    }
}
