//! A cluster of the real engine, a clock and one honest agent, which does what it is told and nothing else.
//!
//! After every event the engine's invariants are checked, its effects go through the [`Ledger`], and everything that the
//! shell would show of them is written as the shell writes it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_coordinator::services::view;
use evenkeel_core::{
    engine::{
        AgentMessage, Change, Effects, Engine, Event, Message, NewTask, Reply, RequestId, Settings, StoredKey,
        invariants,
    },
    model::Recovery,
};
use evenkeel_shared::{
    AgentId, AgentLoad, AgentSpec, AttemptRef, Failure, FailureClass, Kind, Labels, Outcome, Registration, Resources,
    SessionEpoch, TaskId, TaskSpec, TaskState, Timestamp,
};
use prost::Message as _;

use super::ledger::Ledger;

/// When every input begins.
pub const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
/// The kind that the honest agent takes.
pub const KIND: &str = "work";
/// The honest agent's name.
pub const HONEST: &str = "honest";
/// Its process. Whoever knows it is that process as far as anybody can tell.
pub const HONEST_INSTANCE: &str = "0b77a1f2-6f0b-4a4c-9d3e-3a1f5f6c2d10";
/// What it answers.
const OUTPUT: Bytes = Bytes::from_static(b"done honestly");
/// Between two of its heartbeats: well below what makes a session silent.
const BEAT: Duration = Duration::from_millis(400);
/// Events that one wait may take. An engine that wants to be woken more often does not get anywhere.
const WAKEUPS_MAX: usize = 10_000;
/// How long the cluster has to heal: longer than five attempts of the default retry policy and a slowed down failover.
const HEAL_WITHIN: Duration = Duration::from_secs(300);

/// See the module.
pub struct Cluster {
    engine: Engine,
    now: Timestamp,
    ledger: Ledger,
    next_session: u64,
    next_request: u64,
    honest: SessionEpoch,
    /// What the honest agent runs, in the order in which it was given.
    held: Vec<AttemptRef>,
    /// What it was told to stop, and has not said yet that it did.
    stopping: Vec<AttemptRef>,
    /// What others were given.
    given: Vec<AttemptRef>,
    /// Sessions of others that the engine ended, and that nobody has taken down yet.
    closed: Vec<SessionEpoch>,
    /// Everything to make durable so far, for those who have a store.
    changes: Vec<Change>,
}

impl Cluster {
    /// A cluster whose honest agent has so many slots.
    ///
    /// # Panics
    /// If something is wrong.
    #[must_use]
    pub fn new(settings: Settings, honest: AgentSpec) -> Self {
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine = Engine::new(START, settings, recovery).expect("an empty store");
        let mut cluster = Self {
            engine,
            now: START,
            ledger: Ledger::default(),
            next_session: 1 << 40,
            next_request: 0,
            honest: SessionEpoch(0),
            held: Vec::new(),
            stopping: Vec::new(),
            given: Vec::new(),
            closed: Vec::new(),
            changes: Vec::new(),
        };
        cluster.honest = cluster.open_session();
        let registration =
            Registration { spec: honest, instance: HONEST_INSTANCE.to_owned(), dial: 0, held: Vec::new() };
        let session = cluster.honest;
        cluster.handle(Event::Register { session, registration: Box::new(registration) });
        cluster
    }

    /// The honest agent, with so many slots.
    ///
    /// # Panics
    /// Never: its names are legal.
    #[must_use]
    pub fn honest_spec(slots: u32) -> AgentSpec {
        AgentSpec {
            kinds: vec![Kind::new(KIND).unwrap()],
            labels: Labels::from([("zone".to_owned(), "eu".to_owned()), ("ram".to_owned(), "16".to_owned())]),
            version: "1".to_owned(),
            prefetch_per_slot: Some(0),
            ..AgentSpec::of(AgentId::new(HONEST).unwrap(), Resources::slots(slots))
        }
    }

    /// The number of a new session.
    pub fn open_session(&mut self) -> SessionEpoch {
        self.next_session += 1;
        SessionEpoch(self.next_session)
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// All that was accepted.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the honest agent runs.
    #[must_use]
    pub fn held(&self) -> &[AttemptRef] {
        &self.held
    }

    /// What others were given, ever.
    #[must_use]
    pub fn given(&self) -> &[AttemptRef] {
        &self.given
    }

    /// Sessions of others that the engine has ended since the last call.
    pub fn take_closed(&mut self) -> Vec<SessionEpoch> {
        std::mem::take(&mut self.closed)
    }

    /// Everything to make durable since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The engine, to look at.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// One event, with all that is checked after it.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn handle(&mut self, event: Event) -> Effects {
        let mut effects = Effects::default();
        self.engine.handle(self.now, event, &mut effects);
        let wrong = invariants::check(&self.engine);
        assert!(wrong.is_empty(), "at {}: {wrong:#?}", self.now);
        self.ledger.record(&effects);
        self.changes.extend_from_slice(&effects.changes);
        for message in &effects.messages {
            self.deliver(message);
            show(message);
        }
        for (_, agent) in self.engine.take_changed_agents() {
            let _ = agent.map(|agent| view::agent(&agent).encode_to_vec());
        }
        let _ = view::status(&self.engine.status(self.now)).encode_to_vec();
        effects
    }

    fn deliver(&mut self, message: &Message) {
        match message {
            Message::ToAgent { session, message } if *session == self.honest => match message {
                AgentMessage::Assign(assignment) => self.held.push(assignment.attempt),
                AgentMessage::Cancel { attempt, .. } => {
                    self.held.retain(|held| held != attempt);
                    self.stopping.push(*attempt);
                }
                AgentMessage::Welcome { .. } | AgentMessage::Ack { .. } | AgentMessage::Drain { .. } => {}
            },
            Message::ToAgent { message: AgentMessage::Assign(assignment), .. } => self.given.push(assignment.attempt),
            Message::CloseSession { session, error } => {
                assert_ne!(*session, self.honest, "the honest agent was sent away: {error}");
                self.closed.push(*session);
            }
            _ => {}
        }
    }

    /// Lets time pass, with all that it brings and the honest agent heard all the while.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        let mut wakeups = 0;
        while self.now < end {
            let beat = self.now.plus(BEAT).min(end);
            while let Some(at) = self.engine.next_wakeup().filter(|&at| at <= beat) {
                self.now = self.now.max(at);
                self.handle(Event::Tick);
                wakeups += 1;
                assert!(wakeups < WAKEUPS_MAX, "the engine is woken without end");
            }
            self.now = beat;
            self.handle(Event::Heartbeat { session: self.honest, load: Box::new(AgentLoad::default()) });
            while let Some(attempt) = self.stopping.pop() {
                let (session, outcome) = (self.honest, Outcome::Cancelled);
                self.handle(Event::Result { session, attempt, outcome, run: Duration::ZERO, usage: None });
            }
        }
    }

    /// A task of the kind that everybody takes.
    ///
    /// # Panics
    /// If it is refused.
    pub fn submit_plain(&mut self) -> TaskId {
        let task = NewTask {
            spec: Arc::new(TaskSpec::of_kind(Kind::new(KIND).unwrap())),
            payload: Bytes::from_static(b"input"),
            fingerprint: 0,
            stored_key: StoredKey::None,
            redrive_of: None,
        };
        let effects = self.submit(vec![task]);
        match answers(&effects).first() {
            Some(Ok(submitted)) => submitted.task,
            other => panic!("a plain task is accepted, not {other:?}"),
        }
    }

    /// A submission.
    pub fn submit(&mut self, tasks: Vec<NewTask>) -> Effects {
        let request = self.request();
        self.handle(Event::Submit { request, tasks })
    }

    /// A client calls a task off.
    pub fn cancel(&mut self, task: TaskId) {
        let request = self.request();
        self.handle(Event::Cancel { request, task, reason: "not needed".to_owned() });
    }

    /// The number of a new request.
    pub fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// The honest agent ends one of the attempts that it holds; it is recorded as it said.
    ///
    /// # Panics
    /// If it is not.
    pub fn honest_succeeds(&mut self, which: usize) {
        if self.held.is_empty() {
            return;
        }
        let attempt = self.held.remove(which % self.held.len());
        let (session, outcome) = (self.honest, Outcome::Succeeded(OUTPUT));
        let effects =
            self.handle(Event::Result { session, attempt, outcome, run: Duration::from_millis(5), usage: None });
        let recorded = effects.messages.iter().any(|message| {
            matches!(message, Message::ToAgent { session: to, message: AgentMessage::Ack { attempt: of, recorded: true } }
                if *to == session && *of == attempt)
        });
        let finished = effects.messages.iter().any(|message| {
            matches!(message, Message::Finished(task)
                if task.id == attempt.task && task.state == TaskState::Succeeded && task.output == OUTPUT)
        });
        assert!(recorded && finished, "the honest result of {attempt:?} was not recorded: {:?}", effects.messages);
    }

    /// The honest agent fails one of the attempts that it holds.
    pub fn honest_fails(&mut self, which: usize, class: FailureClass) {
        let attempt = self.held.remove(which % self.held.len());
        let (session, run) = (self.honest, Duration::from_millis(5));
        let outcome = Outcome::Failed(Failure::new(class, "no"));
        self.handle(Event::Result { session, attempt, outcome, run, usage: None });
    }

    /// The honest agent does whatever there is to do, until nothing is left.
    ///
    /// # Panics
    /// If something is left after the time that a cluster may take to heal.
    pub fn heal(&mut self) {
        let end = self.now.plus(HEAL_WITHIN);
        loop {
            while !self.held.is_empty() {
                self.honest_succeeds(0);
            }
            let Some(task) = self.ledger.unfinished().next() else { return };
            let why = || self.engine.explain(self.now, task, 9);
            assert!(self.now < end, "{task} never ended: {:?}", why());
            self.wait(Duration::from_millis(500));
        }
    }
}

/// The answers to a submission.
///
/// # Panics
/// If there are none.
pub fn answers(effects: &Effects) -> &[Result<evenkeel_core::engine::Submitted, evenkeel_shared::Error>] {
    let answers = effects.messages.iter().find_map(|message| match message {
        Message::Reply { reply: Reply::Submitted(answers), .. } => Some(answers.as_slice()),
        _ => None,
    });
    answers.expect("a submission is answered")
}

/// Writes a message as the shell does.
fn show(message: &Message) {
    let _ = match message {
        Message::TaskEvent(event) => view::task_event(event).encode_to_vec(),
        Message::ClusterEvent(event) => view::cluster_event(event).encode_to_vec(),
        Message::Finished(task) => view::finished(task).encode_to_vec(),
        _ => Vec::new(),
    };
}
