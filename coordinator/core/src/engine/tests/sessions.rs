//! Sessions of agents: who has a name, and what a session begins with.

use bytes::Bytes;
use evenkeel_shared::{AttemptNumber, Code, Outcome, SessionEpoch, TaskState};

use super::fixture::{Cluster, agent, ms, task};
use crate::engine::{AgentMessage, Event, Message};

/// How many attempts an agent was welcomed to go on with, and to drop.
pub(super) fn welcome(c: &Cluster) -> (usize, usize) {
    let welcome = c.messages.iter().find_map(|message| match message {
        Message::ToAgent { message: AgentMessage::Welcome { adopted, superseded, .. }, .. } => {
            Some((adopted.len(), superseded.len()))
        }
        _ => None,
    });
    welcome.expect("a welcome")
}

fn closed(message: &Message) -> Option<(SessionEpoch, Code)> {
    match message {
        Message::CloseSession { session, error } => Some((*session, error.code)),
        _ => None,
    }
}

fn closed_with(c: &Cluster) -> Option<Code> {
    c.messages.iter().find_map(closed).map(|(_, code)| code)
}

#[test]
fn an_agent_is_welcomed_before_it_is_given_anything() {
    let mut c = Cluster::new();
    c.join(agent("a").slots(2));
    for _ in 0..6 {
        c.submit(task("work"));
    }
    c.disconnect("a");
    c.join(agent("a").slots(2));
    let first = c.messages.iter().find_map(|message| match message {
        Message::ToAgent { message, .. } => Some(message),
        _ => None,
    });
    assert!(matches!(first, Some(AgentMessage::Welcome { .. })), "{first:?}");
}

#[test]
fn a_newer_session_of_the_same_process_fences_the_older() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let (_, attempt) = c.assignment(t);
    let older = c.sessions["a"];
    c.join(agent("a").holding(&[attempt]));
    assert_eq!(closed_with(&c), Some(Code::Aborted));
    let newer = c.sessions.insert("a".into(), older).unwrap_or(older);
    c.report("a", attempt, Outcome::Succeeded(Bytes::new()));
    c.expect(t, TaskState::Running);
    c.sessions.insert("a".into(), newer);
}

#[test]
fn a_session_that_registers_after_a_newer_one_is_refused() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let older = SessionEpoch(c.sessions["a"].0 - 1);
    let builder = agent("a");
    let registration =
        evenkeel_shared::Registration { spec: builder.spec, instance: builder.instance, dial: 0, held: vec![] };
    c.handle(Event::Register { session: older, registration: Box::new(registration) });
    assert_eq!(closed_with(&c), Some(Code::Aborted));
    let t = c.submit(task("work"));
    c.succeed(t);
    c.expect(t, TaskState::Succeeded);
}

#[test]
fn a_dial_that_its_process_gave_up_does_not_fence_the_one_that_counts() {
    let mut c = Cluster::new();
    c.join(agent("a").dial(1));
    c.disconnect("a");
    c.join(agent("a").dial(3));
    let t = c.submit(task("work"));
    let counts = c.sessions["a"];
    // The network was slow to tell.
    c.join(agent("a").dial(2));
    let closed: Vec<_> = c.messages.iter().filter_map(closed).collect();
    assert_eq!(closed, [(SessionEpoch(counts.0 + 1), Code::Aborted)]);
    c.sessions.insert("a".into(), counts);
    c.succeed(t);
    assert_eq!(c.finished[&t].attempts_made, 1);
}

#[test]
fn a_process_begins_to_count_its_dials_anew() {
    let mut c = Cluster::new();
    c.join(agent("a").dial(9));
    c.kill("a");
    c.join(agent("a").process(2).dial(1));
    assert_eq!(closed_with(&c), None);
}

#[test]
fn another_process_may_not_take_the_name_of_one_that_is_alive() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let owner = c.sessions["a"];
    c.join(agent("a").process(2));
    assert_eq!(closed_with(&c), Some(Code::AlreadyExists));
    c.sessions.insert("a".into(), owner);
    c.succeed(t);
    c.expect(t, TaskState::Succeeded);
}

#[test]
fn a_heartbeat_that_is_late_does_not_cost_a_process_its_name() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    let owner = c.sessions["a"];
    c.advance(ms(2_000));
    c.join(agent("a").process(2));
    assert_eq!(closed_with(&c), Some(Code::AlreadyExists));
    c.sessions.insert("a".into(), owner);
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(1));
    c.advance(ms(500));
    c.join(agent("a").process(2));
    assert_eq!(c.assignment(t).1.attempt, AttemptNumber(2), "well before the lease of the first ends");
}
