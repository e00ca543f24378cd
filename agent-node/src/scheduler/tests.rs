use std::collections::BTreeSet;

use evenkeel_shared::{AssignmentId, AttemptNumber, TaskId};
use proptest::prelude::*;

use super::*;
use crate::executors::testing::assignment;

fn attempt(number: u64) -> AttemptRef {
    AttemptRef { task: TaskId::from_u128(number.into()), attempt: AttemptNumber(1), assignment: AssignmentId(number) }
}

fn work(number: u64, resources: Resources) -> Assignment {
    Assignment { attempt: attempt(number), resources, ..assignment(1, "") }
}

fn one_slot(number: u64) -> Assignment {
    work(number, Resources::slots(1))
}

/// Starts all that fits; the numbers in their order.
fn start_all(scheduler: &mut Scheduler) -> Vec<u64> {
    std::iter::from_fn(|| scheduler.start_next()).map(|started| started.attempt.assignment.0).collect()
}

fn check_handed_back(admission: Admission) {
    assert!(matches!(&admission, Admission::Refused(Outcome::HandedBack(_))), "{admission:?}");
}

#[test]
fn what_waits_starts_in_its_order_as_slots_become_free() {
    let mut scheduler = Scheduler::new(Resources::slots(2), 2);
    for number in 1..=4 {
        assert_eq!(scheduler.admit(one_slot(number)), Admission::Admitted);
    }
    check_handed_back(scheduler.admit(one_slot(5)));
    assert_eq!(start_all(&mut scheduler), [1, 2]);
    assert_eq!(scheduler.ended(attempt(2)), Fate::Report);
    assert_eq!(start_all(&mut scheduler), [3]);
}

#[test]
fn the_oldest_that_fits_passes_one_that_does_not() {
    let memory = |bytes| Resources { memory_bytes: bytes, ..Resources::slots(1) };
    let mut scheduler = Scheduler::new(Resources { memory_bytes: 10, ..Resources::slots(3) }, 0);
    for (number, bytes) in [(1, 6), (2, 6), (3, 4)] {
        scheduler.admit(work(number, memory(bytes)));
    }
    assert_eq!(start_all(&mut scheduler), [1, 3]);
    scheduler.ended(attempt(1));
    assert_eq!(start_all(&mut scheduler), [2]);
}

#[test]
fn what_can_never_fit_is_rejected() {
    let mut scheduler = Scheduler::new(Resources::slots(2), 2);
    let answer =
        Outcome::Failed(Failure::new(FailureClass::Rejected, "the task asks for 3 slots, the agent has 2 in all"));
    assert_eq!(scheduler.admit(work(1, Resources::slots(3))), Admission::Refused(answer));
}

#[test]
fn an_assignment_sent_twice_is_known() {
    let mut scheduler = Scheduler::new(Resources::slots(1), 1);
    for number in [1, 2] {
        scheduler.admit(one_slot(number));
    }
    start_all(&mut scheduler);
    assert_eq!(scheduler.admit(one_slot(1)), Admission::Known);
    assert_eq!(scheduler.admit(one_slot(2)), Admission::Known);
}

#[test]
fn the_first_fate_stays_unless_the_attempt_is_forgotten() {
    let mut scheduler = Scheduler::new(Resources::slots(2), 0);
    for number in [1, 2] {
        scheduler.admit(one_slot(number));
    }
    start_all(&mut scheduler);
    for fate in [Fate::Cancelled, Fate::AgentLeft] {
        assert_eq!(scheduler.stop(attempt(1), fate), Stopped::Running);
    }
    assert_eq!(scheduler.stop(attempt(2), Fate::Cancelled), Stopped::Running);
    assert_eq!(scheduler.stop(attempt(2), Fate::Forget), Stopped::Running);
    assert_eq!(scheduler.held().collect::<Vec<_>>(), [attempt(1)]);
    assert_eq!(scheduler.ended(attempt(1)), Fate::Cancelled);
    assert_eq!(scheduler.ended(attempt(2)), Fate::Forget);
    assert_eq!(scheduler.stop(attempt(2), Fate::Cancelled), Stopped::Unknown);
}

#[test]
fn the_successor_of_a_forgotten_attempt_waits_for_its_slot() {
    let mut scheduler = Scheduler::new(Resources::slots(1), 0);
    scheduler.admit(one_slot(1));
    start_all(&mut scheduler);
    scheduler.stop(attempt(1), Fate::Forget);
    scheduler.stop(attempt(1), Fate::Forget);
    assert_eq!(scheduler.admit(one_slot(2)), Admission::Admitted);
    assert!(start_all(&mut scheduler).is_empty());
    scheduler.ended(attempt(1));
    assert_eq!(start_all(&mut scheduler), [2]);
    check_handed_back(scheduler.admit(one_slot(3)));
}

#[test]
fn once_closed_everything_is_handed_back() {
    let mut scheduler = Scheduler::new(Resources::slots(1), 1);
    for number in [1, 2] {
        scheduler.admit(one_slot(number));
    }
    start_all(&mut scheduler);
    scheduler.close("bye".into());
    assert_eq!(scheduler.take_waiting(), [attempt(2)]);
    check_handed_back(scheduler.admit(one_slot(3)));
    assert_eq!(scheduler.running_count(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Assign {
        slots: u32,
        memory_bytes: u64,
    },
    Start,
    /// Of those that run, the one at this place (wrapping around) ends.
    End(usize),
    /// Of all ever assigned, this one is cancelled.
    Cancel(usize),
    HandBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=3_u32, 0..=6_u64).prop_map(|(slots, memory_bytes)| Step::Assign { slots, memory_bytes }),
        3 => Just(Step::Start),
        3 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::HandBack),
    ]
}

/// What a test knows of the attempts by itself.
#[derive(Default)]
struct Model {
    assigned: Vec<Resources>,
    running: Vec<AttemptRef>,
    answered: BTreeSet<AttemptRef>,
}

impl Model {
    fn needs(&self, attempt: AttemptRef) -> &Resources {
        &self.assigned[usize::try_from(attempt.assignment.0).unwrap()]
    }

    fn answer(&mut self, attempt: AttemptRef) {
        assert!(self.answered.insert(attempt), "{attempt:?} was answered twice");
    }

    fn take(&mut self, scheduler: &mut Scheduler, step: Step) {
        match step {
            Step::Assign { slots, memory_bytes } => {
                let resources = Resources { memory_bytes, ..Resources::slots(slots) };
                let number = self.assigned.len() as u64;
                self.assigned.push(resources.clone());
                match scheduler.admit(work(number, resources)) {
                    Admission::Admitted => {}
                    Admission::Refused(_) => self.answer(attempt(number)),
                    Admission::Known => panic!("it is new"),
                }
            }
            Step::Start => {
                while let Some(started) = scheduler.start_next() {
                    self.running.push(started.attempt);
                }
            }
            Step::End(at) if !self.running.is_empty() => {
                let ended = self.running.remove(at % self.running.len());
                assert_ne!(scheduler.ended(ended), Fate::Forget);
                self.answer(ended);
            }
            Step::Cancel(at) if !self.assigned.is_empty() => {
                let cancelled = attempt((at % self.assigned.len()) as u64);
                if scheduler.stop(cancelled, Fate::Cancelled) == Stopped::Waiting {
                    self.answer(cancelled);
                }
            }
            Step::HandBack => scheduler.take_waiting().into_iter().for_each(|back| self.answer(back)),
            Step::End(_) | Step::Cancel(_) => {}
        }
    }

    fn check(&self, scheduler: &Scheduler, capacity: &Resources, attempts_max: usize) {
        let mut used = Resources::default();
        self.running.iter().for_each(|&running| used.add(self.needs(running)));
        assert!(capacity.fits(&used), "{used:?} runs in {capacity:?}");
        assert_eq!(scheduler.running_count(), self.running.len());
        let held: BTreeSet<AttemptRef> = scheduler.held().collect();
        assert!(held.len() <= attempts_max);
        assert_eq!(held.len(), scheduler.held_count());
        assert!(held.is_disjoint(&self.answered));
        assert_eq!(held.len() + self.answered.len(), self.assigned.len(), "an attempt was lost");
    }
}

proptest! {
    #[test]
    fn capacity_is_never_exceeded_and_every_assignment_is_answered_once(
        steps in prop::collection::vec(step(), 0..120),
        prefetch in 0..4_usize,
    ) {
        let capacity = Resources { memory_bytes: 8, ..Resources::slots(4) };
        let mut scheduler = Scheduler::new(capacity.clone(), prefetch);
        let mut model = Model::default();
        for step in steps {
            model.take(&mut scheduler, step);
            model.check(&scheduler, &capacity, 4 + prefetch);
        }
        // All that is left can be brought to an end: nothing waits for ever.
        while model.answered.len() < model.assigned.len() {
            model.take(&mut scheduler, Step::Start);
            model.take(&mut scheduler, Step::End(0));
        }
        model.check(&scheduler, &capacity, 4 + prefetch);
    }

    #[test]
    fn attempts_of_equal_size_start_in_the_order_of_their_arrival(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut scheduler = Scheduler::new(Resources::slots(2), 4);
        let mut model = Model::default();
        let mut started = Vec::new();
        for step in steps {
            let step = if let Step::Assign { .. } = step { Step::Assign { slots: 1, memory_bytes: 0 } } else { step };
            let before = model.running.len();
            let starts = matches!(step, Step::Start);
            model.take(&mut scheduler, step);
            if starts {
                started.extend_from_slice(&model.running[before..]);
            }
        }
        prop_assert!(started.is_sorted_by_key(|attempt| attempt.assignment));
    }
}
