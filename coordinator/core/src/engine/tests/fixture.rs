//! A cluster in a test: an engine, a clock, agents that do as they are told, and a store that can be reopened.
//!
//! After every event the invariants are checked, and every change is applied to a model of the store, which refuses what
//! a store must never be asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AgentLoad, AttemptRef, Error, Failure, FailureClass, Outcome, Registration, SessionEpoch, StrategyConfig,
    TaskId, TaskState, Timestamp,
};

use super::super::{
    AcceptedTask, AdminCommand, AgentMessage, Change, ControlCommand, Effects, Engine, Event, FinishedTask, Message,
    Put, Reply, RequestId, Settings, Submitted, invariants,
};
pub use super::builders::{AgentBuilder, TaskBuilder, agent, task};
use crate::{
    model::{AgentView, BudgetShare, ClusterEvent, ClusterEventKind, Explanation, TaskEvent},
    testing::ModelStore,
};

pub const START: Timestamp = Timestamp::from_unix_millis(1_000_000_000);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A cluster under test. See the module.
pub struct Cluster {
    pub engine: Engine,
    pub now: Timestamp,
    pub store: ModelStore,
    settings: Settings,
    next_session: u64,
    next_request: u64,
    /// Each agent's valid session.
    pub sessions: BTreeMap<String, SessionEpoch>,
    /// What each agent was last given for each task, and not told to stop.
    pub assigned: BTreeMap<TaskId, (String, AttemptRef)>,
    /// What agents were told to stop and have not said yet that they did.
    pub stopping: Vec<(String, AttemptRef)>,
    pub finished: BTreeMap<TaskId, Arc<FinishedTask>>,
    pub accepted: BTreeMap<TaskId, Arc<AcceptedTask>>,
    pub task_events: Vec<TaskEvent>,
    pub cluster_events: Vec<ClusterEvent>,
    /// Messages of the last event.
    pub messages: Vec<Message>,
    /// Changes of the last event.
    pub changes: Vec<Change>,
}

impl Cluster {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with_strategy(name: &str) -> Self {
        Self::with(Settings { strategy: StrategyConfig::named(name).unwrap(), ..Settings::default() })
    }

    pub fn with(settings: Settings) -> Self {
        let mut store = ModelStore::default();
        let engine = Engine::new(START, settings.clone(), store.recover()).unwrap();
        let mut cluster = Self {
            engine,
            now: START,
            store,
            settings,
            next_session: 1 << 40,
            next_request: 0,
            sessions: BTreeMap::new(),
            assigned: BTreeMap::new(),
            stopping: Vec::new(),
            finished: BTreeMap::new(),
            accepted: BTreeMap::new(),
            task_events: Vec::new(),
            cluster_events: Vec::new(),
            messages: Vec::new(),
            changes: Vec::new(),
        };
        cluster.handle(Event::Tick);
        cluster
    }

    /// The coordinator dies and starts again on the same store. All sessions are gone. What is stored of budgets is what was known
    /// of them.
    pub fn restart(&mut self) {
        let reserved = self.reserved();
        let recovery = self.store.recover();
        self.next_session = recovery.incarnation << 40;
        self.sessions.clear();
        self.engine = Engine::new(self.now, self.settings.clone(), recovery).unwrap();
        assert_eq!(self.reserved(), reserved, "what attempts hold of budgets before a restart and after it");
        self.handle(Event::Tick);
    }

    /// What attempts at durable tasks hold of budgets.
    fn reserved(&self) -> BTreeMap<TaskId, Vec<BudgetShare>> {
        let tasks = self.engine.tasks.iter().filter(|(_, task)| task.is_durable());
        let held = tasks.map(|(ix, task)| (task.id, self.engine.reserved_by(ix)));
        held.filter(|(_, shares)| !shares.is_empty()).collect()
    }

    /// What the live attempt at a task holds of budgets.
    pub fn reserved_by(&self, task: TaskId) -> Vec<BudgetShare> {
        self.engine.tasks.find(task).map(|ix| self.engine.reserved_by(ix)).unwrap_or_default()
    }

    pub fn handle(&mut self, event: Event) {
        let mut out = Effects::default();
        self.engine.handle(self.now, event, &mut out);
        self.store.apply(&out.changes);
        let complaints = self.store.take_complaints();
        assert!(complaints.is_empty(), "at {}: {complaints:#?}", self.now);
        for message in &out.messages {
            self.deliver(message);
        }
        (self.messages, self.changes) = (out.messages, out.changes);
        self.check();
    }

    fn check(&self) {
        let wrong = invariants::check(&self.engine);
        assert!(wrong.is_empty(), "at {}: {wrong:#?}", self.now);
    }

    fn deliver(&mut self, message: &Message) {
        match message {
            Message::ToAgent { session, message } => {
                let agent =
                    self.agent_of(*session).unwrap_or_else(|| panic!("{message:?} went to a session that is over"));
                match message {
                    AgentMessage::Assign(assignment) => {
                        self.assigned.insert(assignment.attempt.task, (agent, assignment.attempt));
                    }
                    AgentMessage::Cancel { attempt, .. } => {
                        self.assigned.retain(|_, (_, assigned)| assigned != attempt);
                        self.stopping.push((agent, *attempt));
                    }
                    _ => {}
                }
            }
            Message::Finished(finished) => {
                assert!(finished.state.is_terminal());
                let earlier = self.finished.insert(finished.id, finished.clone());
                assert!(earlier.is_none(), "{} ended twice", finished.id);
            }
            Message::Accepted(task) => {
                self.accepted.insert(task.id, task.clone());
            }
            Message::TaskEvent(event) => self.task_events.push(event.clone()),
            Message::ClusterEvent(event) => self.cluster_events.push(event.clone()),
            Message::CloseSession { session, .. } => self.sessions.retain(|_, valid| valid != session),
            Message::Reply { .. } | Message::LookUpResult { .. } => {}
        }
    }

    fn agent_of(&self, session: SessionEpoch) -> Option<String> {
        self.sessions.iter().find(|(_, valid)| **valid == session).map(|(agent, _)| agent.clone())
    }

    /// Lets time pass, with all that it brings, in steps the engine asked for.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while let Some(at) = self.engine.next_wakeup().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.handle(Event::Tick);
        }
        self.now = end;
        self.handle(Event::Tick);
    }

    /// The same, with every agent heard all the while.
    pub fn advance_alive(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while self.now < end {
            let step = ms(500).min(end.since(self.now));
            self.advance(step);
            for agent in self.sessions.keys().cloned().collect::<Vec<_>>() {
                self.heartbeat(&agent, AgentLoad::default());
            }
        }
    }

    /// The agents that are connected say that they have stopped what they were told to stop.
    pub fn stop_what_was_cancelled(&mut self) {
        for (agent, attempt) in std::mem::take(&mut self.stopping) {
            if self.sessions.contains_key(&agent) {
                self.report(&agent, attempt, Outcome::Cancelled);
            }
        }
    }

    pub fn join(&mut self, agent: AgentBuilder) {
        // What is due is still said on the sessions there are.
        self.handle(Event::Tick);
        self.next_session += 1;
        let session = SessionEpoch(self.next_session);
        self.sessions.insert(agent.spec.id.to_string(), session);
        let registration =
            Registration { spec: agent.spec, instance: agent.instance, dial: agent.dial, held: agent.held };
        self.handle(Event::Register { session, registration: Box::new(registration) });
    }

    /// The agent's stream ends.
    pub fn disconnect(&mut self, agent: &str) {
        self.handle(Event::Tick);
        let session = self.sessions.remove(agent).expect("connected");
        self.handle(Event::SessionClosed { session, reason: "the stream ended".into() });
    }

    /// The agent's process dies, and stays away.
    pub fn kill(&mut self, agent: &str) {
        self.disconnect(agent);
        self.advance(self.settings.reconnect_grace);
    }

    pub fn heartbeat(&mut self, agent: &str, load: AgentLoad) {
        let session = self.sessions[agent];
        self.handle(Event::Heartbeat { session, load: Box::new(load) });
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn reply(&self) -> &Reply {
        let reply = self.messages.iter().find_map(|message| match message {
            Message::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        reply.expect("a reply")
    }

    pub fn try_submit(&mut self, task: TaskBuilder) -> Result<Submitted, Error> {
        let request = self.request();
        self.handle(Event::Submit { request, tasks: vec![task.0] });
        let Reply::Submitted(answers) = self.reply() else { panic!("not an answer to a submission") };
        answers[0].clone()
    }

    pub fn submit(&mut self, task: TaskBuilder) -> TaskId {
        self.try_submit(task).unwrap().task
    }

    pub fn cancel(&mut self, task: TaskId) -> Result<TaskState, Error> {
        let request = self.request();
        self.handle(Event::Cancel { request, task, reason: "not needed".into() });
        let Reply::Cancelled(answer) = self.reply() else { panic!("not an answer to a cancellation") };
        answer.clone()
    }

    pub fn admin(&mut self, agent: &str, command: AdminCommand) -> Result<(), Error> {
        let request = self.request();
        let agent = AgentId::new(agent).unwrap();
        self.handle(Event::Admin { request, agent, command, reason: "because".into() });
        let Reply::Done(answer) = self.reply() else { panic!("not an answer to a command") };
        answer.clone()
    }

    pub fn control(&mut self, command: ControlCommand) -> Result<(), Error> {
        let request = self.request();
        self.handle(Event::Control { request, command: Box::new(command), reason: "because".into() });
        match self.reply() {
            Reply::Done(answer) => answer.clone(),
            Reply::Put(_) => Ok(()),
            other => panic!("not an answer to a command: {other:?}"),
        }
    }

    /// Puts something in force, and answers with it.
    pub fn put(&mut self, command: ControlCommand) -> Put {
        self.control(command).unwrap();
        let Reply::Put(put) = self.reply() else { panic!("it is not shown") };
        (**put).clone()
    }

    pub fn set_strategy(&mut self, name: &str) {
        let request = self.request();
        self.handle(Event::SetStrategy { request, strategy: StrategyConfig::named(name).unwrap() });
    }

    /// The agent and attempt that a task was given to.
    pub fn assignment(&self, task: TaskId) -> (String, AttemptRef) {
        self.assigned.get(&task).unwrap_or_else(|| panic!("{task} is not assigned")).clone()
    }

    pub fn agent_with(&self, task: TaskId) -> String {
        self.assignment(task).0
    }

    /// The agent's session says that the attempt ended so.
    pub fn report(&mut self, agent: &str, attempt: AttemptRef, outcome: Outcome) {
        self.report_run(agent, attempt, outcome, ms(10));
    }

    fn report_run(&mut self, agent: &str, attempt: AttemptRef, outcome: Outcome, run: Duration) {
        let session = self.sessions[agent];
        self.handle(Event::Result { session, attempt, outcome, run, usage: None });
    }

    /// The task succeeds after it ran for so long.
    pub fn succeed_in(&mut self, task: TaskId, run: Duration) {
        let (agent, attempt) = self.assignment(task);
        self.report_run(&agent, attempt, Outcome::Succeeded(Bytes::new()), run);
    }

    pub fn start(&mut self, task: TaskId) {
        let (agent, attempt) = self.assignment(task);
        let session = self.sessions[&agent];
        self.handle(Event::Started { session, attempt });
    }

    pub fn succeed(&mut self, task: TaskId) {
        let (agent, attempt) = self.assignment(task);
        self.report(&agent, attempt, Outcome::Succeeded(Bytes::from_static(b"done")));
    }

    pub fn fail(&mut self, task: TaskId, class: FailureClass) {
        let (agent, attempt) = self.assignment(task);
        self.report(&agent, attempt, Outcome::Failed(Failure::new(class, "no")));
    }

    /// How the last result was acknowledged: recorded or stale.
    pub fn acknowledged(&self) -> Option<bool> {
        self.messages.iter().find_map(|message| match message {
            Message::ToAgent { message: AgentMessage::Ack { recorded, .. }, .. } => Some(*recorded),
            _ => None,
        })
    }

    /// An agent as readers see it, if it has changed since the last look.
    pub fn view(&mut self, id: &str) -> AgentView {
        let changed = self.engine.take_changed_agents();
        changed.into_iter().find(|(agent, _)| agent.as_str() == id).and_then(|(_, view)| view).expect("changed")
    }

    pub fn explain(&self, task: TaskId) -> Explanation {
        self.engine.explain(self.now, task, 100).expect("live")
    }

    /// The state of a task, wherever it is.
    pub fn state(&self, task: TaskId) -> TaskState {
        match self.finished.get(&task) {
            Some(finished) => finished.state,
            None => self.explain(task).state,
        }
    }

    #[track_caller]
    pub fn expect(&self, task: TaskId, state: TaskState) {
        assert_eq!(self.state(task), state, "{:?}", self.finished.get(&task).map(|f| &f.failure));
    }

    /// Tasks that are with an agent, each with its agent.
    pub fn placements(&self) -> BTreeMap<TaskId, String> {
        let live = self.assigned.iter().filter(|(task, _)| self.engine.task_is_live(**task));
        live.filter(|(task, _)| matches!(self.state(**task), TaskState::Assigned | TaskState::Running))
            .map(|(task, (agent, _))| (*task, agent.clone()))
            .collect()
    }

    pub fn events_of(&self, kind: ClusterEventKind) -> usize {
        self.cluster_events.iter().filter(|event| event.kind == kind).count()
    }

    pub fn agents_busy(&self) -> BTreeSet<String> {
        self.placements().into_values().collect()
    }
}
