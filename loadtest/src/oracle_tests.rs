use evenkeel_shared::Timestamp;
use proptest::prelude::*;

use super::*;

const AGENTS: u32 = 3;

fn ledger() -> Ledger {
    Ledger::new("run", 1_000, AGENTS)
}

fn id(number: u32) -> TaskId {
    TaskId::new(Timestamp::from_unix_millis(1_000), u128::from(number))
}

/// The notice that task `number` succeeded, as it should be.
fn success(ledger: &Ledger, number: u32) -> Notice {
    Notice {
        id: id(number),
        state: TaskState::Succeeded,
        attempts_made: 1,
        agent_id: ledger.agent_id(number % AGENTS),
        output: ledger.key(number).into(),
    }
}

/// Books with one task submitted and accepted.
fn accepted(ledger: &Ledger) -> (Oracle<'_>, Instant) {
    let (mut oracle, now) = (Oracle::new(ledger), Instant::now());
    let number = oracle.submitted(now);
    oracle.accepted(number, id(number), now);
    (oracle, now)
}

#[test]
fn a_task_that_is_accepted_and_over_is_in_order() {
    let ledger = ledger();
    let (mut oracle, now) = accepted(&ledger);
    assert_eq!(oracle.open(), [id(0)]);
    assert!(oracle.is_open(id(0)) && !oracle.is_open(id(1)));
    assert!(oracle.finished(success(&ledger, 0), now + Duration::from_millis(7)));
    assert_eq!(oracle.open(), []);
    assert!(!oracle.is_open(id(0)));
    let verified = oracle.close();
    assert_eq!(verified.totals, OracleTotals { submitted: 1, accepted: 1, completed: 1, ..OracleTotals::default() });
    assert_eq!(verified.elapsed, Duration::from_millis(7));
    assert!((6_990..=7_010).contains(&verified.latency_us.max()));
}

#[test]
fn a_notice_that_repeats_itself_is_no_duplicate() {
    let ledger = ledger();
    let (mut oracle, now) = accepted(&ledger);
    assert!(oracle.finished(success(&ledger, 0), now));
    assert!(!oracle.finished(success(&ledger, 0), now));
    let totals = oracle.totals();
    assert_eq!((totals.completed, totals.notices_repeated, totals.duplicated), (1, 1, 0));
}

#[test]
fn two_different_ends_of_one_task_are_one_duplicate() {
    let ledger = ledger();
    for change in [
        |notice: &mut Notice| notice.attempts_made = 2,
        |notice: &mut Notice| notice.state = TaskState::Failed,
        |notice: &mut Notice| notice.agent_id = "loadtest-run-2".into(),
    ] {
        let (mut oracle, now) = accepted(&ledger);
        oracle.finished(success(&ledger, 0), now);
        let mut other = success(&ledger, 0);
        change(&mut other);
        oracle.finished(other.clone(), now);
        oracle.finished(other, now);
        assert_eq!((oracle.totals().duplicated, oracle.totals().over()), (1, 1));
    }
}

#[test]
fn two_ids_under_one_key_are_a_duplicate_and_the_same_id_is_not() {
    let ledger = ledger();
    let (mut oracle, now) = accepted(&ledger);
    oracle.accepted(0, id(0), now);
    assert_eq!((oracle.totals().accepted, oracle.totals().duplicated), (1, 0));
    oracle.accepted(0, id(1), now);
    assert_eq!((oracle.totals().accepted, oracle.totals().duplicated), (1, 1));
}

#[test]
fn one_id_under_two_keys_does_not_fit() {
    let ledger = ledger();
    let (mut oracle, now) = accepted(&ledger);
    let number = oracle.submitted(now);
    oracle.accepted(number, id(0), now);
    assert_eq!(oracle.totals().mismatched, 1);
}

#[test]
fn an_accepted_task_without_an_end_stays_open() {
    let ledger = ledger();
    let (oracle, _) = accepted(&ledger);
    assert_eq!(oracle.totals().in_flight(), 1);
    let totals = oracle.close().totals;
    assert_eq!(totals.accepted - totals.over(), 1);
}

#[test]
fn a_notice_may_overtake_the_answer_but_must_have_a_task() {
    let ledger = ledger();
    let (mut oracle, now) = (Oracle::new(&ledger), Instant::now());
    let number = oracle.submitted(now);
    oracle.finished(success(&ledger, number), now);
    assert_eq!(oracle.totals().over(), 0);
    oracle.accepted(number, id(number), now);
    assert_eq!((oracle.totals().over(), oracle.totals().mismatched), (1, 0));
    oracle.finished(success(&ledger, 77), now);
    assert_eq!(oracle.close().totals.mismatched, 1);
}

#[test]
fn another_tasks_output_and_another_fleets_agent_do_not_fit() {
    let ledger = ledger();
    for change in [
        |notice: &mut Notice| notice.output = "run-5".into(),
        |notice: &mut Notice| notice.agent_id = "dev-1".into(),
        |notice: &mut Notice| notice.agent_id.clear(),
    ] {
        let (mut oracle, now) = accepted(&ledger);
        let mut notice = success(&ledger, 0);
        change(&mut notice);
        oracle.finished(notice, now);
        assert_eq!(oracle.totals().mismatched, 1);
    }
}

#[test]
fn a_task_that_expired_without_an_agent_fits() {
    let ledger = ledger();
    let (mut oracle, now) = accepted(&ledger);
    let notice = Notice { state: TaskState::Expired, agent_id: String::new(), ..success(&ledger, 0) };
    oracle.finished(notice, now);
    assert_eq!((oracle.totals().failed, oracle.totals().mismatched), (1, 0));
}

#[test]
fn a_refusal_is_final_and_counted_once() {
    let ledger = ledger();
    let (mut oracle, now) = (Oracle::new(&ledger), Instant::now());
    let number = oracle.submitted(now);
    oracle.refused(number, "too large");
    oracle.refused(number, "again");
    assert_eq!((oracle.totals().refused, oracle.totals().in_flight()), (1, 0));
    assert_eq!(oracle.close().first_refusal.as_deref(), Some("too large"));
}

proptest! {
    /// However answers and notices are ordered and repeated, each task counts once.
    #[test]
    fn order_and_repetition_change_nothing(
        events in Just((0..60_u32).flat_map(|n| [(n % 20, n % 3 == 0), (n % 20, n % 3 != 0)]).collect::<Vec<_>>())
            .prop_shuffle()
    ) {
        let ledger = ledger();
        let (mut oracle, now) = (Oracle::new(&ledger), Instant::now());
        for _ in 0..20 {
            oracle.submitted(now);
        }
        for (number, answer) in events {
            if answer {
                oracle.accepted(number, id(number), now);
            } else {
                oracle.finished(success(&ledger, number), now);
            }
        }
        let totals = oracle.close().totals;
        prop_assert_eq!((totals.accepted, totals.completed), (20, 20));
        prop_assert_eq!((totals.duplicated, totals.mismatched), (0, 0));
    }
}
