//! Spans that belong to no task: registrations, heartbeats, transactions.
//!
//! They are many and alike, so only a few of each are told. A transaction that carries a traced task is always told, since
//! the task's span links to it; it belongs to many tasks, so it is a trace of its own and links back.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use evenkeel_shared::{
    SessionEpoch, Timestamp, TraceContext,
    otlp::{Kind, Sampler, Span, new_span, new_trace},
};

use super::Active;

/// Registrations told a second: a fleet that comes back does so at once.
const REGISTRATIONS_PER_S: u32 = 10;
/// Batches of heartbeats told a second, and transactions without traced tasks.
const BATCHES_PER_S: u32 = 1;
/// Registrations on their way.
const REGISTERING_MAX: usize = 4_096;
/// Tasks that a transaction's span links to.
const LINKS_MAX: usize = 64;

/// What is told of the fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    registrations: Sampler,
    heartbeats: Sampler,
    commits: Sampler,
    registering: Mutex<HashMap<SessionEpoch, Registering>>,
}

#[derive(Debug)]
struct Registering {
    since: Timestamp,
    agent: String,
    from: Option<TraceContext>,
}

/// A transaction that was made, for the spans of what it carried.
#[derive(Debug)]
pub struct Commit {
    from: Timestamp,
    to: Timestamp,
    changes: usize,
    place: TraceContext,
    linked: RefCell<Vec<TraceContext>>,
}

impl Commit {
    /// Its place, for a span of a task that it carried.
    pub(super) fn linked(&self, span: &TraceContext) -> &TraceContext {
        let mut linked = self.linked.borrow_mut();
        if linked.len() < LINKS_MAX {
            linked.push(span.clone());
        }
        &self.place
    }
}

impl Fleet {
    pub fn new(now: Instant) -> Self {
        Self {
            registrations: Sampler::new(1.0, REGISTRATIONS_PER_S, now),
            heartbeats: Sampler::new(1.0, BATCHES_PER_S, now),
            commits: Sampler::new(1.0, BATCHES_PER_S, now),
            registering: Mutex::default(),
        }
    }
}

impl Active {
    /// A transaction of so many changes was made since then.
    #[must_use]
    pub fn commit(&self, from: Timestamp, changes: usize) -> Commit {
        let (to, place) = (self.now(), new_trace());
        Commit { from, to, changes, place, linked: RefCell::default() }
    }

    /// All that it carried has been said.
    pub fn committed(&self, commit: Commit) {
        let linked = commit.linked.into_inner();
        if linked.is_empty() && !self.fleet.commits.allows(Instant::now()) {
            return;
        }
        let span = Span::new(commit.place, "transaction", commit.from, commit.to)
            .kind(Kind::Client)
            .with("db.system.name", "sqlite")
            .with("evenkeel.changes", commit.changes);
        self.exporter.send(linked.iter().fold(span, |span, task| span.link(task.trace, task.span, "task")));
    }

    /// The engine has taken in so many heartbeats since then.
    pub fn heartbeats(&self, from: Timestamp, count: usize) {
        if count > 0 && self.fleet.heartbeats.allows(Instant::now()) {
            let span = Span::new(new_trace(), "heartbeats", from, self.now());
            self.exporter.send(span.with("evenkeel.heartbeats", count));
        }
    }

    /// An agent wants to register.
    pub fn registering(&self, session: SessionEpoch, agent: String, from: Option<TraceContext>) {
        let mut registering = self.fleet.registering.lock().unwrap_or_else(PoisonError::into_inner);
        if registering.len() < REGISTERING_MAX && self.fleet.registrations.allows(Instant::now()) {
            registering.insert(session, Registering { since: self.now(), agent, from });
        }
    }

    /// The agent is welcome, or its session has ended.
    pub fn registered(&self, session: SessionEpoch, error: Option<&dyn Display>) {
        let mut registering = self.fleet.registering.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(registration) = registering.remove(&session) else { return };
        drop(registering);
        let Registering { since, agent, from } = registration;
        let span = match from.filter(TraceContext::is_sampled) {
            Some(from) => Span::new(from.at(new_span()), "register", since, self.now()).child_of_remote(from.span),
            None => Span::new(new_trace(), "register", since, self.now()),
        };
        let span = span
            .kind(Kind::Server)
            .with("rpc.system", "grpc")
            .with("rpc.service", "evenkeel.v1.AgentService")
            .with("rpc.method", "Session")
            .with("evenkeel.agent.id", agent)
            .with("evenkeel.session", session.0);
        self.exporter.send(span.failed(error.map(ToString::to_string)));
    }
}
