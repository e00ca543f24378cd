use bytes::Bytes;
use evenkeel_shared::TaskState;
use proptest::prelude::*;

use super::*;
use crate::record::Slice;

fn scenario(change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::find("smoke").unwrap();
    change(&mut scenario);
    scenario
}

fn sessions(mean_tasks: f64) -> Scenario {
    scenario(|scenario| {
        scenario.arrivals.rate_per_s = 5.0;
        let think_time = "fixed:100ms".parse().unwrap();
        scenario.arrivals.process = Process::Sessions { mean_tasks, think_time };
        scenario.work.retain(|work| work.name == "simple");
    })
}

/// Books of a scenario, with a coordinator that is asked for nothing.
struct Run<'a> {
    books: Books<'a>,
    ledger: &'a Ledger,
    started: Instant,
    ids: u64,
}

fn ledger() -> Ledger {
    Ledger::new("run", 0, 4)
}

impl<'a> Run<'a> {
    fn new(scenario: &Scenario, ledger: &'a Ledger) -> Self {
        let started = Instant::now();
        Self { books: Books::new(scenario, 1, ledger, &[], started), ledger, started, ids: 0 }
    }

    fn at(&self, s: f64) -> Instant {
        self.started + Duration::from_secs_f64(s)
    }

    fn id(&mut self) -> TaskId {
        self.ids += 1;
        TaskId::from_u128(u128::from(self.ids))
    }

    fn notice(&self, number: u32, id: TaskId, state: TaskState) -> Notice {
        let output = if state == TaskState::Succeeded { self.ledger.key(number).into() } else { Bytes::new() };
        Notice { id, state, attempts_made: 1, agent_id: self.ledger.agent_id(1), output }
    }

    /// All tasks that are due by then are accepted and succeed at once; their numbers.
    fn serve(&mut self, s: f64) -> Vec<u32> {
        let now = self.at(s);
        self.books.fall_due(now);
        let numbers: Vec<_> = self.books.unsent.drain(..).collect();
        for &number in &numbers {
            let id = self.id();
            self.books.accepted(number, id, now);
            let notice = self.notice(number, id, TaskState::Succeeded);
            assert!(self.books.finished(notice, now));
        }
        numbers
    }
}

#[test]
fn tasks_fall_due_by_the_clock_and_not_by_the_coordinator() {
    let ledger = ledger();
    let mut run = Run::new(&scenario(|_| {}), &ledger);
    run.books.fall_due(run.at(5.0));
    let due = run.books.unsent.len();
    assert!((900..1_100).contains(&due), "{due}");
    run.books.fall_due(run.at(60.0));
    assert!((1_800..2_200).contains(&run.books.tally.offered), "{}", run.books.tally.offered);
    assert!(!run.books.is_open(run.at(10.0)) && run.books.next_due().is_none());
}

#[test]
fn latency_counts_from_when_the_task_was_due() {
    let ledger = ledger();
    let mut run = Run::new(&scenario(|_| {}), &ledger);
    run.books.fall_due(run.at(0.2));
    // Nobody could send it for two seconds.
    run.serve(2.2);
    let acceptance = run.books.latencies.get(&Slice::All, Phase::Acceptance).unwrap();
    assert!(acceptance.max() >= 2_000_000, "{} us", acceptance.max());
    let end = run.books.latencies.get(&Slice::All, Phase::EndToEnd).unwrap();
    assert!(end.min() < 100_000 && end.max() >= 2_000_000, "{} to {} us", end.min(), end.max());
}

#[test]
fn a_session_waits_for_the_end_and_thinks_before_it_goes_on() {
    let ledger = ledger();
    let mut run = Run::new(&sessions(50.0), &ledger);
    run.books.fall_due(run.at(1.0));
    let first = run.books.unsent.len();
    run.books.fall_due(run.at(1.5));
    let started = run.books.sessions.len();
    assert_eq!(run.books.unsent.len(), started, "nothing ended, so nobody goes on");
    assert!(first > 0);
    run.serve(1.5);
    assert_eq!(run.books.thinking.len(), started);
    let thought = run.at(1.6);
    run.books.fall_due(thought);
    assert!(run.books.unsent.len() >= started, "all have thought for 100 ms");
}

#[test]
fn sessions_have_their_mean_length() {
    let ledger = ledger();
    let mut run = Run::new(&sessions(4.0), &ledger);
    (1..=200).for_each(|step| drop(run.serve(f64::from(step) * 0.05)));
    let (tasks, sessions) = (run.books.tally.offered as f64, run.books.sessions.len() as f64);
    assert!((2.5..5.5).contains(&(tasks / sessions)), "{tasks} tasks of {sessions} sessions");
}

#[test]
fn a_refused_task_does_not_end_its_session() {
    let ledger = ledger();
    let mut run = Run::new(&sessions(50.0), &ledger);
    run.books.fall_due(run.at(2.0));
    let number = run.books.unsent.pop_front().unwrap();
    run.books.refused(number, "no", run.at(2.0));
    run.books.refused(number, "no", run.at(2.0));
    assert_eq!((run.books.tally.refused, run.books.thinking.len()), (1, 1));
}

#[test]
fn a_follow_up_is_due_when_its_task_ends_and_goes_to_a_specialist() {
    let ledger = ledger();
    let complex = scenario(|scenario| {
        scenario.work.retain(|work| work.name == "complex");
        scenario.work[0].escalation.as_mut().unwrap().share = 1.0;
    });
    let mut run = Run::new(&complex, &ledger);
    let first = run.serve(1.0);
    let tally = run.books.tally;
    assert_eq!(tally.escalated, first.len() as u64);
    assert_eq!(run.books.unsent.len(), first.len());
    let number = run.books.unsent[0];
    assert_eq!(run.books.spec(number).kind, crate::plan::SPECIALIST_KIND);
    run.books.end_arrivals(run.at(1.0));
    run.serve(3.0);
    assert_eq!(run.books.tally.escalated, first.len() as u64, "a follow-up has none itself");
    assert_eq!(run.books.in_flight(), 0);
}

#[test]
fn a_client_that_cannot_send_refuses_what_is_beyond_its_queue() {
    let ledger = ledger();
    let flood = scenario(|scenario| scenario.arrivals.rate_per_s = 50_000.0);
    let mut run = Run::new(&flood, &ledger);
    run.books.fall_due(run.at(10.0));
    assert_eq!(run.books.unsent.len(), UNSENT_MAX);
    assert_eq!(run.books.tally.refused, run.books.tally.offered - UNSENT_MAX as u64);
    assert!(run.books.tally.refused > 250_000);
}

#[test]
fn the_same_seed_offers_the_same_tasks() {
    let ledgers = [ledger(), ledger()];
    let tasks = ledgers.each_ref().map(|ledger| {
        let mut run = Run::new(&scenario(|_| {}), ledger);
        run.books.fall_due(run.at(10.0));
        run.books.entries.iter().map(|entry| (entry.task, entry.due - run.started)).collect::<Vec<_>>()
    });
    assert!(tasks[0].len() > 1_000);
    assert_eq!(tasks[0], tasks[1]);
}

#[test]
fn the_mix_is_as_the_weights_say() {
    let ledger = ledger();
    let mut run = Run::new(&scenario(|scenario| scenario.arrivals.rate_per_s = 2_000.0), &ledger);
    run.books.fall_due(run.at(10.0));
    let total = run.books.entries.len() as f64;
    for (name, share) in [("simple", 0.7), ("risky", 0.2), ("complex", 0.1)] {
        let kind = run.books.catalogue.named(name).unwrap();
        let found = run.books.entries.iter().filter(|entry| entry.task.kind == kind).count() as f64 / total;
        assert!((found - share).abs() < 0.02, "{name}: {found}");
    }
}

#[test]
fn a_trace_is_replayed_at_its_times() {
    let ledger = ledger();
    let file = "trace.csv".into();
    let traced = scenario(|scenario| scenario.arrivals.process = Process::Trace { file, speed: 2.0 });
    let recorded: Vec<_> =
        (0..5).map(|at| TraceTask::new(Duration::from_secs(at * 5), Duration::from_millis(at))).collect();
    let started = Instant::now();
    let mut books = Books::new(&traced, 1, &ledger, &recorded, started);
    books.fall_due(started + Duration::from_secs(20));
    let due: Vec<_> = books.entries.iter().map(|entry| (entry.due - started, entry.task.time)).collect();
    let wanted = |at: u64| (Duration::from_millis(at * 2_500), Duration::from_millis(at));
    assert_eq!(due, [wanted(0), wanted(1), wanted(2), wanted(3)], "the fifth is beyond the run");
    assert!(!books.is_open(started + Duration::from_secs(8)), "nothing more comes");
}

/// What a coordinator does with a task.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Succeeds,
    /// Its notice overtakes the answer.
    SucceedsEarly,
    Fails,
    IsRefused,
    IsLost,
    IsNeverAnswered,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Succeeds),
        2 => Just(Fate::SucceedsEarly),
        1 => Just(Fate::Fails),
        1 => Just(Fate::IsRefused),
        1 => Just(Fate::IsLost),
        1 => Just(Fate::IsNeverAnswered),
    ]
}

proptest! {
    #[test]
    fn nothing_is_counted_twice_and_nothing_is_missing(fates in prop::collection::vec(fate(), 1..50), users in any::<bool>()) {
        let ledger = ledger();
        let scenario = if users { sessions(5.0) } else { scenario(|scenario| scenario.arrivals.rate_per_s = 20.0) };
        let mut run = Run::new(&scenario, &ledger);
        let (mut lost, mut fates) = (0, fates.iter().cycle());
        for step in 1..=300 {
            let now = run.at(f64::from(step) * 0.05);
            run.books.fall_due(now);
            while let Some(number) = run.books.unsent.pop_front() {
                let id = run.id();
                match fates.next().unwrap() {
                    Fate::Succeeds => {
                        run.books.accepted(number, id, now);
                        run.books.accepted(number, id, now);
                        let notice = run.notice(number, id, TaskState::Succeeded);
                        prop_assert!(run.books.finished(notice.clone(), now));
                        prop_assert!(!run.books.finished(notice, now));
                    }
                    Fate::SucceedsEarly => {
                        let notice = run.notice(number, id, TaskState::Succeeded);
                        run.books.finished(notice, now);
                        run.books.accepted(number, id, now);
                    }
                    Fate::Fails => {
                        run.books.accepted(number, id, now);
                        let notice = run.notice(number, id, TaskState::Failed);
                        run.books.finished(notice, now);
                    }
                    Fate::IsRefused => run.books.refused(number, "no", now),
                    Fate::IsLost => {
                        lost += 1;
                        run.books.accepted(number, id, now);
                    }
                    Fate::IsNeverAnswered => {}
                }
            }
        }
        let end = run.at(20.0);
        let (tally, _, verified) = run.books.close(&[], end);
        prop_assert_eq!(tally.offered, tally.accepted + tally.refused);
        prop_assert_eq!(tally.accepted, tally.completed + tally.failed + lost);
        prop_assert_eq!(u64::from(verified.totals.accepted), tally.accepted);
        prop_assert_eq!(u64::from(verified.totals.completed), tally.completed);
        prop_assert_eq!((verified.totals.duplicated, verified.totals.mismatched), (0, 0));
        prop_assert!(tally.escalated <= tally.completed);
    }
}
