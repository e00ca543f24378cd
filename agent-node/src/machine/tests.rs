use bytes::Bytes;
use evenkeel_proto::v1::{ResultStatus, agent_message, coordinator_message::Message};
use evenkeel_shared::{AgentId, AssignmentId, AttemptNumber, Kind, Resources, TaskId, TaskSpec};
use v1::attempt_result::Outcome as WireOutcome;

use super::*;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const START: Duration = Duration::from_secs(100);

fn machine(slots: u32) -> Machine {
    let spec = AgentSpec {
        kinds: vec![Kind::new("k").unwrap()],
        ..AgentSpec::of(AgentId::new("a").unwrap(), Resources::slots(slots))
    };
    Machine::new(spec, "process 1".into(), DRAIN_TIMEOUT, fastrand::Rng::with_seed(1))
}

fn attempt(number: u64) -> AttemptRef {
    AttemptRef { task: TaskId::from_u128(number.into()), attempt: AttemptNumber(1), assignment: AssignmentId(number) }
}

fn message(message: Message) -> v1::CoordinatorMessage {
    v1::CoordinatorMessage { message: Some(message) }
}

fn assign(number: u64) -> v1::CoordinatorMessage {
    let spec = TaskSpec::of_kind(Kind::new("k").unwrap());
    let timeout = Duration::from_secs(60);
    let work = evenkeel_shared::wire::agent::to_assignment(attempt(number), &spec, Bytes::new(), timeout);
    message(Message::Assignment(work))
}

fn welcome(machine: &mut Machine, at: Duration) {
    let welcome = v1::Welcome { heartbeat_interval_ms: 1_000, ..v1::Welcome::default() };
    machine.welcomed(at, welcome, Vec::new()).unwrap();
}

fn done(number: u64) -> Ended {
    let outcome = Outcome::Succeeded(Bytes::new());
    Ended {
        attempt: attempt(number),
        kind: Kind::new("k").unwrap(),
        outcome,
        run: Duration::from_millis(5),
        usage: None,
        quotas: Vec::new(),
    }
}

fn said(machine: &mut Machine) -> Vec<agent_message::Message> {
    let frames = std::iter::from_fn(|| machine.next_frame());
    frames.flat_map(|frame| frame.messages).filter_map(|message| message.message).collect()
}

#[test]
fn nothing_starts_without_a_session_and_all_that_is_held_is_told_to_the_next_one() {
    let mut m = machine(2);
    welcome(&mut m, START);
    m.heard(vec![assign(1), assign(2), assign(3)]).unwrap();
    assert_eq!(m.start_next().unwrap().attempt, attempt(1));
    let dial = m.lost(START, Verdict::Retry, "broken".into()).unwrap();
    assert_eq!(m.start_next(), None, "the coordinator may be giving it to somebody else");
    assert_eq!(dial.register.held.len(), 3);
    m.ended(done(1));
    assert_eq!(m.next_frame(), None, "there is nobody to say it to");
    let dial = m.lost(START, Verdict::Retry, "still broken".into()).unwrap();
    assert_eq!(dial.register.held.len(), 3, "a result that nobody has acknowledged is held too");
    welcome(&mut m, START);
    let results = said(&mut m).into_iter().filter(|m| matches!(m, agent_message::Message::Result(_))).count();
    assert_eq!(results, 1);
}

#[test]
fn what_was_superseded_is_stopped_and_never_spoken_of_again() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.heard(vec![assign(1)]).unwrap();
    m.start_next().unwrap();
    m.lost(START, Verdict::Retry, "broken".into()).unwrap();
    let superseded = vec![evenkeel_shared::wire::task::to_attempt_ref(attempt(1))];
    m.welcomed(START, v1::Welcome { superseded, ..v1::Welcome::default() }, Vec::new()).unwrap();
    assert_eq!(m.take_stops(), [attempt(1)]);
    m.ended(done(1));
    assert!(said(&mut m).is_empty());
}

#[test]
fn a_cancelled_attempt_reports_that_it_was_cancelled_whatever_it_did() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.heard(vec![assign(1)]).unwrap();
    m.start_next().unwrap();
    said(&mut m);
    let attempt_ref = Some(evenkeel_shared::wire::task::to_attempt_ref(attempt(1)));
    m.heard(vec![message(Message::Cancel(v1::CancelAttempt { attempt: attempt_ref, reason: String::new() }))]).unwrap();
    assert_eq!(m.take_stops(), [attempt(1)]);
    m.ended(done(1));
    let agent_message::Message::Result(result) = said(&mut m).remove(0) else { panic!("not a result") };
    assert!(matches!(result.outcome, Some(WireOutcome::Cancelled(_))));
}

#[test]
fn heartbeats_begin_with_the_session_and_are_jittered_by_a_tenth() {
    let mut m = machine(1);
    assert_eq!(m.alarm(), None);
    welcome(&mut m, START);
    assert_eq!(m.alarm(), Some(START));
    m.on_alarm(START, HostLoad::default);
    assert!(matches!(said(&mut m)[..], [agent_message::Message::Heartbeat(_)]));
    let wait = m.alarm().unwrap() - START;
    assert!((900..=1_100).contains(&wait.as_millis()), "{wait:?}");
    let interval = Duration::from_secs(10);
    assert_eq!((jittered(interval, 0.0), jittered(interval, 1.0)), (Duration::from_secs(9), Duration::from_secs(11)));
}

#[test]
fn a_fenced_agent_does_not_dial_again_and_one_whose_name_is_taken_does() {
    assert!(matches!(machine(1).lost(START, Verdict::Fenced, String::new()), Err(AgentError::Fenced { .. })));
    assert!(machine(1).lost(START, Verdict::IdTaken, String::new()).is_ok());
    let refused = Verdict::Refused(Code::InvalidArgument);
    assert!(matches!(machine(1).lost(START, refused, String::new()), Err(AgentError::Refused { .. })));
    let mut registered = machine(1);
    welcome(&mut registered, START);
    assert!(registered.lost(START, refused, String::new()).is_ok(), "it was good enough before");
}

#[test]
fn an_agent_that_goes_finishes_what_runs_and_waits_to_be_heard() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.heard(vec![assign(1), assign(2)]).unwrap();
    m.start_next().unwrap();
    m.leave(START);
    said(&mut m);
    m.heard(vec![message(Message::Drain(v1::Drain::default()))]).unwrap();
    m.see_about_leaving(START);
    assert_eq!(m.alarm().map(|at| at.max(START + DRAIN_TIMEOUT)), Some(START + DRAIN_TIMEOUT));
    m.ended(done(1));
    said(&mut m);
    m.see_about_leaving(START);
    assert!(!m.is_gone(), "two results are not acknowledged: what ran and what was handed back");
    for number in [1, 2] {
        let attempt = Some(evenkeel_shared::wire::task::to_attempt_ref(attempt(number)));
        let status = ResultStatus::Recorded.into();
        m.heard(vec![message(Message::ResultAck(v1::ResultAck { attempt, status }))]).unwrap();
    }
    m.see_about_leaving(START);
    assert!(m.is_gone());
}

#[test]
fn what_crossed_the_word_that_the_agent_goes_is_run_and_not_handed_back() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.leave(START);
    said(&mut m);
    m.see_about_leaving(START);
    assert!(!m.is_gone(), "the coordinator has not heard of it");
    m.heard(vec![assign(1), message(Message::Drain(v1::Drain::default())), assign(2)]).unwrap();
    assert_eq!(m.start_next().map(|work| work.attempt), Some(attempt(1)));
    m.see_about_leaving(START);
    let results = said(&mut m).into_iter().filter_map(|message| match message {
        agent_message::Message::Result(result) => result.attempt.map(|attempt| attempt.assignment_id),
        _ => None,
    });
    assert_eq!(results.collect::<Vec<_>>(), [2], "that came after the answer");
    assert!(!m.is_gone());
}

#[test]
fn an_agent_that_is_not_answered_goes_all_the_same() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.leave(START);
    said(&mut m);
    m.on_alarm(START + Duration::from_secs(5), HostLoad::default);
    said(&mut m);
    m.see_about_leaving(START + Duration::from_secs(5));
    assert!(m.is_gone());
}

#[test]
fn a_quota_that_is_used_up_is_said_before_the_result_that_found_it() {
    let mut m = machine(1);
    welcome(&mut m, START);
    m.heard(vec![assign(1)]).unwrap();
    m.start_next().unwrap();
    said(&mut m);
    let key = evenkeel_shared::QuotaKey::new("openai/a").unwrap();
    let report = QuotaReport { key, retry_after: Duration::from_secs(30), reason: "full".into() };
    let usage = evenkeel_shared::Usage { cpu: Duration::from_millis(7), ..evenkeel_shared::Usage::default() };
    m.ended(Ended { quotas: vec![report], usage: Some(Box::new(usage)), ..done(1) });
    let said = said(&mut m);
    let [agent_message::Message::QuotaExhausted(quota), agent_message::Message::Result(result)] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!((quota.key.as_str(), quota.retry_after_ms), ("openai/a", 30_000));
    assert_eq!(result.usage.as_ref().unwrap().cpu_ms, 7);
}
